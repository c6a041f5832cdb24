"""Verdicts on the paper's claims, read off results worked by hand."""

from __future__ import annotations

import csv

import pytest

from experiments.pages.results import rows_of
from experiments.reproduction.claims import CLAIMS, claims_table
from experiments.reproduction.items import NAMES


def write(folder, item, rows, task="digits-convnet"):
    path = folder / f"reproduce-{item}-{task}" / f"{item}.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def verdicts(folder):
    return {row["the paper's claim"]: row["here"] for row in rows_of(claims_table(folder).splitlines())}


def test_without_results_nothing_is_tried(tmp_path):
    assert set(verdicts(tmp_path).values()) == {"not tried"}
    assert len(verdicts(tmp_path)) == len(CLAIMS) + 1


def test_every_claim_names_a_command_that_exists():
    assert {claim.item for claim in CLAIMS} <= set(NAMES)


def of_table_5(ours, original, random, seeds=3):
    columns = ("test_accuracy", "model_size_mb", "train_ms_per_batch", "inference_ms_per_batch")
    networks = {"original": original, "pairwise-q": ours, "random": random}
    return [
        {"network": name, "seed": seed, **dict(zip(columns, figures, strict=True))}
        for seed in range(seeds)
        for name, figures in networks.items()
    ]


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ((0.9, 1.0, 4.0, 4.0), ("holds", "holds", "holds", "holds", "holds")),
        ((0.7, 2.0, 6.0, 4.6), ("does not hold", "does not hold", "holds", "does not hold", "does not hold")),
    ],
)
def test_table_5(tmp_path, ours, expected):
    write(tmp_path, "table5", of_table_5(ours, (0.8, 100.0, 10.0, 10.0), (0.75, 3.0, 9.0, 9.0)))
    found = verdicts(tmp_path)
    names = [
        "Models up to 83 times smaller",
        "Training up to 52% shorter",
        "Inference up to 54% shorter (63% in Table V)",
        "No loss of accuracy against the original",
        "Ahead of random search in accuracy and size",
    ]
    assert tuple(found[name] for name in names) == expected


def test_up_to_is_enough_on_one_task_and_the_rest_on_all(tmp_path):
    write(tmp_path, "table5", of_table_5((0.9, 1.0, 4.0, 4.0), (0.8, 100.0, 10.0, 10.0), (0.75, 3.0, 9.0, 9.0)), "a")
    write(tmp_path, "table5", of_table_5((0.7, 2.0, 6.0, 6.0), (0.8, 100.0, 10.0, 10.0), (0.75, 3.0, 9.0, 9.0)), "b")
    found = verdicts(tmp_path)
    assert found["Models up to 83 times smaller"] == "holds"
    assert found["No loss of accuracy against the original"] == "holds on a only"


def test_a_single_seed_says_nothing(tmp_path):
    write(tmp_path, "table5", of_table_5((0.9, 1.0, 4.0, 4.0), (0.8, 100.0, 10.0, 10.0), (0.75, 3.0, 9.0, 9.0), 1))
    assert verdicts(tmp_path)["Models up to 83 times smaller"] == "not tried"


def test_figure_12(tmp_path):
    final = {1: 0.1, 2: 0.2, 3: 0.5, 4: 0.5}
    rows = [
        {"epochs": e, "seed": s, "final_reward": reward, "test_accuracy": reward, "model_size_mb": 1.0}
        for e, reward in final.items()
        for s in range(3)
    ]
    write(tmp_path, "fig12", rows)
    found = verdicts(tmp_path)
    assert found["Fewer than 3 epochs per episode misjudge"] == "holds"
    assert found["More epochs than needed add nothing"] == "holds"
    assert found["Epochs matter less for size than for accuracy"] == "holds"


def test_figure_13(tmp_path):
    rows = [
        {"epsilon_decay": d, "seed": s, "converged": 1, "second_phase_episodes": n, "test_accuracy": 0.5}
        for d, n in ((0.98, 30), (0.99, 60), (0.995, 90))
        for s in range(3)
    ]
    write(tmp_path, "fig13", rows)
    found = verdicts(tmp_path)
    assert found["A decay of 0.98 halves the episodes of 0.99"] == "holds"
    assert found["Slower decays take longer to converge"] == "holds"
    assert found["Slower decays find a higher accuracy"] == "does not hold"


def test_the_committed_results_can_be_read():
    table = rows_of(claims_table().splitlines())
    assert {row["here"] for row in table} >= {"holds", "does not hold"}
    assert all(len(row["measured"]) > 3 or row["here"] == "not tried" for row in table)
