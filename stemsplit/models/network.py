"""The interface of architectures: what a network reads, and what it estimates."""

from typing import Any, Literal, Protocol

from torch import Tensor

from stemsplit.models.shapes import Mask, Stems, StemSpectra


class Network(Protocol):
    """Interface of an architecture, which is also a `torch.nn.Module`.

    It maps representations of the spectrum, named in `views` (see
    `stemsplit.separation.front_end.FrontEnd`), to a mask, or to the stems' spectra if it has the
    attribute ``maps_spectra = True``. If `views` is empty, it maps the mixture's waveform to the
    stems' waveforms.

    The outputs of the last layer are those of the first stem, then those of the second, and so on.
    A network that repeats this order has the number of repetitions as the attribute
    ``stem_groups``.
    """

    views: tuple[str, ...]

    def __call__(self, views: Any) -> Mask | StemSpectra | Stems: ...

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Normalise the inputs by the mean and the scale of every band of every view."""


Kind = Literal["masks", "spectra", "waveforms"]


def output_of(network: Any) -> Kind:
    """What a network estimates."""
    if not network.views:
        return "waveforms"
    return "spectra" if getattr(network, "maps_spectra", False) else "masks"
