"""BraTS'18: brain scans of four modalities with segmented tumours, cut into axial slices.

The layout is that of the challenge (https://www.med.upenn.edu/sbia/brats2018/data.html):
`MICCAI_BraTS_2018_Data_Training/{HGG,LGG}/<patient>/<patient>_{flair,t1,t1ce,t2,seg}.nii.gz`, 285 patients.

The paper is silent on everything between these files and the U-Net. Ours are: the normalisation, which slices are kept, the
crop and scale, the three target planes, and the division of patients.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import itertools
import os
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import interpolate

from marl_hpo_env.data.cache import can_keep, kept_or_made
from marl_hpo_env.data.folders import expanded
from marl_hpo_env.data.parts import HELD_OUT_FRACTION, drawn, part_of
from marl_hpo_env.data.splits import Data, Examples
from marl_hpo_env.errors import InputError, whole_number

MODALITIES = ("flair", "t1", "t1ce", "t2")
LABELS = (0, 1, 2, 4)  # background, necrotic and non-enhancing core, oedema, enhancing tumour
REGIONS = {"whole tumour": (1, 2, 4), "tumour core": (1, 4), "enhancing tumour": (4,)}  # what the challenge scores
CROP = 0.8  # of the shorter side: 192 of BraTS's 240 pixels
_ROUNDED = 1e-3  # from a whole number, as tools that scale labels leave them
_APART = 0.1  # mm between the corners of two volumes that are registered: what headers are rounded by
CACHE_VERSION = 2  # to be raised with every change of what `_cut` returns

_TRAINING = "MICCAI_BraTS_2018_Data_Training"
_GET = "register at https://www.med.upenn.edu/sbia/brats2018/data.html and unpack the training data"


@dataclass(frozen=True)
class Cut:
    """How volumes become slices.

    Args:
        image_size: height and width of a slice in pixels.
        brain: smallest share of a slice's pixels (0..1) that are non-zero in some modality for it to be kept.
        every: one in so many of these slices is kept.
    """

    image_size: int
    brain: float
    every: int

    def __post_init__(self) -> None:
        whole_number("image size", self.image_size, 1)
        if not 0 < self.brain <= 1:
            raise InputError(f"The share of brain in a slice is {self.brain}; it is above 0 and at most 1.")
        whole_number("number of slices of which one is kept", self.every, 1)


class Slices(NamedTuple):
    """One patient's slices.

    Attributes:
        images: float16, shape (n, 4, image_size, image_size), in the order of `MODALITIES`.
        labels: uint8, shape (n, image_size, image_size).
        digest: of the first modality's whole volume, which tells whether two patients are one.
    """

    images: np.ndarray
    labels: np.ndarray
    digest: str


def brats18(
    root: Path | str, image_size: int = 128, brain: float = 0.05, every: int = 3, cache: Path | str | None = None
) -> Data:
    """Axial slices with the three tumour regions that BraTS scores, divided by patient into 70%, 15% and 15%.

    Each volume is normalised over its non-zero voxels to mean 0 and deviation 1; zero, which is outside the skull, stays 0.
    Slices are cropped to the central square of `CROP` of the shorter side and scaled to `image_size`. The division is always
    the same, with both grades in proportion; scans of one patient at several times stay together.

    One slice takes 0.46 MB of memory at 128 pixels: about 5 GB for the whole data set, or 15 GB with `every=1` (neighbouring
    slices lie 1 mm apart and differ little). The first reading takes minutes; later ones use the cache.

    Args:
        root: holds `MICCAI_BraTS_2018_Data_Training`, or is that folder.
        image_size: height and width of a slice in pixels.
        brain: smallest share of a slice's pixels (0..1) that are non-zero in some modality for it to be kept.
        every: one in so many of these slices is kept.
        cache: folder for the slices; without, `brats18_slices` in `root`. A patient is cut anew when a file of theirs, a
            setting here or the code has changed, or the cached file is broken.

    Returns:
        Inputs of shape (n, 4, image_size, image_size), channels FLAIR, T1, T1 with contrast, T2; targets of shape (n, 3,
        image_size, image_size), planes whole tumour (labels 1, 2, 4), tumour core (1, 4), enhancing tumour (4).

    Raises:
        InputError: if the folders are not there, a file is missing or cannot be read, volumes of a patient differ in shape
            or lie apart, a label is none of 0, 1, 2 and 4, a patient is in two places, or nibabel is not installed.
    """
    root = expanded(root)
    cut = Cut(image_size, brain, every)
    parts = _divided(_patients(root))
    cache_folder = expanded(root / "brats18_slices" if cache is None else cache)
    notes = []
    if not can_keep(cache_folder):
        notes.append(f"The slices are not kept for the next time, since {str(cache_folder)!r} cannot be written to.")
    seen: dict[str, str] = {}
    train, validation, test = (_read(part, cache_folder, cut, seen) for part in parts)
    count = sum(len(inputs) for inputs, _ in (train, validation, test))
    notes.append(
        f"{count} axial slices of {len(seen)} scans are used: one in {every} of those with brain on at least {brain:.0%} of "
        "their pixels."
    )
    return Data(train, validation, test, tuple(notes))


class Volume(NamedTuple):
    """A NIfTI-1 volume.

    Attributes:
        voxels: float32 of three dimensions; from right to left, from front to back and upwards, as BraTS's files, where the
            file says how it lies.
        affine: where each voxel lies, shape (4, 4).
    """

    voxels: np.ndarray
    affine: np.ndarray


def read_volume(path: Path) -> Volume:
    """A NIfTI-1 volume, gzipped or not; a gzipped one is checked against its checksum.

    Raises:
        InputError: if it is truncated, broken, not three-dimensional or not finite, or nibabel is not installed.
    """
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
        from nibabel.wrapstruct import WrapStructError
    except ImportError as error:
        raise InputError(
            "Reading BraTS'18 needs nibabel; install it with `pip install 'marl-hpo-env[medical]'`."
        ) from error
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        image = nibabel.Nifti1Image.from_bytes(content)
        shape = image.shape
        needed = int(np.prod([max(length, 0) for length in shape], dtype=object)) * image.get_data_dtype().itemsize
        if needed > len(content):  # a broken header must not make us ask for terabytes
            raise ValueError(f"its header announces {needed} bytes of voxels, the file has {len(content)} in all")
        if len(shape) == 3 and (image.header["qform_code"] or image.header["sform_code"]):
            as_brats = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
            lies = nibabel.io_orientation(image.affine)
            image = image.as_reoriented(nibabel.orientations.ornt_transform(lies, as_brats))
        volume = np.asarray(image.dataobj, dtype=np.float32)
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
        OverflowError,
        ImageFileError,
        HeaderDataError,
        WrapStructError,
    ) as error:
        raise InputError(f"The volume {str(path)!r} cannot be read ({error}); unpack it again.") from error
    if volume.ndim != 3 or volume.size == 0:
        raise InputError(f"The volume {str(path)!r} has shape {volume.shape}; a volume has three dimensions.")
    if not np.isfinite(volume).all():
        raise InputError(f"The volume {str(path)!r} has voxels that are not finite numbers; unpack it again.")
    return Volume(volume, image.affine)


def read_labels(path: Path, allowed: Sequence[int] = LABELS) -> Volume:
    """A NIfTI-1 volume of labels, its voxels uint8; what is within 0.001 of a label is that.

    Raises:
        InputError: as `read_volume`, and if a label is not among those allowed.
    """
    volume, affine = read_volume(path)
    there = np.unique(volume)
    labels = np.rint(there)
    wrong = there[(np.abs(there - labels) > _ROUNDED) | ~np.isin(labels, allowed)]
    if len(wrong):
        *most, last = (str(label) for label in allowed)
        newer = "; BraTS 2023 has 3 where BraTS'18 has 4" if wrong[0] == 3 and 4 in allowed else ""
        raise InputError(
            f"The volume {str(path)!r} has label {wrong[0]:g}; labels are {', '.join(most)} and {last}{newer}."
        )
    return Volume(np.rint(volume).astype(np.uint8), affine)


def _patients(root: Path) -> list[Path]:
    """The patients' folders, each with all its files."""
    training = root / _TRAINING if (root / _TRAINING).is_dir() else root
    patients: dict[str, Path] = {}
    for grade in ("HGG", "LGG"):
        if not (training / grade).is_dir():
            raise InputError(
                f"There is no folder {str(training / grade)!r}; expected is {_TRAINING}/{{HGG,LGG}} in {str(root)!r}: {_GET}."
            )
        for folder in sorted((training / grade).iterdir()):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            if folder.name in patients:
                raise InputError(
                    f"The patient {folder.name} is in {str(patients[folder.name])!r} and in {str(folder)!r}; keep one of them, "
                    "so that test data stay apart."
                )
            patients[folder.name] = folder
    for folder in patients.values():
        _files(folder)
    return list(patients.values())


