"""Choice probabilities that follow gradients through shared weights: DARTS and SNAS, on the layers of an existing network.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, first order (their Algorithm 1 with xi = 0), and
Xie, Zheng, Liu, Lin, "SNAS: Stochastic Neural Architecture Search", ICLR 2019. Every layer has a logit per action; weights take a
step on a training batch, logits one by Adam on a validation batch; the answer is every layer's likeliest action.

`"softmax"` (DARTS): a layer's output is the sum of all its actions' outputs, weighed by the softmax of its logits. So their
shapes must agree: kernel sizes and types can be chosen, widths and strides not.
`"gumbel"` (SNAS): one action per layer and batch, drawn by Gumbel-max; its output is multiplied by a gate that is 1, and whose
gradient is that of the softmax at a temperature (straight-through), behind the batch norm that follows the layer.

Deviations: one path per batch in SNAS, where the source computes all of them, since shapes differ here; no cost of resources in
its loss. What follows a gate and is normalised again hardly hangs on it, so in chains with batch norm early layers learn little.

This is no learner of the game: no agent picks, and no trial is made. It returns a design and what it cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from marl_hpo_env import Design, InputError, SharedNetwork, Task, whole_number

if TYPE_CHECKING:
    import torch


class GradientChoice(NamedTuple):
    """What gradients have chosen.

    Args:
        design: every layer's likeliest action.
        probabilities: of each layer's actions.
        cost: examples times FLOPs of a forward pass, of all that was trained: compare with `SharedEvaluator.cost_of`.
    """

    design: Design
    probabilities: tuple[tuple[float, ...], ...]
    cost: float


def gradient_choice(
    task: Task,
    relaxation: Literal["gumbel", "softmax"] = "gumbel",
    *,
    epochs: int = 40,
    seed: int = 0,
    learning_rate: float = 3e-3,
    temperature: float = 1.0,
) -> GradientChoice:
    """Chooses a design of a task on the CPU, by gradients.

    Args:
        task: whose designs; weights are trained by its recipe's optimizer at its full rate, and by nothing else of it.
        relaxation: `"softmax"` as in DARTS, or `"gumbel"` as in SNAS.
        epochs: passes over the training examples.
        seed: of everything random.
        learning_rate: of Adam for the logits (DARTS: 3e-4, for fifty epochs of far more batches).
        temperature: of the Gumbel-softmax.

    Raises:
        InputError: for another relaxation, where the shapes of a layer's actions do not agree and must, or where the recipe is
            chosen.
    """
    import torch

    if relaxation not in ("gumbel", "softmax"):
        raise InputError.unknown("relaxation", relaxation, ("gumbel", "softmax"))
    whole_number("number of epochs", epochs, 1)
    if task.recipe_choices is not None:
        raise InputError(f"Gradients cannot choose the recipe of {task.name!r}; leave out its recipe_choices.")
    seed = whole_number("seed", seed, 0)
    shared = SharedNetwork(task.network, seed=seed, device="cpu", loss=task.scoring.loss)
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.zeros(size, requires_grad=True) for size in task.space.sizes]
    recipe = task.recipe
    kinds: dict[str, Any] = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    kind = kinds[recipe.optimizer]
    of_weights = kind(shared.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    of_logits = torch.optim.Adam(logits, lr=learning_rate, betas=(0.5, 0.999))
    cost = 0.0
    validation = _forever(task.scoring.data.validation, recipe.batch_size, generator)
    for _ in range(epochs):
        for batch in _epoch(task.scoring.data.train, recipe.batch_size, generator):
            for optimizer, examples in ((of_logits, next(validation)), (of_weights, batch)):
                of_weights.zero_grad()
                of_logits.zero_grad()
                probabilities = [values.softmax(0) for values in logits]
                if relaxation == "softmax":
                    loss, flops = _mixed(shared, probabilities, examples)
                else:
                    loss, flops = _one_path(shared, logits, temperature, examples, generator)
                loss.backward()
                optimizer.step()
                cost += len(examples[1]) * flops
    found = [values.detach().softmax(0) for values in logits]
    design = tuple(int(values.argmax()) for values in found)
    return GradientChoice(design, tuple(tuple(values.tolist()) for values in found), cost)


def _one_path(
    shared: SharedNetwork, logits: list[torch.Tensor], temperature: float, batch: Any, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """The loss of one design drawn by Gumbel-max, with a straight-through gate at each layer, and its FLOPs."""
    import torch

    gates, design = {}, []
    for layer, values in zip(shared.network.space.layers, logits, strict=True):
        uniform = torch.rand(len(values), generator=generator).clamp(1e-9, 1 - 1e-9)
        relaxed = ((values - (-uniform.log()).log()) / temperature).softmax(0)
        action = int(relaxed.argmax())
        design.append(action)
        gates[layer.name] = relaxed[action] - relaxed[action].detach() + 1
    chosen = tuple(design)
    module, _ = shared.built(chosen)
    names = {name: _normalised(module, name) for name in gates}
    loss = _hooked(shared, chosen, batch, {names[name]: _times(gate) for name, gate in gates.items()})
    return loss, shared.sizes(chosen)["flops"]


def _mixed(shared: SharedNetwork, probabilities: list[torch.Tensor], batch: Any) -> tuple[torch.Tensor, float]:
    """The loss of the mixture of all actions, and the FLOPs of what is computed."""
    space = shared.network.space
    base = (0,) * len(space)
    flops = shared.sizes(base)["flops"]
    total, hooks = flops, {}
    for place, (layer, weights) in enumerate(zip(space.layers, probabilities, strict=True)):
        others = []
        for action in range(1, len(layer.actions)):
            design = (*base[:place], action, *base[place + 1 :])
            module, tensors = shared.built(design)
            prefix = f"{layer.name}."
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            others.append((module.get_submodule(layer.name), own))
            total += max(0.0, shared.sizes(design)["flops"] - flops)

        hooks[layer.name] = _mixture(layer.name, weights, others)
    return _hooked(shared, base, batch, hooks), total


def _mixture(name: str, weights: torch.Tensor, others: Any) -> Any:
    """A hook that puts out the weighted sum of a module's output and those of others, given as modules and their tensors."""
    from torch.func import functional_call

    def mixture(_: Any, inputs: Any, output: Any) -> Any:
        mixed = weights[0] * output
        for weight, (module, own) in zip(weights[1:], others, strict=True):
            other = functional_call(module, own, inputs)
            if other.shape != output.shape:
                raise InputError(
                    f"The actions of layer {name!r} have outputs of different shapes, so they cannot be mixed; leave widths "
                    "and strides out of the choices, or use the relaxation 'gumbel'."
                )
            mixed = mixed + weight * other
        return mixed

    return mixture


