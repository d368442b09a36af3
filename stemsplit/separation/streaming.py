"""Separate a mixture while it is played, block by block."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Waveform
from stemsplit.separation.separator import Separator
from stemsplit.separation.wiener import scale_below

# Louder frames are scaled down to this for the network: their squares leave the range of float32.
LOUDEST_SPECTRUM = 2.0**30

StemBlock = Float[Tensor, "batch all channel some"]


class Stream:
    """Feeds a causal separator block by block.

    The network has a method ``step(views, state) → (mask, state)``, as `models.lstm.Lstm` has. The
    stems are those that the separator makes of the whole mixture without Wiener filter (which looks
    at all frames); a sample's come out when at most a window has come in after it.

        stream = Stream(separator)
        for block in blocks:                      # (batch, channel, time), of any length
            stems = stream.feed(block)            # (batch, stem, channel, time), what is ready
        stems = stream.finish()                   # the rest

    Stems are on the separator's device, wherever the blocks are.
    """

    def __init__(self, separator: Separator) -> None:
        if not hasattr(separator.network, "step"):
            raise InputError(
                f"{type(separator.network).__name__} has no step from frame to frame, so it cannot "
                "separate a stream: train a network that is causal (model=lstm)"
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
        self.mixture: Tensor | None = None  # what has come in and has not come out
        self.edge: Tensor | None = None  # the last samples, whose mirror image ends the stream
        self.ahead: Tensor | None = None  # from the next frame's first sample on
        self.sums: Tensor | None = None  # stems of samples that frames are still to be added to
        # … and the squared windows that have been added there
        self.weights = separator.front_end.window_function.new_zeros(0)
        self.to_drop = self.window // 2  # of the mirror image before the first sample

    @torch.inference_mode()
    def feed(self, block: Waveform) -> StemBlock:
        """Take the next samples; return the stems of those that are finished (perhaps of none)."""
        if self.ended:
            raise InputError("this stream is at its end: begin another")
        if block.shape[1] != self.separator.channels:
            raise InputError(
                f"this separator works on {self.separator.channels} channels, the block has "
                f"{block.shape[1]}"
            )
        if not block.isfinite().all():
            raise InputError("the block holds samples that are not finite numbers")
        block = block.to(self.weights)
        self.fed += block.shape[-1]
        self.mixture = joined(self.mixture, block)
        self.edge = joined(self.edge, block)[..., -(self.window // 2 + 1) :]
        if self.ahead is None:
            if self.mixture.shape[-1] <= self.window // 2:
                return self._out(None)
            self.ahead = functional.pad(self.mixture, (self.window // 2, 0), mode="reflect")
        else:
            self.ahead = joined(self.ahead, block)
        return self._out(self._frames())

    @torch.inference_mode()
    def finish(self) -> StemBlock:
        """The stems of the samples that are left. Afterwards the stream is at its end."""
        if self.mixture is None:
            raise InputError("nothing was fed to this stream")
        left = self.mixture.shape[-1]
        parts = []
        if self.fed < self.window:
            # As the front end has it: what is shorter than a window ends in silence.
            silence = self.mixture.new_zeros(*self.mixture.shape[:2], self.window - self.fed)
            parts.append(self.feed(silence))
        assert self.edge is not None
        assert self.ahead is not None
        mirror = self.edge[..., :-1].flip(-1)
        self.ahead = joined(self.ahead, mirror)
        parts.append(self._out(self._frames()))
        self.ended = True
        assert self.sums is not None
        parts.append(self._out(self.sums / self.weights.clamp(min=1e-11)))
        return torch.cat(parts, dim=-1)[..., :left]

    def _frames(self) -> Tensor | None:
        """The targets of the samples that no frame to come will reach."""
        assert self.ahead is not None
        if self.ahead.shape[-1] < self.window:
            return None
        window = self.separator.front_end.window_function
        frames = self.ahead.unfold(-1, self.window, self.hop)
        count = frames.shape[-2]
        self.ahead = self.ahead[..., count * self.hop :]
        spectrum = torch.fft.rfft(frames * window).transpose(-1, -2)
        # In a network with a state, one overflow would spoil all frames that follow.
        scale = scale_below(LOUDEST_SPECTRUM, spectrum.abs().amax(dim=(1, 2), keepdim=True))
        views = self.separator.front_end.views(spectrum * scale, self.network.views)
        mask, self.state = self.network.step(views, self.state)
        stems = torch.fft.irfft((mask * spectrum[:, None]).transpose(-1, -2), self.window) * window
        self.sums = self._added(self.sums, stems)
        self.weights = self._added(self.weights, window.square().expand(count, -1))
        done = count * self.hop
        ready = self.sums[..., :done] / self.weights[:done].clamp(min=1e-11)
        self.sums, self.weights = self.sums[..., done:], self.weights[done:]
        return ready

    def _added(self, sums: Tensor | None, frames: Float[Tensor, "*any frame window"]) -> Tensor:
        """Frames overlapping by a hop, added to the sums that the frames before have left."""
        count = frames.shape[-2]
        length = (count - 1) * self.hop + self.window
        found = frames.new_zeros(*frames.shape[:-2], length)
        for number in range(count):
            start = number * self.hop
            found[..., start : start + self.window] += frames[..., number, :]
        if sums is not None:
            found[..., : sums.shape[-1]] += sums
        return found

    def _out(self, targets: Tensor | None) -> StemBlock:
        """All stems of the targets' samples, without the mirror image before the first."""
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
