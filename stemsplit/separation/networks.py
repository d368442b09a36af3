"""Build the networks of a separator from its description."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.separation import bag
from stemsplit.separation.front_end import VIEWS, FrontEnd
from stemsplit.separation.separator import Description


def build(
    front_end: FrontEnd,
    network: Description | Sequence[Description],
    stems: int,
    channels: int,
    allow: Sequence[str],
    device: str = "cpu",
) -> nn.Module:
    """Build one network from a mapping, or a bag from a list of mappings; see `checkpoint.build`.

    On the device ``meta``, the weights have sizes but take no memory.
    """
    bands = {view: front_end.bands(view) for view in VIEWS}

    def build_network(stems: int, **arguments: Any) -> nn.Module:
        architecture = allowed_class(arguments.pop("class"), allow)
        with torch.device(device):
            return architecture(
                bands=bands,
                sample_rate=front_end.sample_rate,
                channels=channels,
                stems=stems,
                **arguments,
            )

    if isinstance(network, Mapping):
        return build_network(stems=stems, **network)
    total = sum(member["stems"] for member in network)
    if total != stems:
        raise InputError(f"the networks estimate {total} stems, not {stems} targets")
    return bag.Bag([build_network(**member) for member in network])


def allowed_class(name: str, allow: Sequence[str]) -> type[nn.Module]:
    """Return the class with this dotted name.

    Raises `InputError` if the name is neither in ``stemsplit.models`` nor in `allow`, or if it is
    not the name of a subclass of `torch.nn.Module`.
    """
    module, _, attribute = name.rpartition(".")
    if not name.startswith("stemsplit.models.") and name not in allow:
        raise InputError(
            f"{name} is not an architecture of stemsplit; if you trust this class, allow it by "
            f"name: allow=[{name!r}]"
        )
    try:
        architecture = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise InputError(f"{name}: unknown architecture in this version of stemsplit") from None
    if not (isinstance(architecture, type) and issubclass(architecture, nn.Module)):
        raise InputError(f"{name} is not an architecture (a subclass of nn.Module)")
    return architecture


def check_sizes(description: Description, weights: Mapping[str, Tensor]) -> None:
    """Raise an error if the described network does not have the names and sizes of `weights`.

    The description in an untrusted file may ask for a network that is larger than the memory, or
    that has so many layers that building it would take hours. So the check first limits the number
    of layers, and it allocates no memory for the network.
    """
    described = description["network"]
    for member in [described] if isinstance(described, Mapping) else described:
        for name in ("depth", "layers", "pairs"):
            if name in member and not 0 < member[name] <= len(weights):
                raise InputError(
                    f"{name}={member[name]}: the file has only {len(weights)} weights, and each "
                    "layer has at least one"
                )
    network = build(
        FrontEnd(**description["front_end"]),
        description["network"],
        len(description["targets"]),
        description["channels"],
        allow=(),
        device="meta",
    )
    prefix = "network."
    network.load_state_dict(
        {name.removeprefix(prefix): value for name, value in weights.items()}, assign=True
    )