def _files(patient: Path) -> list[Path]:
    """The four modalities and the segmentation; unpacked `.nii` files are taken too."""
    files = []
    for name in (*MODALITIES, "seg"):
        path = patient / f"{patient.name}_{name}.nii.gz"
        found = next((one for one in (path, path.with_suffix("")) if one.is_file()), None)
        if found is None:
            raise InputError(
                f"There is no file {str(path)!r}; a patient has flair, t1, t1ce, t2 and seg: {_GET} again."
            )
        files.append(found)
    return files


def _divided(patients: list[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """The folders for training, validation and test: no patient in two of them, and both grades in each in proportion."""
    scans: dict[str, list[Path]] = {}
    for folder in patients:
        scans.setdefault(re.sub(r"_\d+$", "", folder.name), []).append(
            folder
        )  # the last number counts a patient's scans
    if len(scans) < 3:
        raise InputError(
            f"There are {len(scans)} patients; to divide them for training, validation and test takes three."
        )
    generator = torch.Generator().manual_seed(0)
    ranked: list[tuple[float, list[Path]]] = []
    for grade in ("HGG", "LGG"):
        members = [folders for folders in scans.values() if folders[0].parent.name == grade]
        (order,) = drawn(len(members), [], generator)
        ranked += [((rank + 0.5) / len(members), members[i]) for rank, i in enumerate(order.tolist())]
    ranked.sort(key=lambda item: item[0])
    size = part_of(len(ranked), HELD_OUT_FRACTION)
    validation, test, train = (
        [folder for _, folders in part for folder in folders]
        for part in (ranked[:size], ranked[size : 2 * size], ranked[2 * size :])
    )
    return train, validation, test


def _read(patients: list[Path], cache: Path, cut: Cut, seen: dict[str, str]) -> Examples:
    """The slices of some patients; `seen` gathers every volume's digest with its patient."""
    # More threads than these would hold more volumes at once than most machines have memory for.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        slices = list(pool.map(functools.partial(_cached, cache=cache, cut=cut), patients))
    for folder, one in zip(patients, slices, strict=True):
        if one.digest in seen:
            raise InputError(
                f"The patients {seen[one.digest]} and {folder.name} have the same FLAIR volume; keep one of them, so that "
                "test data stay apart."
            )
        seen[one.digest] = folder.name
    images = torch.from_numpy(np.concatenate([one.images for one in slices], dtype=np.float32))
    labels = torch.from_numpy(np.concatenate([one.labels for one in slices]))
    regions = [torch.isin(labels, torch.tensor(values, dtype=torch.uint8)) for values in REGIONS.values()]
    return images, torch.stack(regions, dim=1).float()


def _cached(patient: Path, cache: Path, cut: Cut) -> Slices:
    """A patient's slices from the cache, or cut anew and kept there."""
    settings = [CACHE_VERSION, CROP, *astuple(cut)]
    arrays = kept_or_made(cache / patient.name, settings, _files(patient), lambda: _cut(patient, cut)._asdict())
    return Slices(arrays["images"], arrays["labels"], str(arrays["digest"]))


def _cut(patient: Path, cut: Cut) -> Slices:
    """Reads, normalises and slices a patient's volumes. The last axis is the axial one."""
    *paths, labels_path = _files(patient)
    read = [*(read_volume(path) for path in paths), read_labels(labels_path)]
    for path, (voxels, affine) in zip((*paths[1:], labels_path), read[1:], strict=True):
        if voxels.shape != read[0].voxels.shape:
            raise InputError(
                f"The volume {str(path)!r} has shape {voxels.shape} and {paths[0].name} {read[0].voxels.shape}; the volumes of a "
                "patient have one shape."
            )
        corners = np.array([*itertools.product(*((0, length) for length in voxels.shape), [1])])
        apart = float(np.abs(corners @ (affine - read[0].affine).T).max())
        if not apart <= _APART:
            raise InputError(
                f"The volume {str(path)!r} lies up to {apart:.3g} mm from {paths[0].name} by its header; register the volumes of "
                "a patient to one another."
            )
    *volumes, labels = (one.voxels for one in read)
    inside = functools.reduce(np.logical_or, (volume != 0 for volume in volumes))
    chosen_slices = np.flatnonzero(inside.mean(axis=(0, 1)) >= cut.brain)[:: cut.every]
    if len(chosen_slices) == 0:
        raise InputError(
            f"No axial slice in {str(patient)!r} has brain on {cut.brain:.0%} of its pixels; take a smaller share."
        )
    digest = hashlib.sha256(np.ascontiguousarray(volumes[0]).tobytes()).hexdigest()
    channels = [_normalised(volume, chosen_slices, path) for volume, path in zip(volumes, paths, strict=True)]
    height, width = volumes[0].shape[1], volumes[0].shape[0]
    side = max(1, round(CROP * min(height, width)))
    top, left = (height - side) // 2, (width - side) // 2

    def square(array: np.ndarray, mode: str) -> torch.Tensor:
        """From (channels, x, y, n) to (n, channels, image_size, image_size), y downwards."""
        planes = torch.from_numpy(array).permute(3, 0, 2, 1)[..., top : top + side, left : left + side].float()
        return interpolate(planes, (cut.image_size, cut.image_size), mode=mode, antialias=mode == "bilinear")

    images = square(np.stack(channels), "bilinear").half().numpy()
    return Slices(images, square(labels[None, :, :, chosen_slices], "nearest-exact")[:, 0].byte().numpy(), digest)


def _normalised(volume: np.ndarray, chosen_slices: np.ndarray, path: Path) -> np.ndarray:
    """Some slices, with mean 0 and deviation 1 over the non-zero voxels of the whole volume; the others stay 0."""
    values = volume[volume != 0].astype(np.float64)
    deviation = values.std() if values.size else 0.0
    if deviation == 0:
        raise InputError(f"The volume {str(path)!r} has no two different voxels in the brain; unpack it again.")
    slices = volume[:, :, chosen_slices]
    return np.where(slices != 0, (slices - values.mean()) / deviation, 0).astype(np.float32)
