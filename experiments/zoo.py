"""Which networks of the public model zoos `TunableNetwork` takes: `python -m experiments.zoo`.

Every network is tried in a process of its own, with limits on time and memory, and without weights from the network: is every
layer found, is `build(None)` the original to the bit, do random designs build, and do they train? Each outcome is a line of
`zoo.csv`, so that a sweep that was stopped continues; `report.md` counts them by zoo and by reason.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import dataclasses
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from torch import nn
from torch.nn.modules.conv import _ConvNd

from experiments.command_line import Jobs, new_app, path_option, run_command
from experiments.progress import progress_bar
from experiments.provenance import cores, machine, measured_by, software
from experiments.text_tables import markdown_section
from marl_hpo_env import Design, InputError, TunableNetwork

app = new_app()

SECONDS = 120.0
"""A network that takes longer is given up."""

MEMORY_GB = 6.0
"""A network whose process holds more is given up."""

LARGEST = 60_000_000
"""A network of more parameters is only tried on the meta device."""

MOST_LETTERS = 400
"""Of a line that was raised."""

DESIGNS = 5
"""Random designs of a network that are built, on the meta device."""

TRAINED = 2
"""As many of them are trained for a step."""


# --- the networks ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """A network of a zoo.

    Args:
        zoo: a key of `PACKAGES`.
        name: unique within the zoo.
        family: networks that differ in size only have one.
        make: makes it, with fresh weights.
        shapes: of its inputs, without the batch.
        meta: whether it is only tried on the meta device.
    """

    zoo: str
    name: str
    family: str
    make: Callable[[], nn.Module]
    shapes: Sequence[Sequence[int]] = ((3, 64, 64),)
    meta: bool = False

    @property
    def key(self) -> str:
        """Its name among all zoos."""
        return f"{self.zoo}/{self.name}"


PACKAGES = {
    "torchvision": "torchvision",
    "timm": "timm",
    "pytorchcv": "pytorchcv",
    "smp": "segmentation_models_pytorch",
    "monai": "monai",
}
"""By zoo, the package that it is imported from."""

TORCHVISION = {
    "alexnet": "alexnet",
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet_b": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_s",
    "googlenet": "googlenet",
    "inception": "inception_v3",
    "mnasnet": "mnasnet0_5",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3_small",
    "regnet_x": "regnet_x_400mf",
    "regnet_y": "regnet_y_400mf",
    "resnet": "resnet18",
    "resnext": "resnext50_32x4d",
    "shufflenet_v2": "shufflenet_v2_x0_5",
    "squeezenet": "squeezenet1_1",
    "vgg": "vgg11_bn",
    "wide_resnet": "wide_resnet50_2",
    "deeplabv3_mobilenet": "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet": "deeplabv3_resnet50",
    "fcn": "fcn_resnet50",
    "lraspp": "lraspp_mobilenet_v3_large",
    "mc3": "mc3_18",
    "r2plus1d": "r2plus1d_18",
    "r3d": "r3d_18",
    "s3d": "s3d",
}
"""By how the names of a family begin, the network of it that is trained; the others are tried on the meta device."""

TIMM = """
    cs3darknet_s cspdarknet53 cspresnet50 convmixer_768_32 convnext_atto convnextv2_atto darknet53 densenet121 dla46_c
    dpn48b eca_nfnet_l0 ecaresnet26t efficientnet_b0 efficientnetv2_rw_t ese_vovnet19b_slim fasternet_t0 fbnetc_100
    fbnetv3_b focalnet_tiny_srf gcresnext26ts gernet_s ghostnet_050 ghostnetv2_100 hardcorenas_a hgnetv2_b0
    hrnet_w18_small inception_next_atto inception_resnet_v2 inception_v4 lcnet_035 legacy_seresnet18 legacy_xception
    mambaout_femto mixnet_s mnasnet_small mobilenetv1_100 mobilenetv2_050 mobilenetv3_small_050 mobilenetv4_conv_small_035
    mobileone_s0 nf_regnet_b0 nf_resnet26 poolformer_s12 rdnet_tiny regnetx_002 regnety_002 regnetz_005 repghostnet_050
    repvgg_a0 repvit_m0_9 res2net50_14w_8s resnest14d resnet18 resnetv2_18 resnetv2_50x1_bit rexnet_100 selecsls42
    skresnet18 starnet_s1 xception41
