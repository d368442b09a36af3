"""Layers along one axis of a sequence: attention with rotary positions, or a BLSTM.

Both are residual layers with a normalisation in front, so they can be stacked and exchanged.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError

Sequences = Float[Tensor, "sequence position feature"]
Heads = Float[Tensor, "sequence head position size"]
SLOWEST = 10_000  # positions in a turn of the slowest pair, over 2π, as published


def sequence_layer(kind: str, features: int, heads: int) -> nn.Module:
    """``attention`` with that many heads, or ``lstm`` in both directions (which has no heads)."""
    match kind:
        case "attention":
            return AttentionLayer(features, heads)
        case "lstm":
            return RecurrentLayer(features)
    raise InputError(f"there is no sequence layer {kind!r}: choose attention or lstm")


class AttentionLayer(nn.Module):
    """Self-attention with rotary positions, then a feed-forward layer four times as wide.

    The layer of BS-RoFormer (Lu, Wang, Kong and Hung, "Music Source Separation with Band-Split
    RoPE Transformer", 2023): it sees how far two positions are apart, not where they are.
    """

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or features % (2 * heads):
            raise InputError(
                f"{features} features do not make {heads} heads of an even size: "
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
        inputs = self.inputs(self.norm(sequences)).unflatten(2, (3, self.heads, -1))
        query, key, value = inputs.permute(2, 0, 3, 1, 4)
        found = attention(rotate(query), rotate(key), value)
        sequences = sequences + self.output(found.transpose(1, 2).flatten(2))
        return sequences + self.feed_forward(sequences)


class RecurrentLayer(nn.Module):
    """A BLSTM, as wide in each direction as the features, and a dense layer back to them.

    The layer of BSRNN (Luo and Yu, "Music Source Separation with Band-split RNN", 2022) at half of
    its published width, which makes it cost about as much as `AttentionLayer`.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(features)
        self.lstm = nn.LSTM(features, features, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * features, features)

    def forward(self, sequences: Sequences) -> Sequences:
        return sequences + self.output(self.lstm(self.norm(sequences))[0])


def attention(query: Heads, key: Heads, value: Heads) -> Heads:
    """Every position's mean of the values, weighted by how well its query meets their keys."""
    if query.device.type != "cpu" or not torch.is_grad_enabled():
        return functional.scaled_dot_product_attention(query, key, value)
    # Backwards, torch's own takes longer on a CPU, in bfloat16 several times. (It needs less
    # memory, though, so whole songs are left to it.)
    scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    return scores.softmax(dim=3).to(value.dtype) @ value


def rotate(heads: Heads) -> Heads:
    """Turn pairs of features by angles that grow with the position, each pair at its own speed.

    The product of two features turned so depends on the distance of their positions alone (Su et
    al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021).
    """
    position, size = heads.shape[2:]
    pairs = torch.arange(size // 2, device=heads.device) / (size // 2)
    # In float32 under autocast too: bfloat16 cannot count beyond 256.
    angles = torch.arange(position, device=heads.device)[:, None] * SLOWEST**-pairs
    cosine, sine = angles.cos(), angles.sin()
    first, second = heads.chunk(2, dim=3)
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.cat(turned, dim=3).to(heads.dtype)
