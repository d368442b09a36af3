"""Combine separators of different stems into one, as open-unmix does with its four networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.models.network import output_of
from stemsplit.models.shapes import Mask, Stems, StemSpectra
from stemsplit.separation.separator import Description, Separator

# In the supported corpora, the stems of each of these sets sum to the mixture, so that there is no
# residual.
COMPLETE_STEMS = ({"drums", "bass", "other", "vocals"}, {"vocals", "accompaniment"})


class Bag(nn.Module):
    """Run several networks as one network that estimates the stems of all of them.

    The stems keep the order of the networks. All networks must have the same kind of output:
    masks, spectra or waveforms.
    """

    networks: Any  # a ModuleList whose items are Networks; no static type expresses both

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.maps_spectra = output_of(self.networks[0]) == "spectra"
        # A view that several networks read is listed only once, so that it is computed only once.
        self.views = tuple(
            dict.fromkeys(view for network in self.networks for view in network.views)
        )

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        for network in self.networks:
            network.set_statistics(statistics)

    def forward(self, views: Any) -> Mask | StemSpectra | Stems:
        outputs = [network(views) for network in self.networks]
        if not self.views:
            return torch.cat(outputs, dim=1)
        # The transpositions keep the frequencies of a frame next to each other in memory, as in the
        # spectrum.
        return torch.cat([mask.transpose(3, 4) for mask in outputs], dim=1).transpose(3, 4)


def residual_of(targets: Sequence[str]) -> str | None:
    """Return the residual's name, or None if the targets include a set of `COMPLETE_STEMS`."""
    if any(stems <= set(targets) for stems in COMPLETE_STEMS):
        return None
    return "accompaniment" if list(targets) == ["vocals"] else "residual"


def describe(members: Sequence[tuple[Path, Separator]]) -> dict[str, Any]:
    """Return the arguments of `checkpoint.build` for a bag with the targets of all `members`.

    The targets keep the order of the members. `members` are pairs of a checkpoint's path and its
    separator. If a member is a bag, all its networks are used. The Wiener filter and the chunks
    have the settings of the first member.

    Raises `InputError` if two members have the same target, or if their front ends, numbers of
    channels or kinds of output (masks, spectra or waveforms) differ.
    """
    first_path, first = members[0]
    expected = shared_settings(first)
    networks: list[Description] = []
    path_of_target: dict[str, Path] = {}
    for path, member in members:
        if differences := [
            f"{name} is {value}, not {expected[name]}"
            for name, value in shared_settings(member).items()
            if value != expected[name]
        ]:
            raise InputError(
                f"{path} cannot be combined with {first_path}: {'; '.join(differences)}"
            )
        for target in member.targets:
            if target in path_of_target:
                raise InputError(
                    f"{path_of_target[target]} and {path} both estimate {target!r}; combine "
                    "separators of different stems"
                )
            path_of_target[target] = path
        networks += _networks_described(member)
    return {
        **first.description,
        "network": networks,
        "targets": list(path_of_target),
        "residual": residual_of(list(path_of_target)),
    }


def weights(members: Sequence[Separator]) -> dict[str, Tensor]:
    """Return the state dict of the separator that `checkpoint.build` makes from `describe`."""
    networks: list[nn.Module] = []
    for member in members:
        network = cast(nn.Module, member.network)
        networks += network.networks if isinstance(network, Bag) else [network]
    return {f"network.{name}": value for name, value in Bag(networks).state_dict().items()}


def fit_together(members: Sequence[Separator]) -> bool:
    """Whether the members can form a bag: all targets differ, all `shared_settings` are equal."""
    targets = [target for member in members for target in member.targets]
    settings = shared_settings(members[0])
    return len(set(targets)) == len(targets) and all(
        shared_settings(member) == settings for member in members
    )


def shared_settings(separator: Separator) -> dict[str, Any]:
    """Return the settings that all members of a bag must share."""
    return {
        **separator.front_end_settings,
        "channels": separator.channels,
        "output": output_of(separator.network),
    }


def _networks_described(separator: Separator) -> list[Description]:
    network = separator.description["network"]
    return network if isinstance(network, list) else [{**network, "stems": len(separator.targets)}]
