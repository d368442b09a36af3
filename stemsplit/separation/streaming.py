"""Separate a stream of audio block by block, for example during playback."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Waveform
from stemsplit.separation.separator import Separator
from stemsplit.separation.wiener import scale_below

# Largest magnitude that the network reads. Frames with a larger magnitude are scaled down below
# this value first. Networks square magnitudes and sum the squares over bands, and these sums must
# stay below 2**128, the limit of float32.
LOUDEST_SPECTRUM = 2.0**30

StemBlock = Float[Tensor, "batch output_stem channel ready_time"]


class Stream:
    """Separate a stream with a causal separator, block by block.

    The network must have a method ``step(views, state) → (mask, state)``, like `models.lstm.Lstm`.
    The stems equal the stems of `Separator` with `wiener_iterations=0`. The Wiener filter cannot be
    used, because it would need all frames.
    The latency is at most one window.

        stream = Stream(separator)
        for block in blocks:                      # (batch, channel, time), of any length
            stems = stream.feed(block)            # (batch, stem, channel, time); time may be 0
        stems = stream.finish()                   # the remaining samples

    Blocks may be on any device; the stems are on the separator's device. Raises `InputError` if the
    network has no method `step`, or if the separator is in training mode.
    """

    def __init__(self, separator: Separator) -> None:
        if not hasattr(separator.network, "step"):
            raise InputError(
                f"{type(separator.network).__name__} has no method step, so it cannot separate a "
                "stream: train a causal network (model=lstm)"
            )
        if separator.training:
            raise InputError("a separator in training mode cannot stream: call its eval() first")
        self.separator = separator
        self.network = cast(Any, separator.network)
        self.window = separator.front_end.window
        self.hop = separator.front_end.hop
        self.state: Any = None
        self.fed = 0  # samples
        self.ended = False
        self.mixture: Tensor | None = None  # samples whose stems are not yet returned
        self.edge: Tensor | None = None  # the last samples; `finish` appends their mirror image
        self.ahead: Tensor | None = None  # samples from the start of the next frame on
        # sums of the frames so far, at samples that later frames also overlap
        self.sums: Tensor | None = None
        # sums of squared windows, at the same samples
        self.weights = separator.front_end.window_function.new_zeros(0)
        self.to_drop = self.window // 2  # samples of the mirror image before the first sample

    @torch.inference_mode()
    def feed(self, block: Waveform) -> StemBlock:
        """Take the next samples; return the stems of all samples that are ready.

        The returned block may have no samples.
        """
        if self.ended:
            raise InputError("this stream is finished: create a new Stream")
        if block.shape[1] != self.separator.channels:
            raise InputError(
                f"this separator needs {self.separator.channels} channels, but the block has "
                f"{block.shape[1]}"
            )
        if not block.isfinite().all():
            raise InputError("the block contains samples that are not finite (NaN or infinity)")
        block = block.to(self.weights)
        self.fed += block.shape[-1]
        self.mixture = joined(self.mixture, block)
        self.edge = joined(self.edge, block)[..., -(self.window // 2 + 1) :]
        if self.ahead is None:
            if self.mixture.shape[-1] <= self.window // 2:
                return self._stems_of(None)
            self.ahead = functional.pad(self.mixture, (self.window // 2, 0), mode="reflect")
        else:
            self.ahead = joined(self.ahead, block)
        return self._stems_of(self._process_frames())

    @torch.inference_mode()
    def finish(self) -> StemBlock:
        """End the stream and return the stems of the remaining samples."""
        if self.mixture is None:
            raise InputError("nothing was fed to this stream: call feed first")
        remaining = self.mixture.shape[-1]
        parts = []
        if self.fed < self.window:
            # If the mixture is shorter than a window, the front end pads it with silence.
            silence = self.mixture.new_zeros(*self.mixture.shape[:2], self.window - self.fed)
            parts.append(self.feed(silence))
        assert self.edge is not None
        assert self.ahead is not None
        mirror = self.edge[..., :-1].flip(-1)
        self.ahead = joined(self.ahead, mirror)
        parts.append(self._stems_of(self._process_frames()))
        self.ended = True
        assert self.sums is not None
        parts.append(self._stems_of(self.sums / self.weights.clamp(min=1e-11)))
        return torch.cat(parts, dim=-1)[..., :remaining]

    def _process_frames(self) -> Tensor | None:
        """Process all complete frames; return None if there is no complete frame.

        Otherwise return the estimated targets at the samples that no later frame overlaps.
        """
        assert self.ahead is not None
        if self.ahead.shape[-1] < self.window:
            return None
        window = self.separator.front_end.window_function
        frames = self.ahead.unfold(-1, self.window, self.hop)
        count = frames.shape[-2]
        self.ahead = self.ahead[..., count * self.hop :]
        spectrum = torch.fft.rfft(frames * window).transpose(-1, -2)
        # Loud frames are scaled down, because an overflow would stay in the state of the network
        # and spoil all later frames.
        scale = scale_below(LOUDEST_SPECTRUM, spectrum.abs().amax(dim=(1, 2), keepdim=True))
        views = self.separator.front_end.views(spectrum * scale, self.network.views)
        mask, self.state = self.network.step(views, self.state)
        stems = torch.fft.irfft((mask * spectrum[:, None]).transpose(-1, -2), self.window) * window
        self.sums = self._overlap_add(self.sums, stems)
        self.weights = self._overlap_add(self.weights, window.square().expand(count, -1))
        done = count * self.hop
        ready = self.sums[..., :done] / self.weights[:done].clamp(min=1e-11)
        self.sums, self.weights = self.sums[..., done:], self.weights[done:]
        return ready

    def _overlap_add(
        self, sums: Tensor | None, frames: Float[Tensor, "*leading frame window"]
    ) -> Tensor:
        """Overlap-add frames, one hop apart, to the sums of earlier frames."""
        count = frames.shape[-2]
        length = (count - 1) * self.hop + self.window
        total = frames.new_zeros(*frames.shape[:-2], length)
        for frame in range(count):
            start = frame * self.hop
            total[..., start : start + self.window] += frames[..., frame, :]
        if sums is not None:
            total[..., : sums.shape[-1]] += sums
        return total

    def _stems_of(self, targets: Tensor | None) -> StemBlock:
        """Return stems that sum to the mixture (see `Separator.complete`).

        `targets` are the estimates of the next samples of the stream. They are None if nothing was
        estimated. At the start, the network also reads a mirror image of the first samples; the
        stems of this mirror image are dropped.
        """
        assert self.mixture is not None
        if targets is None:
            batch, channel, _ = self.mixture.shape
            targets = self.mixture.new_zeros(batch, len(self.separator.targets), channel, 0)
        drop = min(self.to_drop, targets.shape[-1])
        self.to_drop -= drop
        targets = targets[..., drop:][..., : self.mixture.shape[-1]]
        time = targets.shape[-1]
        mixture, self.mixture = self.mixture[..., :time], self.mixture[..., time:]
        return self.separator.complete(targets, mixture)


def joined(first: Tensor | None, second: Tensor) -> Tensor:
    return second if first is None else torch.cat([first, second], dim=-1)
