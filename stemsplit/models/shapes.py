"""Names of the axes as type annotations, and the classes `Batch` and `Estimate`.

An axis has the same name everywhere: ``batch stem channel time`` for waveforms,
``freq frame`` for spectra, ``band frame`` for the views that a network reads.
"""

from collections.abc import Callable
from functools import cached_property

from jaxtyping import Complex, Float
from torch import Tensor

Waveform = Float[Tensor, "batch channel time"]
Stems = Float[Tensor, "batch stem channel time"]
Spectrum = Complex[Tensor, "batch channel freq frame"]
StemSpectra = Complex[Tensor, "batch stem channel freq frame"]
StemMagnitudes = Float[Tensor, "batch stem channel freq frame"]
Magnitude = Float[Tensor, "batch channel freq frame"]
View = Float[Tensor, "batch channel band frame"]
Views = dict[str, Float[Tensor, "batch channel _ frame"]]
Mask = (
    Float[Tensor, "batch stem channel freq frame"]
    | Complex[Tensor, "batch stem channel freq frame"]
)


class Batch:
    """A batch of mixtures with the stems to estimate and the views that the network reads.

    ``keys`` identifies each excerpt: ``(epoch, position)`` in training,
    ``(track, first sample)`` in validation. The list is empty if the batch only repeats another
    batch; metrics then leave the repetition out. ``stem_spectra`` are computed when a loss first
    reads them.
    """

    def __init__(
        self,
        mixture: Waveform,
        stems: Stems,
        spectrum: Spectrum,
        views: Views,
        keys: list[tuple[int, int]],
        stem_spectra: Callable[[], StemSpectra],
    ) -> None:
        self.mixture = mixture
        self.stems = stems
        self.spectrum = spectrum
        self.views = views
        self.keys = keys
        self._stem_spectra = stem_spectra

    @cached_property
    def stem_spectra(self) -> StemSpectra:
        return self._stem_spectra()


class Estimate:
    """The estimated stems as spectra, magnitudes and waveforms, each computed at its first use.

    ``magnitudes`` are the absolute values of the spectra. For a network that estimates masks, the
    argument `magnitudes` is a function that computes the magnitudes without the complex spectra,
    which is faster.
    """

    def __init__(
        self,
        spectra: Callable[[], StemSpectra],
        waveforms: Callable[[], Stems],
        magnitudes: Callable[[], StemMagnitudes] | None = None,
    ) -> None:
        self._spectra = spectra
        self._waveforms = waveforms
        self._magnitudes = magnitudes

    @cached_property
    def spectra(self) -> StemSpectra:
        return self._spectra()

    @cached_property
    def magnitudes(self) -> StemMagnitudes:
        return self.spectra.abs() if self._magnitudes is None else self._magnitudes()

    @cached_property
    def waveforms(self) -> Stems:
        return self._waveforms()
