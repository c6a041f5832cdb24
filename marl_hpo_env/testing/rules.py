"""What every rule of a module's type owes to its users, as tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class RuleConformance:
    """Conformance tests of the rule of a module's type (`marl_hpo_env.register_rule`).

    A subclass, whose name begins with `Test`, has registered the rule and says which module it is tested on. Where the module has
    hyperparameters that can be chosen, `chosen` holds values that it does not have.
    """

    chosen: Mapping[str, Any] = {}
    channels: int = 1
    """In which dimension of the input its channels lie."""

    def make(self) -> torch.nn.Module:
        """A module of the type, made anew."""
        raise NotImplementedError("A subclass of RuleConformance makes its module in make().")

    def example(self) -> torch.Tensor:
        """What reaches the module, a batch of two; of its size and type."""
        raise NotImplementedError("A subclass of RuleConformance gives what reaches its module in example().")

    def test_what_stays_as_it_is_has_the_modules_own_weights(self) -> None:
        import torch

        module, example = self.make(), self.example()
        new = self._replaced(example.shape, {})
        try:
            new.load_state_dict(module.state_dict())
        except RuntimeError as error:
            raise AssertionError(
                f"For the input that it was made for, the rule makes another module: {error}."
            ) from error
        outputs = []
        for network in (module, new):
            torch.manual_seed(0)
            outputs.append(network.eval()(example))
        assert torch.equal(*outputs), "For the input that it was made for, the rule makes a module of other outputs."

    def test_other_widths_of_the_input_are_followed(self) -> None:
        for factor in (0.5, 2, 3):
            shape = list(self.example().shape)
            shape[self.channels] = int(shape[self.channels] * factor)
            self._runs(shape, {})

    def test_what_is_chosen_is_made(self) -> None:
        for name, value in self.chosen.items():
            new = self._runs(self.example().shape, {name: value})
            if hasattr(new, name):
                got = getattr(new, name)
                assert got in (value, (value,) * (len(got) if isinstance(got, tuple) else 1)), (
                    f"{name!r} was chosen as {value!r} and is {got!r}."
                )

    def test_it_is_made_without_values_too(self) -> None:
        new = self._replaced(self.example().shape, dict(self.chosen), "meta")
        for name, tensor in new.state_dict().items():
            assert tensor.is_meta, f"{name!r} does not lie on the device that the module is made for."

    def _replaced(self, shape: Sequence[int], chosen: Mapping[str, Any], device: str = "cpu") -> torch.nn.Module:
        import torch

        from marl_hpo_env.networks.rules import Incoming, replacement, rule_for

        module = self.make()
        assert rule_for(module) is not None, f"No rule is registered for {type(module).__name__}."
        need = replacement(module, chosen, [Incoming(tuple(shape), tuple(self.example().shape))])
        with torch.device(device):
            return need.kind(**need.arguments)

    def _runs(self, shape: Sequence[int], chosen: Mapping[str, Any]) -> torch.nn.Module:
        import torch

        new = self._replaced(shape, chosen)
        try:
            output = new(torch.ones(*shape, dtype=self.example().dtype))
        except Exception as error:
            raise AssertionError(
                f"What the rule makes does not take an input of shape {tuple(shape)}: {error}."
            ) from error
        first = output if isinstance(output, torch.Tensor) else output[0]
        assert first.isfinite().all(), f"What the rule makes for an input of shape {tuple(shape)} is not finite."
        return new