def _hooked(shared: SharedNetwork, design: Design, batch: Any, hooks: Any) -> torch.Tensor:
    """The loss of a design, with what modules put out changed on its way."""
    module, _ = shared.built(design)
    handles = [module.get_submodule(name).register_forward_hook(hook) for name, hook in hooks.items()]
    try:
        return shared.loss(design, batch)
    finally:
        for handle in handles:
            handle.remove()


def _times(gate: torch.Tensor) -> Any:
    return lambda _, inputs, output: output * gate


def _normalised(module: Any, name: str) -> str:
    """The norm that alone reads a layer's output, or the layer."""
    from torch.nn.modules.batchnorm import _NormBase

    for node in module.graph.nodes if hasattr(module, "graph") else ():
        if node.op == "call_module" and str(node.target) == name and len(node.users) == 1:
            (reader,) = node.users
            if reader.op == "call_module" and isinstance(module.get_submodule(str(reader.target)), _NormBase):
                return str(reader.target)
    return name


def _epoch(examples: Any, size: int, generator: torch.Generator) -> Iterator[Any]:
    """Examples once, in random order, in whole batches; all of them where they are fewer than one."""
    import torch

    inputs, targets = examples
    order = torch.randperm(len(targets), generator=generator)
    for start in range(0, max(1, len(order) - size + 1), size):
        chosen = order[start : start + size]
        yield inputs[chosen], targets[chosen]


def _forever(examples: Any, size: int, generator: torch.Generator) -> Iterator[Any]:
    while True:
        yield from _epoch(examples, size, generator)