"""
"""A small network of each convolutional family."""

PYTORCHCV = """
    densenet100_k12_bc densenet40_k12 densenet40_k12_bc diapreresnet164bn diapreresnet20 diaresnet164bn diaresnet20
    fractalnet msdnet22 nin preresnet164bn preresnet20 pyramidnet110_a48 resdropresnet20 resnet164bn resnet20
    resnext20_16x4d resnext29_32x4d rir ror3_56 sepreresnet164bn sepreresnet20 seresnet164bn seresnet20 shakedropresnet20
    shakeshakeresnet20_2x16d wrn16_10 wrn20_10_1bit wrn20_10_32bit xdensenet40_2_k24_bc
"""
"""Networks for CIFAR-10; their names end in `_cifar10`."""

SMP = ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet")
ENCODERS = ("resnet18", "efficientnet-b0", "mobilenet_v2")

_SIZE = r"((?<!v)\d+[a-z]{0,2}(?=_|$)|_([a-z]{0,2}\d\w*|atto|femto|tiny|small|slim|srf|[a-z]))+$"
"""What of a network's name is not its family's."""


@cache
def networks_of(zoo: str) -> Mapping[str, Network]:
    """The networks of a zoo that are tried, by their key; making one imports the zoo."""
    of_zoo = {"torchvision": _torchvision, "timm": _timm, "pytorchcv": _pytorchcv, "smp": _smp, "monai": _monai}
    return {network.key: network for network in of_zoo[zoo]()}


def networks() -> dict[str, Network]:
    """Every network that is tried, by its key."""
    return {key: network for zoo in PACKAGES for key, network in networks_of(zoo).items()}


def _torchvision() -> Iterator[Network]:
    models = importlib.import_module("torchvision.models")
    shapes = {"inception": (3, 299, 299), "s3d": (3, 16, 224, 224)}  # nothing smaller fits
    for part, usual in ((models, (3, 64, 64)), (models.segmentation, (3, 64, 64)), (models.video, (3, 8, 64, 64))):
        for name in models.list_models(module=part):
            family = max((start for start in TORCHVISION if name.startswith(start)), key=len, default=None)
            if family is not None:  # else a transformer
                weights = {"weights": None} | ({"weights_backbone": None} if part is models.segmentation else {})
                make = partial(_made, "torchvision.models", "get_model", name, **weights)
                shape = shapes.get(family, usual)
                yield Network("torchvision", name, family, make, (shape,), meta=name != TORCHVISION[family])


def _timm() -> Iterator[Network]:
    for name in TIMM.split():
        make = partial(_made, "timm", "create_model", name, pretrained=False)
        yield Network("timm", name, re.sub(_SIZE, "", name), make, ((3, 96, 96),))


def _pytorchcv() -> Iterator[Network]:
    for name in PYTORCHCV.split():
        make = partial(_made, "pytorchcv.model_provider", "get_model", f"{name}_cifar10", pretrained=False)
        yield Network("pytorchcv", f"{name}_cifar10", re.sub(_SIZE, "", name), make, ((3, 32, 32),))


def _smp() -> Iterator[Network]:
    for architecture in SMP:
        size = 128 if architecture == "PAN" else 64  # it pools 1/16 of the size three times more
        for encoder in ENCODERS:
            make = partial(_made, "segmentation_models_pytorch", architecture, encoder, encoder_weights=None)
            yield Network("smp", f"{architecture}-{encoder}", architecture, make, ((3, size, size),))


def _monai() -> Iterator[Network]:
    for dimensions, image in ((2, (1, 64, 64)), (3, (1, 32, 32, 32))):
        for name, settings in _monai_settings(dimensions, image).items():
            family = name.partition("-")[0]
            make = partial(_made, "monai.networks.nets", family, **settings)
            shapes = {"Generator": ((16,),), "VoxelMorph": (image, image)}.get(name, (image,))
            yield Network("monai", f"{name}-{dimensions}d", family, make, shapes)
    dense = {"in_channels": 16, "out_channels": 4, "hidden_channels": (32, 16)}
    make = partial(_made, "monai.networks.nets", "FullyConnectedNet", **dense)
    yield Network("monai", "FullyConnectedNet", "FullyConnectedNet", make, ((16,),))


def _monai_settings(n: int, image: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Small settings of MONAI's networks of `n` dimensions, by name, for an image of this shape."""
    one = {"spatial_dims": n, "in_channels": 1}
    io = {**one, "out_channels": 2}
    labels = {**one, "num_classes": 4}
    steps = {"channels": (8, 16, 32), "strides": (2, 2)}
    features = {"features": (8, 8, 16, 32, 64, 8)}
    halved = {"channels": (8, 16, 32), "strides": (2, 2, 2)}
    whole = {**halved, "in_shape": image}
    moved = {**one, "num_channel_initial": 8}
    latent = {"latent_shape": (16,), "start_shape": (16, *(8,) * n)}
    kernels = {"kernel_size": (3, 3, 3), "strides": (1, 2, 2), "upsample_kernel_size": (2, 2)}
    quantized = {"num_res_layers": 1, "channels": (16, 32), "num_res_channels": (16, 32)}
    resampled = {"downsample_parameters": ((2, 4, 1, 1),) * 2, "upsample_parameters": ((2, 4, 1, 1, 0),) * 2}
    planes = {"layers": [1, 1, 1, 1], "block_inplanes": [8, 16, 32, 64], "block": "basic"}
    return {
        "AHNet": {**io, "layers": (1, 1, 1, 1), "psp_block_num": 0},
        "AttentionUnet": {**io, **steps},
        "AutoEncoder": {**io, **halved},
        "BasicUNet": {**io, **features},
        "BasicUNetPlusPlus": {**io, **features},
        "Classifier": {**whole, "classes": 4},
        "DenseNet": {**io, "init_features": 16, "growth_rate": 8, "block_config": (2, 2, 2, 2)},
        "Discriminator": whole,
        "DynUNet": {**io, **kernels, "filters": (8, 16, 32)},
        "EfficientNetBN": {**labels, "model_name": "efficientnet-b0", "pretrained": False},
        "FlexibleUNet": {**io, "backbone": "efficientnet-b0", "decoder_channels": (64, 32, 16, 16, 8)},
        "Generator": {**latent, "channels": (16, 8, 1), "strides": (2, 2, 1)},
        "GlobalNet": {**moved, "image_size": list(image[1:]), "depth": 2},
        "HighResNet": io,
        "LocalNet": {**moved, "extract_levels": (0, 1, 2), "out_channels": n},
        "MedNeXt": {**io, "init_filters": 8, "kernel_size": 3, "blocks_down": (1,) * 4, "blocks_up": (1,) * 4},
        "PatchDiscriminator": {**one, "channels": 8},
        "RegUNet": {**moved, "depth": 2, "out_channels": n},
        "Regressor": {**whole, "out_shape": (2,)},
        "ResNet": {**planes, "spatial_dims": n, "n_input_channels": 1, "num_classes": 4},
        "SEResNet50": {**labels, "layers": (1, 1, 1, 1)},
        "SegResNet": {**io, "init_filters": 8},
        "SegResNetDS": {**io, "init_filters": 8, "dsdepth": 2},
        "SegResNetVAE": {**io, "init_filters": 8, "input_image_size": image[1:], "vae_nz": 16},
        "UNet": {**io, **steps},
        "UNet-residual": {**io, **steps, "num_res_units": 2},
        "VNet": {**io, "dropout_dim": n},
        "VQVAE": {**io, **quantized, **resampled},
        "VarAutoEncoder": {**halved, "spatial_dims": n, "in_shape": image, "out_channels": 1, "latent_size": 8},
        "VoxelMorph": {"spatial_dims": n},
    }


