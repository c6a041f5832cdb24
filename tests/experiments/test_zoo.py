"""The sweep over the model zoos: what it says of a network, how it goes on, and what it counts."""

import csv
import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from experiments import zoo
from experiments.zoo import Network, Outcome, app, difference, examine, grouped, networks_of, outcomes, reached_by
from marl_hpo_env import InputError, TunableNetwork


def network(make, name="made", shape=(3, 8, 8)):
    return Network("torchvision", name, "family", make, (shape,))


def small():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 4))


class Dropping(nn.Module):
    """A depthwise end, a head that training has alone, and a part that is never used."""

    def __init__(self):
        super().__init__()
        self.stem, self.hidden = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.head, self.unused = nn.Conv2d(8, 2, 1), nn.Linear(3, 3)

    def forward(self, x):
        x = self.stem(x)
        if not self.training:
            return self.depthwise(self.hidden(x))
        return {"out": self.depthwise(self.hidden(x)), "aux": [self.head(x)]}


# --- the networks ----------------------------------------------------------------------------------------------------


def test_there_are_as_many_networks_of_each_zoo_as_it_says_and_no_transformer():
    counts = {name: len(networks_of(name)) for name in ("timm", "pytorchcv", "smp")}
    assert counts == {"timm": 60, "pytorchcv": 30, "smp": 30}
    of_torchvision = networks_of("torchvision")
    assert sum(not one.meta for one in of_torchvision.values()) == len(zoo.TORCHVISION)
    assert not any("vit" in key or "swin" in key for key in of_torchvision)
    assert len(zoo.networks()) == sum(len(networks_of(name)) for name in zoo.PACKAGES)


# --- what comes of one -----------------------------------------------------------------------------------------------


def test_a_network_that_works():
    parts = []
    of_zoo = networks_of("torchvision")["torchvision/squeezenet1_1"]
    outcome = examine(of_zoo, lambda so_far: parts.append(so_far.status))
    assert outcome.status == "works", outcome.more
    assert outcome.parameters == "1235496"
    assert (outcome.found, outcome.there, outcome.size) == ("25", "25", "equal")
    assert (outcome.equal, outcome.built, outcome.trained) == ("yes", "5", "2")
    assert parts[0] == "while the original runs"
    assert parts[-1] == "while designs are trained"


def test_on_the_meta_device_nothing_is_compared_or_trained(monkeypatch):
    monkeypatch.setattr(zoo, "LARGEST", 100)
    outcome = examine(network(small))
    assert (outcome.status, outcome.equal, outcome.built, outcome.trained) == ("works", "-", "5", "-")


def test_a_silent_fault_is_told(monkeypatch):
    class Faulty(TunableNetwork):
        def __init__(self, model, example):
            super().__init__(model, example, verify=False)

        def build(self, design=None, device=None):
            built = super().build(design, device)
            if device != "meta":
                built.register_forward_hook(lambda _module, _inputs, output: output + 0.5)
            return built

    monkeypatch.setattr(zoo, "TunableNetwork", Faulty)
    outcome = examine(network(small))
    assert outcome.status == "silent fault: the outputs differ in training: by up to 0.5"
    assert (outcome.kind, outcome.equal, outcome.built, outcome.trained) == ("silent fault", "no", "5", "2")


def test_a_design_that_is_not_finite_is_a_silent_fault(monkeypatch):
    class Diverging(TunableNetwork):
        def build(self, design=None, device=None):
            built = super().build(design, device)
            if design is not None:
                built.register_forward_hook(lambda _module, _inputs, output: output / 0)
            return built

    monkeypatch.setattr(zoo, "TunableNetwork", Diverging)
    outcome = examine(network(small))
    assert (outcome.kind, outcome.equal, outcome.trained, outcome.more) == ("silent fault", "yes", "0", "")


def test_what_is_refused_and_what_is_raised_are_told_apart(monkeypatch):
    def make(error):
        class Failing(TunableNetwork):
            def build(self, design=None, device=None):
                if design is not None:
                    raise error
                return super().build(design, device)

        monkeypatch.setattr(zoo, "TunableNetwork", Failing)
        return examine(network(small))

    refused = make(InputError("It does not fit at net.py:3; use 'another'. More of it."))
    assert refused.status == "refused: It does not fit at net.py:3; use 'another'."
    assert (refused.equal, refused.built, refused.trained) == ("yes", "0", "0")
    assert make(RuntimeError("Errors:\n\tone\n\ttwo")).status == "raised: RuntimeError: Errors: one"


