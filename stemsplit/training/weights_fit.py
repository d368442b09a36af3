"""Check whether the weights of a separator fit the separator of a training run.

They fit if both networks have the same class and sizes, and if both separators have the same front
end. The networks may differ in their stems, in the views that they read (spectrograms of the
mixture, see `FrontEnd`), and in the arguments `FREE`.
"""

import inspect
from typing import Any

from stemsplit.errors import InputError
from stemsplit.separation.separator import Separator
from stemsplit.settings.check import shown
from stemsplit.training.initial_weights import Part, pairs_of, parts_of, sharing, views_of

MEL_VIEWS = {"mel", "mfcc"}
ONLY_FOR_MEL = ("mel_bands", "mel_hertz", "mfccs", "floor")
SHARED = ("sample_rate", "window", "hop", "channels")  # settings at the top of a configuration
# These settings are not in the YAML files of all models. Hydra's prefix `++` adds them if needed.
ONLY_IN_SOME_MODELS = ("window_shape", "floor")
# Arguments of a network that `check_fit` does not compare. Some do not change the shape of any
# weight. For the others, `initial_weights.copied` handles or reports the changed shape.
FREE = ("self", "bands", "sample_rate", "channels", "stems", "views", "bandwidth_hertz", "dropout")


def check_fit(source: Separator, separator: Separator, name: str, rate: float) -> None:
    """Raise `InputError`, which names the settings to change, if the weights do not fit.

    `name` is the name of the weights, `rate` the value of ``data.downsample.rate``.
    """
    pairs = pairs_of(source, separator)
    old, new = pairs[0]
    kinds = [(type(source_part.network), arguments(source_part)) for source_part, _ in pairs]
    if any(kind != kinds[0] for kind in kinds):
        raise InputError(
            f"weights={name}: the networks of these weights for the targets of this run differ in "
            "their class or their sizes; choose one target"
        )
    if type(old.network) is not type(new.network):
        theirs, ours = (type(part.network).__name__ for part in (old, new))
        raise InputError(
            f"weights={name}: these weights belong to the network {theirs}, but this "
            f"run trains {ours}; choose another model=NAME"
        )
    for _, part in pairs:
        if len(sharing(parts_of(source), part)) > 1:
            raise InputError(
                f"weights={name}: these weights have several networks for "
                f"{', '.join(part.stems)}; choose one target, or set "
                "model.separator.network_per_target=true"
            )
    words = differing_front_end(source, separator)
    if words and rate != 1:
        words = ["data.downsample.rate=1"]
    words += differing_network(old, new)
    if words:
        raise InputError(
            f"weights={name}: this run has other settings than the weights; add {' '.join(words)}"
        )


def differing_front_end(source: Separator, separator: Separator) -> list[str]:
    """Words for the command line that give the separator the front end of the weights."""
    theirs = {**source.front_end_settings, "channels": source.channels}
    ours = {**separator.front_end_settings, "channels": separator.channels}
    read = {
        view for old, new in pairs_of(source, separator) for view in views_of(old) & views_of(new)
    }
    compared = [key for key in theirs if key not in ONLY_FOR_MEL or MEL_VIEWS & read]
    return [
        f"{key}={theirs[key]}"
        if key in SHARED
        else f"{'++' * (key in ONLY_IN_SOME_MODELS)}model.separator.front_end.{key}={theirs[key]}"
        for key in compared
        if theirs[key] != ours[key]
    ]


def differing_network(old: Part, new: Part) -> list[str]:
    """Words for the command line that give the network the settings of the weights."""
    theirs, ours = (arguments(part) for part in (old, new))
    return [
        f"{'++' * (key not in new.description)}model.separator.network.{key}={shown(value)}"
        for key, value in theirs.items()
        if value != ours.get(key)
    ]


def arguments(part: Part) -> dict[str, Any]:
    """The arguments of a network, with their defaults."""
    defaults = inspect.signature(type(part.network).__init__).parameters
    values = {key: parameter.default for key, parameter in defaults.items()}
    values |= dict(part.description)
    return {key: value for key, value in values.items() if key not in (*FREE, "class")}
