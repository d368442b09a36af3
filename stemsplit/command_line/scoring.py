"""Choose the corpus of an evaluation: the command line's, or the one a run was trained on.

A run keeps its corpus in its configuration, so that ``evaluate checkpoint=RUN`` needs no more. A
setting beside it takes the place of the run's own; one that scores do not depend on is refused.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from stemsplit.configuration import move_cache
from stemsplit.errors import InputError

# Settings of conf/corpus.yaml that decide what is scored, and what the ideal masks are made of.
CORPUS = (
    *("corpus", "stems", "sample_rate", "channels", "window", "hop"),
    *("data.lister", "data.root", "data.cache", "data.stems", "data.sample_rate", "data.channels"),
    *("data.downsample.rate", "data.validation_tracks"),
)
# Those of conf/evaluate.yaml.
EVALUATION = (
    *("checkpoint", "estimates", "targets", "subset", "workers", "output", "device", "data"),
    *("evaluation", "evaluation.backend", "evaluation.oracles"),
    *("evaluation.spectral", "evaluation.stages"),
)
MAPPINGS = ("checkpoint", "estimates", "data.lister", "hydra")  # any name may follow these


def asked_for(words: Sequence[str]) -> list[str]:
    """The names of the settings on a command line; raises `InputError` for one without effect."""
    names = []
    for override in OverridesParser.create().parse_overrides(list(words)):
        name = override.key_or_group
        if override.is_delete():
            raise InputError(f"{override.input_line}: an evaluation needs all of its settings")
        inside = any(name == key or name.startswith(f"{key}.") for key in MAPPINGS)
        if not inside and name not in (*CORPUS, *EVALUATION):
            known = [key for key in (*EVALUATION, *CORPUS) if key != "evaluation"]
            raise InputError(
                f"{override.input_line}: no score depends on {name}; an evaluation takes "
                f"{', '.join(known)}"
            )
        names.append(name)
    return names


def described(config: DictConfig, asked: Sequence[str], runs: Sequence[DictConfig]) -> DictConfig:
    """The configuration of the corpus: `config` if it chooses one, else that of the runs.

    Raises `InputError` where the runs differ in what is scored, and nothing was asked for instead.
    """
    if config.data.lister is not None:
        if config.corpus is None:
            raise InputError("data.lister finds the songs of a new corpus: name it, corpus=NAME")
        return config
    found = [with_settings(run, config, asked) for run in runs]
    names = ["corpus", "data.root", "sample_rate", "channels", "data.downsample.rate"]
    if config.subset == "valid":
        names.append("data.validation_tracks")
    for name in names:
        values = list(dict.fromkeys(str(OmegaConf.select(run, name)) for run in found))
        if len(values) > 1:
            which = "data" if name == "corpus" else name
            raise InputError(
                f"the checkpoints were trained with different settings of {name} "
                f"({', '.join(values)}): say which to score on, {which}=…"
            )
    return found[0]


def with_settings(run: DictConfig, config: DictConfig, asked: Collection[str]) -> DictConfig:
    """A run's configuration with the settings that were asked for, on this machine."""
    run = run.copy()
    for name in CORPUS:
        if name in asked:
            OmegaConf.update(run, name, OmegaConf.select(config, name), force_add=True)
    if {"sample_rate", "data.sample_rate"} & set(asked) and "data.downsample.rate" not in asked:
        OmegaConf.update(run, "data.downsample.rate", 1.0, force_add=True)
    if "data.root" in asked and not Path(str(run.data.root)).expanduser().is_dir():
        # A lister that writes or downloads songs would do so there.
        raise InputError(
            f"data.root={run.data.root}: there is no such folder; it must name the {run.corpus} "
            "songs to score"
        )
    move_cache(run, config.data.cache, asked)
    return run