def test_what_the_original_cannot_do_is_not_blamed_on_tunable_network():
    def absent():
        raise ModuleNotFoundError("No module named 'nothing'")

    outcome = examine(network(absent))
    assert outcome.status == "original fails: raised: ModuleNotFoundError: No module named 'nothing'"
    assert outcome.kind == "original fails"


def test_a_network_that_differs_from_itself_in_training_is_compared_in_evaluation():
    rng = np.random.default_rng(0)  # which no seed of torch's sets back

    class Noisy(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + (rng.random() if self.training else 0.0)

    assert examine(network(lambda: Noisy(*small()))).equal == "in evaluation"


def test_what_is_reached_is_read_off_the_network_itself():
    model = Dropping()
    reached = reached_by(model, (torch.zeros(2, 3, 8, 8),))
    assert reached.layers == {"stem", "hidden", "depthwise", "head"}
    # The depthwise convolution has the width of what feeds it.
    assert reached.final == {"hidden", "head"}
    assert reached.size == sum(p.numel() for p in model.parameters()) - 12
    assert "unused" not in reached.modules


def test_outputs_are_compared_wherever_they_stand():
    model, x = Dropping(), torch.ones(2, 3, 8, 8)
    assert [path for path, _ in zoo.tensors(model(x))] == ["/out", "/aux/0"]
    nested = {"a": (torch.ones(2), [torch.full((1,), torch.nan)]), "b": None}
    assert difference(nested, {"a": (torch.ones(2), [torch.full((1,), torch.nan)]), "b": None}) is None
    assert difference(nested, {"a": (torch.ones(2), [torch.zeros(1)]), "b": None}) == "by up to nan"
    assert "shapes (2,) and (3,)" in difference([torch.ones(2)], [torch.ones(3)])
    assert "1 tensors" in difference([torch.ones(2)], [torch.ones(2)] * 2)


# --- processes and files ---------------------------------------------------------------------------------------------


def scripts(**by_name):
    return lambda one: [sys.executable, "-c", by_name[one.name]]


def test_a_process_is_given_up_or_says_how_far_it_came():
    so_far = asdict(Outcome("torchvision", "dying", "family", parameters="7", status="while designs are built"))
    command = scripts(
        large="import time; x = b'1' * 300_000_000; time.sleep(600)",
        dying=f"import os; print({json.dumps(so_far)!r}, flush=True); os._exit(3)",
        quick=f"print({json.dumps(so_far | {'name': 'quick', 'status': 'works'})!r})",
    )
    chosen = [network(small, name) for name in ("dying", "quick", *["large"] * (sys.platform == "linux"))]
    came = {one.name: one for one in outcomes(chosen, 3, seconds=600, memory_gb=0.2, command=command)}
    assert came["dying"].status == "raised: its process ends with code 3 while designs are built"
    assert came["dying"].parameters == "7"
    assert came["quick"].status == "works"
    if sys.platform == "linux":
        assert came["large"].status == "memory: more than 0.2 GB while it starts"
        assert came["large"].kind == "memory"
    slow = scripts(slow="import time; time.sleep(600)")
    (outcome,) = outcomes([network(small, "slow")], 1, seconds=0, command=slow)
    assert outcome.status == "timeout: more than 0 s while it starts"


def test_processes_end_with_the_sweep():
    running = []

    def command(one):
        running.append(one)
        return [sys.executable, "-c", "" if one.name == "quick" else "import time; time.sleep(60)"]

    sweep = outcomes([network(small, name) for name in ("quick", "slow")], 2, command=command)
    next(sweep)
    processes = sweep.gi_frame.f_locals["running"]
    assert [process.network.name for process in processes] == ["slow"]
    (slow,) = processes
    sweep.close()
    assert slow._process.returncode is not None


@pytest.fixture
def three(monkeypatch):
    """Three networks of two zoos, and the names of those that are tried."""
    every = [network(small, name) for name in ("first", "second")]
    every.append(Network("timm", "first", "family", small))
    tried = []

    def tried_out(chosen, jobs):
        for one in chosen:
            tried.append(one.key)
            yield Outcome(one.zoo, one.name, one.family, "5", "3", "4", "yes", "5", "2", "equal", "1.0", "works")

    monkeypatch.setattr(zoo, "networks", lambda: {one.key: one for one in every})
    monkeypatch.setattr(zoo, "outcomes", tried_out)
    monkeypatch.setattr(zoo, "PACKAGES", {"torchvision": "torchvision", "timm": "torch"})
    return tried


def test_what_was_tried_is_not_tried_again_unless_asked(run_app, tmp_path, three):
    assert run_app(app, "--out", tmp_path, "--zoo", "timm")[0] == 0
    assert run_app(app, "--out", tmp_path)[0] == 0
    assert three == ["timm/first", "torchvision/first", "torchvision/second"]
    with (tmp_path / "zoo.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [f"{row['zoo']}/{row['name']}" for row in rows] == ["torchvision/first", "torchvision/second", "timm/first"]
    assert run_app(app, "--out", tmp_path, "--again", "--network", "first")[0] == 0
    assert three[3:] == ["torchvision/first", "timm/first"]
    report = (tmp_path / "report.md").read_text()
    assert "| torchvision | 2 | 2 | 0 | 0 | 0 | 0 | 75.0% | 10 of 10 | 4 of 4 |" in report
    assert "| all | 3 | 3 | 0 | 0 | 0 | 0 | 75.0% | 15 of 15 | 6 of 6 |" in report
    assert "timm/first" in report
    assert "torch " in report.splitlines()[-1]


def test_a_line_that_was_cut_off_is_tried_again(run_app, tmp_path, three):
    assert run_app(app, "--out", tmp_path)[0] == 0
    text = (tmp_path / "zoo.csv").read_text()
    (tmp_path / "zoo.csv").write_text(text[: text.rindex("first,family") + 8])
    assert run_app(app, "--out", tmp_path)[0] == 0
    assert three[3:] == ["timm/first"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--zoo", "tim"], "There is no zoo 'tim'; did you mean 'timm'?"),
        (["--network", "frist"], "There is no network 'frist'; did you mean"),
        (
            ["--zoo", "torchvision"],
            "The zoo 'torchvision' needs the package 'not-there', which is not installed; pip install",
        ),
    ],
)
def test_what_cannot_be_used_is_a_sentence(run_app, tmp_path, three, monkeypatch, given, said):
    monkeypatch.setattr(zoo, "PACKAGES", {"torchvision": "not-there", "timm": "torch"})
    code, _, err = run_app(app, "--out", tmp_path, *given)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert not three
    if "pip" in said:
        assert "'marl-hpo-env[zoo]'" in err


# --- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "refused: ResNet cannot be traced by torch.fx at resnet.py:12: bool(x) fails.",
            "refused: HighResNet cannot be traced by torch.fx at pool2d.py:345: bool(x) fails.",
        ),
        (
            "silent fault: the outputs differ in training: by up to 0.5",
            "silent fault: the outputs differ in training: by up to 3e-07",
        ),
        ("raised: RuntimeError: shape (2, 3, 4) of 'conv1.0'", "raised: RuntimeError: shape (17, 2) of 'head'"),
        ("refused: The network's 'a' is cut.", "refused: The network's 'b.0' is cut."),
        ("raised: KeyError: {'a': 1} in [1, 2]", "raised: KeyError: {'b': 2, 'c': 3} in [4]"),
    ],
)
def test_reasons_are_grouped_without_names_and_numbers(one, other):
    assert grouped(one) == grouped(other)


