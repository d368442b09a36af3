"""Read weights that the authors of open-unmix published.

A file holds the state dict of one network for one target, and its name starts with the target
(``vocals-b62c91ce.pth``). Files of the first release also hold the Fourier transform's window and
the sample rate; state dicts of `openunmix.model.OpenUnmix` do not.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.bag import residual_of

# Maps names of layers in open-unmix to names in `stemsplit.models.blstm.Blstm`.
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
ONLY_IN_FIRST_RELEASE = {"sample_rate", "stft.window", "transform.0.window"}
NEEDED = ("input_mean", "output_mean", "fc1.weight", "fc3.weight")  # their shapes give layer sizes
SAMPLE_RATE = 44100  # Hz; used if a file does not state its sample rate


def is_state_dict(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is a state dict of open-unmix, not a checkpoint of this package."""
    return {"fc1.weight", "input_mean"} <= content.keys()


def converted(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert a state dict of open-unmix to one of `Blstm` with the view ``magnitude``.

    Raises `InputError` for a name that open-unmix does not have.
    """
    state = {}
    for name, value in weights.items():
        if name in ONLY_IN_FIRST_RELEASE:
            continue
        layer, dot, suffix = name.partition(".")
        if layer not in NAMES:
            raise InputError(f"{name!r} is not a weight of open-unmix")
        state[NAMES[layer] + dot + suffix] = value[None, None] if "output" in layer else value
    return state


def checkpoint(weights: Mapping[str, Tensor], file_name: str) -> dict[str, Any]:
    """Return the content of a checkpoint for a separator with this network.

    The shapes of the weights give the sizes of the layers. `file_name` starts with the target. The
    hop is a quarter of the window, as in all published networks for music. Raises `InputError`
    if weights are missing, or if the network is unidirectional or for speech.
    """
    if missing := [name for name in NEEDED if name not in weights]:
        raise InputError(f"the weights of open-unmix lack {missing}: copy the file again")
    if "lstm.weight_ih_l0_reverse" not in weights:
        raise InputError("the network is unidirectional; only bidirectional networks can be used")
    target = file_name.partition(".")[0].partition("-")[0]
    bands_read, freqs = len(weights["input_mean"]), len(weights["output_mean"])
    window = 2 * (freqs - 1)
    channels = len(weights["fc3.weight"]) // freqs
    if (channels, window) == (1, 1024) and "sample_rate" not in weights:
        raise InputError(
            f"one channel and a window of {window} samples: these are the weights of a network for "
            "speech (umxse); only networks for music can be used"
        )
    sample_rate = int(weights.get("sample_rate", SAMPLE_RATE))
    description = {
        "front_end": {"sample_rate": sample_rate, "window": window, "hop": window // 4},
        "network": {
            "class": "stemsplit.models.blstm.Blstm",
            "views": ["magnitude"],
            # Halfway between the last frequency that the network reads and the next one, so that
            # rounding errors do not change the number of frequencies.
            "bandwidth_hertz": (bands_read - 0.5) * sample_rate / window,
            "hidden": len(weights["fc1.weight"]),
            "layers": sum(bool(re.fullmatch(r"lstm\.weight_ih_l\d+", name)) for name in weights),
        },
        "targets": [target],
        "residual": residual_of([target]),
        "channels": channels,
        # The networks were trained on excerpts of 6 s, and the Wiener filter of open-unmix
        # processes about 7 s at once.
        "chunk_seconds": 10.0,
        "overlap_seconds": 1.0,
    }
    state = {f"separator.network.{name}": value for name, value in converted(weights).items()}
    return {"separator": description, "state_dict": state}