def _made(module: str, function: str, *arguments: Any, **settings: Any) -> nn.Module:
    made: nn.Module = getattr(importlib.import_module(module), function)(*arguments, **settings)
    return made


# --- what comes of one -----------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What came of a network, as the CSV file has it; "-" is what was not come to.

    Args:
        zoo, name, family: of the network.
        parameters: of the original.
        found: its layers that the search space has.
        there: its modules with a convolution's or linear layer's weight that `forward` reaches, less those whose width is the
            network's output.
        equal: whether `build(None)` with the original's weights gives the original's outputs: "yes", "in evaluation" where
            the original's training differs from itself under one seed, or "no".
        built: how many of `DESIGNS` random designs build, on the meta device.
        trained: how many of the first `TRAINED` of them train for a step.
        size: "equal" where `build(None)` has as many parameters as `forward` reaches in the original; else how many more.
        seconds: of the whole process.
        status: "works", or the first thing that fails: "refused: ...", "raised: ...", "silent fault: ...", "timeout ...",
            "memory ..."; or "original fails: ...", which says nothing of `TunableNetwork`.
        more: what else fails, apart from names and numbers: lines.
    """

    zoo: str
    name: str
    family: str
    parameters: str = "-"
    found: str = "-"
    there: str = "-"
    equal: str = "-"
    built: str = "-"
    trained: str = "-"
    size: str = "-"
    seconds: str = "-"
    status: str = "-"
    more: str = ""

    @property
    def reasons(self) -> dict[str, str]:
        """Everything that fails, by what `grouped` makes of it."""
        every = [] if self.status == "works" else [self.status, *self.more.splitlines()]
        return {grouped(text): text for text in reversed(every)}

    @property
    def key(self) -> str:
        """Of its network."""
        return f"{self.zoo}/{self.name}"

    @property
    def kind(self) -> str:
        """The status without its reason."""
        return re.split(r":| while ", self.status)[0]


COLUMNS = [field.name for field in fields(Outcome)]


class SilentFault(Exception):
    """A built network is another one than the original, or does not learn, and nothing said so."""


def examine(network: Network, tell: Callable[[Outcome], None] = lambda _: None) -> Outcome:
    """Tries a network in this process.

    Args:
        network: which.
        tell: is given the outcome so far whenever a new part begins; its status says which.
    """
    return _Examination(network, tell).run()


class _Examination:
    def __init__(self, network: Network, tell: Callable[[Outcome], None]) -> None:
        self.network = network
        self.tell = tell
        self.outcome = Outcome(network.zoo, network.name, network.family)
        self.failures: list[str] = []

    def run(self) -> Outcome:
        with self.judged("the original runs"):
            model, inputs = _original(self.network)
            self.outcome.parameters = str(sum(p.numel() for p in model.parameters()))
            reached = reached_by(model, inputs)
            self.outcome.there = str(len(reached.layers - reached.final))
        if self.failures:
            self.outcome.status = f"original fails: {self.failures[0]}"
            return self.outcome
        with self.judged("it is made tunable"):
            tunable = TunableNetwork(model, inputs if len(inputs) > 1 else inputs[0])
            self.outcome.found = str(sum(layer.name not in reached.final for layer in tunable.space.layers))
        if not self.failures:
            on_meta = inputs[0].device.type == "meta"
            with self.judged("the original is built"):
                built = tunable.build(None, device=inputs[0].device)
                more = sum(p.numel() for p in built.parameters()) - reached.size
                self.outcome.size = f"{more:+}" if more else "equal"
                if not on_meta:
                    self.outcome.equal = "no"
                    self.outcome.equal = compare(model, built, inputs, reached)
            rng = np.random.default_rng(0)
            designs = [tunable.space.sample(rng) for _ in range(DESIGNS)]
            self.outcome.built = str(sum(self._builds(tunable, design) for design in designs))
            if not on_meta:
                self.outcome.trained = str(sum(self._trains(tunable, design, inputs) for design in designs[:TRAINED]))
        first, *others = self.failures or ["works"]
        different = {grouped(text): text for text in reversed(others)}
        different.pop(grouped(first), None)
        self.outcome.status, self.outcome.more = first, "\n".join(reversed(different.values()))
        return self.outcome

    def _builds(self, tunable: TunableNetwork, design: Design) -> bool:
        with self.judged("designs are built"):
            tunable.build(design, device="meta")
            return True
        return False

    def _trains(self, tunable: TunableNetwork, design: Design, inputs: tuple[torch.Tensor, ...]) -> bool:
        with self.judged("designs are trained"):
            torch.manual_seed(0)
            train_a_step(tunable.build(design, device="cpu"), inputs)
            return True
        return False

    @contextlib.contextmanager
    def judged(self, part: str) -> Iterator[None]:
        """Tells that a part begins, and keeps why it fails, if it does."""
        self.outcome.status = f"while {part}"
        self.tell(self.outcome)
        try:
            yield
        except Exception as error:  # whatever it is, it is what was asked for
            self.failures.append(reason(error))


def reason(error: Exception) -> str:
    """A failure in a line: the first sentence of what is refused or a silent fault, else the type and the first line."""
    message = " ".join(str(error).split())
    sentence = re.split(r"(?<=[.!?])\s", message)[0]
    if isinstance(error, SilentFault):
        return f"silent fault: {sentence}"
    if isinstance(error, InputError):
        return f"refused: {sentence}"
    lines = str(error).strip().splitlines() or [""]
    first = " ".join(line.strip() for line in lines[: 1 + lines[0].endswith(":")])
    return f"raised: {type(error).__name__}: {first[:MOST_LETTERS]}"


def _original(network: Network) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network and a batch of 2 for it, on the CPU or the meta device."""
    torch.manual_seed(0)
    try:
        with torch.device("meta" if network.meta else "cpu"):
            model = network.make()
    except NotImplementedError:  # it computes its widths with tensors, as RegNet does
        model = network.make()
    device = "meta" if network.meta or sum(p.numel() for p in model.parameters()) > LARGEST else "cpu"
    generator = torch.Generator().manual_seed(0)
    inputs = (torch.randn(2, *shape, generator=generator).to(device) for shape in network.shapes)
    return model.to(device), tuple(inputs)


