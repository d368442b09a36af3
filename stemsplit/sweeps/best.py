"""Write best.yaml: the settings of a sweep's best trial, as a Hydra configuration file."""

import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from stemsplit.files import replacing
from stemsplit.separation.published.catalogue import find
from stemsplit.settings.paths import literal, without_quotes
from stemsplit.sweeps.record import recorded_words
from stemsplit.sweeps.report import best_of
from stemsplit.sweeps.search_space import is_group, words_of

# Beginnings of overrides that configure the sweep. The command in best.yaml omits such overrides.
SWEEP_WORDS = ("sweep=", "sweep.", "callbacks.trial", "data.downsample", "tuned=")


def write_best(study: optuna.Study, path: Path, space: Sequence[str]) -> None:
    """Write the settings of the best finished trial, if any, for ``tuned=`` or ``experiments=``.

    `space` names the settings that ``conf/sweep`` varies. If the command line fixed one of them to
    a single value, the file contains it too. A comment contains the command that trains with these
    settings on the full training set.
    """
    best = best_of(study.trials)
    if best is None:
        return
    words = recorded_words(study)
    fixed = [word for word in words if word.partition("=")[0].lstrip("+") in space]
    shared = [
        without_quotes(word)
        for word in words
        if word not in fixed and not word.lstrip("+").startswith(SWEEP_WORDS)
    ]
    command = shlex.join(["stemsplit", "train", *shared, f"tuned={path}"])
    settings = hydra_file([*fixed, *words_of(best.params)])
    weights = settings.get("weights")
    if weights is not None and find(weights) is None:
        settings["weights"] = os.path.join(literal(os.getcwd()), weights)
    with replacing(path) as partial:
        partial.write_text(
            "# @package _global_\n"
            f"# Trial {best.number}, {best.value:.2f} dB: {command}\n"
            + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=math.inf)
        )


def hydra_file(words: Sequence[str]) -> dict[str, Any]:
    """The content of a Hydra file that has the same effect as the overrides `words`."""
    choices = []
    settings = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(words)):
        name, value = override.key_or_group, override.value()
        if is_group(name):
            choices.append({f"override /{name}": value})
        else:
            OmegaConf.update(settings, name, value, force_add=True)
    content: Any = OmegaConf.to_container(settings)
    return ({"defaults": [*choices, "_self_"]} if choices else {}) | content
