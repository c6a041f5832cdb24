"""The archives are written as https://image-net.org/download-images has them: ILSVRC2012_img_train.tar holds one archive
<wnid>.tar per class, of <wnid>_<number>.JPEG; ILSVRC2012_img_val.tar holds ILSVRC2012_val_<8 digits>.JPEG, whose classes are in
the development kit. torchvision.datasets.ImageNet (https://docs.pytorch.org/vision/stable/generated/
torchvision.datasets.ImageNet.html) unpacks them into train/<wnid> and val/<wnid>.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from collections import Counter
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import datasets, transforms

from marl_hpo_env import Recipe, Request, Task, TrainingEvaluator, WeightedReward
from marl_hpo_env.data.imagenet import imagenet
from marl_hpo_env.data.images import MEAN, STD
from marl_hpo_env.data.lazy_images import ImageFiles
from marl_hpo_env.testing import DataConformance
from marl_hpo_env.training import trainer as training
from marl_hpo_env.training.trainer import Trainer

WNIDS = ["n01440764", "n01443537", "n02105855"]
TRAIN, VAL = 8, 2  # images per class
SIZES = [(50, 37), (37, 50), (40, 40), (64, 30), (33, 90)]
CPU = torch.device("cpu")


def jpeg(number, mode="L"):
    """A photograph that is told from the others by its grey."""
    image = Image.new("L", SIZES[number % len(SIZES)], 8 * number).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def photographs():
    """Every file by its path, with its content; numbered, training first."""
    files = {}
    for position, wnid in enumerate(WNIDS):
        for i in range(TRAIN):
            number = position * TRAIN + i
            files[f"train/{wnid}/{wnid}_{97 * i + 3}.JPEG"] = jpeg(number, ("RGB", "L", "CMYK")[number % 3])
    for i in range(len(WNIDS) * VAL):
        wnid = WNIDS[-1 - i % len(WNIDS)]
        files[f"val/{wnid}/ILSVRC2012_val_{i + 1:08}.JPEG"] = jpeg(len(WNIDS) * TRAIN + i)
    return files


@pytest.fixture
def root(tmp_path):
    for name, content in photographs().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def numbers(inputs):
    return ((inputs[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255 / 8).round().int().tolist()


# The layout.


def tar(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """What torchvision itself makes of the archives, and the folder."""
    files = photographs()
    by_class = {
        f"{wnid}.tar": tar({name.split("/")[2]: content for name, content in files.items() if f"train/{wnid}/" in name})
        for wnid in WNIDS
    }
    validation = {name.split("/")[2]: (name.split("/")[1], files[name]) for name in files if name.startswith("val/")}
    archives = {
        "train": ("ILSVRC2012_img_train.tar", tar(by_class)),
        "val": ("ILSVRC2012_img_val.tar", tar({name: content for name, (_, content) in validation.items()})),
    }
    sums = {}
    for part, (name, content) in archives.items():
        (tmp_path / name).write_bytes(content)
        sums[part] = name, hashlib.md5(content).hexdigest()
    monkeypatch.setattr(datasets.imagenet, "ARCHIVE_META", sums)
    of_images = [validation[name][0] for name in sorted(validation)]
    torch.save(({wnid: (wnid, "its name") for wnid in WNIDS}, of_images), tmp_path / "meta.bin")
    return {part: datasets.ImageNet(str(tmp_path), part) for part in ("train", "val")}, tmp_path


def test_the_official_archives_as_torchvision_unpacks_them(unpacked):
    theirs, root = unpacked
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/*")}
    assert found == photographs()  # so what the other tests write is that layout
    data = imagenet(root, 32, episode_images=3, validation_images=2)
    names = {name: (files.names.tolist(), targets.tolist()) for name, (files, targets) in data.splits().items()}
    for part, splits in (("train", ("train", "validation")), ("val", ("test",))):
        expected = {os.path.relpath(path, root): target for path, target in theirs[part].samples}
        ours = {name: target for split in splits for name, target in zip(*names[split], strict=True)}
        assert ours == expected
    steps = [transforms.Resize(37), transforms.CenterCrop(32), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    theirs["val"].transform = transforms.Compose(steps)
    torch.testing.assert_close(data.test[0][:], torch.stack([x for x, _ in theirs["val"]]), atol=0.03, rtol=0)


def test_validation_is_held_out_of_every_class_and_the_same_every_time(root):
    data = imagenet(root, 8, validation_images=2)
    assert [len(files) for files, _ in data.splits().values()] == [18, 6, 6]
    for _, targets in data.splits().values():
        assert targets.dtype == torch.int64
        assert targets.bincount().tolist() == [len(targets) // 3] * 3
    seen = [numbers(files[:]) for files, _ in data.splits().values()]
    assert sorted(number for part in seen for number in part) == list(range(30))
    assert max(seen[0] + seen[1]) < 24 <= min(seen[2])
    for part, (_, targets) in zip(seen[:2], data.splits().values(), strict=False):
        assert [number // TRAIN for number in part] == targets.tolist()
    again = imagenet(root, 8, validation_images=2)
    assert [numbers(files[:]) for files, _ in again.splits().values()] == seen
    assert again.digest() == data.digest()


def test_episodes_have_so_many_images_per_class_always_the_same(root):
    data = imagenet(root, 8, episode_images=3, validation_images=2)
    assert data.train[1][data.episode_examples].bincount().tolist() == [3, 3, 3]
    assert len(data.episode_examples.unique()) == 9
    assert torch.equal(data.episode_examples, imagenet(root, 8, episode_images=3, validation_images=2).episode_examples)
    assert data.notes == ("Episodes train on 9 of the 18 training images, at most 3 per class.",)
    assert data.digest() != imagenet(root, 8, episode_images=2, validation_images=2).digest()


def test_a_class_with_fewer_gives_all_that_it_has(root):
    for path in sorted((root / "train" / WNIDS[1]).iterdir())[:4]:
        path.unlink()
    data = imagenet(root, 8, episode_images=4, validation_images=1)
    assert data.train[1][data.episode_examples].bincount().tolist() == [4, 3, 4]
    assert imagenet(root, 8, episode_images=7, validation_images=1).episode_examples is None
    assert imagenet(root, 8, episode_images=7, validation_images=1).notes == ()


# In training.


def model():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))


def task(root, **changes):
    recipe = Recipe(batch_size=3, epochs=2, optimizer="sgd", learning_rate=1e-3, max_epochs=3)
    choices = {nn.Conv2d: {"out_channels": (1, 2)}}
    reward = WeightedReward({"validation_accuracy": 1})
    data = imagenet(root, 8, **{"episode_images": 2, "validation_images": 2} | changes)
    return Task("photographs", model(), data, choices, recipe, reward)


def test_an_episode_trains_on_the_part_and_final_training_on_all(root, monkeypatch):
    trained_on = Counter()
    step = Trainer._step

    def recorded(trainer, network, optimizer, x, y):
        trained_on.update(zip(numbers(x), y.tolist(), strict=True))
        return step(trainer, network, optimizer, x, y)

    monkeypatch.setattr(Trainer, "_step", recorded)
    trainer = task(root).trainer(CPU, measure_time=False)
    files, targets = trainer.data.train
    everything = list(zip(numbers(files[:]), targets.tolist(), strict=True))
    part = [everything[i] for i in trainer.data.episode_examples]
    for request, expected, epochs in (
        (Request((0,), 0, 2), part, 2),
        (Request((1,), 5, 2), part, 2),
        (Request(None, 0, 2), part, 2),
        (Request((0,), 0, None), everything, 3),
    ):
        trained_on.clear()
        assert trainer.train(request)[1].status == "completed"
        assert trained_on == dict.fromkeys(expected, epochs)


def test_a_training_never_holds_all_images(root, monkeypatch):
    monkeypatch.setattr(training, "_EVALUATION_PIXELS", 1)  # small batches, as of large images
    reading, most = Counter(), Counter()
    pixels, placed = ImageFiles.pixels, ImageFiles.placed

    def begun(files, which):
        futures = pixels(files, which)
        reading[files] += len(futures)
        most[files] = max(most[files], reading[files])
        return futures

    def taken(files, futures):
        reading[files] -= len(futures)
        return placed(files, futures)

    monkeypatch.setattr(ImageFiles, "pixels", begun)
    monkeypatch.setattr(ImageFiles, "placed", taken)
    trainer = task(root).trainer(CPU, measure_time=True)
    assert trainer.train(Request((0,), 0, None))[1].status == "completed"
    train, validation, test = (files for files, _ in trainer.data.splits().values())
    assert most[train] == 5 * 3 < len(train) == 18
    assert (most[validation], most[test]) == (6, 6)  # both batches, begun together
    assert set(reading.values()) == {0}


def test_the_same_request_is_the_same_trial_as_with_the_images_in_memory(root):
    lazy = task(root)
    data = lazy.splits
    loaded = {name: (files[:], targets) for name, (files, targets) in data.splits().items()}
    eager = replace(lazy, data=replace(data, **loaded))
    for epochs in (2, None):
        found, expected = (t.trainer(CPU, False).train(Request((1,), 0, epochs))[1] for t in (lazy, eager))
        assert found.status == "completed"
        assert found.history == expected.history


def test_a_truncated_image_fails_the_training_that_meets_it_and_the_run_goes_on(root):
    ours = task(root)
    data = ours.splits
    files = data.train[0]
    unseen = max(
        set(range(len(files))) - set(data.episode_examples.tolist())
    )  # the first ones are read to measure times
    path = root / str(files.names[unseen])
    path.write_bytes(path.read_bytes()[:-200])
    trials = list(
        TrainingEvaluator(ours, "cpu").evaluate([Request((0,), 0, 1), Request((0,), 0, None), Request((1,), 0, 1)])
    )
    assert [trial.status for trial in trials] == ["completed", "failed", "completed"]
    assert trials[1].reason.startswith(f"The image {str(path)!r} cannot be read (")
    assert trials[1].metrics["test_accuracy"] is None


def test_a_worker_is_sent_the_names_and_reads_the_files_itself(root):
    ours = task(root)
    request = Request((0,), 0, 1)
    trial = ours.trainer(CPU, False).train(request)[1]  # which starts threads, and threads cannot be sent
    sent = pickle.dumps(ours)
    assert len(sent) < 30_000
    assert pickle.loads(sent).trainer(CPU, False).train(request)[1].history == trial.history


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu(root):
    trial = task(root).trainer(torch.device("cuda"), measure_time=True).train(Request((1,), 0, None))[1]
    assert (trial.status, trial.metrics["epochs"]) == ("completed", 3)


# What is missing.


def test_missing_folders_say_what_is_expected_and_how_to_get_it(tmp_path, refused):
    for part in ("train", "val"):
        with refused(f"There is no folder {str(tmp_path / part)!r}", "ILSVRC2012_img_train.tar", "image-net.org"):
            imagenet(tmp_path)
        (tmp_path / part).mkdir()
        with refused(f"{str(tmp_path / part)!r} holds 0 folders of classes"):
            imagenet(tmp_path)
        for wnid in WNIDS:
            (tmp_path / part / wnid).mkdir()
    with refused(f"{str(tmp_path / 'train' / WNIDS[0])!r} holds no JPEG image"):
        imagenet(tmp_path)


def test_no_images_of_a_class(root, refused):
    for path in (root / "val" / WNIDS[2]).iterdir():
        path.unlink()
    with refused(f"{str(root / 'val' / WNIDS[2])!r} holds no JPEG image"):
        imagenet(root, validation_images=1)


@pytest.mark.parametrize(("part", "other"), [("train", "val"), ("val", "train")])
def test_a_class_of_one_part_only_is_refused(root, refused, part, other):
    (root / part / "n99999999").mkdir()
    with refused(f"The class 'n99999999' is not in {other!r} of {str(root)!r}"):
        imagenet(root)


def test_a_class_without_images_beside_those_held_out(root, refused):
    assert len(imagenet(root, 8, validation_images=TRAIN - 1).train[1]) == 3
    with refused(f"The class {WNIDS[0]!r}", "has 8 images", "with 8 held out"):
        imagenet(root, 8, validation_images=TRAIN)


def test_more_classes_than_the_networks_have_outputs(root, refused):
    for number in range(1000):
        (root / "train" / f"n{number:08}").mkdir()
    with refused("holds 1003 classes"):
        imagenet(root)


@pytest.mark.parametrize("setting", ["image_size", "episode_images", "validation_images"])
def test_settings_out_of_range(root, refused, setting):
    with refused("is 0; it is a whole number from 1"):
        imagenet(root, **{setting: 0})


def test_what_macos_and_others_leave_beside_the_images_is_no_image(root):
    expected = imagenet(root, 8, validation_images=2).digest()
    (root / "train" / ".DS_Store").write_bytes(b"")
    (root / "train" / ".cache").mkdir()
    (root / "train" / WNIDS[0] / "._n01440764_3.JPEG").write_bytes(b"Mac OS X")
    (root / "val" / WNIDS[0] / "list.txt").write_text("")
    assert imagenet(root, 8, validation_images=2).digest() == expected


def test_the_digest_follows_the_files_names_and_sizes_and_not_where_they_lie(root):
    first = imagenet(root, 8, validation_images=2).digest()
    moved = root.rename(root.with_name("elsewhere"))
    assert imagenet(moved, 8, validation_images=2).digest() == first
    path = next((moved / "val" / WNIDS[0]).iterdir())
    path.write_bytes(path.read_bytes() + b"\0")
    longer = imagenet(moved, 8, validation_images=2).digest()
    path.rename(path.with_name("ILSVRC2012_val_00050000.JPEG"))
    assert len({first, longer, imagenet(moved, 8, validation_images=2).digest()}) == 3


class TestConformance(DataConformance):
    @pytest.fixture(autouse=True)
    def _files(self, root):
        self.root = root

    def make(self):
        return imagenet(self.root, 32, episode_images=3, validation_images=2)