class Reached(NamedTuple):
    """What the outputs of a network come from, in training or in evaluation.

    Args:
        modules: names of the modules that are called or own a parameter that is used.
        size: the number of the parameters that are used, or whose module is called and has no parts.
        layers: names of the convolutions and linear layers among those.
        final: names of those among them whose width is the width of an output.
    """

    modules: set[str]
    size: int
    layers: set[str]
    final: set[str]


_OPERANDS = {"ConvolutionBackward0": (0, 1), "AddmmBackward0": (1, 2), "MmBackward0": (0, 1), "LinearBackward0": (0, 1)}
"""By the name of an operation in the autograd graph, where its input and its weight stand."""


def reached_by(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Reached:
    """What the outputs come from, read off the autograd graph: nothing is traced."""
    modules = dict(model.named_modules())
    owners = {id(parameter): name for name, module in modules.items() for parameter in module.parameters(recurse=False)}
    layers = {
        id(module.weight): name
        for name, module in modules.items()
        if isinstance(module, _ConvNd | nn.Linear) and isinstance(getattr(module, "weight", None), nn.Parameter)
    }
    called: set[str] = set()
    used: dict[int, torch.Tensor] = {}
    final: set[str] = set()
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: called.add(name))
        for name, module in modules.items()
    ]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        for training in (True, False):
            outputs = model.train(training)(*inputs)
            starts = [t.grad_fn for _, t in tensors(outputs) if t.grad_fn is not None]
            used |= {id(leaf): leaf for leaf in _leaves(starts)}
            final |= _final(starts, modules, layers)
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in frozen:
            parameter.requires_grad_(False)
    parts = [module for name, module in modules.items() if name in called and not any(module.children())]
    used |= {id(parameter): parameter for part in parts for parameter in part.parameters(recurse=False)}
    of_model = {key: leaf for key, leaf in used.items() if key in owners}
    return Reached(
        called | {owners[key] for key in of_model},
        sum(leaf.numel() for leaf in of_model.values()),
        {layers[key] for key in of_model if key in layers},
        final,
    )


