"""Images in one file in the place of a task's folder, and a task of a fraction of its width."""

from __future__ import annotations

import math
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from experiments.commands.task_options import TaskOptions, Wanted, check_images, read_width
from marl_hpo_env import InputError, Limits, PaperReward, Recipe, Store, Task
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog import registry


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )


def masks_of(planes: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, planes, 1))


def choices() -> dict:
    return {nn.Conv2d: {"out_channels": (4, 8, 16), "kernel_size": (1, 3)}}


def no_data() -> None:
    raise InputError("The folder was read.")


@pytest.fixture
def photos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file of images for `photos`, a task that has a folder of data and images of 8x8."""

    def make(data_dir: Path | None) -> Task:
        recipe = Recipe(batch_size=8, epochs=2, max_epochs=2, learning_rate=0.02)
        return Task("photos", network, no_data, choices, recipe, PaperReward(), Limits(), input_shape=(3, 8, 8))

    monkeypatch.setitem(registry._FACTORIES, "photos", make)
    classes = np.arange(60) % 3
    x = np.zeros((60, 12, 12, 3), dtype=np.uint8)
    for image, label in zip(x, classes, strict=True):
        image[..., label] = 200
    np.savez(tmp_path / "photos.npz", x=x + np.random.default_rng(0).integers(0, 50, x.shape, np.uint8), y=classes)
    return tmp_path / "photos.npz"


@pytest.mark.parametrize(("text", "divisor"), [(None, 1), ("1", 1), ("1/4", 4), ("0.25", 4), ("1/3", 3), ("0.125", 8)])
def test_a_width_is_one_over_a_divisor(text, divisor):
    assert read_width(text) == divisor


@pytest.mark.parametrize("text", ["", "4", "1/0", "2/3", "0.3", "-1/4", "0", "inf", "a quarter"])
def test_a_width_that_is_none_is_one_sentence(text):
    with pytest.raises(InputError, match=r"is not one over a whole number; write it as 1/4 or 0.25\."):
        read_width(text)


def test_images_are_scaled_to_the_task_s_and_stand_for_its_data(photos):
    task = TaskOptions(images=photos, examples=20, divisor=2).task("photos")
    assert (task.name, task.input_shape) == ("photos-1-2", (3, 8, 8))
    assert task.splits.train[0].shape[1:] == (3, 8, 8)
    assert abs(len(task.splits.train[0]) - 20) <= 1  # seven of each class
    assert task.space.layers[0].choices["out_channels"] == (2, 4, 8)
    check_images(task)
    assert pickle.loads(pickle.dumps(task)).fingerprint == task.fingerprint
    wide = TaskOptions(images=photos, image_size=6).task("photos")
    assert (wide.input_shape, wide.splits.train[0].shape) == ((3, 6, 6), (42, 3, 6, 6))


def test_fewer_images_leave_the_loss_limit_as_many_steps(photos, monkeypatch):
    shaped = registry._FACTORIES["photos"]
    limits = Limits(loss="guessing", loss_epochs=2)
    monkeypatch.setitem(
        registry._FACTORIES, "photos", lambda data_dir: replace(shaped(data_dir=data_dir), limits=limits)
    )
    whole, few = (TaskOptions(images=photos, examples=n).task("photos").limits for n in (None, 20))
    assert (whole.loss_epochs, few.loss_epochs) == (2, 5)  # 42 of 20: 2.1 times as many, rounded up
    assert few.loss == "guessing"


def test_a_task_without_a_shape_takes_images_as_they_are_or_as_asked(photos, monkeypatch):
    shaped = registry._FACTORIES["photos"]
    monkeypatch.setitem(
        registry._FACTORIES, "photos", lambda data_dir: replace(shaped(data_dir=data_dir), input_shape=None)
    )
    for size, side in ((None, 12), (6, 6)):
        task = TaskOptions(images=photos, image_size=size).task("photos")
        assert (task.input_shape, task.splits.train[0].shape[2:]) == (None, (side, side))


def test_a_network_must_fit_the_images(photos):
    task = TaskOptions(images=photos).task("photos")
    x = torch.randn(12, 3, 8, 8)
    with pytest.raises(InputError, match="The images have 4 classes, and the network of 'photos' 3 outputs"):
        check_images(replace(task, data=(x, torch.arange(12) % 4)))
    masks = (x[:, :1] > 0).float()
    part = x[:4], masks[:4]
    data = type(task.splits)(part, part, part)
    with pytest.raises(InputError, match="The images are with masks, and the task 'photos' takes classes"):
        check_images(replace(task, data=data))
    with pytest.raises(InputError, match="The images are with classes, and the task 'photos' takes masks"):
        check_images(replace(task, model=masks_of(1)))
    with pytest.raises(InputError, match="The images have 1 planes of masks, and the network of 'photos' 2 outputs"):
        check_images(replace(task, model=masks_of(2), data=data))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--task", "digits-convnet", "--images", "FILE"],
            "The task 'digits-convnet' brings its own data; leave out --im",
        ),
        (["--task", "unet-brats18", "--images", "FILE"], "takes images of 4 channels; those of --images have 3."),
        (["--task", "photos", "--images", "FILE", "--data-dir", "."], "Both --data-dir and --images say where"),
        (["--task", "photos", "--examples", "9"], "The option --examples is for --images"),
        (["--task", "photos", "--images", "nowhere.npz"], "The file 'nowhere.npz' cannot be read as images"),
        (["--task", "photos", "--images", "FILE", "--width", "4"], "The width '4' is not one over a whole number"),
        (["--task", "photos", "--images", "FILE", "--choices", "c.toml"], "A task brings its own choices"),
        (["--model", "torchvision:resnet18", "--images", "FILE"], "The option --images is for --task"),
        (["--model", "torchvision:resnet18", "--examples", "9"], "The option --examples is for --task"),
        (["--model", "torchvision:resnet18", "--width", "1/2"], "The option --width is for --task"),
    ],
)
@pytest.mark.parametrize("command", [["tune"], ["fit", "--design", "0"], ["show"]])
def test_what_does_not_fit_is_one_sentence(marl_hpo, photos, tmp_path, command, arguments, sentence):
    if command == ["show"] and "nowhere.npz" in arguments:
        return  # a task is shown without its data
    where = [] if command == ["show"] else ["--out", str(tmp_path / "run")]
    given = [str(photos) if argument == "FILE" else argument for argument in arguments]
    code, _, err = marl_hpo(*command, *given, *where)
    assert code == 2
    assert sentence in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_narrow_task_on_images_is_tuned_fitted_and_shown(marl_hpo, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    given = ["--task", "photos", "--images", photos, "--examples", 20, "--width", "1/2"]
    alone = ["--device", "cpu", "--out", tmp_path / "run"]
    code, out, err = marl_hpo("tune", *given, *alone, "--workers", 1, "--learner", "random", "--episodes", 3)
    assert code == 0, err
    store = Store(tmp_path / "run" / "trials.sqlite")
    assert store.about("task").startswith("photos-1-2 ")
    original = next(trial for _, trial in store.trials() if trial.design is None)
    assert original.metrics["parameters"] == 3 * 4 * 9 + 4 + 4 * 3 + 3
    code, out, err = marl_hpo("fit", "--design", "1", *given, *alone)
    assert code == 0, err
    code, out, err = marl_hpo("show", *given, "--picture", tmp_path / "layers.png")
    assert code == 0, err
    assert "kernels 2 4 8" in out


def test_the_paper_s_tasks_take_images_and_tolerate_as_many_steps_above_the_loss_limit_as_with_their_own(photos):
    options = TaskOptions(images=photos, examples=40, divisor=4)
    # 40 images in place of so many, whose limit tolerates 2 epochs
    for name, trained_on in {"vgg16-cifar10": 45_000, "unet-isic18": 1_816, "googlenet-imagenet": 1_281_167}.items():
        task = options.task(name)
        assert task.limits.loss_epochs == math.ceil(2 * trained_on / 40)
        assert task.name == f"{name}-1-4"
        assert task.input_shape == named_task(name).input_shape


# Images in a folder, and what is wanted of them.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty pictures in two folders of classes, a table of them, and masks."""
    noise = np.random.default_rng(0)
    lines = ["file,colour,bright,age,patient"]
    for i in range(30):
        name = ("red", "blue")[i % 2]
        for place in ("photos/red", "photos/blue", "masks"):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 50, (12, 12, 3), dtype=np.uint8)
        pixels[..., 2 * (i % 2)] += 150
        Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
        Image.fromarray((pixels[..., 1] > 25).astype(np.uint8) * 255).save(tmp_path / "masks" / f"{i}.png")
        lines.append(f"{i}.png,{name},{i % 3 % 2},{i}.5,{i // 5}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    return tmp_path


def test_a_folder_of_images_stands_for_a_tasks_data(photos, folder):
    task = TaskOptions(images=folder / "photos").task("photos")
    assert (task.splits.class_names, task.splits.train[0].shape) == (("blue", "red"), (22, 3, 8, 8))
    check_images(task)
    wanted = Wanted(folder / "table.csv", "classes", ("bright",), "patient")
    task = TaskOptions(images=folder / "photos", image_size=6, wanted=wanted).task("photos")
    assert (task.splits.kind, task.splits.class_names, task.input_shape) == ("classes", ("0", "1"), (3, 6, 6))
    assert [len(x) for x, _ in task.splits.splits().values()] == [20, 5, 5]


def test_what_is_wanted_is_read_from_folders_tables_or_masks(folder, monkeypatch):
    photos, table, masks = folder / "photos", folder / "table.csv", folder / "masks"
    assert Wanted().read(photos, 8).class_names == ("blue", "red")
    assert Wanted(table, "values", ("age", "bright")).read(photos, 8).class_names == ("age", "bright")
    assert Wanted(table, None, ("colour",)).read(photos, 8).kind == "classes"
    assert Wanted(masks=masks).read(photos, 8).kind == "masks"
    (folder / "own_groups.py").write_text("def hundred(path):\n    return int(path.stem) // 5\n")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    grouped = Wanted(groups="own_groups:hundred").read(photos, 8)
    assert [len(x) for x, _ in grouped.splits().values()] == [20, 5, 5]
    whole = folder / "whole"
    whole.mkdir()
    photos.rename(whole / "images")
    masks.rename(whole / "masks")
    assert Wanted().read(whole, 8).kind == "masks"


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"kind": "values"}, "The option --kind is for the columns of a table; give that with --labels."),
        ({"columns": ("age",)}, "The option --column is for the columns of a table"),
        ({"labels": Path("table.csv"), "masks": Path("masks")}, "Both --labels and --masks say what is wanted"),
        ({"groups": "patient"}, "The function of groups 'patient' cannot be read"),
        ({"masks": Path("nowhere")}, "There is no folder 'nowhere'"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(folder, monkeypatch, wanted, sentence, refused):
    monkeypatch.chdir(folder)
    with refused(sentence):
        Wanted(**wanted).read(folder / "photos", 8)


def test_what_is_wanted_needs_a_folder(photos, folder, refused):
    wanted = Wanted(folder / "table.csv")
    with refused("are for --images with a folder, or for --model"):
        TaskOptions(wanted=wanted).task("photos")
    with refused("photos.npz' stands in that file; leave out"):
        TaskOptions(images=photos, wanted=wanted).task("photos")
    with refused("The option --examples is for --images with a file"):
        TaskOptions(images=folder / "photos", examples=5).task("photos")


@pytest.mark.parametrize(
    ("kind", "columns", "sentence"),
    [
        ("values", ("age",), "The images have 1 values, and the network of 'photos' 3 outputs; give others."),
        ("labels", ("bright",), "The images have 1 labels, and the network of 'photos' 3 outputs; give others."),
    ],
)
def test_a_network_has_an_output_for_each_value_or_label(photos, folder, refused, kind, columns, sentence):
    wanted = Wanted(folder / "table.csv", kind, columns)
    with refused(sentence):
        check_images(TaskOptions(images=folder / "photos", wanted=wanted).task("photos"))
