"""Combine separators of different stems into one, as open-unmix does with its four networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.models.shapes import Mask, Stems
from stemsplit.separation.separator import Description, Separator

# What a song consists of in the corpora that are known: nothing is left beside all of one row.
WHOLES = ({"drums", "bass", "other", "vocals"}, {"vocals", "accompaniment"})


class Bag(nn.Module):
    """Networks side by side: the stems of the first, then those of the second, and so on.

    All of them read views and give masks, or all of them read and give waveforms.
    """

    networks: Any  # a ModuleList, and each of it a Network: no type says both

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        # In the order of their first use, each once: what members share is computed once.
        self.views = tuple(
            dict.fromkeys(view for network in self.networks for view in network.views)
        )

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        for network in self.networks:
            network.set_statistics(statistics)

    def forward(self, views: Any) -> Mask | Stems:
        return torch.cat([network(views) for network in self.networks], dim=1)


def residual_of(targets: Sequence[str]) -> str | None:
    """The name of what these targets leave of a song, by their names alone; None of nothing."""
    if any(whole <= set(targets) for whole in WHOLES):
        return None
    return "accompaniment" if list(targets) == ["vocals"] else "residual"


def describe(members: Sequence[tuple[Path, Separator]]) -> dict[str, Any]:
    """The description of the separator whose targets are those of all `members`, in their order.

    Its members are what checkpoints hold, with their files; a bag among them is opened. Wiener
    filter and lengths of chunks are those of the first. Raises `InputError` where two have a target
    in common, or differ in what they must share: front end, channels, masks or waveforms.
    """
    first_path, first = members[0]
    shared = _facts(first)
    networks: list[Description] = []
    found: dict[str, Path] = {}
    for path, member in members:
        if different := [
            f"{fact} {value} is not {shared[fact]}"
            for fact, value in _facts(member).items()
            if value != shared[fact]
        ]:
            raise InputError(f"{path} cannot be combined with {first_path}: {', '.join(different)}")
        for target in member.targets:
            if target in found:
                raise InputError(
                    f"{path}: estimates {target!r}, and so does {found[target]}; combine "
                    "separators of different stems"
                )
            found[target] = path
        networks += _networks_described(member)
    return {
        **first.description,
        "network": networks,
        "targets": list(found),
        "residual": residual_of(list(found)),
    }


def weights(members: Sequence[Separator]) -> dict[str, Tensor]:
    """The state dict of the separator that `describe` describes."""
    networks: list[nn.Module] = []
    for member in members:
        network = cast(nn.Module, member.network)
        networks += network.networks if isinstance(network, Bag) else [network]
    return {f"network.{name}": value for name, value in Bag(networks).state_dict().items()}


def _facts(separator: Separator) -> dict[str, Any]:
    """What the members of a bag share, by name."""
    makes = "masks" if separator.network.views else "waveforms"
    return {**separator.front_end_settings, "channels": separator.channels, "making of": makes}


def _networks_described(separator: Separator) -> list[Description]:
    network = separator.description["network"]
    return network if isinstance(network, list) else [{**network, "stems": len(separator.targets)}]
