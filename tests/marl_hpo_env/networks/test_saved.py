import json
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from marl_hpo_env import InputError, TunableNetwork, load_network, save_network
from marl_hpo_env.catalog.models.unet import UNet
from marl_hpo_env.networks.saved import About, read_about


class Residual(nn.Module):
    """Convolutions around a shortcut, an activation, and dropout called as a function."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.norm(self.first(x))
        x = self.act(x + self.second(x))
        x = functional.dropout(x, 0.5, training=self.training)
        return self.head(x.mean((2, 3)))


CHOICES = {
    nn.Conv2d: {"out_channels": (2, 5), "kernel_size": (1, 3)},
    nn.ReLU: {"type": (nn.ReLU, nn.SiLU)},
}


@pytest.fixture
def network():
    tunable = TunableNetwork(Residual(), torch.zeros(1, 1, 8, 8), CHOICES)
    built = tunable.build(
        tunable.space.design(
            {
                "first": {"out_channels": 2, "kernel_size": 1},
                "second": {"out_channels": 5, "kernel_size": 3},
                "act": {"type": nn.SiLU},
            }
        )
    )
    built(torch.randn(4, 1, 8, 8))  # batch norm has seen something
    return built.eval()


def test_a_saved_network_loads_given_the_model_and_computes_the_same(network, tmp_path):
    save_network(network, tmp_path / "net.safetensors")
    loaded = load_network(tmp_path / "net.safetensors", Residual())
    x = torch.randn(3, 1, 8, 8)
    assert not loaded.training
    assert torch.equal(loaded(x), network(x))
    assert any(isinstance(module, nn.SiLU) for module in loaded.modules())


def test_a_loaded_network_can_be_trained_on_and_saved_again(network, tmp_path):
    save_network(network, tmp_path / "a.safetensors")
    loaded = load_network(tmp_path / "a.safetensors", Residual()).train()
    loaded(torch.randn(4, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in loaded.parameters())
    save_network(loaded, tmp_path / "b.safetensors")
    load_network(tmp_path / "b.safetensors", Residual())


def test_the_file_holds_weights_and_plain_values_only(network, tmp_path):
    save_network(network, tmp_path / "net.safetensors")
    with safe_open(str(tmp_path / "net.safetensors"), framework="pt") as file:
        assert set(file.keys()) == set(network.state_dict())
        saved = json.loads(file.metadata()["hyperparameters"])
    assert saved["first"] == {"out_channels": 2, "kernel_size": 1}
    assert saved["act"]["type"]["type"].startswith("torch.nn.")


def test_a_unet_is_saved_and_loaded(tmp_path):
    tunable = TunableNetwork(UNet(width=4), torch.zeros(1, 1, 16, 16))
    network = tunable.build([0] * len(tunable.space)).eval()
    save_network(network, tmp_path / "unet.safetensors")
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(load_network(tmp_path / "unet.safetensors", UNet(width=4))(x), network(x))


def test_what_was_not_built_from_a_design_is_not_saved(tmp_path):
    with pytest.raises(InputError, match="Residual was not built from a design"):
        save_network(Residual(), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_saved_network_of_this_model_are_refused(network, tmp_path):
    (tmp_path / "noise").write_bytes(b"noise" * 100)
    save_file({"x": torch.zeros(1)}, str(tmp_path / "other"))
    save_network(network, tmp_path / "net")
    for name, model, sentence in (
        ("nowhere", Residual(), "cannot be read as a saved network"),
        ("noise", Residual(), "cannot be read as a saved network"),
        ("other", Residual(), "is no saved network of this package"),
        ("net", UNet(width=4), "The saved network has a layer 'first', the given model does not"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_network(tmp_path / name, model)


HOSTILE = {
    "no JSON": {"hyperparameters": "{"},
    "a list": {"hyperparameters": "[]"},
    "a list of a layer": {"hyperparameters": '{"first": []}'},
    "a number": {"hyperparameters": "3"},
    "null": {"hyperparameters": "null"},
    "deep": {"hyperparameters": "[" * 100_000},
    "deep in a layer": {"hyperparameters": '{"first": {"kernel_size": ' + "[" * 900 + "]" * 900 + "}}"},
    "not there": {"hyperparameters": None},
    "an unknown layer": {"hyperparameters": '{"third": {"out_channels": 2}}'},
    "an unknown name": {"hyperparameters": '{"first": {"height": 2}}'},
    "no number": {"hyperparameters": '{"first": {"out_channels": NaN, "kernel_size": 1}}'},
    "a negative number": {"hyperparameters": '{"first": {"out_channels": -2, "kernel_size": 1}}'},
    "a string for a number": {"hyperparameters": '{"first": {"out_channels": "2", "kernel_size": 1}}'},
    "more than there is memory": {"hyperparameters": '{"first": {"out_channels": 4000000000, "kernel_size": 1}}'},
    "more than fits in 64 bits": {
        "hyperparameters": '{"first": {"out_channels": 1' + "0" * 30 + ', "kernel_size": 1}}'
    },
    "a nameless type": {"hyperparameters": '{"act": {"type": {"kind": "torch.nn.SiLU"}}}'},
    "a type that is a number": {"hyperparameters": '{"act": {"type": {"type": 3}}}'},
    "inputs not there": {"inputs": None},
    "inputs of no type": {"inputs": '[[[1, 8, 8], "nothing"]]'},
    "inputs of a module": {"inputs": '[[[1, 8, 8], "nn"]]'},
    "inputs without a shape": {"inputs": '["float32"]'},
    "inputs of no size": {"inputs": '[[[1, "a", 8], "float32"]]'},
    "inputs of negative size": {"inputs": '[[[1, -8, 8], "float32"]]'},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_saved_network_cannot_say_is_one_sentence(network, tmp_path, refused, kind):
    save_network(network, tmp_path / "net")
    with safe_open(str(tmp_path / "net"), framework="pt") as file:
        metadata = {**file.metadata(), **HOSTILE[kind]}
    del metadata["checksum"]  # or it would be the checksum that does not fit
    told = {name: value for name, value in metadata.items() if value is not None}
    save_file(network.state_dict(), str(tmp_path / "hostile"), told)
    with refused():
        load_network(tmp_path / "hostile", Residual())


ABOUT = About("torchvision:resnet18", {"num_classes": 3}, "classes", ("a", "b", "c"), 8, 12, (0.5,), (0.25,))


def test_what_is_said_about_a_network_is_read_back_and_covered_by_the_checksum(network, tmp_path, refused):
    save_network(network, tmp_path / "net", ABOUT)
    about, (example,) = read_about(tmp_path / "net")
    assert about == ABOUT
    assert (tuple(example.shape), example.device.type) == ((2, 1, 8, 8), "meta")
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(load_network(tmp_path / "net", Residual())(x), network(x))
    with safe_open(str(tmp_path / "net"), framework="pt") as file:
        metadata = file.metadata()
    changed = {**metadata, "about": metadata["about"].replace('"b"', '"x"')}
    save_file(network.state_dict(), str(tmp_path / "changed"), changed)
    with refused("is damaged: its checksum does not fit"):
        read_about(tmp_path / "changed")
    save_network(network, tmp_path / "silent")
    assert read_about(tmp_path / "silent")[0] == About()


@pytest.mark.parametrize(
    "about",
    [
        "{",
        "[]",
        "3",
        "null",
        "[" * 100_000,
        '{"nonsense": 1}',
        '{"model": 3}',
        '{"arguments": [3]}',
        '{"arguments": {"num_classes": "3"}}',
        '{"arguments": {"num_classes": 1000000000000}}',
        '{"arguments": {"num_classes": -1}}',
        '{"kind": "boxes"}',
        '{"kind": ["classes"]}',
        '{"class_names": "cat"}',
        '{"class_names": [3]}',
        '{"image_size": 0}',
        '{"image_size": 1000000000}',
        '{"image_size": 8.5}',
        '{"bits": 1000}',
        '{"mean": [0.5]}',
        '{"mean": [0.5], "deviation": [0]}',
        '{"mean": [NaN], "deviation": [1]}',
        '{"mean": 0.5, "deviation": 0.5}',
        '{"value_mean": ["1"], "value_deviation": [1]}',
    ],
)
def test_what_a_file_cannot_say_about_its_network_is_one_sentence(network, tmp_path, refused, about):
    save_network(network, tmp_path / "net")
    with safe_open(str(tmp_path / "net"), framework="pt") as file:
        metadata = {**file.metadata(), "about": about}
    del metadata["checksum"]
    save_file(network.state_dict(), str(tmp_path / "hostile"), metadata)
    with refused():
        read_about(tmp_path / "hostile")


def test_a_file_of_before_checksums_loads(network, tmp_path):
    save_network(network, tmp_path / "net")
    with safe_open(str(tmp_path / "net"), framework="pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "checksum"}
    save_file(network.state_dict(), str(tmp_path / "old"), metadata)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(load_network(tmp_path / "old", Residual())(x), network(x))


def test_a_damaged_file_is_read_as_it_was_or_refused(network, tmp_path, damaged):
    save_network(network, tmp_path / "net")
    state = network.state_dict()
    for number, copy in enumerate(damaged((tmp_path / "net").read_bytes())):
        (tmp_path / "broken").write_bytes(copy)
        try:
            loaded = load_network(tmp_path / "broken", Residual()).state_dict()
        except InputError:
            continue
        assert loaded.keys() == state.keys(), number
        assert all(torch.equal(loaded[name], state[name]) for name in state), number


def test_a_type_that_is_not_torchs_own_is_never_looked_up(network, tmp_path):
    save_network(network, tmp_path / "net")
    with safe_open(str(tmp_path / "net"), framework="pt") as file:
        metadata = file.metadata()
    del metadata["checksum"]
    evil = json.loads(metadata["hyperparameters"])
    evil["act"]["type"]["type"] = "os.system"
    save_file(network.state_dict(), str(tmp_path / "evil"), {**metadata, "hyperparameters": json.dumps(evil)})
    with pytest.raises(InputError, match=r"'os\.system', which is not one of torch\.nn's"):
        load_network(tmp_path / "evil", Residual())


class Doubled(nn.Module):
    """An activation of the user's own."""

    def forward(self, x):
        return 2 * x


