import itertools
import json
import re
from pathlib import Path

from marl_hpo_env.tables.table import shipped

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_every_python_example_of_the_readme_runs_on_its_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        names: dict = {}  # each on its own
        exec(compile(block, "README.md", "exec"), names)
    assert "validation_accuracy" in capsys.readouterr().out
    assert names["trial"].status == "completed"
    assert names["trial"].metrics["parameters"] == sum(p.numel() for p in names["network"].parameters())


def test_the_demos_tables_are_those_of_the_committed_report():
    report = (ROOT / "experiments" / "results" / "demo" / "report.md").read_text()
    tables, front = report.split("## No other")  # the front is shown as a picture
    table = [line for line in tables.splitlines() if line.startswith("| ")]
    table += [line for line in front.splitlines() if line.startswith("- ")]
    assert len(table) > 15
    assert all(line in README.splitlines() for line in table)


def test_the_overhead_figures_are_those_of_the_committed_measurement():
    measured = json.loads((ROOT / "experiments" / "results" / "overhead.json").read_text())
    for layers, figures in measured["layers"].items():
        assert f"| {layers} | {' | '.join(f'{value:.3g}' for value in figures.values())} |" in README
    for part in ("raw", "wrapped"):
        assert f"{measured[part]['ratio']:.2f}" in README


def table_after(folder, title):
    """The rows of the first table after the title in a committed report."""
    report = (ROOT / "experiments" / "results" / folder / "report.md").read_text()
    after = report[report.index(title) :].splitlines()
    start = next(number for number, line in enumerate(after) if line.startswith("| "))
    return list(itertools.takewhile(lambda line: line.startswith("| "), after[start:]))


def test_the_comparisons_figures_are_those_of_the_committed_reports():
    for folder, title in (
        ("compare-accuracy", "## All benchmarks"),
        ("compare-two-objectives", "## All benchmarks: percent of the table's hypervolume"),
        ("ablation", "# Ablation"),
        ("live", "## digits-convnet"),
        ("live", "## digits-unet"),
    ):
        rows = table_after(folder, title)
        assert len(rows) >= 6
        assert all(row in README.splitlines() for row in rows)


def test_what_the_readme_says_of_single_learners_is_in_the_reports():
    def told(folder, learner, title="## All benchmarks"):
        (row,) = (row for row in table_after(folder, title) if row.startswith(f"| {learner} |"))
        return [cell.split()[0] for cell in row.removeprefix("| ").split(" | ")][1:]

    def at_200(setting):
        return told("compare-pairwise-q", f"pairwise-q{setting}")[3]

    lengths = [at_200(f"(exploration_episodes={length})") for length in (10, 40, 160)]
    decays = [at_200("(epsilon_decay=0.98)"), at_200(""), at_200("(epsilon_decay=0.995)")]
    phases = [at_200("(max_exploitation_episodes=0)"), at_200("(exploration_episodes=0)")]
    text = " ".join(README.split())
    assert "{}, {} and {} at 200 designs with 10, 40 and 160 episodes".format(*lengths) in text
    assert "{}, {} and {} with 0.98, 0.99 and 0.995".format(*decays) in text
    after_100 = [
        told("compare-pairwise-q", name)[2]
        for name in (*(f"pairwise-q(exploration_episodes={length})" for length in (10, 40, 160)), "random")
    ]
    assert (
        "after 100 designs the three first phases are at {}, {} and {}, random search at {}".format(*after_100) in text
    )
    assert "Its first phase alone leaves {}, its second alone {}.".format(*phases) in text
    assert f"in place of the printed sum, leave {at_200('(update=averaged)')}." in text
    for learner in ("optuna-gp", "optuna-tpe", "predictor", "coordination-graph"):
        assert "`{}` {}, {} and {}".format(learner, *told("compare-optuna-gp", learner)[:3]) in text
    title = "## nas-bench-macro: regret"
    gp, ours = (
        told("compare-optuna-gp-two-objectives-macro", name, title)[:2] for name in ("optuna-gp", "coordination-graph")
    )
    assert "{} and {} points against {} and {}".format(*gp, *ours) in text
    for learner, sentence in (
        ("coordination-graph", "leaves {} after 100 designs and {} after 200, TPE"),
        ("optuna-tpe", "TPE {} and {},"),
        ("predictor", "the predictor {} and {},"),
        ("pairwise-q", "the paper's learner {} and {}."),
    ):
        figures = told("compare-two-objectives", learner, "## All benchmarks: regret")[2:4]
        assert sentence.format(*figures) in text
    reports = ROOT / "experiments" / "results" / "compare-accuracy" / "report.md"
    floors = re.findall(r"floor of the test regret: ([0-9.]+)", reports.read_text())
    assert [f"{float(floor):.2f}" for floor in floors] == ["0.80", "0.80", "0.04"]
    assert "leaves 0.80 points of mean test accuracy on `digits-convnet`, 0.80 on `digits-branches` and 0.04" in text


def test_the_cost_of_our_learner_is_that_of_the_committed_measurement():
    measured = json.loads((ROOT / "experiments" / "results" / "coordination-graph.json").read_text())
    for layers, figures in measured["layers"].items():
        longest = figures[f"median_ms_of_the_last_{20}"]
        assert f"| {layers} | {figures['episodes']} | {figures['mean_ms']:.3g} | {longest:.3g} |" in README
    assert f"{measured['beside_the_peer']['ratio']:.2f} of what TPE" in README


def test_the_reduced_runs_figures_are_those_of_the_committed_reports():
    for task in ("unet-isic18-eighth", "googlenet-cifar10-eighth", "vgg16-cifar10-eighth", "digits-unet"):
        report = (ROOT / "experiments" / "results" / task / "report.md").read_text().splitlines()
        rows = [line for line in report if line.startswith(("| original |", "| pairwise-q |"))]
        assert len(rows) == 2
        assert all(row in README for row in rows)


def test_the_tables_speed_is_that_of_the_committed_measurement():
    tables = json.loads((ROOT / "experiments" / "results" / "tables.json").read_text())["tables"]
    assert list(tables) == shipped()
    loops = " and ".join(f"{figures['loop']['ratio']:.2f}" for figures in tables.values())
    assert f"costs {loops} of one" in README
    slowest = min(figures["designs_per_second"] for figures in tables.values())
    assert f"about {slowest / 1e6:.1f} million designs a second" in README
    longest = max(figures["import_open_reset"]["seconds"] for figures in tables.values())
    assert f"takes about {longest:.2f} s" in README
