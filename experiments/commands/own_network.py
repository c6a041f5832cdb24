"""A task made from the command line: the user's own network, folder of images with what is wanted of each, and choices."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.commands.task_options import Wanted, check_images
from experiments.toml_files import read_toml
from marl_hpo_env import InputError, Limits, Recipe, Task, first_line, import_object

if TYPE_CHECKING:
    from torch import nn

    from marl_hpo_env.data.images import ImageReading
    from marl_hpo_env.networks.graph import Choices
    from marl_hpo_env.networks.saved import About


_SIZE = 64
"""Of images, in pixels, where nobody says another."""

_LIMITS = Limits(loss="guessing")
"""A design that learns nothing is stopped, and the epoch budget can be calibrated."""

_FEWEST_STEPS = 32
"""That a design may stay at the loss of guessing: two epochs of 1,024 images. Few images have more epochs for it."""


def own_task(
    model: str,
    data: Path | None,
    image_size: int | None,
    choices: Path | None,
    recipe: dict[str, Any],
    weights: Path | None = None,
    wanted: Wanted | None = None,
) -> Task:
    """A task of a named network and a folder of images.

    Args:
        model: `torchvision:NAME`, or `package.module:FUNCTION` or `path/to/file.py:FUNCTION` for a function (or class) that
            makes the network; it is called with `num_classes=` where it takes that.
        data: a folder of images; None for a task that is only looked at.
        image_size: height and width to which they are scaled; where None that of the weights, see `images_of_weights`, and
            without weights 64.
        choices: a TOML file, see `read_choices`; None for the default.
        recipe: settings of how designs are trained, where not the default's.
        weights: a file with the network's own, which designs inherit.
        wanted: of the images; None where their folders are classes, or are `images` and `masks`.

    Raises:
        InputError: if any of it cannot be found or used.
    """
    import torch

    from marl_hpo_env import Data
    from marl_hpo_env.data.folders import expanded
    from marl_hpo_env.data.images import ImageReading
    from marl_hpo_env.networks.weight_files import read_weights

    make = _maker(model)
    read, recipe_choices = None, None
    settings: dict[str, Any] = {"epochs": "calibrated"}
    name = model.rpartition(":")[2]
    if weights is not None:
        settings |= {"initialization": "inherit"}
    if choices is not None:
        read = read_choices(choices)
        fixed, recipe_choices = read_recipe(choices)
        settings |= fixed
        if not read and (fixed or recipe_choices):  # it says nothing of the network
            read = None
    chosen = Recipe(**{**settings, **recipe})
    state = None if weights is None else read_weights(weights)
    reading, who = (ImageReading(_SIZE), None) if weights is None else images_of_weights(model, weights)
    size = image_size or reading.image_size
    if data is None:
        nothing = torch.zeros(1, 3, size, size), torch.zeros(1, dtype=torch.int64)
        images, classes = Data(nothing, nothing, nothing), None
    else:
        images = (wanted or Wanted()).read(data, size, (reading.mean, reading.deviation))
        classes = images.number_of_classes
        name = f"{name}-{expanded(data).resolve().name}"
        if weights is not None:
            asked = "" if image_size is None else ", as --image-size says"
            if who is not None and size != reading.image_size:
                asked += f" (without it {reading.image_size})"
            mean, deviation = (", ".join(f"{value:g}" for value in of) for of in (reading.mean, reading.deviation))
            end = f"; {weights.name} does not say what its weights expect" if who is None else f", as {who}"
            note = f"Images are {size} by {size}{asked}, normalised with mean {mean} and deviation {deviation}{end}."
            images = replace(images, notes=(*images.notes, note))
    maker = partial(_make, make, model, classes)
    steps = math.ceil(len(images.train[0]) / chosen.batch_size)
    limits = replace(_LIMITS, loss_epochs=max(_LIMITS.loss_epochs, math.ceil(_FEWEST_STEPS / steps)))
    task = Task(name, maker, images, read, chosen, limits=limits, weights=state, recipe_choices=recipe_choices)
    if data is not None:
        check_images(task)
    return task


def images_of_weights(model: str, weights: Path) -> tuple[ImageReading, str | None]:
    """The images that a network's weights were made with, and who says so; the default and None where nobody does.

    A file of `save_network` says it itself. Of a torchvision network its package does, for the weights of the file's name where
    there are several. Of others nothing is known.
    """
    from torchvision import models

    from marl_hpo_env.data.images import ImageReading
    from marl_hpo_env.networks.saved import about_weights

    about = about_weights(weights)
    if about is not None and about.image_size is not None and len(about.mean) == 3:
        return ImageReading(about.image_size, None, about.mean, about.deviation), f"{weights.name} says"
    if model.startswith("torchvision:"):
        name = model.rpartition(":")[2]
        known = models.get_model_weights(name)
        made = next((one for one in known if one.url.endswith(f"/{weights.name}")), known.DEFAULT).transforms()
        (size,) = made.crop_size if hasattr(made, "crop_size") else made.resize_size
        return ImageReading(size, None, made.mean, made.std), f"torchvision's weights of {name} expect"
    return ImageReading(_SIZE), None


def read_choices(path: Path) -> Choices:
    """Choices from a TOML file.

    A table per module type of torch (`[Conv2d]`) or name pattern (`["layer4.*"]`), with a list of values per constructor
    argument, or `type` with a list of torch's module types. `"pattern" = false` at the top leaves modules out. A name
    pattern counts over a type, and `false` over both:

        "layer1.*" = false
        [Conv2d]
        out_channels = [16, 32, 64]
        kernel_size = [1, 3]

    The table `[recipe]` is no module's: see `read_recipe`.

    Raises:
        InputError: if the file cannot be read or does not have this form.
    """
    from torch import nn

    choices: dict[Any, Any] = {}
    for key, values in read_toml(path, "file of choices").items():
        if key == "recipe":
            continue
        kind = getattr(nn, key, None)
        target = kind if isinstance(kind, type) and issubclass(kind, nn.Module) else key
        if values is False:
            choices[target] = None
        elif isinstance(values, dict) and all(isinstance(options, list) for options in values.values()):
            choices[target] = {name: _options(name, options) for name, options in values.items()}
        else:
            raise InputError(
                f"The choices for {key!r} in {str(path)!r} are {values!r}; give lists of values, or false."
            )
    # TOML has its own order; here what says more of a module comes later, and so counts: types, then names, then `false`.
    return dict(sorted(choices.items(), key=lambda item: (isinstance(item[0], str), item[1] is None)))


def read_recipe(path: Path) -> tuple[dict[str, Any], dict[str, list[Any]] | None]:
    """The table `[recipe]` of a file of choices: settings of the `Recipe`, and what the agent `recipe` chooses from.

        [recipe]
        optimizer = "adamw"
        learning_rate = [1e-4, 3e-4, 1e-3]

    Returns:
        By name, those with a value; and those with a list of values, None where there are none.

    Raises:
        InputError: if the file cannot be read, or a recipe has no such setting.
    """
    table = read_toml(path, "file of choices").get("recipe", {})
    if not isinstance(table, dict):
        raise InputError(f"The recipe in {str(path)!r} is {table!r}; write a table [recipe] of settings.")
    for name in table:
        if name not in Recipe.__dataclass_fields__:
            raise InputError.unknown("setting of a recipe", name, Recipe.__dataclass_fields__)
    chosen = {name: values for name, values in table.items() if isinstance(values, list)}
    return {name: value for name, value in table.items() if name not in chosen}, chosen or None


def _options(name: str, options: list[Any]) -> list[Any]:
    from torch import nn

    if name != "type":
        return options
    types = [getattr(nn, str(option), None) for option in options]
    for option, found in zip(options, types, strict=True):
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise InputError(f"The module type {option!r} is not one of torch.nn's, such as 'ReLU'.")
    return types


def _maker(model: str) -> Callable[..., nn.Module]:
    place, colon, name = model.rpartition(":")
    if not colon or not place or not name:
        raise InputError(
            f"The model {model!r} cannot be read; write torchvision:resnet18, package.module:function or file.py:function."
        )
    if place == "torchvision":
        from torchvision import models

        known, per_pixel = (models.list_models(module=module) for module in (models, models.segmentation))
        if name not in known and name not in per_pixel:
            raise InputError.unknown("torchvision model", name, [*known, *per_pixel])
        backbone = {"weights_backbone": None} if name in per_pixel else {}  # which torchvision would else download
        return partial(models.get_model, name, weights=None, **backbone)
    found = import_object(model, "model")
    if not callable(found):
        raise InputError(
            f"The model {model!r} is a {type(found).__name__}; name a function or class that makes the network."
        )
    maker: Callable[..., nn.Module] = found
    return maker


def _make(make: Callable[..., nn.Module], model: str, classes: int | None) -> nn.Module:
    return _made(make, model, _arguments(make, model, classes))


def _arguments(make: Callable[..., nn.Module], model: str, classes: int | None) -> dict[str, int]:
    """What a model is made with."""
    try:
        takes = set(inspect.signature(make).parameters)
    except ValueError:  # a class of C's own says none
        takes = set()
    torchvision = model.startswith("torchvision:")
    return {"num_classes": classes} if classes and (torchvision or "num_classes" in takes) else {}


def _made(make: Callable[..., nn.Module], model: str, arguments: Mapping[str, int]) -> nn.Module:
    from torch import nn

    try:
        network = make(**arguments)
    except Exception as error:  # whatever a user's function raises
        raise InputError(f"The model {model!r} cannot be made: {type(error).__name__}: {first_line(error)}.") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"The model {model!r} makes a {type(network).__name__}; it must make a torch.nn.Module.")
    return network


def about(model: str | None, task: Task) -> About:
    """What is written beside the networks of a task that `own_task` made of this model; of another where it is None."""
    from marl_hpo_env.networks.saved import About

    data = task.splits
    arguments = {} if model is None else _arguments(_maker(model), model, data.number_of_classes)
    read = {} if data.reading is None else data.reading._asdict()
    return About(model, arguments, data.kind, data.class_names, **read)


def load_saved(path: Path, model: str | None) -> tuple[nn.Module, About]:
    """A saved network, and what it says about itself. A file alone never has code of a user's own imported.

    Args:
        path: of the file.
        model: as for `own_task`; where None the one that the file names, if it is torchvision's.

    Raises:
        InputError: if the file cannot be read, or its model is not known or another.
    """
    from marl_hpo_env.networks.saved import load_network, read_about

    said, _ = read_about(path)
    if model is None and said.model is None:
        raise InputError(
            f"The network in {str(path)!r} does not say of which model it is; name that with --model, as in `tune`."
        )
    if model is None and not str(said.model).startswith("torchvision:"):
        raise InputError(
            f"The network in {str(path)!r} is of the model {said.model!r}, code that is imported only where you name it: add "
            f"--model {said.model}."
        )
    name = str(model or said.model)
    make = _maker(name)
    arguments = said.arguments if said.model else _arguments(make, name, len(said.class_names))
    return load_network(path, _made(make, name, arguments)), said