def test_a_module_type_of_the_users_own_loads_where_it_is_given(tmp_path):
    tunable = TunableNetwork(Residual(), torch.zeros(1, 1, 8, 8), {nn.ReLU: {"type": (nn.ReLU, Doubled)}})
    network = tunable.build([1]).eval()
    save_network(network, tmp_path / "net")
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(load_network(tmp_path / "net", Residual(), types=[Doubled])(x), network(x))
    with pytest.raises(InputError, match="Doubled', which is not one of"):
        load_network(tmp_path / "net", Residual())


def test_a_network_exports_with_torch_export_and_onnx(network, tmp_path):
    x = torch.randn(2, 1, 8, 8)
    exported = torch.export.export(network, (x,))
    torch.testing.assert_close(exported.module()(x), network(x))
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    torch.onnx.export(network, (x,), str(tmp_path / "net.onnx"), dynamo=True, verbose=False)
    onnx.checker.check_model(onnx.load(str(tmp_path / "net.onnx")))


def test_a_saved_network_with_attention_is_read_by_a_process_that_made_none_tunable(tmp_path):
    path = tmp_path / "network.safetensors"
    model = (
        "nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Flatten(), "
        "nn.Linear(40, 3))"
    )
    choices = {"0": {"out_features": (4,)}}
    network = TunableNetwork(eval(model, {"nn": nn}), torch.rand(2, 5, 8), choices)
    save_network(network.build((0,)), path)
    script = (
        "from torch import nn; from marl_hpo_env import load_network; "
        f"print(load_network({str(path)!r}, {model}).get_submodule('1').self_attn.embed_dim)"
    )
    read = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert read.stdout.strip() == "4", read.stderr
