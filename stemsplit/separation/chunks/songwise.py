"""Separate whole songs in chunks. A song is a stream of blocks, or an array in memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from stemsplit.errors import Cancelled, InputError
from stemsplit.separation.chunks.batches import separated
from stemsplit.separation.chunks.blocks import (
    Block,
    StemBlock,
    advanced,
    averaged,
    check_finite,
    chunks_of,
    cross_faded,
    delayed,
    finite,
    paired,
    regrouped,
    resampled,
)
from stemsplit.separation.chunks.inference import NUMBER, Inference
from stemsplit.separation.front_end import HIGHEST_SAMPLE_RATE

MOST_CHANNELS = 64  # with more, the axes are probably swapped
BLOCK = 2**16  # samples; length of the blocks in which songs are read and stems are yielded
LONGEST_SHIFT_SECONDS = 0.5  # as in Demucs

Samples = Float32[np.ndarray, "channel time"]
StemSamples = Float32[np.ndarray, "stem channel time"]
Progress = Callable[[float], bool | None]
REAL = "fiub"  # kinds of NumPy's types for real numbers and bools


@runtime_checkable
class ChunkSeparator(Protocol):
    """The part of a `Separator` that this module uses."""

    targets: tuple[str, ...]
    channels: int

    @property
    def sample_rate(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def check(self, inference: Inference) -> tuple[int, int]: ...

    def targets_of(
        self,
        chunks: Float[Tensor, "batch channel time"],
        wiener_iterations: int | None,
        bfloat16: bool,
    ) -> Float[Tensor, "batch stem channel time"]: ...

    def complete(
        self,
        targets: Float[Tensor, "batch stem channel time"],
        mixture: Float[Tensor, "batch channel time"],
    ) -> Float[Tensor, "batch output_stem channel time"]: ...


def stream(
    separator: ChunkSeparator,
    blocks: Iterable[Samples],
    sample_rate: int,
    channels: int,
    inference: Inference,
) -> Iterator[StemSamples]:
    """Separate a song that arrives in blocks; see `Separator.stream`."""
    chunk, overlap = separator.check(inference)
    check_sample_rate(sample_rate)
    if separator.channels not in (1, channels) and channels != 1:
        advice = "mix it down first" if channels > separator.channels else "use another separator"
        if channels > MOST_CHANNELS:
            advice = "the axes must be (channel, time)"
        raise InputError(
            f"this separator needs {separator.channels} channels, but the song has {channels}; "
            f"{advice}"
        )
    rate = separator.sample_rate
    bfloat16 = inference.in_bfloat16(separator.device.type)

    def separate(
        chunks: Float[Tensor, "chunk channel time"],
    ) -> Float[Tensor, "chunk stem channel time"]:
        # A mono separator gets the channels as items of the batch; a stereo separator gets a mono
        # song on both channels.
        count, _, time = chunks.shape
        if separator.channels == 1:
            items = chunks.reshape(count * channels, 1, time)
            targets = separator.targets_of(items, inference.wiener_iterations, bfloat16)
            return targets.reshape(count, channels, -1, time).transpose(1, 2)
        items = chunks.expand(count, separator.channels, time)
        targets = separator.targets_of(items, inference.wiener_iterations, bfloat16)
        return targets.mean(dim=2, keepdim=True) if channels == 1 else targets

    def targets_after(delay: int, signal: Iterable[Block]) -> Iterator[StemBlock]:
        chunks = chunks_of(delayed(signal, delay), chunk, overlap)
        targets = separated(separate, chunks, rate, inference.batch, separator.device.type)
        return advanced(cross_faded(targets, overlap), delay)

    song = finite(pieces_of(blocks), sample_rate)
    # `tee` keeps in memory the samples that only one of its iterators has read, about one batch.
    ahead, mixture = tee(song)
    signals = tee(resampled(ahead, sample_rate, rate), inference.shifts)
    delays = [
        round(shift * LONGEST_SHIFT_SECONDS * rate / inference.shifts)
        for shift in range(inference.shifts)
    ]
    targets = averaged(list(map(targets_after, delays, signals)), BLOCK)
    start = 0
    for stems, block in paired(
        resampled(targets, rate, sample_rate), mixture, len(separator.targets)
    ):
        # The mixture minus the targets is computed at the song's own rate, so it includes the
        # frequencies that resampling removes.
        completed = separator.complete(stems[None], block[None])[0]
        check_finite(completed, block, start / sample_rate)
        start += block.shape[-1]
        yield completed.numpy()


def separate(
    stream: Callable[[Iterable[Samples], int, int], Iterator[StemSamples]],
    names: Sequence[str],
    waveform: Any,
    sample_rate: int,
    progress: Progress | None,
) -> dict[str, Any]:
    """Separate a song in memory; see `Separator.separate`.

    `stream` is called with the blocks, the sample rate and the number of channels of the song.
    `names` are the names of the stems that it yields.
    """
    is_tensor = isinstance(waveform, Tensor)
    samples = array_of(waveform) if is_tensor else np.asarray(waveform)
    if samples.ndim != 2:
        raise InputError(f"the song has the shape {samples.shape}, but it must be (channel, time)")
    if samples.dtype.kind not in REAL:
        raise InputError(f"the song holds values of type {samples.dtype}, but needs real numbers")
    # `np.array` copies the samples, because torch cannot use arrays with negative strides, and
    # warns about read-only arrays.
    song = torch.from_numpy(np.array(samples, np.float32, order="C"))
    list(finite([song], sample_rate))  # raises before a separation that may take hours
    channels, time = song.shape
    stems = np.empty((len(names), channels, time), np.float32)
    start = 0
    for block in stream([song.numpy()], sample_rate, channels):
        end = start + block.shape[-1]
        stems[..., start:end] = block
        start = end
        if progress is not None and ends(progress(start / time)):
            raise Cancelled
    return dict(zip(names, torch.from_numpy(stems) if is_tensor else stems, strict=True))


def array_of(waveform: Tensor) -> np.ndarray:
    """Return a tensor as an array. Real types become float32, and complex types are unchanged."""
    waveform = waveform.detach()
    if waveform.layout != torch.strided or waveform.is_quantized or waveform.is_meta:
        raise InputError(
            "the song is a sparse or quantised tensor (convert it with .to_dense() or "
            ".dequantize()), or a meta tensor, which holds no samples"
        )
    samples = waveform.cpu() if waveform.is_complex() else waveform.to("cpu", torch.float32)
    return samples.resolve_neg().resolve_conj().numpy()


def check_sample_rate(rate: Any) -> None:
    """Raise `InputError` for a rate that no song has, because resampling could take forever."""
    if not isinstance(rate, NUMBER) or not 1 <= rate <= HIGHEST_SAMPLE_RATE:
        raise InputError(
            f"sample rate {rate!r}: choose a number from 1 to {HIGHEST_SAMPLE_RATE} Hz"
        )


def ends(result: Any) -> bool:
    """Whether the result of a progress function ends the separation.

    Every false value except None ends it: False, `numpy.False_` and 0.
    """
    return result is not None and not result


def pieces_of(blocks: Iterable[Samples]) -> Iterator[Block]:
    """Yield a song in pieces of `BLOCK` samples. `stream` yields its stems in the same pieces."""
    # The blocks are copied, because they may be read-only, or the caller may change them later.
    return regrouped((torch.from_numpy(np.array(block, np.float32)) for block in blocks), BLOCK)
