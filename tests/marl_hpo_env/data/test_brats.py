"""The files are written as https://www.med.upenn.edu/sbia/brats2018/data.html and .../tasks.html describe them: NIfTI
volumes of T1, T1 with contrast, T2 and FLAIR, registered, skull-stripped (zero outside), and labels 1 (necrotic and
non-enhancing core), 2 (oedema), 4 (enhancing tumour) and 0.
"""

import builtins
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from marl_hpo_env import InputError
from marl_hpo_env.data import brats
from marl_hpo_env.data.brats import MODALITIES, brats18, read_labels, read_volume
from marl_hpo_env.testing import DataConformance

nibabel = pytest.importorskip("nibabel", reason="nibabel (extra `medical`) is not installed")

SHAPE = (40, 30, 12)  # x, y, z; the official one is 240, 240, 155
HIPPOCAMPUS = Path(__file__).parents[4] / "shared" / "data" / "hippocampus"


def save(array, path):
    """Like the official volumes, 1 mm voxels in the order left, posterior, superior."""
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)


def write(root, grade, name, seed, shape=SHAPE):
    """A block of brain in slices 2 to 9, brighter with y, and in it a tumour of three nested boxes."""
    folder = root / "MICCAI_BraTS_2018_Data_Training" / grade / name
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for i, modality in enumerate(MODALITIES):
        volume = np.zeros(shape, dtype=np.int16)
        brain = generator.integers(100, 200, (shape[0] - 8, shape[1] - 8, 8)) + 1000 * (i + 1)
        volume[4:-4, 4:-4, 2:10] = brain + 20 * np.arange(shape[1] - 8)[None, :, None]
        save(volume, folder / f"{name}_{modality}.nii.gz")
    labels = np.zeros(shape, dtype=np.uint8)
    labels[10:22, 8:20, 4:8] = 2
    labels[10:18, 8:16, 4:8] = 1
    labels[10:14, 8:12, 4:8] = 4
    save(labels, folder / f"{name}_seg.nii.gz")
    return folder


@pytest.fixture
def root(tmp_path):
    for i in range(8):
        write(tmp_path, "HGG", f"Brats18_TCIA01_{100 + i}_1", i)
    for i in range(5):
        write(tmp_path, "LGG", f"Brats18_2013_{i}_1", 100 + i)
    training = tmp_path / "MICCAI_BraTS_2018_Data_Training"
    (training / "survival_data.csv").write_text("BraTS18ID,Age,Survival,ResectionStatus\n")
    (training / "HGG" / ".DS_Store").write_text("")
    return tmp_path


def test_volumes_become_normalised_slices_with_three_regions(root):
    data = brats18(root, image_size=24, every=1)
    assert [len(x) for x, _ in data.splits().values()] == [9 * 8, 2 * 8, 2 * 8]
    for inputs, targets in data.splits().values():
        assert inputs.shape[1:] == (4, 24, 24)
        assert targets.shape[1:] == (3, 24, 24)
        assert inputs.dtype == targets.dtype == torch.float32
        assert set(targets.unique().tolist()) == {0.0, 1.0}
        whole, core, enhancing = targets.unbind(1)
        assert (whole >= core).all()
        assert (core >= enhancing).all()
        areas = targets.sum((2, 3)).unique(dim=0)
        # The crop is 24 of 40x30 pixels from x = 8 and y = 3, so that boxes of 12, 8 and 4 pixels keep their areas.
        assert areas.tolist() == [[0, 0, 0], [144, 64, 16]]
        assert whole[whole.any(2).any(1)][0].nonzero().amin(0).tolist() == [8 - 3, 10 - 8]  # rows are y, columns x
        assert (inputs[:, :, -6:-2].mean((2, 3)) > inputs[:, :, 2:6].mean((2, 3)) + 0.5).all()  # brighter with y
    assert data.notes == (
        "104 axial slices of 13 scans are used: one in 1 of those with brain on at least 5% of their pixels.",
    )


def test_every_volume_has_mean_0_and_deviation_1_in_the_brain_and_0_outside(root):
    inputs, _ = brats18(root, image_size=24, every=1).train
    # 24x22 pixels of brain in the crop; along y one row of background at the top and at the bottom.
    assert (inputs[:, :, 0] == 0).all()
    assert (inputs[:, :, -1] == 0).all()
    brain = inputs[:, :, 1:-1].reshape(-1, 8, 4, 22 * 24)
    assert brain.mean((1, 3)).abs().max() < 0.05
    assert (brain.transpose(1, 2).flatten(2).std(2) - 1).abs().max() < 0.05


