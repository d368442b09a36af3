"""The separator, which splits mixtures with a front end, a network and a Wiener filter."""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.models.network import Network, output_of
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
from stemsplit.separation.chunks import songwise
from stemsplit.separation.chunks.inference import (
    MOST_WIENER_ITERATIONS,
    Inference,
    chunk_and_overlap,
)
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.spectra import magnitude, masked
from stemsplit.separation.stem_names import check_stem_names
from stemsplit.separation.wiener import scale_below, wiener

Description = Mapping[str, Any]

# Chunks with a higher peak are scaled down below this value, and their stems are scaled up again.
# Otherwise, squares and products of their spectra could exceed the range of float32. Samples in ±1
# and 16-bit integers are below this value, so they are not scaled.
LOUDEST_SAMPLE = 2.0**16


class Separator(nn.Module):
    """Separate mixtures with a front end, a network and a Wiener filter.

    The network estimates masks, spectra or waveforms. `targets` are the stems that it estimates, in
    the order of its outputs. `residual` is the name of the stem that holds the rest of the mixture.
    Without a residual, the rest is spread equally over the targets. In both cases the stems of
    `separate` sum to the mixture.

    The attributes `wiener_iterations`, `chunk` and `overlap` can be changed later (the last two are
    in samples). Checkpoints that are saved afterwards hold the new values. Saving needs a
    `network_description`, which `checkpoint.build` sets. Raises `InputError` for settings that do
    not fit together.
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
        if isinstance(targets, str):  # each letter would become a target
            raise InputError(f"the targets {targets!r} must be a list of names")
        check_stem_names(targets if residual is None else (*targets, residual))
        if not 0 <= wiener_iterations <= MOST_WIENER_ITERATIONS:
            raise InputError(
                f"{wiener_iterations} iterations of the Wiener filter: use 0 to "
                f"{MOST_WIENER_ITERATIONS}"
            )
        if channels < 1:
            raise InputError(f"channels={channels} must be 1 or more")
        self.front_end = front_end
        self.network = cast(Network, network)
        self.targets = tuple(targets)
        self.residual = residual
        self.channels = channels
        self.wiener_iterations = wiener_iterations
        self.chunk, self.overlap = chunk_and_overlap(
            chunk_seconds, overlap_seconds, front_end.window, front_end.sample_rate
        )
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
    def device(self) -> torch.device:
        return self.front_end.window_function.device

    @property
    def stems(self) -> tuple[str, ...]:
        """The names of the output stems: the targets, then the residual."""
        return self.targets if self.residual is None else (*self.targets, self.residual)

    def estimate(self, batch: Batch) -> Estimate:
        """Estimate the targets of a batch for training, without the Wiener filter."""
        output = self._output(batch.mixture, batch.views)
        return self._estimate(output, batch.mixture, batch.spectrum, batch.views)

    def _output(
        self, mixture: Waveform, views: Views, bfloat16: bool = False
    ) -> Mask | StemSpectra | Stems:
        """Return the masks, spectra or waveforms that the network estimates.

        The network may compute real outputs in another precision. They are converted to float32.
        """
        half = torch.autocast(self.device.type, torch.bfloat16) if bfloat16 else nullcontext()
        with half:
            output = self.network(views if self.network.views else mixture)
        return output if output.is_complex() else output.float()

    def _estimate(
        self,
        output: Mask | StemSpectra | Stems,
        mixture: Waveform,
        spectrum: Spectrum,
        views: Views,
    ) -> Estimate:
        time = mixture.shape[-1]
        match output_of(self.network):
            case "waveforms":
                return Estimate(lambda: self.front_end(output), lambda: output)
            case "spectra":
                return Estimate(lambda: output, lambda: self.front_end.inverse(output, time))
        mask = output

        def spectra() -> StemSpectra:
            return mask * spectrum[:, None] if mask.is_complex() else masked(mask, spectrum)

        def waveforms() -> Stems:
            return self.front_end.inverse(spectra(), time)

        def magnitudes() -> StemMagnitudes:
            view = views["magnitude"] if "magnitude" in views else magnitude(spectrum)
            return mask.abs() * view[:, None]

        return Estimate(spectra, waveforms, magnitudes)

    def forward(
        self, mixture: Waveform, wiener_iterations: int | None = None, bfloat16: bool = False
    ) -> Stems:
        """Separate excerpts at the separator's sample rate; the stems sum to the mixture.

        `wiener_iterations` is the separator's own number by default. If `bfloat16`, the network
        runs in bfloat16, and everything else in float32.
        """
        iterations = self.wiener_iterations if wiener_iterations is None else wiener_iterations
        scale = scale_below(LOUDEST_SAMPLE, mixture.abs().amax(dim=(1, 2), keepdim=True))
        mixture = mixture * scale
        spectrum = self.front_end(mixture)
        views = self.front_end.views(spectrum, self.network.views)
        output = self._output(mixture, views, bfloat16)
        stems = mixture.new_empty(len(mixture), len(self.stems), *mixture.shape[1:])
        # The network has processed the whole batch. The Wiener filter and the inverse transform
        # need much more memory, so they process one excerpt at a time.
        for item in range(len(mixture)):
            one = slice(item, item + 1)
            targets = self._targets(output[one], mixture[one], spectrum[one], iterations)
            stems[one] = self.complete(targets, mixture[one]) / scale[one, None]
        return stems

    def _targets(
        self,
        output: Mask | StemSpectra | Stems,
        mixture: Waveform,
        spectrum: Spectrum,
        wiener_iterations: int,
    ) -> Stems:
        estimate = self._estimate(output, mixture, spectrum, {})
        if not wiener_iterations:
            return estimate.waveforms
        filtered = self._filter(estimate.spectra, spectrum, wiener_iterations)
        return self.front_end.inverse(filtered, mixture.shape[-1])

    def _filter(self, spectra: StemSpectra, mixture: Spectrum, iterations: int) -> StemSpectra:
        """Apply the Wiener filter to the targets and the residual (if any); return the targets."""
        if self.residual is not None:
            rest = mixture[:, None] - spectra.sum(dim=1, keepdim=True)
            spectra = torch.cat([spectra, rest], dim=1)
        return wiener(spectra, mixture, iterations)[:, : len(self.targets)]

    def complete(
        self, targets: Stems, mixture: Waveform
    ) -> Float[Tensor, "batch output_stem channel time"]:
        """Return stems that sum to the mixture.

        The rest (the mixture minus the targets) becomes the residual. If the separator has no
        residual, the rest is spread equally over the targets.
        """
        rest = (mixture - targets.sum(dim=1))[:, None]
        if self.residual is None:
            return targets + rest / len(self.targets)
        return torch.cat([targets, rest], dim=1)

    def check(self, inference: Inference) -> tuple[int, int]:
        """Return the lengths of chunks and of their overlap, in samples, with these settings.

        Raises `InputError` if the settings do not fit together, or do not fit this separator.
        """
        inference.check()
        inference.in_bfloat16(self.device.type)
        return inference.chunk_and_overlap(
            self.chunk, self.overlap, self.front_end.window, self.sample_rate
        )

    def stream(
        self,
        blocks: Iterable[songwise.Samples],
        sample_rate: int,
        channels: int,
        inference: Inference = Inference(),  # noqa: B008
    ) -> Iterator[songwise.StemSamples]:
        """Separate a song that arrives in blocks `(channel, time)` of any length.

        Yields blocks of the stems `(stem, channel, time)` at the song's sample rate. The blocks
        together have the length of the song, and the stems sum to the song. Even for a long song,
        only a few chunks are in memory. A stereo separator gets a mono song on both channels; a
        mono separator processes the channels one by one.

        Raises `InputError` if the song is empty, contains NaN or infinity, or has an unsuitable
        sample rate or number of channels. Also raises `InputError` if the settings do not fit
        together, if the memory is too small, or if the stems contain NaN or infinity.
        """
        training = self.training
        if training:
            self.eval()
        try:
            yield from songwise.stream(self, blocks, sample_rate, channels, inference)
        finally:
            if training:
                self.train()

    def separate(
        self,
        waveform: Any,
        sample_rate: int,
        progress: songwise.Progress | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """Separate a song, given as a tensor or array `(channel, time)`; return its stems by name.

        Each stem has the type of `waveform`, and the song's channels, sample rate and exact length.
        `progress` is called with the fraction done; if it returns False, `Cancelled` is raised.
        `settings` are the arguments of `Inference`. Several threads may use one separator at the
        same time, if it is in evaluation mode. Raises `InputError` as `stream` does.
        """
        inference = Inference(**settings)

        def stream(
            blocks: Iterable[songwise.Samples], rate: int, channels: int
        ) -> Iterator[songwise.StemSamples]:
            return self.stream(blocks, rate, channels, inference)

        return songwise.separate(stream, self.stems, waveform, sample_rate, progress)

    @torch.no_grad()
    def targets_of(
        self, chunks: Waveform, wiener_iterations: int | None = None, bfloat16: bool = False
    ) -> Stems:
        """Separate chunks on the separator's device; return the targets on the CPU."""
        stems = self(chunks.to(self.device), wiener_iterations, bfloat16)
        return stems[:, : len(self.targets)].cpu()
