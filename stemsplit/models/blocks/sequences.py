"""Layers along one axis of a sequence: attention with rotary positions, or a BLSTM.

Both are residual layers that normalise their inputs, so they can be stacked and exchanged.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError

Sequences = Float[Tensor, "sequence position feature"]
Heads = Float[Tensor, "sequence head position size"]
ROTARY_BASE = 10_000  # base of the rotation speeds, as published


def sequence_layer(kind: str, features: int, heads: int) -> nn.Module:
    """Make a layer of `kind` ``attention`` (with `heads` heads) or ``lstm`` (bidirectional).

    Raises `InputError` for another kind.
    """
    match kind:
        case "attention":
            return AttentionLayer(features, heads)
        case "lstm":
            return RecurrentLayer(features)
    raise InputError(f"unknown sequence layer {kind!r}: choose attention or lstm")


class AttentionLayer(nn.Module):
    """Self-attention with rotary positions, then a feed-forward layer four times as wide.

    This is the layer of BS-RoFormer (Lu, Wang, Kong and Hung, "Music Source Separation with
    Band-Split RoPE Transformer", 2023). Its attention depends on the distance between positions,
    not on the positions themselves. Raises `InputError` if `features` cannot be divided into heads
    of an even size.
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or features % (2 * heads):
            raise InputError(
                f"{features} features cannot be divided into {heads} heads of an even size: "
                f"choose a multiple of {2 * max(1, heads)}"
            )
        self.heads = heads
        self.norm = nn.RMSNorm(features)
        self.inputs = nn.Linear(features, 3 * features, bias=False)
        self.output = nn.Linear(features, features, bias=False)
        self.feed_forward = nn.Sequential(
            nn.RMSNorm(features),
            nn.Linear(features, 4 * features),
            nn.GELU(),
            nn.Linear(4 * features, features),
        )

    def forward(self, sequences: Sequences) -> Sequences:
        _, position, features = sequences.shape
        inputs = self.inputs(self.norm(sequences))
        # The number of sequences is given as -1, because the ONNX exporter would turn the
        # number itself into a constant.
        inputs = inputs.reshape(-1, position, 3, self.heads, features // self.heads)
        query, key, value = inputs.permute(2, 0, 3, 1, 4)
        values = attention(rotate(query), rotate(key), value)
        sequences = sequences + self.output(values.transpose(1, 2).flatten(2))
        return sequences + self.feed_forward(sequences)


class RecurrentLayer(nn.Module):
    """A BLSTM with `features` hidden units per direction, then a dense layer to `features` outputs.

    This is the layer of BSRNN (Luo and Yu, "Music Source Separation with Band-split RNN", 2022)
    with half of the published width, so that it costs about as much as `AttentionLayer`.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(features)
        self.lstm = nn.LSTM(features, features, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * features, features)

    def forward(self, sequences: Sequences) -> Sequences:
        return sequences + self.output(self.lstm(self.norm(sequences))[0])


def attention(query: Heads, key: Heads, value: Heads) -> Heads:
    """Scaled dot-product attention, equal to torch's `scaled_dot_product_attention`."""
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return functional.scaled_dot_product_attention(query, key, value)
    # Training on a CPU uses the matrix products below, because the backward pass of torch's
    # function is slower (in bfloat16, several times slower). Whole songs, which are separated
    # without gradients, use torch's function, because it needs less memory.
    scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    return scores.softmax(dim=3).to(value.dtype) @ value


def rotate(heads: Heads) -> Heads:
    """Rotate pairs of features by angles proportional to the position, at one speed per pair.

    The product of a rotated query and a rotated key depends only on the distance of their positions
    (Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021).
    """
    _, _, position, size = heads.shape
    pairs = torch.arange(size // 2, device=heads.device) / (size // 2)
    # Angles stay in float32, also under autocast, because bfloat16 has exact values only for
    # integers up to 256.
    angles = torch.arange(position, device=heads.device)[:, None] * ROTARY_BASE**-pairs
    cosine, sine = angles.cos(), angles.sin()
    first, second = heads.chunk(2, dim=3)
    rotated = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.cat(rotated, dim=3).to(heads.dtype)
