"""The command `marl-hpo predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.command_line import path_option
from marl_hpo_env import InputError, first_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from marl_hpo_env.networks.saved import About

SavedNetwork = Annotated[Path, typer.Argument(help="A network.safetensors that `marl-hpo tune` or `fit` wrote.")]
SavedModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="What the network was made of, as in `tune`; code of your own is imported only where it is named here.",
        show_default="the one that the file names, if it is torchvision's",
    ),
]


def predict(
    network: SavedNetwork,
    photos: Annotated[list[Path], typer.Argument(help="Image files.")],
    model: SavedModel = None,
    out: Annotated[
        Path | None, path_option(help="Where predicted masks are written.", show_default="beside each photo")
    ] = None,
) -> None:
    """Say what a tuned network sees in photos: class, labels or values, a line per photo; or write masks, a PNG per photo."""
    from experiments.commands.own_network import load_saved
    from marl_hpo_env.data.folders import expanded
    from marl_hpo_env.data.images import ImageReading

    loaded, about = load_saved(expanded(network), model)
    if about.image_size is None or about.kind is None:
        raise InputError(
            f"The network in {str(network)!r} does not say how photos become its inputs; networks of `tune` and `fit` "
            "do, where these read photos from a folder."
        )
    reading = ImageReading(about.image_size, about.bits, about.mean, about.deviation)
    for photo in map(expanded, photos):
        scores = _scores(loaded, reading.input(photo), about)
        if about.kind == "masks":
            typer.echo(f"{photo}: {_write_mask(photo, scores, out)}")
        else:
            typer.echo(f"{photo}: {said(scores, about)}")


def _scores(network: nn.Module, image: torch.Tensor, about: About) -> torch.Tensor:
    """What a network gives for one image: shape (outputs,), or (planes, h, w) for masks.

    Raises:
        InputError: if it takes other inputs, or gives something else than the file says.
    """
    import torch

    from marl_hpo_env.training.scoring import own_output

    try:
        with torch.inference_mode():
            (scores,) = own_output(network(image))
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The network cannot take images of shape {tuple(image.shape[1:])}: {first_line(error)}."
        ) from error
    fits = scores.dim() == (3 if about.kind == "masks" else 1) and len(about.class_names) <= len(scores)
    if not fits or (about.kind == "values" and len(about.value_mean) not in (0, len(scores))):
        raise InputError(
            f"The network gives outputs of shape {tuple(scores.shape)}, which are not the {about.kind} of its file."
        )
    return scores


def said(scores: torch.Tensor, about: About) -> str:
    """What a network's outputs for one photo mean, in words.

    Args:
        scores: shape (outputs,).
        about: what they are.
    """
    import torch

    from marl_hpo_env.training.scoring import Units

    names = _names(about, len(scores))
    if about.kind == "classes":
        shares = scores.softmax(0)
        best = int(shares.argmax())
        return f"{names[best]} {shares[best]:.1%}"
    if about.kind == "labels":
        there = [f"{name} {share:.1%}" for name, share in zip(names, scores.sigmoid(), strict=True) if share >= 0.5]
        return ", ".join(there) or "none of the labels"
    if about.value_mean:
        scores = Units(torch.tensor(about.value_mean), torch.tensor(about.value_deviation)).own(scores)
    return ", ".join(f"{name} {value:.4g}" for name, value in zip(names, scores.tolist(), strict=True))


def _names(about: About, count: int) -> Sequence[str]:
    """Of each output. A network may have more than the data had classes."""
    one = {"classes": "class", "labels": "label", "values": "value"}[str(about.kind)]
    return [*about.class_names, *(f"{one} {number}" for number in range(len(about.class_names), count))]


def _write_mask(photo: Path, scores: torch.Tensor, folder: Path | None) -> Path:
    """Writes a PNG of the photo's size: white where the plane is; of several planes the number of the highest, from 1.

    Args:
        photo: whose mask.
        scores: shape (planes, h, w); above 0 is inside.
        folder: made where absent; None for the photo's own.
    """
    from PIL import Image, ImageOps

    highest, plane = scores.max(0)
    inside = (highest > 0) * (255 if len(scores) == 1 else plane + 1)
    with Image.open(photo) as file:
        size = ImageOps.exif_transpose(file).size
    mask = Image.fromarray(inside.byte().numpy()).resize(size, Image.Resampling.NEAREST)
    if len(scores) > 1:
        mask.putpalette([channel for number in range(256) for channel in _colour(number)])
    path = (folder or photo.parent) / f"{photo.stem}-mask.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    mask.save(path)
    return path


def _colour(number: int) -> tuple[int, int, int]:
    """Of a plane, from 1; black for none: neighbours differ much."""
    import colorsys

    if number == 0:
        return 0, 0, 0
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618 % 1, 0.8, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
