"""Read weights of Hybrid Demucs that torchaudio published.

A file holds the state dict of `torchaudio.models.HDemucs`. The file lacks the names of the stems
and the sample rate. By default, they are taken from torchaudio's pipelines.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.bag import residual_of

STEMS = ("drums", "bass", "other", "vocals")
SAMPLE_RATE = 44100  # Hz
# torchaudio's tutorial cuts songs into segments of 10 s plus 10 %, which overlap by 0.1 s. The
# overlap here is longer, so that transitions are smooth.
CHUNK_SECONDS = 10.0
OVERLAP_SECONDS = 1.0
FREQUENCIES_PER_EMBEDDING = 4  # the stride of the first layer
NEEDED = ("freq_encoder.0.conv.weight", "time_encoder.0.conv.weight", "freq_emb.embedding.weight")


def is_state_dict(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is a state dict of torchaudio's Hybrid Demucs."""
    return set(NEEDED[:2]) <= content.keys()


def checkpoint(
    weights: Mapping[str, Tensor], stems: Sequence[str] | None, sample_rate: int | None
) -> dict[str, Any]:
    """Return the content of a checkpoint for a separator with this network.

    The shapes and names of the weights give the sizes of the network. `stems` are the names in the
    order of the network's outputs. Raises `InputError` if weights are missing or the number of
    stems differs.
    """
    depth = layers_of(weights, "freq_encoder")
    last = f"freq_decoder.{layers_of(weights, 'freq_decoder') - 1}.conv_tr.weight"
    if missing := [name for name in (*NEEDED, last) if name not in weights]:
        raise InputError(f"the weights of Hybrid Demucs lack {missing}: copy the file again")
    channels = weights["time_encoder.0.conv.weight"].shape[1]
    outputs = weights[last].shape[1] // (2 * channels)  # real and imaginary parts
    targets = list(STEMS if stems is None else stems)
    if outputs != len(targets):
        raise InputError(f"the network has {outputs} stems, not {len(targets)} ({targets})")
    window = 2 * FREQUENCIES_PER_EMBEDDING * len(weights["freq_emb.embedding.weight"])
    description = {
        "front_end": {
            "sample_rate": SAMPLE_RATE if sample_rate is None else sample_rate,
            "window": window,
            "hop": window // 4,
        },
        "network": {
            "class": "stemsplit.models.hdemucs.HybridDemucs",
            "features": len(weights["freq_encoder.0.conv.weight"]),
            "depth": depth,
            "mono_level": True,
        },
        "targets": targets,
        "residual": residual_of(targets),
        "channels": channels,
        "wiener_iterations": 0,
        "chunk_seconds": CHUNK_SECONDS,
        "overlap_seconds": OVERLAP_SECONDS,
    }
    prefix = "separator.network.demucs."
    state = {f"{prefix}{name}": value for name, value in weights.items()}
    return {"separator": description, "state_dict": state}


def layers_of(weights: Mapping[str, Tensor], part: str) -> int:
    """Return the number of layers: how many different N occur in names like ``part.N.weight``."""
    layers = {match[1] for name in weights if (match := re.match(rf"{part}\.(\d+)\.", name))}
    return len(layers)
