"""The separator: front end, network, mask, Wiener filter, inverse, overlap-add."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stemsplit.audio import resample
from stemsplit.errors import InputError
from stemsplit.models.shapes import (
    Batch,
    Estimate,
    Mask,
    Spectrum,
    StemMagnitudes,
    Stems,
    StemSpectra,
    Views,
    Waveform,
)
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.overlap_add import check_finite, overlap_add
from stemsplit.separation.wiener import scale_below, wiener

Description = Mapping[str, Any]

# Chunks with a higher peak are scaled down to this value, and their stems are scaled up again:
# squares and products of louder spectra exceed the range of float32. Samples in ±1 and 16-bit
# integers are below this value.
LOUDEST_SAMPLE = 2.0**16


class Network(Protocol):
    """Interface of an architecture, which is also a `torch.nn.Module`.

    It maps representations of the spectrum, named in `views` (see `FrontEnd`), to a mask. If
    `views` is empty, it maps the mixture's waveform to the stems' waveforms.
    """

    views: tuple[str, ...]

    def __call__(self, views: Any) -> Mask | Stems: ...

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Normalise the inputs by the mean and the scale of every band of every view."""


class Separator(nn.Module):
    """A front end, a network that estimates masks (or waveforms), and a Wiener filter.

    `targets` are the stems that the network estimates, in the order of its outputs. `residual` is
    the name of the stem that holds the rest of the mixture. Without a residual, the rest is spread
    equally over the targets. In both cases the stems of `separate` sum to the mixture.

    `wiener_iterations`, `chunk` and `overlap` (in samples) can be changed later; checkpoints saved
    afterwards hold the new values. Saving needs a `network_description`, which `checkpoint.build`
    sets. Raises `InputError` for settings that do not fit together.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        network: nn.Module,
        targets: Sequence[str],
        residual: str | None,
        channels: int,
        wiener_iterations: int = 1,
        chunk_seconds: float = 20.0,
        overlap_seconds: float = 2.0,
        network_description: Description | Sequence[Description] | None = None,
    ) -> None:
        super().__init__()
        for stem in targets if residual is None else (*targets, residual):
            if stem in ("", ".", "..") or {"/", "\\", "\0"} & set(stem):
                raise InputError(f"stem {stem!r} must be a valid file name")
        if residual in targets:
            raise InputError(f"the residual {residual!r} is also a target; choose another name")
        if channels < 1:
            raise InputError(f"channels={channels} must be 1 or more")
        if not 0 < 2 * overlap_seconds <= chunk_seconds:
            raise InputError(
                f"chunks of {chunk_seconds} s cannot overlap by {overlap_seconds} s: choose an "
                f"overlap above 0 s, up to {chunk_seconds / 2} s"
            )
        self.front_end = front_end
        self.network = cast(Network, network)
        self.targets = tuple(targets)
        self.residual = residual
        self.channels = channels
        self.wiener_iterations = wiener_iterations
        self.chunk = round(chunk_seconds * front_end.sample_rate)
        # Rounding could give more than half a chunk; then the cross-fades would not sum to one.
        self.overlap = min(round(overlap_seconds * front_end.sample_rate), self.chunk // 2)
        if not self.overlap:
            raise InputError(f"an overlap of {overlap_seconds} s is shorter than one sample")
        self.network_description = network_description

    @property
    def description(self) -> dict[str, Any]:
        """The arguments of `checkpoint.build` that build a copy of this separator.

        Raises `InputError` if the separator has no `network_description`.
        """
        if self.network_description is None:
            raise InputError(
                "a separator cannot be saved without a description of its network: build it with "
                "stemsplit.separation.checkpoint.build, or give Separator a network_description"
            )
        return {
            "front_end": self.front_end_settings,
            "network": self.network_description,
            "targets": list(self.targets),
            "residual": self.residual,
            "channels": self.channels,
            "wiener_iterations": self.wiener_iterations,
            "chunk_seconds": self.chunk / self.sample_rate,
            "overlap_seconds": self.overlap / self.sample_rate,
        }

    @property
    def front_end_settings(self) -> dict[str, Any]:
        names = inspect.signature(FrontEnd).parameters
        return dict(zip(names, self.front_end.settings, strict=True))

    @property
    def sample_rate(self) -> int:
        return self.front_end.sample_rate

    @property
    def stems(self) -> tuple[str, ...]:
        """The names of the output stems: the targets, then the residual."""
        return self.targets if self.residual is None else (*self.targets, self.residual)

    def estimate(self, batch: Batch) -> Estimate:
        """Estimate the targets of a batch for training, without the Wiener filter."""
        return self._estimate(batch.mixture, batch.spectrum, batch.views)

    def _estimate(self, mixture: Waveform, spectrum: Spectrum, views: Views) -> Estimate:
        """Estimate the targets in float32, whatever the precision of the network."""
        if not self.network.views:
            stems = self.network(mixture).float()
            return Estimate(lambda: self.front_end(stems), lambda: stems)
        mask: Mask = self.network(views)
        if not mask.is_complex():
            mask = mask.float()

        def spectra() -> StemSpectra:
            return mask * spectrum[:, None]

        def waveforms() -> Stems:
            return self.front_end.inverse(spectra(), mixture.shape[-1])

        def magnitudes() -> StemMagnitudes:
            magnitude = views["magnitude"] if "magnitude" in views else spectrum.abs()
            return mask.abs() * magnitude[:, None]

        return Estimate(spectra, waveforms, magnitudes)

    def forward(self, mixture: Waveform) -> Stems:
        """Separate excerpts at the separator's sample rate; the stems sum to the mixture."""
        scale = scale_below(LOUDEST_SAMPLE, mixture.abs().amax(dim=(1, 2), keepdim=True))
        mixture = mixture * scale
        spectrum = self.front_end(mixture)
        views = self.front_end.views(spectrum, self.network.views)
        estimate = self._estimate(mixture, spectrum, views)
        if self.wiener_iterations:
            filtered = self._filter(estimate.spectra, spectrum)
            targets = self.front_end.inverse(filtered, mixture.shape[-1])
        else:
            targets = estimate.waveforms
        return self.complete(targets, mixture) / scale[:, None]

    def _filter(self, spectra: StemSpectra, mixture: Spectrum) -> StemSpectra:
        """Apply the Wiener filter with the residual as a source; return the targets."""
        if self.residual is not None:
            rest = mixture[:, None] - spectra.sum(dim=1, keepdim=True)
            spectra = torch.cat([spectra, rest], dim=1)
        return wiener(spectra, mixture, self.wiener_iterations)[:, : len(self.targets)]

    def complete(
        self, targets: Stems, mixture: Waveform
    ) -> Float[Tensor, "batch output_stem channel time"]:
        """Add the rest of the mixture as residual, or spread it equally over the targets."""
        rest = (mixture - targets.sum(dim=1))[:, None]
        if self.residual is None:
            return targets + rest / len(self.targets)
        return torch.cat([targets, rest], dim=1)

    @torch.inference_mode()
    def separate(
        self,
        waveform: Float[Tensor, "channel time"],
        sample_rate: int,
        progress: Callable[[float], None] | None = None,
    ) -> dict[str, Float[Tensor, "channel time"]]:
        """Separate a song; each stem has the song's channels, sample rate and exact length.

        Overlapping chunks are separated one by one and cross-faded. Memory holds the song, its
        stems and one chunk. If the sample rates differ, memory also holds the song and its targets
        at the separator's rate. `progress` is called with the fraction done. A stereo separator
        gets a mono song on both channels; a mono separator processes channels one by one.

        Raises `InputError` if the song is empty, holds NaN or infinity or has a number of channels
        that does not fit, or if the stems hold NaN or infinity.
        """
        channel, time = waveform.shape
        if not time:
            raise InputError("the song has no samples")
        waveform = waveform.cpu().float()
        if not waveform.isfinite().all():
            raise InputError("the song contains samples that are not finite (NaN or infinity)")
        if self.channels not in (1, channel) and channel != 1:
            advice = "mix it down first" if channel > self.channels else "use another separator"
            raise InputError(
                f"this separator needs {self.channels} channels, but the song has {channel}; "
                f"{advice}"
            )
        song = torch.from_numpy(resample(waveform.numpy(), sample_rate, self.sample_rate))
        if not song.shape[1]:  # resampling may return no sample for a very short song
            song = song.new_zeros(channel, 1)
        # For a mono separator, the channels of the song are the items of the batch.
        song = song[:, None] if self.channels == 1 else song.expand(self.channels, -1)[None]
        targets = len(self.targets)
        # The residual stays zero until the targets have the sample rate of the song.
        stems = torch.zeros(len(self.stems), *song.shape)
        training = self.training
        self.eval()
        try:
            overlap_add(
                self._targets_of,
                song,
                stems[:targets],
                chunk=self.chunk,
                overlap=self.overlap,
                sample_rate=self.sample_rate,
                progress=progress,
            )
        finally:
            self.train(training)
        del song
        if channel == 1:
            stems = stems.mean(dim=2, keepdim=True)
        stems = stems.reshape(len(self.stems), channel, -1)
        if sample_rate != self.sample_rate:
            separated, stems = stems, torch.empty(len(self.stems), channel, time)
            for target in range(targets):
                samples = resample(separated[target].numpy(), self.sample_rate, sample_rate)
                stems[target] = cut_or_pad(torch.from_numpy(samples), time)
        # The rest of the mixture is computed at the song's own rate, so it includes the frequencies
        # that resampling removes. It is computed in blocks, because intermediate results of the
        # whole song would take more memory than its stems.
        for start in range(0, time, self.chunk):
            block = slice(start, start + self.chunk)
            mixture = waveform[None, :, block]
            stems[..., block] = self.complete(stems[None, :targets, :, block], mixture)[0]
            check_finite(stems[..., block], mixture, start / sample_rate)
        return dict(zip(self.stems, stems, strict=True))

    def _targets_of(self, chunk: Waveform) -> Stems:
        """Separate a chunk on the separator's device; return the targets on the CPU."""
        device = self.front_end.window_function.device
        return self(chunk.to(device))[:, : len(self.targets)].cpu()


def cut_or_pad(samples: Float[Tensor, "channel any"], time: int) -> Float[Tensor, "channel time"]:
    """Cut to `time` samples, or pad with silence."""
    samples = samples[:, :time]
    return nn.functional.pad(samples, (0, time - samples.shape[1]))