def _leaves(starts: Iterable[Any]) -> Iterator[torch.Tensor]:
    """The leaves of the autograd graph below these operations."""
    seen, waiting = set(), list(starts)
    while waiting:
        operation = waiting.pop()
        if operation is None or operation in seen:
            continue
        seen.add(operation)
        if hasattr(operation, "variable"):
            yield operation.variable
        waiting += [before for before, _ in operation.next_functions]


def _final(starts: Iterable[Any], modules: Mapping[str, nn.Module], layers: Mapping[int, str]) -> set[str]:
    """The layers that these operations come from without another between that sets a width."""
    final: set[str] = set()
    seen, waiting = set(), list(starts)
    while waiting:
        operation = waiting.pop()
        if operation is None or operation in seen:
            continue
        seen.add(operation)
        before = [function for function, _ in operation.next_functions]
        waiting += before
        if operation.name() in _OPERANDS:
            source, weight = (before[place] for place in _OPERANDS[operation.name()])
            names = {layers[id(leaf)] for leaf in _leaves([weight]) if id(leaf) in layers}
            if names:
                del waiting[-len(before) :]
            if any(1 < getattr(modules[name], "groups", 1) == modules[name].in_channels for name in names):
                waiting.append(source)  # a depthwise convolution has its input's width
            else:
                final |= names
    return final


