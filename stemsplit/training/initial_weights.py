"""Start a training run with the weights of another separator, which may have other stems.

The module `weights_fit` first checks whether the networks fit. Some layers grow with the number of
stems, and others exist once per stem. To find out which weights belong to which stem, `take_over`
builds the network for one stem and for two stems, and compares the shapes. These networks are on
the device ``meta``, which allocates no memory.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from stemsplit.audio.entries import normal
from stemsplit.errors import InputError
from stemsplit.separation import networks
from stemsplit.separation.bag import Bag
from stemsplit.separation.separator import Separator

MOST = 3  # largest number of names that a message lists


class Part(NamedTuple):
    """A network of a separator.

    `description` is a mapping like the argument `network` of `checkpoint.build`.
    """

    network: nn.Module
    stems: list[str]
    description: Mapping[str, Any]


class Taken(NamedTuple):
    """Names of tensors after copying.

    `names` are all tensors of the new network. `missing` are the tensors of the new network that
    were not copied, or only for some stems. `unused` are the tensors of the weights that were not
    copied.
    """

    names: list[str]
    missing: list[str]
    unused: list[str]


def parts_of(separator: Separator) -> list[Part]:
    """The networks of a separator with their stems. A `Bag` contains several networks."""
    network = cast(nn.Module, separator.network)
    targets = list(map(normal, separator.targets))
    described: Any = separator.network_description
    if not isinstance(network, Bag):
        return [Part(network, targets, described)]
    parts = []
    for member, description in zip(network.networks, described, strict=True):
        stems, targets = targets[: description["stems"]], targets[description["stems"] :]
        parts.append(Part(member, stems, description))
    return parts


def pairs_of(source: Separator, separator: Separator) -> list[tuple[Part, Part]]:
    """Pairs: a network of `source`, and the network of `separator` that gets its weights.

    A network gets the weights of the first network of `source` with which it shares a stem. If it
    shares no stem with any of them, it gets the weights of the first one.
    """
    old = parts_of(source)
    return [((sharing(old, part) or old)[0], part) for part in parts_of(separator)]


def new_views(source: Separator, separator: Separator) -> set[str]:
    """The views that a network reads, but the network whose weights it gets does not."""
    return {
        view for old, new in pairs_of(source, separator) for view in views_of(new) - views_of(old)
    }


def views_of(part: Part) -> set[str]:
    return set(cast(Any, part.network).views)


def sharing(old: Sequence[Part], part: Part) -> list[Part]:
    """The networks of the weights that estimate a stem of `part`."""
    return [each for each in old if set(each.stems) & set(part.stems)]


@torch.no_grad()
def take_over(source: Separator, separator: Separator, name: str, allow: Sequence[str] = ()) -> str:
    """Copy the weights of `source` into a separator; return lines about what was copied.

    Raises `InputError` if the shape of a tensor differs for another reason than the stems, or if a
    network gets no weights.
    """
    lines = []
    for old, part in pairs_of(source, separator):
        stems = matched(part.stems, old.stems)
        one, two = (
            networks.build(
                separator.front_end,
                {key: value for key, value in part.description.items() if key != "stems"},
                count,
                separator.channels,
                allow,
                device="meta",
            ).state_dict()
            for count in (1, 2)
        )
        taken = copied(old, part, stems, Layout(one, two), name)
        lines.append(report(taken, old, part, stems))
    return "\n".join(f"weights={name}: {line}" for line in dict.fromkeys(lines))


def matched(stems: Sequence[str], old: Sequence[str]) -> dict[int, int]:
    """Map the position of each stem to its position in the weights.

    If `stems` and `old` both have one stem, these two match, whatever their names.
    """
    if len(stems) == len(old) == 1:
        return {0: 0}
    return {place: old.index(stem) for place, stem in enumerate(stems) if stem in old}


class Layout:
    """Which weights of an architecture belong to a stem.

    `one` and `two` are its state dicts for one stem and for two. `axes` maps the name of a tensor
    to the axis that grows with the number of stems. `lists` are the parts of names before
    the number of a stem, such as ``decoders.``.
    """

    def __init__(self, one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> None:
        self.axes = {
            name: axis
            for name in one.keys() & two.keys()
            for axis, size in enumerate(one[name].shape)
            if size != two[name].shape[axis]
        }
        self.lists = set()
        for name in two.keys() - one.keys():
            numbers = name.split(".")
            for place, number in enumerate(numbers):
                first = ".".join([*numbers[:place], "0", *numbers[place + 1 :]])
                if number == "1" and first in one:
                    self.lists.add(".".join([*numbers[:place], ""]))

    def name_in(self, name: str, stems: Mapping[int, int]) -> str | None:
        """The name of a tensor in the weights; None for a stem that the weights do not have."""
        for start in self.lists:
            if name.startswith(start):
                number, dot, rest = name.removeprefix(start).partition(".")
                old = stems.get(int(number))
                return None if old is None else f"{start}{old}{dot}{rest}"
        return name


def copied(old: Part, new: Part, stems: Mapping[int, int], layout: Layout, name: str) -> Taken:
    weights, state = old.network.state_dict(), new.network.state_dict()
    groups = getattr(new.network, "stem_groups", 1)
    missing, used = [], set()
    for key, value in state.items():
        old_key = layout.name_in(key, stems)
        if old_key not in weights:
            missing.append(key)
            continue
        pairs = [(weights[old_key], value)]
        if (axis := layout.axes.get(key)) is not None:
            of_stems = [
                tensor.unflatten(axis, (groups, len(part.stems), -1))
                for tensor, part in ((weights[old_key], old), (value, new))
            ]
            pairs = [
                (of_stems[0].select(axis + 1, theirs), of_stems[1].select(axis + 1, ours))
                for ours, theirs in stems.items()
            ]
            if len(stems) < len(new.stems):
                missing.append(key)
        if any(theirs.shape != ours.shape for theirs, ours in pairs):
            raise InputError(
                f"weights={name}: {key} has the shape {list(weights[old_key].shape)}, but this run "
                f"needs {list(value.shape)}; pass the settings that the weights were trained with, "
                "such as bandwidth_hertz"
            )
        for theirs, ours in pairs:
            ours.copy_(theirs)
        if pairs:
            used.add(old_key)
    if not used:
        raise InputError(
            f"weights={name}: no tensor of these weights fits the network for "
            f"{', '.join(new.stems)}; choose other weights"
        )
    return Taken(list(state), missing, [key for key in weights if key not in used])


def report(taken: Taken, old: Part, new: Part, stems: Mapping[int, int]) -> str:
    """Which tensors and stems were copied, and which were not."""
    total = len(taken.names)
    parts = [f"{total - len(taken.missing)} of {total} tensors copied completely"]
    if taken.missing:
        parts.append(f"not copied, or only for some stems: {examples(taken.missing)}")
    for place, stem in enumerate(new.stems):
        if place not in stems:
            parts.append(f"{stem} is new")
        elif (before := old.stems[stems[place]]) != stem:
            parts.append(f"{stem} starts as {before}")
    if taken.unused:
        parts.append(f"tensors of the weights without use: {examples(taken.unused)}")
    if left := [stem for place, stem in enumerate(old.stems) if place not in stems.values()]:
        parts.append(f"stems of the weights without use: {', '.join(left)}")
    return "; ".join(parts)


def examples(names: Sequence[str]) -> str:
    rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + rest
