"""Weights & Biases logger. No other module imports wandb."""

import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from stemsplit.errors import InputError
from stemsplit.evaluation.rows import Rows
from stemsplit.files import replacing

SECONDS_TO_START = 15  # timeout for the connection to the server
SECONDS_TO_FINISH = 600  # timeout for uploads at the end; `wandb sync` can upload the rest


class Record:
    """File in a run folder with the id of its W&B run and the last logged step of each metric."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = secrets.token_hex(4)
        self.steps: dict[str, int] = {}

    def read(self) -> None:
        """Read the file; raise `InputError` if it is damaged."""
        try:
            content = json.loads(self.path.read_text())
            self.identity, self.steps = str(content["id"]), dict(content["steps"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.path}: is damaged; remove it to continue the training as a new W&B run"
            ) from None

    def write(self) -> None:
        with replacing(self.path) as partial:
            partial.write_text(json.dumps({"id": self.identity, "steps": self.steps}) + "\n")


class WeightsAndBiases(WandbLogger):
    """Lightning's logger, extended to log excerpts, tables of scores and checkpoints.

    A resumed run repeats steps that are already logged according to `record`. Metrics of these
    steps are skipped, because W&B would keep both values.
    """

    def __init__(self, run: wandb.Run, record: Record) -> None:
        super().__init__(experiment=run)
        self.record = record
        self.steps_before = dict(record.steps)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if step is None:
            super().log_metrics(metrics)
            return
        new = [name for name in metrics if step > self.steps_before.get(name, -1)]
        if any(name != "epoch" for name in new):
            with_epoch = {name: metrics[name] for name in metrics if name in {*new, "epoch"}}
            super().log_metrics(with_epoch, step)
            self.record.steps |= {name: step for name in new if name != "epoch"}
            self.record.write()

    @rank_zero_only
    def log_excerpt(self, number: int, files: Mapping[str, Path], epoch: int, step: int) -> None:
        """Log audio and pictures as ``excerpts/NUMBER/STEM/{reference,estimate,spectrograms}``."""
        media: dict[str, Any] = {
            f"excerpts/{number}/{name}": (wandb.Image if path.suffix == ".png" else wandb.Audio)(
                str(path), caption=f"epoch {epoch}"
            )
            for name, path in files.items()
        }
        self.log_metrics({**media, "epoch": epoch}, step)

    @rank_zero_only
    def log_scores(self, subset: str, rows: Rows, step: int) -> None:
        """Log the table of scores as ``scores/SUBSET``."""
        table = wandb.Table(
            columns=["system", "stem", "metric", "statistic", "value", "low", "high", "songs"],
            data=[
                [
                    name,
                    stem,
                    metric,
                    score.statistic,
                    score.value,
                    score.low,
                    score.high,
                    score.songs,
                ]
                for name, row in rows.items()
                for stem, metrics in row.scores.items()
                for metric, score in metrics.items()
            ],
        )
        with warn_if_not_sent(f"the table of scores ({subset})"):
            self.log_metrics({f"scores/{subset}": table}, step)

    @rank_zero_only
    def log_checkpoint(self, path: Path) -> None:
        """Log the checkpoint as an artifact, if the run is online."""
        if not self.experiment.offline:
            artifact = wandb.Artifact(f"{self.experiment.id}-{path.stem}", type="model")
            artifact.add_file(str(path))
            with warn_if_not_sent(path.name):
                self.experiment.log_artifact(artifact)

    @rank_zero_only
    def add_tag(self, tag: str) -> None:
        self.experiment.tags = (*(self.experiment.tags or ()), tag)


@contextmanager
def warn_if_not_sent(item: str) -> Iterator[None]:
    """Turn network errors of uploads into a warning, so that the training continues."""
    try:
        yield
    except (wandb.Error, OSError) as error:
        print(
            f"Weights & Biases: could not upload {item}, which is only in the run folder: "
            f"{first_line(error)}",
            file=sys.stderr,
        )


def first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]


def weights_and_biases(
    folder: str,
    project: str,
    name: str,
    tags: Sequence[str],
    group: str | None = None,
    resume: str | None = None,
) -> WeightsAndBiases:
    """Start a new W&B run or, if `resume` is set, continue the run that is recorded in `folder`.

    The run is offline if neither ``WANDB_MODE`` nor an API key is set, or if W&B reports an error,
    for example because the server does not respond. An offline run is stored in `folder`;
    ``wandb sync`` uploads it later. Raises `InputError` if the record of a resumed run is damaged.
    """
    record = Record(Path(folder) / "wandb_run.json")
    if resume is not None and record.path.is_file():
        record.read()
    record.write()

    def start(mode: str | None, **settings: Any) -> Any:
        return wandb.init(
            project=project,
            name=name,
            dir=folder,
            tags=list(tags),
            group=group,
            id=record.identity,
            resume=None if mode == "offline" else "allow",
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(
                init_timeout=SECONDS_TO_START, finish_timeout=SECONDS_TO_FINISH, **settings
            ),
        )

    if os.environ.get("WANDB_MODE") == "":
        del os.environ["WANDB_MODE"]  # W&B rejects an empty value
    try:
        has_mode_or_key = os.environ.get("WANDB_MODE") or wandb.login(prompt=False)
        run = start(None) if has_mode_or_key else start("offline", silent=True)
    except wandb.Error as error:
        print(
            f"Weights & Biases: {first_line(error)}: continuing offline; upload the run later with "
            f"`wandb sync {folder}/wandb/offline-run-*`",
            file=sys.stderr,
        )
        wandb.teardown()  # otherwise the failed run still occupies the id
        run = start("offline", silent=True)
    # W&B's own step counter would reject metrics of earlier steps, such as scores.
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WeightsAndBiases(run, record)


def finish(loggers: Sequence[Logger], failed: bool) -> None:
    """End the W&B run, so that the next run in this process is a separate one."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        wandb.finish(exit_code=int(failed))
