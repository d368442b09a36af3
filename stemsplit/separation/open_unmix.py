"""Read the weights that open-unmix's authors published.

A file is the state dict of one network for one target, by whose name it goes
(``vocals-b62c91ce.pth``). The first release's networks held their Fourier transform and sample rate
too; those of `openunmix.model.OpenUnmix` do not.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.bag import residual_of

# open-unmix's names, and where the same stands in `stemsplit.models.blstm.Blstm`.
NAMES = {
    "fc1": "branches.magnitude.encoder",
    "bn1": "branches.magnitude.encoder_norm",
    "lstm": "branches.magnitude.lstm",
    "fc2": "decoder.0",
    "bn2": "decoder.1",
    "fc3": "decoder.3",
    "bn3": "decoder.4",
    "input_mean": "branches.magnitude.norm.mean",
    "input_scale": "branches.magnitude.norm.scale",
    "output_mean": "output_mean",
    "output_scale": "output_scale",
}
OF_THE_FIRST_RELEASE = {"sample_rate", "stft.window", "transform.0.window"}
NEEDED = ("input_mean", "output_mean", "fc1.weight", "fc3.weight")  # … to know the sizes
SAMPLE_RATE = 44100  # of the published networks that do not say it themselves


def recognised(content: Mapping[str, Any]) -> bool:
    """Whether this is a state dict of open-unmix, rather than a checkpoint of this package."""
    return {"fc1.weight", "input_mean"} <= content.keys()


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the `Blstm` with the one view ``magnitude`` that is the same network."""
    here = {}
    for name, value in weights.items():
        if name in OF_THE_FIRST_RELEASE:
            continue
        layer, dot, rest = name.partition(".")
        if layer not in NAMES:
            raise InputError(f"{name!r} is none of the weights of open-unmix")
        here[NAMES[layer] + dot + rest] = value[None, None] if "output" in layer else value
    return here


def checkpoint(weights: Mapping[str, Tensor], file_name: str) -> dict[str, Any]:
    """The checkpoint of a separator with this network; the sizes are those of the weights.

    The hop is a quarter of the window, as in the networks for music that are published.
    """
    if missing := [name for name in NEEDED if name not in weights]:
        raise InputError(f"weights of open-unmix without {missing}: copy the file anew")
    if "lstm.weight_ih_l0_reverse" not in weights:
        raise InputError("a unidirectional open-unmix; only bidirectional ones can be used")
    target = file_name.partition(".")[0].partition("-")[0]
    read, freqs = len(weights["input_mean"]), len(weights["output_mean"])
    window = 2 * (freqs - 1)
    channels = len(weights["fc3.weight"]) // freqs
    if (channels, window) == (1, 1024) and "sample_rate" not in weights:
        raise InputError(
            f"one channel and a window of {window}: weights for speech (umxse), whose hop is half "
            "of it; only networks for music can be used"
        )
    sample_rate = int(weights.get("sample_rate", SAMPLE_RATE))
    description = {
        "front_end": {"sample_rate": sample_rate, "window": window, "hop": window // 4},
        "network": {
            "class": "stemsplit.models.blstm.Blstm",
            "views": ["magnitude"],
            # Between the last frequency that is read and the next, so that rounding is harmless.
            "bandwidth_hertz": (read - 0.5) * sample_rate / window,
            "hidden": len(weights["fc1.weight"]),
            "layers": sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in weights),
        },
        "targets": [target],
        "residual": residual_of([target]),
        "channels": channels,
    }
    state = {f"separator.network.{name}": value for name, value in renamed(weights).items()}
    return {"separator": description, "state_dict": state}
