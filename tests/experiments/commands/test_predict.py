"""A saved network says what it sees in photos, and is written as ONNX."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from experiments.commands import export as exporting
from experiments.commands.predict import said
from marl_hpo_env import TunableNetwork, save_network
from marl_hpo_env.networks.saved import About, read_about

NETS = """
from pathlib import Path
from torch import nn

Path("imported").touch()


class Red(nn.Module):
    # Its outputs say how red a photo is: the first where it is not, the second where it is.
    def __init__(self, num_classes=2):
        super().__init__()
        self.conv = nn.Conv2d(3, num_classes, 1)

    def forward(self, x):
        return self.conv(x).mean((2, 3))


class Where(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(x)


class Named(Where):
    def forward(self, x):
        return {"out": self.conv(x)}
"""

SIZE = 8


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a module of networks and three photos, as the working directory."""
    (tmp_path / "nets.py").write_text(NETS)
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (20, 10), colour).save(tmp_path / f"{name}.png")
    half = np.zeros((10, 20, 3), np.uint8)
    half[:, :10, 0] = half[:, 10:, 2] = 255
    Image.fromarray(half).save(tmp_path / "half.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("nets", None)


def save(name: str, about: About) -> None:
    """Writes `net`: a network of the module, whose first output is how blue and whose second how red a pixel is."""
    sys.path.insert(0, str(Path.cwd()))
    import nets

    tunable = TunableNetwork(getattr(nets, name)(), torch.zeros(1, 3, SIZE, SIZE), {nn.Conv2d: {"kernel_size": (1,)}})
    network = tunable.build([0] * len(tunable.space))
    with torch.no_grad():
        weight = torch.tensor([[-1.0, 0, 1], [1, 0, -1]])
        network.conv.weight.copy_(weight[..., None, None])
        network.conv.bias.zero_()
    save_network(network, "net", about)
    sys.modules.pop("nets")
    sys.path.pop(0)
    Path("imported").unlink()


def about(kind: str, names: tuple[str, ...] = (), model: str = "nets:Red", **more: object) -> About:
    return About(model, {}, kind, names, SIZE, **more)


def test_the_class_of_each_photo_is_said_with_its_probability(place, marl_hpo):
    save("Red", about("classes", ("sea", "rose")))
    code, out, err = marl_hpo("predict", "net", "red.png", "blue.png", "--model", "nets:Red")
    assert code == 0, err
    first, second = out.splitlines()
    # Normalised, red is 2.249 in its channel and -1.804 in blue; and the other way round 2.640 and -2.118.
    assert first == f"red.png: rose {1 / (1 + np.exp(-2 * (2.2489 + 1.8044))):.1%}"
    assert second.startswith("blue.png: sea 100.0%")


def test_labels_values_and_what_has_no_name(place):
    scores = torch.tensor([1.0, -1.0, 3.0])
    assert said(scores, about("labels", ("sun", "rain", "wind"))) == "sun 73.1%, wind 95.3%"
    assert said(-scores.abs(), about("labels", ("sun", "rain", "wind"))) == "none of the labels"
    assert said(scores, about("values", ("age",))) == "age 1, value 1 -1, value 2 3"
    own = about("values", ("age", "height"), value_mean=(40.0, 1.7), value_deviation=(10.0, 0.1))
    assert said(scores[:2], own) == "age 50, height 1.6"
    assert said(scores, about("classes")).startswith("class 2 ")


@pytest.mark.parametrize("model", ["Where", "Named"])
def test_masks_are_pngs_of_the_photo_s_size(place, marl_hpo, model):
    save(model, about("masks", ("sea", "rose"), f"nets:{model}"))
    code, out, err = marl_hpo("predict", "net", "half.png", "--model", f"nets:{model}", "--out", place / "masks")
    assert code == 0, err
    assert out == f"half.png: {place / 'masks' / 'half-mask.png'}\n"
    mask = Image.open(place / "masks" / "half-mask.png")
    assert (mask.size, mask.mode) == ((20, 10), "P")
    pixels = np.asarray(mask)
    assert (pixels[:, :9] == 2).all()
    assert (pixels[:, 11:] == 1).all()
    code, out, _ = marl_hpo("predict", "net", "half.png", "--model", f"nets:{model}")
    assert (code, out) == (0, "half.png: half-mask.png\n")


def test_a_file_alone_imports_no_code_of_a_user_s_own(place, marl_hpo):
    save("Red", about("classes"))
    for command in (("predict", "net", "red.png"), ("export", "net", "--onnx", "net.onnx")):
        code, _, err = marl_hpo(*command)
        assert code == 2
        assert "is of the model 'nets:Red', code that is imported only where you name it: add --model nets:Red" in err
    assert not (place / "imported").exists()
    assert not (place / "net.onnx").exists()


def test_a_torchvision_network_is_known_by_its_name(place, marl_hpo):
    from torchvision.models import squeezenet1_1

    tunable = TunableNetwork(squeezenet1_1(num_classes=3), torch.zeros(1, 3, 32, 32))
    network = tunable.build([0] * len(tunable.space))
    save_network(network, "net", About("torchvision:squeezenet1_1", {"num_classes": 3}, "classes", (), 32))
    code, out, err = marl_hpo("predict", "net", "red.png")
    assert code == 0, err
    assert out.startswith("red.png: class ")


@pytest.mark.parametrize(
    ("said_about", "arguments", "sentence"),
    [
        (About(), ["red.png"], "does not say of which model it is; name that with --model"),
        (About(), ["red.png", "--model", "nets:Red"], "does not say how photos become its inputs"),
        (about("classes"), ["none.png", "--model", "nets:Red"], "The image 'none.png' cannot be read"),
        (about("classes"), ["nets.py", "--model", "nets:Red"], "The image 'nets.py' cannot be read"),
        (
            about("masks"),
            ["red.png", "--model", "nets:Red"],
            "outputs of shape (2,), which are not the masks of its file",
        ),
        (
            about("values", value_mean=(1.0,), value_deviation=(1.0,)),
            ["red.png", "--model", "nets:Red"],
            "which are not the values of its file",
        ),
        (about("classes", model="torchvision:resnet19"), ["red.png"], "There is no torchvision model 'resnet19'"),
        (about("classes", model="torchvision:alexnet"), ["red.png"], "has a layer 'conv', the given model does not"),
    ],
)
def test_what_does_not_fit_is_one_sentence(place, marl_hpo, said_about, arguments, sentence):
    save("Red", said_about)
    code, out, err = marl_hpo("predict", "net", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 1


def test_an_engineer_s_run_ends_in_a_network_that_predicts(place):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (10 + i, 12), tuple(max(0, c - 5 * i) for c in colour)).save(
                place / "photos" / name / f"{i}.png"
            )
    command = [sys.executable, "-m", "experiments.commands.main"]
    options = ["--model", "nets:Red", "--data", "photos", "--image-size", "8", "--batch-size", "4"]
    choices = place / "choices.toml"
    choices.write_text("[Conv2d]\nkernel_size = [1, 3]\n")
    fitted = [*command, "fit", *options, "--choices", "choices.toml", "--design", "0", "--learning-rate", "0.1"]
    subprocess.run([*fitted, "--out", "out", "--device", "cpu"], check=True, capture_output=True, timeout=300)
    predicted = [*command, "predict", "out/fit/network.safetensors", "red.png", "blue.png", "--model", "nets:Red"]
    run = subprocess.run(predicted, check=True, capture_output=True, text=True, timeout=120)
    red, blue = (line.rpartition(": ")[2].rpartition(" ")[0] for line in run.stdout.splitlines())
    assert (red, blue) == ("red", "blue")


TASK = """
from nets import Red
from torch import nn
from marl_hpo_env import Recipe, Task, image_folder


def task(data_dir=None):
    choices = {nn.Conv2d: {"kernel_size": (1, 3)}}
    recipe = Recipe(epochs=1, batch_size=4, learning_rate=0.1)
    return Task("mine", Red(num_classes=3), lambda: image_folder("photos", 8), choices, recipe)
"""


def test_a_network_of_a_task_of_one_s_own_predicts_given_its_model(place, marl_hpo):
    for name, colour in (("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (10, 12), tuple(max(0, c - 5 * i) for c in colour)).save(
                place / "photos" / name / f"{i}.png"
            )
    (place / "mine.py").write_text(TASK)
    code, _, err = marl_hpo("fit", "--task", "mine.py:task", "--design", "0", "--out", "out", "--device", "cpu")
    assert code == 0, err
    network = "out/fit/network.safetensors"
    code, _, err = marl_hpo("predict", network, "red.png")
    assert (code, "does not say of which model it is; name that with --model" in err) == (2, True)
    code, out, err = marl_hpo("predict", network, "red.png", "blue.png", "--model", "nets:Red")
    assert code == 0, err
    assert [line.split()[1] for line in out.splitlines()] == ["red", "blue"]


# --- ONNX --------------------------------------------------------------------------------------------------------------


def test_an_exported_network_gives_the_same_and_says_the_same_about_itself(place, marl_hpo):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    save("Red", about("classes", ("sea", "rose")))
    code, out, err = marl_hpo("export", "net", "--onnx", "net.onnx", "--model", "nets:Red")
    assert code == 0, err
    assert "net.onnx: for 3 random inputs ONNX" in out
    model = onnx.load("net.onnx")
    onnx.checker.check_model(model)
    (held,) = model.metadata_props
    assert json.loads(held.value)["class_names"] == ["sea", "rose"]
    assert json.loads(held.value)["image_size"] == read_about("net")[0].image_size == SIZE
    # Another network than was exported is not passed over.
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2)).eval()
    assert exporting.compared(network, [torch.rand(3, 3, SIZE, SIZE)], Path("net.onnx"))[1] > exporting.TOLERANCE


def test_without_onnx_it_says_what_to_install(place, marl_hpo, monkeypatch):
    save("Red", about("classes"))
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    code, _, err = marl_hpo("export", "net", "--onnx", "net.onnx")
    assert (code, "pip install 'marl-hpo-env[onnx]'" in err) == (2, True)
