"""Read weights of SCNet that its authors published.

A file holds the state dict of the authors' network, alone or in a checkpoint of their training. The
file lacks the names of the stems, the settings of the Fourier transform and the widths of the
bands. By default, they are taken from the published training.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from stemsplit.errors import InputError
from stemsplit.separation.bag import residual_of
from stemsplit.separation.formats.torchaudio_hdemucs import layers_of

STEMS = ("drums", "bass", "other", "vocals")
SAMPLE_RATE = 44100  # Hz
WINDOW, HOP = 4096, 1024  # samples
CHUNK_SECONDS = 11.0  # as in training
OVERLAP_SECONDS = 1.0
# Keys of the weights in checkpoints, in order of preference. The authors separate with the best
# weights.
PLACES = ("best_state", "state", "state_dict")
FIRST = "encoder.0.SDlayer.convs.0.weight"
NEEDED = (FIRST, "separation_net.dp_modules.0.lstm_layers.0.weight_ih_l0")
# Patterns of the authors' names, and the corresponding names in `stemsplit.models.scnet`.
NAMES = (
    (r"^encoder\.(\d+)\.SDlayer\.convs\.", r"encoder.\1.convolutions."),
    (r"^encoder\.(\d+)\.conv_modules\.(\d+)\.layers\.", r"encoder.\1.refinements.\2.layers."),
    (r"^encoder\.(\d+)\.globalconv\.", r"encoder.\1.joined."),
    (r"^decoder\.(\d+)\.0\.conv\.", r"decoder.\1.fusion."),
    (r"^decoder\.(\d+)\.1\.convtrs\.", r"decoder.\1.convolutions."),
)
DUAL_PATH = re.compile(r"^separation_net\.dp_modules\.(\d+)\.(lstm|linear|norm)_layers\.([01])\.")
LAYERS = ("first", "second")  # the dual-path layers of a pair
PATHS = ("over_freqs", "over_frames")
PARTS = {"lstm": "lstm", "linear": "output", "norm": "norm"}


def is_state_dict(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is a state dict of SCNet, or a checkpoint with one."""
    return set(NEEDED) <= weights_of(content).keys()


def weights_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state dict in a file's content.

    Training on several devices adds ``module.`` to all names. This prefix is removed.
    """
    for place in PLACES:
        if isinstance(content.get(place), Mapping):
            content = content[place]
            break
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def checkpoint(
    content: Mapping[str, Any], stems: Sequence[str] | None, sample_rate: int | None
) -> dict[str, Any]:
    """Return the content of a checkpoint for a separator with this network.

    The shapes and names of the weights give the sizes of the network. `stems` are the names in the
    order of the network's outputs. Raises `InputError` if weights are missing or the number of
    stems differs.
    """
    weights = weights_of(content)
    depth = layers_of(weights, "encoder")
    layers = layers_of(weights, r"separation_net\.dp_modules")
    last = f"decoder.{depth - 1}.1.convtrs.0.weight"
    if last not in weights or layers % 2:
        raise InputError("the weights of SCNet are incomplete: copy the file again")
    features, inputs = weights[FIRST].shape[:2]
    channels = inputs // 2  # real and imaginary parts
    outputs = weights[last].shape[1] // inputs
    targets = list(STEMS if stems is None else stems)
    if outputs != len(targets):
        raise InputError(f"the network has {outputs} stems, not {len(targets)} ({targets})")
    description = {
        "front_end": {
            "sample_rate": SAMPLE_RATE if sample_rate is None else sample_rate,
            "window": WINDOW,
            "hop": HOP,
            "window_shape": "rectangular",
        },
        "network": {
            "class": "stemsplit.models.scnet.SCNet",
            "features": features,
            "depth": depth,
            "pairs": layers // 2,
            "mono_level": True,
        },
        "targets": targets,
        "residual": residual_of(targets),
        "channels": channels,
        "wiener_iterations": 0,
        "chunk_seconds": CHUNK_SECONDS,
        "overlap_seconds": OVERLAP_SECONDS,
    }
    state = {f"separator.network.{renamed(name)}": value for name, value in weights.items()}
    return {"separator": description, "state_dict": state}


def renamed(name: str) -> str:
    """Return the name in `stemsplit.models.scnet` for the authors' name of a weight."""
    for pattern, ours in NAMES:
        name = re.sub(pattern, ours, name)
    if match := DUAL_PATH.match(name):
        pair, layer = divmod(int(match[1]), 2)
        place = f"separation.{pair}.{LAYERS[layer]}.{PATHS[int(match[3])]}.{PARTS[match[2]]}."
        return place + name[match.end() :]
    return name
