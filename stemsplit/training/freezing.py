"""Keep parameters of a network from being trained."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from stemsplit.errors import InputError
from stemsplit.settings.suggestions import near

STATISTICS = "running_mean"  # a buffer of every layer with running statistics


def freeze(network: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze the parameters whose names match; return the layers whose statistics are frozen.

    Dots separate the parts of a name. A pattern matches one or more consecutive parts: ``lstm`` and
    ``branches.*.lstm`` match ``branches.mel.lstm.bias_hh_l0``. The running statistics of a layer,
    such as batch norm, are frozen if a pattern matches their name, or if all parameters of the
    layer are frozen.

    Raises `InputError` if a pattern matches no parameter, or if no parameter is left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    buffers = [name for name, _ in network.named_buffers()]
    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            known = layers_of(names)
            parts = sorted({part for layer in known for part in layer.split(".")})
            raise InputError(
                f"freeze: {pattern!r} matches no parameter{near(pattern, parts)}; the layers are "
                f"{', '.join(known)}"
            )
    for name, parameter in network.named_parameters():
        if any(matches(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"freeze=[{','.join(patterns)}]: leaves no parameter to train")
    return [
        name.removesuffix(STATISTICS).removesuffix(".")
        for name in buffers
        if name.rpartition(".")[2] == STATISTICS
        and (
            any(matches(name, pattern) for pattern in patterns)
            or _is_frozen(network.get_submodule(name.rpartition(".")[0]))
        )
    ]


def matches(name: str, pattern: str) -> bool:
    """Whether a glob pattern matches consecutive parts of a name."""
    parts = name.split(".")
    ends = range(1, len(parts) + 1)
    return any(
        fnmatchcase(".".join(parts[start:end]), pattern) for end in ends for start in range(end)
    )


def layers_of(names: Sequence[str]) -> list[str]:
    """The distinct layers of the parameters `names`, as patterns: numbers become ``*``.

    For a parameter outside all layers, the list contains the name of the parameter.
    """
    layers = [name.rpartition(".")[0] or name for name in names]
    return list(dict.fromkeys(re.sub(r"\.\d+(?=\.|$)", ".*", layer) for layer in layers))


def _is_frozen(layer: nn.Module) -> bool:
    parameters = list(layer.parameters(recurse=False))
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