def test_slices_without_brain_are_left_out_and_fewer_can_be_taken(root):
    # 32x22 of 40x30 pixels, 59%, are brain in slices 2 to 9, none elsewhere.
    assert len(brats18(root, 8).train[0]) == 9 * 3  # one in three
    assert len(brats18(root, 8, every=1, brain=0.58).train[0]) == 9 * 8
    assert len(brats18(root, 8, every=8).train[0]) == 9
    with pytest.raises(InputError, match=r"No axial slice in .* has brain on 60% of its pixels"):
        brats18(root, 8, brain=0.6)


def grades_and_patients(monkeypatch, root):
    """The folders that each split was read from."""
    parts = []
    read = brats._read
    with monkeypatch.context() as patch:
        patch.setattr(brats, "_read", lambda part, *rest: parts.append(part) or read(part, *rest))
        brats18(root, 8, every=8)
    return [[(path.parent.name, path.name) for path in part] for part in parts]


def test_patients_are_in_one_split_each_with_both_grades(root, monkeypatch):
    parts = grades_and_patients(monkeypatch, root)
    everyone = [patient for part in parts for patient in part]
    assert len(everyone) == len(set(everyone)) == 13
    assert [len(part) for part in parts] == [9, 2, 2]
    assert all({grade for grade, _ in part} == {"HGG", "LGG"} for part in parts)
    assert grades_and_patients(monkeypatch, root) == parts


def test_scans_of_one_patient_at_two_times_stay_together(root, monkeypatch):
    for i in range(8):
        write(root, "HGG", f"Brats18_TCIA01_{100 + i}_2", 50 + i)
    parts = [{name.rsplit("_", 1)[0] for _, name in part} for part in grades_and_patients(monkeypatch, root)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 13


def test_the_training_folder_itself_and_unpacked_volumes_are_read(root):
    expected = brats18(root, 8).digest()
    training = root / "MICCAI_BraTS_2018_Data_Training"
    for path in list(training.rglob("*2013*.nii.gz")):
        save(np.asarray(nibabel.load(path).dataobj), path.with_suffix(""))
        path.unlink()
    assert brats18(training, 8).digest() == expected


# The cache.


def test_the_second_reading_is_from_the_cache_and_the_same(root, monkeypatch):
    first = brats18(root, 8)
    assert len(list((root / "brats18_slices").glob("*.npz"))) == 13
    with monkeypatch.context() as patch:
        patch.setattr(brats, "read_volume", lambda path: pytest.fail("a volume was read again"))
        assert brats18(root, 8).digest() == first.digest()
    brats18(root, 8, cache=root / "elsewhere")
    assert len(list((root / "elsewhere").iterdir())) == 13


def test_other_settings_and_changed_files_are_cut_anew(root):
    first = brats18(root, 8)
    assert brats18(root, 8, every=1).digest() != first.digest()
    assert brats18(root, 12).train[0].shape[-1] == 12
    assert brats18(root, 8).digest() == first.digest()
    for path in root.rglob("*_seg.nii.gz"):
        labels = np.zeros(SHAPE, dtype=np.uint8)
        labels[10:20, 10:20, 5] = 2
        save(labels, path)
    assert not brats18(root, 8).train[1][:, 1:].any()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_a_broken_cache_is_made_anew(root, damage):
    first = brats18(root, 8)
    for path in (root / "brats18_slices").glob("*.npz"):
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 3] ^= 255
        path.write_bytes({"truncated": content[:-200], "flipped": content, "empty": b"", "other": b"hello"}[damage])
    assert brats18(root, 8).digest() == first.digest()
    assert all(np.load(path)["key"] for path in (root / "brats18_slices").glob("*.npz"))


def test_a_cache_that_cannot_be_written_costs_a_note_only(root):
    (root / "a file").write_text("")
    data = brats18(root, 8, cache=root / "a file" / "slices")
    assert "cannot be written to" in data.notes[0]
    assert data.digest() == brats18(root, 8).digest()


# What is broken.


def scan(root, kind, patient="Brats18_TCIA01_103_1"):
    (path,) = root.rglob(f"{patient}_{kind}.nii.gz")
    return path


def change(root, kind, function):
    path = scan(root, kind)
    save(function(np.asarray(nibabel.load(path).dataobj).copy()), path)


def label_3(labels):
    labels[0, 0, 0] = 3
    return labels


def not_finite(volume):
    volume = volume.astype(np.float32)
    volume[5, 5, 5] = np.nan
    return volume


