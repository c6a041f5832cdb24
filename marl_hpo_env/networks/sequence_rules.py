"""The rules of recurrent layers and of attention: they take the width that reaches them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.rules import Incoming, Replacement, register_rule


def _recurrent(module: nn.RNNBase, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    names = ["hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"]
    if isinstance(module, nn.LSTM):
        names.append("proj_size")
    elif isinstance(module, nn.RNN):
        names.append("nonlinearity")
    arguments = {name: getattr(module, name) for name in names}
    return Replacement(type(module), {"input_size": inputs[0].shape[-1], **arguments, **chosen})


def _attention(module: nn.MultiheadAttention, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    """Its width is a multiple of its heads, which stay as they are."""
    query, key, value = (*inputs, *[inputs[-1]] * 2)[:3]
    heads, width = chosen.get("num_heads", module.num_heads), query.shape[-1]
    _check_heads(heads, width)
    widths = {"embed_dim": width, "num_heads": heads, "kdim": key.shape[-1], "vdim": value.shape[-1]}
    if module._qkv_same_embed_dim and key.shape[-1] == value.shape[-1] == width:
        del widths["kdim"], widths["vdim"]
    settings = {
        "dropout": module.dropout,
        "bias": module.in_proj_bias is not None,
        "add_bias_kv": module.bias_k is not None,
        "add_zero_attn": module.add_zero_attn,
        "batch_first": module.batch_first,
    }
    return Replacement(type(module), {**settings, **widths})


def _check_heads(heads: int, width: int) -> None:
    if width % heads:
        raise InputError(
            f"The network cannot be built: a width of {width} reaches an attention of {heads} heads; leave out widths that are "
            "no multiple of them."
        )


def _encoder_layer(
    module: nn.TransformerEncoderLayer, chosen: Mapping[str, Any], inputs: Sequence[Incoming]
) -> Replacement:
    heads, width = module.self_attn.num_heads, inputs[0].shape[-1]
    _check_heads(heads, width)
    settings = {
        "d_model": width,
        "nhead": heads,
        "dim_feedforward": module.linear1.out_features,
        "dropout": module.dropout.p,
        "activation": module.activation,
        "layer_norm_eps": module.norm1.eps,
        "batch_first": module.self_attn.batch_first,
        "norm_first": module.norm_first,
        "bias": module.linear1.bias is not None,
    }
    return Replacement(type(module), {**settings, **chosen})


def _encoder(module: nn.TransformerEncoder, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    layers = [_encoder_layer(layer, {}, inputs) for layer in module.layers]
    norm: Any = module.norm

    def make() -> nn.Module:
        made: Any = copy.copy(module)
        made._modules = dict(module._modules)
        made.layers = nn.ModuleList(layer.kind(**layer.arguments) for layer in layers)
        made.norm = None if norm is None else type(norm)(inputs[0].shape[-1], eps=norm.eps)
        return made

    return Replacement(make, {})


register_rule(nn.RNNBase, _recurrent)
register_rule(nn.MultiheadAttention, _attention)
register_rule(nn.TransformerEncoderLayer, _encoder_layer)
register_rule(nn.TransformerEncoder, _encoder)