def tensors(outputs: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in what a network returns, with where it stands."""
    if isinstance(outputs, torch.Tensor):
        yield path, outputs
        return
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(outputs, Mapping):
        parts = outputs.items()
    elif isinstance(outputs, tuple | list):
        parts = enumerate(outputs)
    elif dataclasses.is_dataclass(outputs):
        parts = ((field.name, getattr(outputs, field.name)) for field in fields(outputs))
    for key, part in parts:
        yield from tensors(part, f"{path}/{key}")


def compare(model: nn.Module, built: nn.Module, inputs: tuple[torch.Tensor, ...], reached: Reached) -> str:
    """Whether the built network gives the original's outputs with its weights, in training and in evaluation.

    Returns:
        "yes", or "in evaluation" where the original differs from itself in training, under one seed.

    Raises:
        SilentFault: if it does not.
    """
    state = copy.deepcopy(model.state_dict())  # with what it says of its version
    # What forward never reaches need not be built.
    needed = built.state_dict()
    kept = {key: state[key] for key in state if key in needed or key.rpartition(".")[0] in reached.modules}
    built.load_state_dict(kept, strict=True)
    twice = []
    for _ in range(2):
        model.load_state_dict(state)
        twice.append(_outputs(model, inputs, training=True))
    steady = difference(*twice) is None
    if steady:
        _refuse_difference(twice[1], _outputs(built, inputs, training=True), "training")
    else:
        model.load_state_dict(state)
    # After a step of training in both, so that what it leaves behind (running means) is compared too.
    original = _outputs(model, inputs, training=False)
    _refuse_difference(original, _outputs(built, inputs, training=False), "evaluation")
    return "yes" if steady else "in evaluation"


def _outputs(module: nn.Module, inputs: tuple[torch.Tensor, ...], training: bool) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        # Layers that work in place may change their input.
        return module.train(training)(*(x.clone() for x in inputs))


def _refuse_difference(original: Any, built: Any, mode: str) -> None:
    differ = difference(original, built)
    if differ is not None:
        raise SilentFault(f"the outputs differ in {mode}: {differ}")


def difference(one: Any, other: Any) -> str | None:
    """How two networks' outputs differ; None where they are the same to the bit."""
    first, second = dict(tensors(one)), dict(tensors(other))
    if list(first) != list(second):
        return f"{len(first)} tensors at {list(first)} and {len(second)} at {list(second)}"
    for path, tensor in first.items():
        twin = second[path]
        if (tensor.shape, tensor.dtype) != (twin.shape, twin.dtype):
            return f"shapes {tuple(tensor.shape)} and {tuple(twin.shape)}, types {tensor.dtype} and {twin.dtype}"
        if not torch.equal(tensor, twin) and not torch.allclose(tensor, twin, rtol=0, atol=0, equal_nan=True):
            return f"by up to {(tensor - twin).abs().max():.2g}"
    return None


def train_a_step(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Trains a network for a step, on the sum of the means of its outputs.

    Raises:
        SilentFault: if what it computes is not finite.
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    outputs = module.train()(*inputs)
    means = [tensor.mean() for _, tensor in tensors(outputs) if tensor.is_floating_point()]
    loss = torch.stack(means).sum()
    loss.backward()
    optimizer.step()
    if not loss.isfinite() or not all(bool(p.isfinite().all()) for p in module.parameters()):
        raise SilentFault("a design is not finite after a step of training")


# --- each in a process of its own ------------------------------------------------------------------------------------


def command_for(network: Network) -> list[str]:
    """The command that tries a network, and writes the outcome so far, a line of JSON, whenever a new part begins."""
    return [sys.executable, "-m", "experiments.zoo", "--only", network.key]


class _Process:
    def __init__(self, network: Network, command: Sequence[str]) -> None:
        self.network = network
        self.started = time.monotonic()
        one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # which holds more than the few lines that it writes
            stderr=subprocess.DEVNULL,
            env={**os.environ, **one, "HF_HUB_OFFLINE": "1"},
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends it
        )

    def outcome(self, seconds: float, memory_gb: float) -> Outcome | None:
        """What came of it; None while it is at work within its limits."""
        code = self._process.poll()
        taken = time.monotonic() - self.started
        ended = ""
        if code is None:
            if self._held() > memory_gb * 1e9:
                ended = f"memory: more than {memory_gb:g} GB"
            elif taken > seconds:
                ended = f"timeout: more than {seconds:g} s"
            else:
                return None
        lines = self.end().decode().splitlines()
        outcome = Outcome(self.network.zoo, self.network.name, self.network.family, status="while it starts")
        if lines:
            outcome = Outcome(**json.loads(lines[-1]))
        outcome.seconds = f"{taken:.1f}"
        if code != 0:
            outcome.status = f"{ended or f'raised: its process ends with code {code}'} {outcome.status}"
        return outcome

    def end(self) -> bytes:
        """Ends it at once, if it has not ended; returns what it wrote."""
        self._process.kill()
        return self._process.communicate()[0]

    def _held(self) -> float:
        """The memory that it holds, in bytes; 0 where the system does not say."""
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0.0
        held = re.search(r"VmRSS:\s*(\d+) kB", status)
        return 1024.0 * int(held[1]) if held else 0.0


def outcomes(
    chosen: Sequence[Network],
    jobs: int,
    seconds: float = SECONDS,
    memory_gb: float = MEMORY_GB,
    command: Callable[[Network], Sequence[str]] = command_for,
) -> Iterator[Outcome]:
    """Tries networks, each in a process of its own; the outcomes come as they are there.

    Args:
        chosen: which.
        jobs: processes side by side.
        seconds: each may take.
        memory_gb: each may hold.
        command: what tries one.
    """
    waiting = list(reversed(chosen))
    running: list[_Process] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_Process(waiting[-1], command(waiting.pop())))
            time.sleep(0.05)
            for process in list(running):
                outcome = process.outcome(seconds, memory_gb)
                if outcome is not None:
                    running.remove(process)
                    yield outcome
    finally:
        for process in running:
            process.end()


