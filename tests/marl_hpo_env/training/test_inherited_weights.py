"""Tasks whose designs start from given weights."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from marl_hpo_env import InputError, Recipe, Request, Task
from marl_hpo_env.data.splits import Data
from marl_hpo_env.networks.weight_files import read_weights
from marl_hpo_env.training.transport import packed, unpacked

CPU = torch.device("cpu")
INHERIT = Recipe(batch_size=8, epochs=1, learning_rate=1e-4, initialization="inherit")
CHOICES = {nn.Conv2d: {"out_channels": (2, 4)}}


def small(classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )  # fmt: skip


def data() -> Data:
    generator = torch.Generator().manual_seed(0)
    examples = [(torch.rand(n, 1, 6, 6, generator=generator), torch.arange(n) % 2) for n in (24, 8, 8)]
    return Data(*examples)


def task(weights=None, recipe=INHERIT, **more) -> Task:
    weights = small().state_dict() if weights is None else weights
    return Task("inheriting", small, data, CHOICES, recipe, weights=weights, **more)


def test_the_original_and_every_design_start_from_the_weights():
    ours = task()
    trainer = ours.trainer(CPU)
    state = small().state_dict()
    original = trainer._fresh(None).state_dict()
    assert all(torch.equal(original[name], tensor) for name, tensor in state.items())
    for design in ((0,), (1,)):
        expected = ours.network.build(design, weights=state).state_dict()
        fresh = trainer._fresh(design).state_dict()
        assert all(torch.equal(fresh[name], tensor) for name, tensor in expected.items())
    _, trial = trainer.train(Request((0,), 0, 1))
    assert trial.status == "completed"


def test_a_head_for_another_number_of_classes_is_drawn_so_that_the_loss_begins_at_that_of_guessing():
    ours = task({**small(5).state_dict()})
    assert "5.weight" not in ours.inherited
    network = ours.trainer(CPU)._fresh(None)
    assert network.meta["fresh"] == ("5.weight", "5.bias")
    head = network.get_submodule("5")
    assert bool(head.weight.any())
    assert float(head.weight.abs().max()) < 0.3
    assert not head.bias.any()
    assert torch.equal(network.get_submodule("0").weight, small().state_dict()["0.weight"])


def test_the_weights_enter_the_fingerprint_and_a_file_of_them_is_the_same(tmp_path):
    state = small().state_dict()
    save_file(state, tmp_path / "w.safetensors")
    others = {**state, "0.bias": state["0.bias"] + 1}
    fresh = dataclasses.replace(task(), weights=None, recipe=Recipe(batch_size=8, learning_rate=1e-4))
    fingerprints = [t.fingerprint for t in (task(), task(others), fresh)]
    assert len(set(fingerprints)) == 3
    assert task(tmp_path / "w.safetensors").fingerprint == fingerprints[0]
    assert unpacked(packed(task())).fingerprint == fingerprints[0]


def test_widths_of_added_layers_are_tied_where_there_are_weights():
    class Added(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            x = self.a(x)
            return self.head((x + self.b(x)).mean((2, 3)))

    with_weights = Task("added", Added(), data, CHOICES, INHERIT, weights=Added().state_dict())
    assert with_weights.space.names == ("a",)
    assert dataclasses.replace(with_weights, tie_added=False).space.names == ("a", "b")
    assert Task("added", Added(), data, CHOICES).space.names == ("a", "b")
    assert Task("added", Added(), data, CHOICES, tie_added=True).space.names == ("a",)


def test_weights_and_the_recipe_that_takes_them_over_go_together():
    with pytest.raises(InputError, match="has weights and a recipe with the initialization 'he'"):
        task(recipe=Recipe())
    with pytest.raises(InputError, match="has no weights and a recipe with the initialization 'inherit'"):
        Task("without", small, data, recipe=INHERIT)
    with pytest.raises(InputError, match="are a int; give a state dict or a file"):
        task(weights=3)


# Files.


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{name}": tensor for name, tensor in state.items()}},
    ],
)
def test_a_state_dict_is_read_bare_and_in_a_checkpoint(tmp_path, wrapped):
    state = small().state_dict()
    torch.save(wrapped(state), tmp_path / "w.pth")
    read = read_weights(tmp_path / "w.pth")
    assert list(read) == list(state)
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_a_file_that_holds_no_state_dict_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    torch.save(small(), tmp_path / "code.pth")  # a pickled module: to read it would run code
    torch.save([1, 2], tmp_path / "list.pt")
    for name, words in (
        ("text.pth", "cannot be read"),
        ("text.safetensors", "cannot be read"),
        ("code.pth", "cannot be read"),
        ("list.pt", "holds a list and no state dict"),
        ("absent.pth", "There is no file"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            read_weights(tmp_path / name)
        assert "\n" not in str(refusal.value)
        assert str(refusal.value).endswith(".")
