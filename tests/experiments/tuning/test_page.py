"""A run's report as one page: whole without a network, with every design, episode and layer, and no text that is markup."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import pytest

from agents import Episode, learner
from experiments.tuning.episodes import EpisodesFile
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.page import write_page
from experiments.tuning.run import Run
from experiments.tuning.session import play_both, prepare
from marl_hpo_env import Layer, Request, SearchSpace, Store, Trial

SPACE = SearchSpace(
    [
        Layer("<stem>", "Conv2d", {"out_channels": (4, 8)}),
        Layer("left", "Conv2d", {"kernel_size": (1, 3)}, ("<stem>",)),
        Layer("head", "Linear", {"out_features": (8, 16)}, ("<stem>", "left")),
    ]
)


class Tips(HTMLParser):
    """What stands under the mouse, by the tag that it is on, and every address."""

    def __init__(self, text):
        super().__init__()
        self.tips, self.addresses, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        told = dict(attributes)
        if "data-tip" in told:
            self.tips.append(told["data-tip"])
        self.addresses += [told[name] for name in ("src", "href") if name in told]


@pytest.fixture
def run(tmp_path):
    """A run of three designs of which one was terminated, as its files say."""
    made = Run.claim(
        tmp_path,
        "mine",
        {"learner": "mine", "seed": 0, "epochs": 2, "reward": "by hand", "fingerprint": "f"},
        training_seed=7,
        space=SPACE.describe(),
        original={layer.name: "its own" for layer in SPACE.layers},
        learners=["mine"],
        directions={"validation_accuracy": 1, "model_size_mb": -1},
    )
    store = Store(tmp_path / "trials.sqlite")
    with EpisodesFile(made.trials("mine"), list(made.settings["directions"]), SPACE.names) as trials:
        for design, reward, accuracy in (((0, 0, 0), 1.0, 0.5), ((1, 1, 1), 2.0, 0.7), ((1, 0, 1), -1.0, math.nan)):
            ended = math.isnan(accuracy)
            trials.write(
                Episode(design, reward, {"validation_accuracy": accuracy, "model_size_mb": reward}, ended), "", None
            )
    made.episodes("mine").write_bytes(made.trials("mine").read_bytes())
    store.put("f", Trial(Request(None, 7, 2), "completed", None, {"validation_accuracy": 0.9, "model_size_mb": 3.0}))
    yield made, store
    store.close()


def test_every_design_episode_and_layer_says_what_it_is_under_the_mouse(run):
    made, store = run
    table = {"A table": (["a", "b<c"], [["1", "<script>"]])}
    write_page(made, store, "mine & yours", table, ["1 < 2"], "by hand", {"mine": (1, 1, 1)})
    text = (made / "report.html").read_text()
    page = Tips(text)
    designs = [tip for tip in page.tips if tip.startswith("design ")]
    assert designs[0] == (
        "design 0,0,0\nreward 1\nvalidation_accuracy 0.5\nmodel_size_mb 1\n\n<stem>: kernels 4\nleft: size 1\nhead: units 8"
    )
    assert [tip.partition("\n")[0] for tip in designs] == ["design 0,0,0", "design 1,1,1"]  # not the terminated one
    assert "the original network" in page.tips
    assert [tip for tip in page.tips if "episode" in tip] == [
        f"mine, episode {number}\nreward {reward}" for number, reward in ((1, 1), (2, 2), (3, -1))
    ]
    assert "<stem> (Conv2d)\n\noriginal: its own\nmine: kernels 8\n\nto choose from\nkernels: 4 8" in page.tips
    assert text.count("class='edge'") == len(SPACE.pairs) == 3
    assert page.tags.count("script") == 1  # the page's own
    for words in ("mine &amp; yours", "1 &lt; 2", "b&lt;c"):
        assert words in text
    assert page.addresses == []
    assert not re.search(r"https?:|@import|url\(", text)


def test_an_original_that_is_no_slice_is_not_beside_those_of_shared_weights(run):
    made, store = run
    made.update(slices={"mine": "f-shared-1"})
    unknown = {"validation_accuracy": None, "model_size_mb": 3.0}
    store.put("f-shared-1", Trial(Request(None, 7, 2), "completed", None, unknown, shared=True))
    write_page(made, store, "mine", {}, [], "", {})
    tips = Tips((made / "report.html").read_text()).tips
    assert sum(tip.startswith("design ") for tip in tips) == 2
    assert "the original network" not in tips


def test_a_run_of_which_nothing_is_known_yet_has_a_page(run):
    made, store = run
    made.trials("mine").unlink()
    made.episodes("mine").unlink()
    write_page(made, store, "mine", {}, [], "", {})
    tips = Tips((made / "report.html").read_text()).tips
    assert len(tips) == len(SPACE)  # the layers alone


def test_a_run_writes_its_page(bright, tmp_path, capsys):
    tuning = prepare(bright, tmp_path, Machines("cpu", 1))
    play_both(tuning, "random", learner("random"), None, 0, RunLimits(3))
    tuning.folder.store.close()
    path = tmp_path / "random-seed0" / "report.html"
    assert str(path) in capsys.readouterr().out
    tips = Tips(path.read_text()).tips
    assert sum(tip.startswith("design ") for tip in tips) == 3
    assert sum("episode" in tip for tip in tips) == 3
    markdown = path.with_suffix(".md").read_text()
    assert all(line[2:] in path.read_text() for line in markdown.splitlines() if line.startswith("- random: best"))
