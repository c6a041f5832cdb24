"""The command `marl-hpo export`."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.command_line import path_option
from experiments.commands.predict import SavedModel, SavedNetwork
from marl_hpo_env import InputError, first_line

if TYPE_CHECKING:
    import torch
    from torch import nn

    from marl_hpo_env.networks.saved import About

TOLERANCE = 1e-4
"""Of the outputs of an exported network, relative to the largest of its own."""

_TRIED = 3
"""Examples that both are given; another number than it is exported with."""


def export(
    network: SavedNetwork,
    onnx: Annotated[Path, path_option("--onnx", metavar="FILE", help="The ONNX file to write.")],
    model: SavedModel = None,
) -> None:
    """Write a tuned network as ONNX, for any number of images at once, and compare what both give (extra `onnx`)."""
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise InputError(
            "ONNX needs the packages 'onnx' and 'onnxscript'; install them: pip install 'marl-hpo-env[onnx]'."
        )
    import torch

    from experiments.commands.own_network import load_saved
    from marl_hpo_env.data.folders import expanded
    from marl_hpo_env.networks.saved import read_about

    network = expanded(network)
    loaded, about = load_saved(network, model)
    _, inputs = read_about(network)
    generator = torch.Generator().manual_seed(0)
    tried = [torch.rand((_TRIED, *x.shape[1:]), generator=generator).to(x.dtype) for x in inputs]
    write_onnx(loaded, tuple(x[:2] for x in tried), about, onnx)
    runtime, difference = compared(loaded, tried, onnx)
    verdict = (
        f"for {_TRIED} random inputs {runtime} gives what the network gives, to {difference:.1e} of its largest output"
    )
    if difference > TOLERANCE:
        raise InputError(f"The file {str(onnx)!r} is written, but {verdict}, beyond {TOLERANCE:g}; do not use it.")
    typer.echo(f"{onnx}: {verdict}.")


def write_onnx(network: nn.Module, examples: tuple[torch.Tensor, ...], about: About, path: Path) -> None:
    """Writes a network as ONNX, with what is said about it as its metadata.

    Args:
        network: in evaluation mode.
        examples: two of each input; the file takes any number.
        about: as JSON under `about`.
        path: of the file.

    Raises:
        InputError: if torch cannot export it, or the file not be written.
    """
    import onnx
    import torch

    from marl_hpo_env.files import whole_file

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            shapes: Any = tuple({0: torch.export.Dim.DYNAMIC} for _ in examples)
            program: Any = torch.onnx.export(network, examples, dynamo=True, verbose=False, dynamic_shapes=shapes)
    except Exception as error:  # whatever torch makes of a module
        raise InputError(f"The network cannot be exported as ONNX: {first_line(error)}.") from error
    proto = program.model_proto
    onnx.helper.set_model_props(
        proto, {"about": json.dumps({name: value for name, value in asdict(about).items() if value})}
    )
    with whole_file(path) as partial:
        onnx.save(proto, str(partial))


def compared(network: nn.Module, inputs: list[torch.Tensor], path: Path) -> tuple[str, float]:
    """What reads an ONNX file, ONNX Runtime or where it is not installed ONNX's own reference; and how far the outputs are from
    the network's, relative to its largest.

    Raises:
        InputError: if the file cannot be run.
    """
    import numpy as np
    import onnx
    import torch

    from marl_hpo_env.training.scoring import own_output

    with torch.inference_mode():
        expected = own_output(network(*inputs)).numpy()
    named = [x.name for x in onnx.load(str(path)).graph.input]
    given = {name: x.numpy() for name, x in zip(named, inputs, strict=True)}
    try:
        if find_spec("onnxruntime") is not None:
            import onnxruntime

            runtime = "ONNX Runtime"
            first, *_ = onnxruntime.InferenceSession(str(path)).run(None, given)
        else:
            from onnx.reference import ReferenceEvaluator

            runtime = "ONNX's reference"
            first, *_ = ReferenceEvaluator(str(path)).run(None, given)
    except Exception as error:  # whatever a runtime does not know
        raise InputError(f"The file {str(path)!r} is written, but cannot be run: {first_line(error)}.") from error
    return runtime, float(np.abs(first - expected).max() / (np.abs(expected).max() or 1.0))
