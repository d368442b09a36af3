"""The checkpoints and the folders of estimates that an evaluation scores."""

from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig, OmegaConf

from stemsplit import configuration
from stemsplit.errors import InputError
from stemsplit.evaluation.rows import Row, Rows, Spread, spread
from stemsplit.evaluation.systems import Trained
from stemsplit.reporting.run_records import PLACES, flattened
from stemsplit.separation.sources import resolved


class Checkpoint(NamedTuple):
    """A checkpoint to score.

    `source` is its path, or the name of a published model. `run` is the configuration of its run,
    None outside a run folder.
    """

    source: str | Path
    run: DictConfig | None
    name: str | None = None  # None: the name of the run's model, or else of the checkpoint's file

    @property
    def model(self) -> str:
        return Path(self.source).stem if self.run is None else str(self.run.name)

    @property
    def folder(self) -> Path | None:
        """The folder of the checkpoint; None for a published model."""
        return self.source.parent if isinstance(self.source, Path) else None


def checkpoint(source: str, name: str | None) -> Checkpoint:
    """Find the checkpoint that `source` names, and the configuration of its run if it has one."""
    found = Checkpoint(resolved(source), None, name)
    if found.folder is None or not (found.folder / "config.yaml").is_file():
        return found
    return found._replace(run=configuration.saved(found.folder))


def named_paths(setting: Any) -> list[tuple[str | None, str]]:
    """Names and paths of a setting: a path, a list of paths, or a mapping of names to paths.

    ``./umxhq`` is a folder, and ``umxhq`` is a published model. Paths stay text, because `Path`
    would drop the ``./``.
    """
    if setting is None:
        return []
    pairs: list[tuple[str | None, Any]]
    if isinstance(setting, DictConfig):
        pairs = [(str(name), path) for name, path in setting.items()]
    else:
        paths = setting if isinstance(setting, ListConfig) else [setting]
        pairs = [(None, path) for path in paths]
    for _, path in pairs:
        if not isinstance(path, str | int | float):  # the name of a folder may be a number
            raise InputError(f"{path}: not a path; write PATH, [PATH,PATH] or {{NAME: PATH}}")
    return [(name, str(path)) for name, path in pairs]


def separators(checkpoints: list[Checkpoint], device: str) -> list[Trained]:
    """The systems to score.

    A system has the name given on the command line, or else the name of its model. If several
    checkpoints have the same model, the name of the checkpoint's folder is added.
    """
    models = [checkpoint.model for checkpoint in checkpoints if checkpoint.name is None]

    def name_of(checkpoint: Checkpoint) -> str:
        model = checkpoint.model
        if models.count(model) == 1 or checkpoint.folder is None:
            return model
        return f"{model} ({checkpoint.folder.name})"

    return [
        Trained(checkpoint.name or name_of(checkpoint), checkpoint.source, device)
        for checkpoint in checkpoints
    ]


def seed_spreads(
    checkpoints: list[Checkpoint], systems: list[Trained], rows: Rows
) -> dict[str, dict[str, dict[str, Spread]]]:
    """Spread of the scores of runs that differ only in their seed (and in folders), by model."""
    runs: dict[tuple[str, str], dict[str, Row]] = {}
    for checkpoint, system in zip(checkpoints, systems, strict=True):
        if checkpoint.run is not None and checkpoint.folder is not None:
            settings = flattened(OmegaConf.to_container(checkpoint.run))  # type: ignore[arg-type]
            compared = sorted(
                (name, value)
                for name, value in settings.items()
                if not {*PLACES, "seed"} & set(name.split("."))
            )
            same_settings = runs.setdefault((checkpoint.model, str(compared)), {})
            # Several checkpoints of a run come from one training, so only the first counts.
            same_settings.setdefault(str(checkpoint.folder.resolve()), rows[system.name])
    spreads = {
        (model, number): spread(list(rows_of_runs.values()))
        for number, ((model, _), rows_of_runs) in enumerate(runs.items())
        if len(rows_of_runs) > 1
    }
    models = [model for model, _ in spreads]
    return {
        model if models.count(model) == 1 else f"{model} ({number})": scores
        for (model, number), scores in spreads.items()
    }
