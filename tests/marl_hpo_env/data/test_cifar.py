"""The files are written as https://www.cs.toronto.edu/~kriz/cifar.html describes its "python version"."""

import hashlib
import io
import pickle
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from marl_hpo_env import InputError
from marl_hpo_env.data.cifar import VALIDATION_FRACTION, cifar
from marl_hpo_env.data.parts import divided
from marl_hpo_env.testing import DataConformance

TEN = [f"data_batch_{i}" for i in range(1, 6)], "test_batch", "batches.meta", "cifar-10-batches-py"
HUNDRED = ["train"], "test", "meta", "cifar-100-python"


class Python2Pickler(pickle.Pickler):
    """Writes a dtype as Python 2's NumPy did in the official files, its flags as integers."""

    def reducer_override(self, obj):
        if isinstance(obj, np.dtype):
            return np.dtype, (obj.str[1:], 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def write(path, content):
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    path.write_bytes(buffer.getvalue())
    return [path.name, hashlib.md5(buffer.getvalue()).hexdigest()]


def batch(generator, numbers, classes):
    """Rows of 3,072 bytes: 1,024 red, 1,024 green, 1,024 blue, row by row. The first red byte tells which image it is."""
    data = generator.integers(0, 256, (len(numbers), 3072), dtype=np.uint8)
    data[:, 0] = numbers
    labels = [int(number) % classes for number in numbers]
    if classes == 10:
        return {"batch_label": "a batch", "labels": labels, "data": data, "filenames": [f"{n}.png" for n in numbers]}
    return {"fine_labels": labels, "coarse_labels": [n // 5 for n in labels], "data": data, "filenames": []}


@pytest.fixture
def layout(tmp_path, monkeypatch):
    """Writes a small CIFAR and makes its MD5 sums the expected ones."""

    def make(classes):
        generator = np.random.default_rng(0)
        names, test, meta, folder = TEN if classes == 10 else HUNDRED
        official = CIFAR10 if classes == 10 else CIFAR100
        (tmp_path / folder).mkdir()
        number = 200 // len(names)
        train_list = [
            write(tmp_path / folder / name, batch(generator, np.arange(i * number, (i + 1) * number), classes))
            for i, name in enumerate(names)
        ]
        test_list = [write(tmp_path / folder / test, batch(generator, np.arange(100), classes))]
        key = "label_names" if classes == 10 else "fine_label_names"
        _, md5 = write(tmp_path / folder / meta, {key: [f"class {i}" for i in range(classes)]})
        monkeypatch.setattr(official, "train_list", train_list)
        monkeypatch.setattr(official, "test_list", test_list)
        monkeypatch.setattr(official, "meta", {"filename": meta, "key": key, "md5": md5})
        return tmp_path

    return make


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise urllib.error.URLError("no network in this test")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("classes", "sizes"), [(10, (180, 20, 100)), (100, (100, 100, 100))])
def test_the_official_files_become_three_normalised_splits(layout, classes, sizes):
    root = layout(classes)
    data = cifar(root, classes)
    assert tuple(len(x) for x, _ in data.splits().values()) == sizes
    assert data.number_of_classes == classes
    inputs, targets = data.train
    assert inputs.shape[1:] == (3, 32, 32)
    assert (inputs.dtype, targets.dtype) == (torch.float32, torch.int64)
    torch.testing.assert_close(inputs.double().mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        inputs.double().std((0, 2, 3), unbiased=False), torch.ones(3).double(), atol=1e-5, rtol=0
    )


def test_channels_rows_and_columns_are_where_the_documentation_says(layout):
    root = layout(10)
    data = cifar(root, 10)
    with (root / "cifar-10-batches-py" / "test_batch").open("rb") as file:
        raw = pickle.load(file, encoding="latin1")["data"].astype(np.float64).reshape(100, 3, 1024)
    inputs = data.test[0].double().numpy().reshape(100, 3, 1024)
    for channel in range(3):  # one straight line from bytes to inputs per channel
        slope, offset = np.polyfit(raw[:, channel].ravel(), inputs[:, channel].ravel(), 1)
        np.testing.assert_allclose(raw[:, channel] * slope + offset, inputs[:, channel], atol=1e-4)


def test_validation_is_taken_from_the_training_images_and_nothing_is_lost(layout):
    data = cifar(layout(10), 10)
    first = torch.cat([data.train[0], data.validation[0]])[:, 0, 0, 0]  # in the order of their numbers, normalised
    assert len(first.unique()) == 200
    assert data.validation[1].bincount().tolist() == [2] * 10
    assert torch.equal(data.test[1], torch.arange(100) % 10)


@pytest.mark.parametrize("classes", [10, 100])
def test_of_the_real_50000_images_5000_are_for_validation(classes):
    targets = torch.arange(50_000) % classes
    part, rest = divided(targets, [VALIDATION_FRACTION], torch.Generator().manual_seed(0))
    assert targets[part].bincount().tolist() == [5_000 // classes] * classes
    assert torch.equal(torch.cat([part, rest]).sort().values, torch.arange(50_000))


def test_missing_files_say_what_is_expected_where_and_how_to_get_it(tmp_path):
    for download, hint in ((True, "the download failed .*no network"), (False, "or let it be downloaded")):
        with pytest.raises(InputError, match=rf"There is no file .*data_batch_1.*cifar-10-python.tar.gz.*{hint}"):
            cifar(tmp_path, 10, download)
    with pytest.raises(InputError, match=r"There is no file .*cifar-100-python.*train.*cifar-100-python.tar.gz"):
        cifar(tmp_path / "new", 100)
    with pytest.raises(InputError, match="10 and 100"):
        cifar(tmp_path, 20)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_truncated_file_is_not_opened(layout, name):
    root = layout(10)
    path = root / "cifar-10-batches-py" / name
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(
        InputError, match=rf"{name}' is not the official one, since its MD5 sum is not \w{{32}}; delete"
    ):
        cifar(root, 10)
    path.unlink()
    with pytest.raises(InputError, match=f"There is no file .*{name}"):
        cifar(root, 10, download=False)


def test_files_with_other_contents_are_not_opened(tmp_path):
    """With the real MD5 sums: whatever is pickled in the file is never run."""

    class Trap:
        def __reduce__(self):
            return pytest.fail, ("the file was unpickled",)

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*TEN[0], "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InputError, match="data_batch_1' is not the official one"):
        cifar(tmp_path, 10, download=False)


class TestConformance(DataConformance):
    @pytest.fixture(autouse=True, params=[10, 100])
    def _files(self, request, layout):
        self.root, self.classes = layout(request.param), request.param

    def make(self):
        return cifar(self.root, self.classes)


def test_test_images_are_normalised_by_what_is_trained_on(layout):
    root = layout(10)
    data = cifar(root, 10)

    def pixels(name):
        with (root / "cifar-10-batches-py" / name).open("rb") as file:
            return pickle.load(file, encoding="latin1")["data"].astype(np.float64).reshape(-1, 3, 1024)

    test, first = (
        pixels("test_batch"),
        pixels("data_batch_1")[0],
    )  # which is trained on: the held-out draw is pinned below
    for channel in range(3):
        slope, offset = np.polyfit(test[:, channel].ravel(), data.test[0][:, channel].double().numpy().ravel(), 1)
        ours = data.train[0][0, channel].double().numpy().ravel()
        np.testing.assert_allclose(first[channel] * slope + offset, ours, atol=1e-4)


def test_the_validation_images_are_always_the_same(layout):
    targets = torch.arange(200) % 10
    part, _ = divided(targets, [VALIDATION_FRACTION], torch.Generator().manual_seed(0))
    data = cifar(layout(10), 10)
    assert data.validation[1].tolist() == targets[sorted(part.tolist())].tolist()
    first_bytes = [image[0, 0, 0].item() for image in data.validation[0]]
    assert first_bytes == sorted(first_bytes)
    other, _ = divided(targets, [VALIDATION_FRACTION], torch.Generator().manual_seed(1))
    assert sorted(part.tolist()) != sorted(other.tolist())
    everything = torch.cat([data.train[0][:, 0, 0, 0], data.validation[0][:, 0, 0, 0]]).sort().values
    places = torch.searchsorted(everything, data.validation[0][:, 0, 0, 0])
    assert places.tolist() == sorted(part.tolist())