def test_a_reason_that_was_cut_off_is_grouped_too():
    assert grouped('raised: RuntimeError: keys: "a.b", "c') == "raised: RuntimeError: keys: '…'"


def test_other_reasons_are_other_groups():
    assert grouped("raised: TypeError: it") != grouped("raised: RuntimeError: it")
    assert grouped("silent fault: differ in training") != grouped("silent fault: differ in evaluation")
    assert "RuntimeError" in grouped("raised: RuntimeError: it")


def test_the_report_counts_by_zoo_and_by_reason():
    every = [
        Outcome(
            "timm",
            "a",
            "a",
            "5",
            "2",
            "4",
            "no",
            "5",
            "1",
            "+3",
            "1.0",
            "silent fault: it differs by 1",
            "refused: It|'a'.",
        ),
        Outcome("timm", "b", "b", "5", "-", "4", status="refused: It|'b'."),
        Outcome("timm", "c", "c", status="timeout: more than 120 s while designs are built"),
        Outcome("smp", "d", "d", "5", "4", "4", "yes", "5", "-", "equal", "1.0", "works"),
        Outcome("smp", "e", "e", status="original fails: raised: TypeError: it"),
    ]
    text = zoo.report(every)
    assert "| timm | 3 | 0 | 1 | 0 | 1 | 1 | 50.0% | 5 of 5 | 1 of 2 |" in text
    assert "| smp | 1 | 1 | 0 | 0 | 0 | 0 | 100.0% | 5 of 5 | 0 of 0 |" in text
    assert "| all | 4 | 1 | 1 | 0 | 1 | 1 | 75.0% | 10 of 10 | 1 of 2 |" in text
    assert "| refused: It\\|'…'. | 2 | timm/a, timm/b |" in text
    assert "| smp/d | d | 5 | 4 of 4 | yes | 5 of 5 | - | equal | 1.0 | works |" in text
