import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from experiments.commands import main as command_line
from experiments.commands.own_network import about, images_of_weights, own_task, read_choices, read_recipe
from marl_hpo_env import InputError, Request, Store, TrainingEvaluator, TunableNetwork, load_network, save_network
from marl_hpo_env.networks.saved import About

NETS = """
from torch import nn


class Small(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.conv(x).relu()
        x = (x + self.middle(x)).relu()
        return self.head(x.mean((2, 3)))


class PerPixel(nn.Module):
    def __init__(self, num_classes=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x):
        return self.head(self.conv(x).relu())


def one_output():
    return Small(num_classes=1)


def broken():
    raise RuntimeError("no weights here")


def no_module():
    return 3


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        if x.sum() > 0:
            return self.conv(x)
        return x


number = 5
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a module of networks and two classes of easy pictures, as the working directory."""
    (tmp_path / "own_nets.py").write_text(NETS)
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            shade = tuple(max(0, c - 5 * i) for c in color)
            Image.new("RGB", (10 + i, 12), shade).save(tmp_path / "photos" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("own_nets", None)


TUNE = (
    "tune",
    "--model",
    "own_nets:Small",
    "--data",
    "photos",
    "--image-size",
    "8",
    "--epochs",
    "2",
    "--batch-size",
    "8",
)


def test_an_engineers_network_and_folder_end_in_a_smaller_network_that_loads_elsewhere(place):
    (place / "choices.toml").write_text("[Conv2d]\nout_channels = [2, 4]\nkernel_size = [1, 3]\n")
    command = [sys.executable, "-m", "experiments.commands.main", *TUNE, "--choices", "choices.toml", "--within", "20"]
    command += ["--learner", "random", "--episodes", "6", "--learning-rate", "0.05", "--workers", "2", "--out", "out"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert "network.safetensors" in run.stdout
    store = Store(place / "out" / "trials.sqlite")
    finals = {trial.design: trial for _, trial in store.trials() if trial.request.epochs is None}
    original, (found, *_) = finals.pop(None), list(finals.values())
    assert found.metrics["parameters"] < original.metrics["parameters"]
    # Elsewhere: a process that has the file and the model, and nothing of the run.
    elsewhere = "\n".join(
        [
            "import torch, own_nets, marl_hpo_env",
            "network = marl_hpo_env.load_network('out/random-seed0/network.safetensors', own_nets.Small())",
            "print(sum(p.numel() for p in network.parameters()), tuple(network(torch.zeros(1, 3, 8, 8)).shape))",
        ]
    )
    loaded = subprocess.run([sys.executable, "-c", elsewhere], capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stdout.split(" ", 1) == [str(found.metrics["parameters"]), "(1, 2)\n"]


def test_torchvisions_resnet18_and_a_folder_end_in_a_smaller_network(place):
    command = [
        sys.executable,
        "-m",
        "experiments.commands.main",
        "tune",
        "--model",
        "torchvision:resnet18",
        "--data",
        "photos",
    ]
    command += ["--image-size", "16", "--epochs", "1", "--learner", "random", "--episodes", "2", "--out", "out"]
    narrow = {**os.environ, "COLUMNS": "80"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, env=narrow)
    assert run.returncode == 0, run.stderr
    assert "added so that the network fits:" in run.stdout
    # Every number of the report stands whole in the terminal too, where its tables are in 80 columns.
    shown = run.stdout[: run.stdout.index("Reward: ")]
    cells = [
        line.split()
        for line in (place / "out" / "random-seed0" / "report.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    numbers = {word for words in cells for word in words if not re.search("[a-zA-Z]", word)} - {"|", "---"}
    assert any(len(number) == len("11,177,538") for number in numbers)
    assert numbers <= set(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    from torchvision.models import resnet18

    network = load_network(place / "out" / "random-seed0" / "network.safetensors", resnet18(num_classes=2))
    assert tuple(network(torch.zeros(1, 3, 16, 16)).shape) == (1, 2)
    assert sum(p.numel() for p in network.parameters()) < sum(p.numel() for p in resnet18(num_classes=2).parameters())
    with pytest.raises(InputError, match=r"with as many classes: size mismatch for fc\.weight"):
        load_network(place / "out" / "random-seed0" / "network.safetensors", resnet18())


def test_a_folder_of_images_and_one_of_masks_end_in_a_smaller_network(capsys, place):
    for name in ("images", "masks"):
        (place / "cells" / name).mkdir(parents=True)
    noise = np.random.default_rng(0)
    for i in range(30):
        inside = np.zeros((8, 8), dtype=bool)
        inside[i % 4 : i % 4 + 4, i % 3 : i % 3 + 4] = True
        pixels = noise.integers(0, 50, (8, 8, 3), dtype=np.uint8) + np.uint8(200) * inside[..., None]
        Image.fromarray(pixels).save(place / "cells" / "images" / f"{i}.png")
        Image.fromarray(inside).save(place / "cells" / "masks" / f"{i}_mask.png")
    options = "--data cells --image-size 8 --epochs 5 --batch-size 4 --learning-rate 0.05 --learner random --episodes 1"
    command_line.app(
        ["tune", "--model", "own_nets:PerPixel", *options.split(), "--workers", "1"], standalone_mode=False
    )
    said = capsys.readouterr()
    assert "Read 30 images with 1 plane of masks: foreground; 22 for training, 4 for validation and 4 for" in said.err
    assert "is the Dice coefficient" in said.out
    folder = place / "runs" / "PerPixel-cells" / "random-seed0"
    assert (folder / "masks.png").exists()
    import own_nets

    assert load_network(folder / "network.safetensors", own_nets.PerPixel())(torch.zeros(1, 3, 8, 8)).shape == (
        1,
        1,
        8,
        8,
    )


def test_torchvisions_networks_for_segmentation_are_trained(place):
    for i in range(12):
        for folder, mode in (("images", "RGB"), ("masks", "L")):
            (place / "cells" / folder).mkdir(parents=True, exist_ok=True)
            picture = Image.new(mode, (32, 32))
            picture.paste(Image.new(mode, (16, 16), "white"), (i, i))
            picture.save(place / "cells" / folder / f"{i}.png")
    task = own_task("torchvision:lraspp_mobilenet_v3_large", place / "cells", 32, None, {"epochs": 1})
    assert task.network.output_shape == (2, 1, 32, 32)
    smallest = tuple(0 for _ in task.space.sizes)
    (trial,) = TrainingEvaluator(task, "cpu").evaluate([Request(smallest, 0, 1)])
    assert trial.status == "completed", trial.reason
    assert set(task.build(smallest)(torch.zeros(1, 3, 32, 32))) == {"out"}


def test_few_images_have_as_many_steps_to_leave_the_loss_of_guessing(place):
    for name, batch_size, epochs in (("photos", 64, 32), ("photos", 4, 5), ("photos", 1, 2)):
        task = own_task("own_nets:Small", place / name, 8, None, {"batch_size": batch_size})
        assert len(task.splits.train[0]) == 28
        assert task.limits.loss_epochs == epochs


def test_a_table_says_what_is_wanted_and_the_run_what_was_read(capsys, place):
    for path in list((place / "photos").rglob("*.png")):
        path.rename(place / "photos" / f"{path.parent.name}{path.stem}.png")
    lines = ["name,colour,patient"]
    lines += [f"{colour}{i},{colour},{i // 2}" for i in range(20) for colour in ("red", "blue")]
    (place / "table.csv").write_text("\n".join(lines))
    options = "--labels table.csv --groups patient --learner random --episodes 1 --workers 1 --learning-rate 0.05"
    command_line.app([*TUNE, *options.split()], standalone_mode=False)
    said = capsys.readouterr().err
    assert "Read 40 images of 2 classes, blue 20, red 20; 32 for training, " in said
    assert "In table.csv, 'name' names the images and 'colour' their classes, 'patient' their groups." in said


@pytest.fixture
def refusal(marl_hpo):
    """The one sentence with which the command ends."""

    def run(*arguments: str) -> str:
        code, _, error = marl_hpo(*arguments)
        assert code == 2
        assert len(error.strip().splitlines()) == 1, error
        return error

    return run


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (
            "resnet18",
            "The model 'resnet18' cannot be read; write torchvision:resnet18, package.module:function or file.py:function.",
        ),
        ("torchvision:resnet19", "There is no torchvision model 'resnet19'; did you mean"),
        ("nowhere:net", "There is no module 'nowhere' for the model 'nowhere:net'"),
        ("own_nets:absent", "The model 'own_nets:absent' cannot be found"),
        ("own_nets:number", "The model 'own_nets:number' is a int; name a function"),
        ("own_nets:broken", "cannot be made: RuntimeError: no weights here"),
        ("own_nets:no_module", "makes a int; it must make a torch.nn.Module."),
        ("own_nets:one_output", "The network has 1 outputs and the data have 2 classes; give it as many."),
        ("own_nets:Branching", "Branching cannot be traced by torch.fx at own_nets.py:"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_sentence_and_nothing_is_written(refusal, place, model, sentence):
    error = refusal("tune", "--model", model, "--data", "photos", "--image-size", "8", "--out", "out")
    assert sentence in error
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "Say what to tune"),
        (("--task", "digits-convnet", "--model", "own_nets:Small"), "Say what to tune"),
        (("--model", "own_nets:Small"), "needs --data"),
        (("--model", "own_nets:Small", "--data", "nowhere"), "There is no folder 'nowhere'"),
        (
            ("--model", "own_nets:PerPixel", "--data", "photos"),
            "are with classes, and the task 'PerPixel-photos' takes masks",
        ),
        (
            ("--model", "own_nets:Small", "--data", "photos", "--kind", "values"),
            "The option --kind is for the columns of a table",
        ),
        (("--task", "digits-convnet", "--masks", "photos"), "are for --images with a folder, or for --model"),
        (("--task", "digits-convnet", "--data", "photos"), "brings its own data; leave out data_dir"),
        (("--task", "digits-convnet", "--image-size", "8"), "The option --image-size is for --images, or for --model"),
        (("--task", "digits-convnet", "--within", "1", "--weight", "parameters=1"), "Both --within and --weight"),
    ],
)
def test_options_that_do_not_fit_together_are_one_sentence(refusal, place, arguments, sentence):
    assert sentence in refusal("tune", *arguments, "--out", "out")
    assert not (place / "out").exists()


def test_show_lists_every_layer_and_draws_the_graph(capsys, place):
    command_line.app(["show", "--model", "own_nets:Small", "--picture", "graph.png"], standalone_mode=False)
    out = capsys.readouterr().out
    for text in ("conv", "middle", "kernels 2 4 6 8", "size 1 3"):
        assert text in out
    assert (place / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_designs_start_from_weights_in_a_file_and_a_head_for_other_classes_is_named(capsys, place):
    sys.path.insert(0, str(place))
    import own_nets

    torch.save(own_nets.Small(num_classes=7).state_dict(), "small.pth")
    # One epoch: with few pictures and the rate of fine-tuning two would not learn enough to go on.
    options = "--epochs 1 --weights small.pth --learner random --episodes 2 --workers 1 --out out"
    arguments = [*TUNE, *options.split()]
    command_line.app(arguments, standalone_mode=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "start from the given weights, at a learning rate of 0.0001." in said
    assert "for another number of classes: head.weight, head.bias." in said
    assert (
        "Images are 8 by 8, as --image-size says, normalised with mean 0.485, 0.456, 0.406 and deviation 0.229," in said
    )
    assert "0.224, 0.225; small.pth does not say what its weights expect." in said
    designs = {trial.design for _, trial in Store(place / "out" / "trials.sqlite").trials()} - {None}
    assert {len(design) for design in designs} == {2}
    task = own_task("own_nets:Small", place / "photos", 8, None, {"learning_rate": 0.5}, place / "small.pth")
    assert task.recipe.learning_rate == 0.5
    assert task.space.layers[1].choices == {"kernel_size": (1, 3)}  # the width is the first layer's


@pytest.fixture
def halves(place):
    """A network of the package's own, made with images of 16 by 16 whose mean and deviation are one half."""
    sys.path.insert(0, str(place))
    import own_nets

    original = TunableNetwork(own_nets.Small(), torch.zeros(1, 3, 16, 16)).build(None)
    save_network(original, "small.safetensors", About(image_size=16, mean=(0.5,) * 3, deviation=(0.5,) * 3))
    return place / "small.safetensors"


@pytest.mark.parametrize(("given", "size"), [(None, 16), (8, 8)])
def test_images_are_those_that_a_file_of_weights_says_it_was_made_with(place, halves, given, size):
    task = own_task("own_nets:Small", place / "photos", given, None, {}, halves)
    images, labels = task.splits.train
    assert images.shape[1:] == (3, size, size)
    assert torch.equal(
        images[labels == 0][:, :2], torch.full_like(images[labels == 0][:, :2], -1)
    )  # blue: no red, no green
    asked = ", as --image-size says (without it 16)" if given else ""
    assert task.splits.notes[-1] == (
        f"Images are {size} by {size}{asked}, normalised with mean 0.5, 0.5, 0.5 and deviation 0.5, 0.5, 0.5, as "
        "small.safetensors says."
    )
    said = about("own_nets:Small", task)  # and is written beside the networks of the task
    assert (said.image_size, said.mean, said.deviation) == (size, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("model", "file", "size", "mean"),
    [
        ("resnet18", "mine.pth", 224, 0.485),
        ("inception_v3", "mine.pth", 299, 0.485),
        ("efficientnet_v2_l", "mine.pth", 480, 0.5),
        ("lraspp_mobilenet_v3_large", "mine.pth", 520, 0.485),
        ("regnet_y_16gf", "mine.pth", 224, 0.485),
        ("regnet_y_16gf", "regnet_y_16gf_swag-43afe44d.pth", 384, 0.485),  # torchvision has several: the name tells
        ("vgg16", "vgg16_features-amdegroot-88682ab5.pth", 224, 0.48235),
    ],
)
def test_torchvisions_weights_say_by_network_with_which_images_they_were_made(tmp_path, model, file, size, mean):
    reading, who = images_of_weights(f"torchvision:{model}", tmp_path / file)
    assert (reading.image_size, reading.mean[0]) == (size, mean)
    assert who == f"torchvision's weights of {model} expect"


def test_within_a_bound_the_original_and_the_designs_start_from_the_same_weights(place, marl_hpo):
    """A rate at which nothing moves: what the original reaches, and so the bar, is what the weights reach."""
    sys.path.insert(0, str(place))
    import own_nets

    learned = own_nets.Small()
    with torch.no_grad():  # tells red from blue by its first two channels
        for parameter in learned.parameters():
            parameter.zero_()
        learned.conv.weight[0, 0, 1, 1] = learned.conv.weight[1, 2, 1, 1] = 1.0
        learned.head.weight[0, 1] = learned.head.weight[1, 0] = 1.0
    torch.save(learned.state_dict(), "learned.pth")
    (place / "c.toml").write_text("[Conv2d]\nout_channels = [2, 8]\n")
    code, out, errors = marl_hpo(
        *(*TUNE, "--weights", "learned.pth", "--choices", "c.toml", "--within", "1", "--learning-rate", "1e-9"),
        *("--learner", "random", "--episodes", "2", "--workers", "1", "--out", "out"),
    )
    assert code == 0, errors
    reached: dict = {}
    for _, trial in Store(place / "out" / "trials.sqlite").trials():
        reached.setdefault(trial.design, []).append(trial.metrics["validation_accuracy"])
    # In the search and in final training; of the smaller design the two filters that are kept are those two.
    assert (reached[None], reached[(0,)]) == ([1.0, 1.0], [1.0, 1.0])
    assert re.search(r"conv +kernels 8 +kernels 2\n", out), out
    assert "if validation_accuracy >= original - 0.01." in out


def test_weights_of_another_network_are_one_sentence_and_nothing_is_written(refusal, place):
    torch.save({"conv.weight": torch.zeros(8, 3, 3, 3)}, place / "other.pth")
    error = refusal(*TUNE, "--weights", "other.pth", "--out", "out")
    assert "The weights are not this network's: 'conv.bias' is missing" in error
    assert "The option --weights is for --model" in refusal(
        "tune", "--task", "digits-convnet", "--weights", "other.pth"
    )
    assert not (place / "out").exists()


def test_in_a_file_names_count_over_types_and_false_over_both(tmp_path):
    (tmp_path / "c.toml").write_text('"b*" = false\n["*"]\nstride = [1]\n[Conv2d]\nstride = [2]\n')
    assert list(read_choices(tmp_path / "c.toml")) == [torch.nn.Conv2d, "*", "b*"]


def test_choices_are_read_from_toml(tmp_path):
    (tmp_path / "c.toml").write_text(
        '"layer1.*" = false\n[Conv2d]\nout_channels = [8, 16]\n["act*"]\ntype = ["ReLU", "SiLU"]\n'
    )
    assert read_choices(tmp_path / "c.toml") == {
        "layer1.*": None,
        torch.nn.Conv2d: {"out_channels": [8, 16]},
        "act*": {"type": [torch.nn.ReLU, torch.nn.SiLU]},
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[Conv2d", "cannot be read"),
        ("[Conv2d]\nout_channels = 3", "give lists of values, or false"),
        ("Conv2d = true", "give lists of values, or false"),
        ('[ReLU]\ntype = ["Rely"]', "The module type 'Rely' is not one of torch.nn's"),
    ],
)
def test_choices_that_cannot_be_read_are_one_sentence(tmp_path, content, sentence):
    (tmp_path / "c.toml").write_text(content)
    with pytest.raises(InputError, match=sentence):
        read_choices(tmp_path / "c.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_choices(tmp_path / "nowhere.toml")


def test_the_recipe_in_a_file_of_choices_has_values_and_lists_for_its_agent(place):
    (place / "c.toml").write_text('[recipe]\noptimizer = "adamw"\nlearning_rate = [1e-4, 1e-3]\n')
    assert read_recipe(place / "c.toml") == ({"optimizer": "adamw"}, {"learning_rate": [1e-4, 1e-3]})
    assert read_choices(place / "c.toml") == {}
    task = own_task("own_nets:Small", place / "photos", 8, place / "c.toml", {"batch_size": 4})
    assert (task.recipe.optimizer, task.recipe.batch_size) == ("adamw", 4)
    assert task.space.layers[0].choices == {"learning_rate": (1e-4, 1e-3)}
    assert task.space.layers[1:] == tuple(
        dataclasses.replace(layer, inputs=layer.inputs or ("recipe",))
        for layer in own_task("own_nets:Small", place / "photos", 8, None, {}).space.layers
    )
    (place / "c.toml").write_text('[recipe]\noptimizer = "adamw"\n')
    task = own_task("own_nets:Small", place / "photos", 8, place / "c.toml", {"optimizer": "sgd"})
    assert (task.recipe.optimizer, task.recipe_choices) == ("sgd", None)  # an option says more than a file
    (place / "c.toml").write_text("")
    with pytest.raises(InputError, match="Nothing is left to choose"):
        _ = own_task("own_nets:Small", place / "photos", 8, place / "c.toml", {}).space


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("recipe = false", "write a table"),
        ("[recipe]\nlearning_rat = 3", "There is no setting of a recipe 'learning_rat'; did you mean 'learning_rate'"),
        ("[recipe]\nlearning_rate = -3", "learning_rate is -3"),
        ("[recipe]\nlearning_rate = [1e-3, -3]", "cannot be chosen as learning_rate=-3"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_one_sentence_and_nothing_is_written(refusal, place, content, sentence):
    (place / "c.toml").write_text(content)
    assert sentence in refusal(*TUNE, "--choices", "c.toml", "--out", "out")
    assert not (place / "out").exists()


def test_a_run_whose_recipe_is_chosen_shows_it_beside_the_original_s(place, marl_hpo):
    (place / "c.toml").write_text("[recipe]\nlearning_rate = [1e-3, 1e-2]\n[Conv2d]\nout_channels = [2, 4]\n")

    def command(*arguments):
        code, out, errors = marl_hpo(*arguments)
        assert code == 0, errors
        return out

    choices = ("--choices", "c.toml")
    command(*TUNE, *choices, "--episodes", "2", "--learner", "random", "--out", "out")
    report = next((place / "out").glob("*/report.md")).read_text()
    assert "| recipe | learning_rate 0.001 | learning_rate 0.0" in report
    assert "Guessing the largest class of the training images, blue, would give 50.00% of the validation's" in report
    assert "| recipe | learning_rate 0.001 |" in command("report", "out")
    shown = command("show", *TUNE[1:7], *choices)
    assert re.search(r"1 +recipe +Recipe +learning_rate 0.001 +A +-", shown), shown
