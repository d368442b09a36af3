"""Change the number of channels."""

from collections.abc import Callable
from functools import lru_cache

import av
import numpy as np
from jaxtyping import Float32

from stemsplit.audio.forms import Audio, Samples
from stemsplit.errors import InputError

# Layouts that are assumed for files that do not name their channels. The channels are in the order
# of WAV and FLAC.
USUAL_LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "3.0",
    4: "quad",
    5: "5.0(side)",
    6: "5.1(side)",
    7: "6.1",
    8: "7.1",
}


def with_channels(samples: Samples, channels: int) -> Float32[np.ndarray, "_ time"]:
    """Copy mono to `channels` channels, or average all channels to mono.

    Raises `InputError` for any other change.
    """
    present = len(samples)
    if present == channels:
        return samples
    if present == 1:
        return np.repeat(samples, channels, axis=0)
    if channels == 1:
        return samples.mean(axis=0, keepdims=True)
    raise InputError(
        f"{present} channels cannot be converted to {channels}: mix the audio down first"
    )


def downmix(audio: Audio, channels: int) -> tuple[Audio, str]:
    """Mix surround sound down to stereo or mono; return the mix and one line that describes it.

    See `downmixer` for the coefficients and for the error.
    """
    mix, note = downmixer(audio.layout, len(audio.samples), channels)
    mixed = mix(audio.samples)
    return audio._replace(samples=mixed, layout=USUAL_LAYOUTS[channels]), note


def downmixer(
    layout: str, source_channels: int, channels: int
) -> tuple[Callable[[Samples], Samples], str]:
    """Return a function that mixes blocks down, and one line that describes the mix.

    The function takes samples with `source_channels` channels in the given layout, and returns
    stereo or mono. The coefficients come from ITU-R BS.775. For stereo, they are 0 dB for left and
    right, and -3 dB for the centre and the surrounds. For mono, they are -3 dB for left and right,
    0 dB for the centre, and -6 dB for the surrounds. The low-frequency channel is left out. The
    level is not normalised, so samples may exceed ±1, but floating-point samples do not clip. The
    result does not depend on how a song is divided into blocks.

    Raises `InputError` if the file does not name its channels and their number has no usual layout.
    """
    named = named_layout(layout, source_channels)
    target = USUAL_LAYOUTS[channels]
    layout_text = named if named == layout else f"not named, assumed to be {named}"
    note = (
        f"its {source_channels} channels ({layout_text}) are mixed down to {target} with the "
        "coefficients of ITU-R BS.775"
    )
    return lambda samples: _remix(samples, named, target), note


def to_layout(samples: Samples, layout: str, target: str) -> Float32[np.ndarray, "_ time"]:
    """Convert samples to another layout.

    Conversions between mono and stereo are those of `with_channels`. All other conversions have the
    coefficients of `downmixer`.
    """
    channels = av.AudioLayout(target).nb_channels
    if max(len(samples), channels) <= 2:
        return with_channels(samples, channels)
    return _remix(samples, named_layout(layout, len(samples)), named_layout(target, channels))


def named_layout(layout: str, channels: int) -> str:
    """Return the layout, or the usual one if the file does not name its channels.

    Raises `InputError` if there is no usual layout for this number of channels.
    """
    if any(channel.name != "NONE" for channel in av.AudioLayout(layout).channels):
        return layout
    if channels not in USUAL_LAYOUTS:
        raise InputError(
            f"the file does not name its {channels} channels: mix them down to stereo first"
        )
    return USUAL_LAYOUTS[channels]


def _remix(samples: Samples, layout: str, target: str) -> Float32[np.ndarray, "_ time"]:
    matrix = _mixing_matrix(layout, len(samples), target)
    mixed = np.zeros((len(matrix), samples.shape[1]), np.float32)
    # In `matrix @ samples`, the rounding of a sample would depend on its position in the block.
    for coefficients, channel in zip(matrix.T, samples, strict=True):
        mixed += coefficients[:, None] * channel
    return mixed


@lru_cache(maxsize=32)
def _mixing_matrix(layout: str, channels: int, target: str) -> Float32[np.ndarray, "target source"]:
    """Return libswresample's mixing matrix, measured with one unit impulse per channel.

    Raises `InputError` if libswresample cannot mix the layout.
    """
    impulses = np.eye(channels, dtype=np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(impulses, "flt", layout)
    frame.sample_rate = 48000  # libswresample needs a rate, but does not change it
    try:
        mixed = av.AudioResampler(format="flt", layout=target).resample(frame)
    except av.FFmpegError:  # ambisonics, for example
        raise InputError(
            f"the {channels} channels ({layout}) cannot be mixed to {target}: mix them down first"
        ) from None
    responses = np.concatenate([response.to_ndarray() for response in mixed], axis=1)
    return np.ascontiguousarray(responses.reshape(channels, -1).T)
