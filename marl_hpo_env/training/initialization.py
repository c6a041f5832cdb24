"""The weights that a training starts from."""

from __future__ import annotations

from torch import nn
from torch.nn import init

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def he(network: nn.Module) -> None:
    """He et al. (2015), Eq. 10, for every convolution and dense layer: normal, variance 2 / fan-in; biases 0. Of a transposed
    convolution, of which they do not speak, fan-in is what torch counts as it: kernels times kernel area.

    Ours: the paper names none. With torch's own draws, of a sixth of this variance, a deep network without batch norm, such
    as VGG-16, does not begin to learn.
    """
    for module in network.modules():
        if isinstance(module, _WEIGHTED):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