class Results:
    """The outcomes of a folder, by the key of their network.

    Args:
        folder: made where absent.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "zoo.csv"
        self.by_key: dict[str, Outcome] = {}
        if self._path.exists():
            with self._path.open(newline="") as file:
                for row in csv.DictReader(file):
                    # A line at which the last sweep was killed lacks some.
                    if list(row) == COLUMNS and None not in row.values():
                        self._keep(Outcome(**row))
        self.write()

    def put(self, outcome: Outcome) -> None:
        """Keeps an outcome at once."""
        self._keep(outcome)
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(asdict(outcome))

    def write(self) -> None:
        """Writes the file anew: each network once, in the order of `networks`."""
        order = {key: place for place, key in enumerate(networks())}
        known = [outcome for key, outcome in self.by_key.items() if key in order]
        self.by_key = {outcome.key: outcome for outcome in sorted(known, key=lambda one: order[one.key])}
        written = self._path.with_suffix(".new")
        with written.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(map(asdict, self.by_key.values()))
        written.replace(self._path)

    def _keep(self, outcome: Outcome) -> None:
        self.by_key[outcome.key] = outcome


# --- the report ------------------------------------------------------------------------------------------------------

_PLACEHOLDERS = (
    (r"(?<!\w)'[^']*('(?!\w)|$)|\"[^\"]*(\"|$)", "'…'"),
    (r"'…'(, '…')+", "'…'"),
    (r"\{[^{}]*\}", "{…}"),
    (r"\[[^\[\]]*\]", "[…]"),
    (r"\S+\.py\b(:\d+)?", "FILE"),
    (r"^(\w+: )\w+(?= cannot be traced)", r"\1NAME"),
    (r"\b(?=\w*[a-z])(?!\w*(?:Error|Exception)\b)\w+[A-Z]\w*\b|\b[A-Z][a-z]+\d\w*\b", "NAME"),
    (r"[-+]?\b\d+(\.\d+)?(e[-+]?\d+)?\b", "N"),
    (r"\bN(, ?N)+,?", "N"),
)


def grouped(status: str) -> str:
    """A status with placeholders for what differs from network to network: names, numbers and quoted strings."""
    for pattern, placeholder in _PLACEHOLDERS:
        status = re.sub(pattern, placeholder, status)
    return status


def report(every: Sequence[Outcome]) -> str:
    """The tables, in Markdown."""
    by_zoo = {zoo: [one for one in every if one.zoo == zoo] for zoo in PACKAGES}
    rows = [_counts(zoo, of_zoo) for zoo, of_zoo in by_zoo.items() if of_zoo]
    header = ["zoo", "tried", "work", "refused", "raised", "silent faults", "timeout, memory"]
    header += ["layers found", "designs that build", "that train"]
    failed: dict[str, list[str]] = {}
    for one in every:
        for text in one.reasons:
            failed.setdefault(text, []).append(one.key)
    reasons = sorted(failed.items(), key=lambda item: (-len(item[1]), item[0]))
    whole = ["network", "family", "parameters", "layers found", "equal", "designs that build", "that train", "size"]
    cells = [
        [
            *(one.key, one.family, one.parameters, _of(one.found, one.there), one.equal, _of(one.built, str(DESIGNS))),
            *(_of(one.trained, str(TRAINED)), one.size, one.seconds, one.status),
        ]
        for one in every
    ]
    return "\n".join(
        [
            "# Networks of the public model zoos\n",
            "Each as `TunableNetwork(model, x)`, with the default choices. `build(None)` must give the original's outputs to the "
            f"bit. {DESIGNS} random designs are built on the meta device, and {TRAINED} of them are trained for a step. Only one "
            f"size of each of torchvision's families is trained, and no network of more than {LARGEST / 1e6:g} million "
            f"parameters. A network may take {SECONDS:g} s and {MEMORY_GB:g} GB.\n",
            markdown_section("By zoo", header, [*rows, _counts("all", every)]),
            "Layers found: of those of the networks that have a search space. A network whose original fails is not counted as "
            "tried.\n",
            markdown_section("What fails", ["reason", "networks", "which"], _reason_rows(reasons)),
            "A network in which several things fail stands in several rows; its status is the first of them.\n",
            markdown_section("Every network", [*whole, "seconds", "status"], [list(map(_cell, row)) for row in cells]),
        ]
    )


def _reason_rows(reasons: Iterable[tuple[str, Sequence[str]]]) -> list[list[str]]:
    return [[_cell(text), str(len(keys)), ", ".join(keys)] for text, keys in reasons]


def _counts(name: str, every: Sequence[Outcome]) -> list[str]:
    kinds = Counter(one.kind for one in every)
    tried = len(every) - kinds["original fails"]
    spanned = [one for one in every if one.found != "-"]
    found, there = sum(int(one.found) for one in spanned), sum(int(one.there) for one in spanned)
    built = [int(one.built) for one in every if one.built != "-"]
    trained = [int(one.trained) for one in every if one.trained != "-"]
    return [
        name,
        str(tried),
        str(kinds["works"]),
        *(str(kinds[kind]) for kind in ("refused", "raised", "silent fault")),
        str(kinds["timeout"] + kinds["memory"]),
        f"{100 * found / there:.1f}%" if there else "-",
        f"{sum(built)} of {DESIGNS * len(built)}",
        f"{sum(trained)} of {TRAINED * len(trained)}",
    ]


def _of(number: str, whole: str) -> str:
    return "-" if number == "-" else f"{number} of {whole}"


def _cell(text: str) -> str:
    """A text that Markdown shows as it stands in a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


