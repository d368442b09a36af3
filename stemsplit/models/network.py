"""The interface of architectures: what a network reads, and what it estimates."""

from typing import Any, Literal, Protocol

from torch import Tensor

from stemsplit.models.shapes import Mask, Stems, StemSpectra


class Network(Protocol):
    """Interface of an architecture, which is also a `torch.nn.Module`.

    `views` are the names of the representations of the spectrum that the network reads (see
    `stemsplit.separation.front_end.FrontEnd`). The network maps them to a mask, or to the spectra
    of the stems if it has the attribute ``maps_spectra = True``. If `views` is empty, the network
    maps the waveform of the mixture to the waveforms of the stems.

    The last layer has all outputs of the first stem, then all outputs of the second stem, and so
    on. If a network repeats this order (for example for each sub-band), its attribute
    ``stem_groups`` is the number of repetitions.
    """

    views: tuple[str, ...]

    def __call__(self, views: Any) -> Mask | StemSpectra | Stems: ...

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Let the network normalise its inputs, before it is trained.

        `statistics` maps each view to the mean and the scale of each of its bands.
        """


Kind = Literal["masks", "spectra", "waveforms"]


def output_of(network: Any) -> Kind:
    """Return what a network estimates."""
    if not network.views:
        return "waveforms"
    return "spectra" if getattr(network, "maps_spectra", False) else "masks"