@pytest.mark.parametrize(
    ("kind", "function", "sentence"),
    [
        (
            "t1",
            lambda v: v[:, :, :-1],
            r"_103_1_t1.nii.gz' has shape \(40, 30, 11\) and .*_flair.nii.gz \(40, 30, 12\)",
        ),
        ("seg", lambda v: v[1:], r"_103_1_seg.nii.gz' has shape \(39, 30, 12\) and"),
        ("t2", lambda v: v[..., None], r"_103_1_t2.nii.gz' has shape \(40, 30, 12, 1\); a volume has three dimensions"),
        ("t1ce", np.zeros_like, r"_103_1_t1ce.nii.gz' has no two different voxels in the brain"),
        ("flair", not_finite, r"_103_1_flair.nii.gz' has voxels that are not finite"),
        ("seg", label_3, r"_103_1_seg.nii.gz' has label 3; labels are 0, 1, 2 and 4; BraTS 2023 has 3 where"),
        ("seg", lambda v: v * 0.5, r"_103_1_seg.nii.gz' has label 0.5; labels are 0, 1, 2 and 4"),
    ],
)
def test_wrong_volumes_name_the_file(root, kind, function, sentence):
    change(root, kind, function)
    with pytest.raises(InputError, match=sentence):
        brats18(root, 8)


def lay(root, kind, affine, turn=lambda volume: volume, patient="Brats18_TCIA01_103_1"):
    """Writes a volume anew, its voxels in another order and its header accordingly."""
    path = scan(root, kind, patient)
    array = turn(np.asarray(nibabel.load(path).dataobj)).copy()
    nibabel.save(nibabel.Nifti1Image(array, np.array(affine, dtype=float)), path)


