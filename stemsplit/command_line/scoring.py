"""Decide what an evaluation scores: the corpus, the stems, and the ideal masks.

The command line takes precedence. All other settings come from the scored runs: a run stores the
settings of its corpus, so ``evaluate checkpoint=RUN`` is enough.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from stemsplit.command_line.resumption import move_cache
from stemsplit.configuration import residual
from stemsplit.errors import InputError
from stemsplit.evaluation.oracles import ORACLES, scaled_transform
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.systems import Mixture, Oracle, Resampled, System, Trained
from stemsplit.separation.front_end import FrontEnd

# Settings of conf/corpus.yaml that an evaluation uses; it refuses the others.
CORPUS = (
    "channels",
    "corpus",
    "data.cache",
    "data.channels",
    "data.downsample.rate",
    "data.lister",
    "data.root",
    "data.sample_rate",
    "data.stems",
    "data.validation_tracks",
    "hop",
    "sample_rate",
    "stems",
    "window",
)
# Settings of conf/evaluate.yaml.
EVALUATION = (
    "allow_training_songs",
    "checkpoint",
    "data",
    "device",
    "estimates",
    "evaluation",
    "evaluation.backend",
    "evaluation.oracles",
    "evaluation.spectral",
    "evaluation.stages",
    "output",
    "subset",
    "targets",
    "workers",
)
MAPPINGS = ("checkpoint", "estimates", "data.lister", "hydra")  # their keys can have any name


def setting_names(words: Sequence[str]) -> list[str]:
    """The names of the settings on a command line.

    Raises `InputError` for a setting that has no effect on an evaluation.
    """
    names = []
    for override in OverridesParser.create().parse_overrides(list(words)):
        name = override.key_or_group
        if override.is_delete():
            raise InputError(f"{override.input_line}: a setting of an evaluation cannot be removed")
        is_inside = any(name == key or name.startswith(f"{key}.") for key in MAPPINGS)
        if not is_inside and name not in (*CORPUS, *EVALUATION):
            known = [key for key in (*EVALUATION, *CORPUS) if key != "evaluation"]
            raise InputError(
                f"{override.input_line}: {name} has no effect on the scores; the settings of "
                f"an evaluation are {', '.join(known)}"
            )
        names.append(name)
    return names


def corpus_settings(
    config: DictConfig, names: Collection[str], runs: Sequence[DictConfig], system: str | Path
) -> DictConfig:
    """The configuration that describes the corpus.

    This is `config` if it defines a corpus, otherwise the configuration of the first run.

    `names` are the settings on the command line; they replace the settings of the runs. `system` is
    named in error messages. Raises `InputError` if neither `config` nor a run describes a corpus,
    or if the runs differ in a setting that changes the scores.
    """
    if config.data.lister is not None:
        if config.corpus is None:
            raise InputError(
                "data.lister defines a new corpus, which needs a name; set corpus=NAME"
            )
        return config
    if not runs:
        raise InputError(
            f"{system}: not in the folder of a run, so its corpus is unknown; choose it with data=…"
        )
    candidates = [with_settings(run, config, names) for run in runs]
    compared = ["corpus", "data.root", "sample_rate", "channels", "data.downsample.rate"]
    if config.subset == "valid":
        compared.append("data.validation_tracks")
    for name in compared:
        values = list(dict.fromkeys(str(OmegaConf.select(run, name)) for run in candidates))
        if len(values) > 1:
            setting = "data" if name == "corpus" else name
            raise InputError(
                f"the checkpoints were trained with different settings of {name} "
                f"({', '.join(values)}): choose one with {setting}=…"
            )
    return candidates[0]


def with_settings(run: DictConfig, config: DictConfig, names: Collection[str]) -> DictConfig:
    """A copy of a run's configuration, with the settings of the command line.

    If the command line sets the sample rate, ``data.downsample.rate`` of the run no longer applies.
    The cache folder becomes that of this machine (see `move_cache`).
    """
    run = run.copy()
    for name in CORPUS:
        if name in names:
            OmegaConf.update(run, name, OmegaConf.select(config, name), force_add=True)
    if {"sample_rate", "data.sample_rate"} & set(names) and "data.downsample.rate" not in names:
        OmegaConf.update(run, "data.downsample.rate", 1.0, force_add=True)
    if "data.root" in names and not os.path.isdir(os.path.expanduser(str(run.data.root))):
        # Checked here, since some listers write or download songs to a missing folder.
        raise InputError(
            f"data.root={run.data.root}: does not exist; choose the folder of the "
            f"{run.corpus} songs"
        )
    move_cache(run, config.data.cache, names)
    return run


def scored_stems(
    targets: Sequence[str] | str | None, stems: Sequence[str] | None, trained: list[Trained]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two tuples: the targets, and all scored stems (the targets and the residual).

    `targets` come from the command line; if None, the targets of the checkpoints are used, or
    vocals if there are no checkpoints. `stems` are the stems of the corpus. Raises `InputError` if
    the checkpoints separate different stems.
    """
    if targets is None and trained:
        by_system = {system.name: system.separator.stems for system in trained}
        if len({frozenset(separated) for separated in by_system.values()}) > 1:
            systems = "; ".join(f"{name}: {', '.join(own)}" for name, own in by_system.items())
            raise InputError(
                f"the checkpoints separate different stems ({systems}), so their scores cannot "
                "be compared; choose the stems to score with targets=[vocals]"
            )
        return trained[0].separator.targets, trained[0].separator.stems
    if isinstance(targets, str):
        targets = [targets]
    chosen = ("vocals",) if targets is None else tuple(targets)
    rest = residual(chosen, stems)
    if rest in chosen:
        raise InputError(
            f"a target and the rest of the mixture are both called {rest}; rename the target"
        )
    return chosen, (chosen if rest is None else (*chosen, rest))


def oracle_transform(
    source: DictConfig, names: Collection[str], trained: list[Trained], sample_rate: int
) -> dict[str, int]:
    """Window and hop of the ideal masks, in samples at the rate of the scored songs.

    They have the durations of window and hop in `source` if the command line sets the window or the
    hop, or if there is no separator. Otherwise they have the durations of the first separator.
    """
    if trained and not {"window", "hop"} & set(names):
        front_end = trained[0].separator.front_end
        window, hop, rate = front_end.window, front_end.hop, front_end.sample_rate
    else:
        window, hop, rate = source.window, source.hop, source.data.sample_rate
    return scaled_transform(window, hop, rate, sample_rate)


def baselines(
    settings: DictConfig,
    transform: Mapping[str, int],
    trained: list[Trained],
    protocol: Protocol,
    device: str,
) -> list[System]:
    """Systems that are scored for comparison with the checkpoints and estimates.

    The mixture is always scored. The setting ``oracles`` adds the ideal masks. The setting
    ``stages`` adds each separator without its Wiener filter. If the sample rate of a separator is
    not that of the protocol, ``stages`` also adds the true stems at the rate of the separator.
    """
    systems: list[System] = [Mixture()]
    if settings.oracles:
        front_end = FrontEnd(protocol.sample_rate, transform["window"], transform["hop"])
        systems += [Oracle(name, front_end) for name in ORACLES]
    if settings.stages:
        systems += [
            Trained(f"{system.name}, mask only", system.source, device, wiener_iterations=0)
            for system in trained
            if system.separator.wiener_iterations
        ]
        rates = {system.separator.sample_rate for system in trained} - {protocol.sample_rate}
        systems += [Resampled(rate) for rate in sorted(rates)]
    return systems