# --- the command -----------------------------------------------------------------------------------------------------


@app.command()
def main(
    zoo: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.", show_default="all")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Only this one, such as 'timm/resnet18'; repeatable.", show_default="all")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Try again what was tried.")] = False,
    jobs: Jobs = None,
    out: Annotated[
        Path, path_option(help="Folder for zoo.csv and report.md; what is in it is not tried again.")
    ] = Path("experiments/results/zoo"),
    only: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Try the networks of the public model zoos, each in a process of its own."""
    if only is not None:
        _print_outcome(networks_of(only.partition("/")[0])[only])
        return
    chosen = choose(zoo or [], network or [])
    results = Results(out)
    missing = [one for one in chosen if again or one.key not in results.by_key]
    with progress_bar() as progress:
        bar = progress.add_task("networks", total=len(chosen), completed=len(chosen) - len(missing), note="")
        for outcome in outcomes(missing, jobs or cores()):
            results.put(outcome)
            progress.update(bar, advance=1, note=f"{outcome.key}: {outcome.kind}")
    results.write()
    every = list(results.by_key.values())
    versions = [f"{PACKAGES[name]} {version(PACKAGES[name])}" for name in dict.fromkeys(one.zoo for one in every)]
    where = f"{machine()}, {cores()} CPU cores"
    text = f"{report(every)}\n{measured_by(', '.join([software(), *versions]), where)}.\n"
    (out / "report.md").write_text(text)
    typer.echo(text.partition("## Every network")[0])


def choose(zoos: Sequence[str], names: Sequence[str]) -> list[Network]:
    """The networks of these zoos with these names; all where none are given.

    Raises:
        InputError: if there is no such zoo or network, or a zoo is not installed.
    """
    for name in zoos:
        if name not in PACKAGES:
            raise InputError.unknown("zoo", name, PACKAGES)
    chosen = [one for one in networks().values() if not zoos or one.zoo in zoos]
    for name in names:
        if not any(name in (one.key, one.name) for one in chosen):
            raise InputError.unknown("network", name, [one.key for one in chosen])
    chosen = [one for one in chosen if not names or {one.key, one.name} & set(names)]
    for used in dict.fromkeys(one.zoo for one in chosen):
        if importlib.util.find_spec(PACKAGES[used]) is None:
            raise InputError(
                f"The zoo {used!r} needs the package {PACKAGES[used]!r}, which is not installed; "
                "pip install 'marl-hpo-env[zoo]', or choose among the others by --zoo."
            )
    return chosen


def _print_outcome(network: Network) -> None:
    """Tries a network in this process, and prints the outcome so far whenever a new part begins."""
    torch.set_num_threads(1)
    output = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # a network may print

        def tell(outcome: Outcome) -> None:
            print(json.dumps(asdict(outcome)), file=output, flush=True)

        tell(examine(network, tell))


if __name__ == "__main__":
    run_command(app, "python -m experiments.zoo")