def test_volumes_whose_axes_are_in_another_order_are_brought_into_line(root):
    expected = brats18(root, 8, cache=root / "first")
    x, y, _ = SHAPE
    # The same voxels at the same places: x from left to right, and x and z exchanged.
    lay(root, "t1", [[1, 0, 0, 1 - x], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], lambda volume: volume[::-1])
    lay(
        root,
        "seg",
        [[0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
        lambda volume: volume.transpose(2, 1, 0),
    )
    # A whole patient from right to left and from back to front.
    for kind in (*MODALITIES, "seg"):
        flipped = [[1, 0, 0, 1 - x], [0, 1, 0, 1 - y], [0, 0, 1, 0], [0, 0, 0, 1]]
        lay(root, kind, flipped, lambda volume: volume[::-1, ::-1], "Brats18_2013_0_1")
    assert brats18(root, 8, cache=root / "second").digest() == expected.digest()


@pytest.mark.parametrize("kind", ["t2", "seg"])
def test_volumes_that_lie_elsewhere_are_refused_by_name(root, refused, kind):
    lay(root, kind, [[-1, 0, 0, 0.05], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # rounded
    brats18(root, 8)
    lay(root, kind, [[-1, 0, 0, 3], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with refused(f"_103_1_{kind}.nii.gz' lies up to 3 mm from Brats18_TCIA01_103_1_flair.nii.gz", "register"):
        brats18(root, 8)


def test_labels_that_were_scaled_are_the_nearest_whole_numbers(root):
    expected = brats18(root, 8)
    change(root, "seg", lambda labels: labels.astype(np.float32) + 4e-4 * (labels == 4) - 4e-4 * (labels == 2))
    assert brats18(root, 8).digest() == expected.digest()


@pytest.mark.parametrize("length", [0, 10, 100, -1, -9])
@pytest.mark.parametrize("kind", ["t1ce", "seg"])
def test_a_truncated_volume_names_the_file(root, kind, length):
    path = scan(root, kind)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=f"_103_1_{kind}.nii.gz' cannot be read"):
        brats18(root, 8)


def test_a_damaged_volume_is_noticed_by_its_checksum_or_header(root):
    path = scan(root, "t1")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"_103_1_t1.nii.gz' cannot be read"):
        brats18(root, 8)
    plain = path.with_suffix("")
    volume = nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.int16), np.eye(4))
    header = bytearray(volume.to_bytes())
    header[42:48] = b"\xff\x7f" * 3  # dimensions of 32,767 voxels each
    plain.write_bytes(header)
    with pytest.raises(InputError, match=r"its header announces 7036\d+ bytes"):
        read_volume(plain)


@pytest.mark.parametrize("kind", [*MODALITIES, "seg"])
def test_a_missing_volume_names_the_file(root, kind):
    scan(root, kind).unlink()
    with pytest.raises(InputError, match=rf"There is no file .*_103_1_{kind}.nii.gz'; a patient has"):
        brats18(root, 8)


def test_a_patient_in_two_places_is_refused(root):
    training = root / "MICCAI_BraTS_2018_Data_Training"
    shutil.copytree(training / "HGG" / "Brats18_TCIA01_103_1", training / "LGG" / "Brats18_TCIA01_103_1")
    with pytest.raises(InputError, match=r"Brats18_TCIA01_103_1 is in .*HGG.* and in .*LGG"):
        brats18(root, 8)


def test_a_patient_under_two_names_is_refused(root):
    training = root / "MICCAI_BraTS_2018_Data_Training" / "HGG"
    copy = training / "Brats18_CBICA_AAB_1"
    shutil.copytree(training / "Brats18_TCIA01_103_1", copy)
    for path in list(copy.iterdir()):
        path.rename(copy / path.name.replace("Brats18_TCIA01_103_1", "Brats18_CBICA_AAB_1"))
    for _ in range(2):  # from the files, and from the cache
        with pytest.raises(InputError, match="have the same FLAIR volume"):
            brats18(root, 8)


def test_missing_folders_too_few_patients_and_wrong_settings(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*HGG.*MICCAI_BraTS_2018_Data_Training/\{HGG,LGG\}.*register at"):
        brats18(tmp_path)
    write(tmp_path, "HGG", "Brats18_A_1", 0)
    with pytest.raises(InputError, match=r"no folder .*LGG"):
        brats18(tmp_path)
    write(tmp_path, "LGG", "Brats18_B_1", 1)
    with pytest.raises(InputError, match="There are 2 patients"):
        brats18(tmp_path)
    for settings in ({"image_size": 0}, {"brain": 0}, {"brain": 1.5}, {"every": 0}):
        with pytest.raises(InputError, match=r"whole number from 1|above 0"):
            brats18(tmp_path, **settings)


def test_without_nibabel_the_extra_is_named(root, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("nibabel"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'marl-hpo-env\[medical\]'"):
        brats18(root, 8)


# Real volumes.


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason="the real hippocampus volumes are not beside the repository")
def test_real_volumes_of_the_same_file_format_are_read():
    images = sorted((HIPPOCAMPUS / "images").glob("*.nii.gz"))
    assert images
    dtypes = set()
    for path in images:
        volume, labels = read_volume(path).voxels, read_labels(HIPPOCAMPUS / "labels" / path.name, (0, 1, 2)).voxels
        expected = nibabel.load(path)
        dtypes.add(str(expected.get_data_dtype()))
        assert nibabel.aff2axcodes(expected.affine) == ("R", "A", "S")
        np.testing.assert_array_equal(volume, np.flip(expected.get_fdata(dtype=np.float32), (0, 1)))
        assert volume.shape == labels.shape
        assert set(np.unique(labels)) == {0, 1, 2}
    assert len(dtypes) > 1  # they come as bytes and as floats
    with pytest.raises(InputError, match="has label 2; labels are 0 and 1"):
        read_labels(HIPPOCAMPUS / "labels" / images[0].name, (0, 1))


@pytest.mark.skipif(not HIPPOCAMPUS.is_dir(), reason="the real hippocampus volumes are not beside the repository")
def test_real_volumes_in_the_official_layout_become_slices(tmp_path):
    """One real volume stands for all modalities; labels 1 and 2 are oedema and core here."""
    for i, path in enumerate(sorted((HIPPOCAMPUS / "images").glob("*.nii.gz"))[:6]):
        name = f"Brats18_real_{i}_1"
        folder = tmp_path / "MICCAI_BraTS_2018_Data_Training" / ("HGG", "LGG")[i % 2] / name
        folder.mkdir(parents=True)
        for kind in MODALITIES:
            os.symlink(path, folder / f"{name}_{kind}.nii.gz")
        os.symlink(HIPPOCAMPUS / "labels" / path.name, folder / f"{name}_seg.nii.gz")
    data = brats18(tmp_path, 32, every=1)
    inputs, targets = (torch.cat(both) for both in zip(*data.splits().values(), strict=True))
    assert inputs.abs().mean() < 2
    assert 0.01 < targets[:, 0].mean() < 0.5
    assert not targets[:, 2].any()


class TestConformance(DataConformance):
    @pytest.fixture(autouse=True)
    def _files(self, root):
        self.root = root

    def make(self):
        return brats18(self.root, image_size=24)
