"""Weights & Biases, the one place that knows it."""

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from stemsplit.evaluation.tables import Rows
from stemsplit.files import replacing

SECONDS_TO_START = 15  # until a server that does not answer is given up
SECONDS_TO_FINISH = 600  # … until what is not sent by then is left for `wandb sync`


class WeightsAndBiases(WandbLogger):
    """Lightning's logger, and what it does not know: excerpts, tables of scores, checkpoints."""

    @rank_zero_only
    def log_excerpt(self, number: int, files: Mapping[str, Path], epoch: int, step: int) -> None:
        """Sounds and pictures as ``excerpts/NUMBER/STEM/{reference,estimate,spectrograms}``."""
        media: dict[str, Any] = {
            f"excerpts/{number}/{name}": (wandb.Image if path.suffix == ".png" else wandb.Audio)(
                str(path), caption=f"epoch {epoch}"
            )
            for name, path in files.items()
        }
        self.log_metrics({**media, "epoch": epoch}, step)

    @rank_zero_only
    def log_scores(self, subset: str, rows: Rows, step: int) -> None:
        """The table of scores as ``scores/SUBSET``."""
        table = wandb.Table(
            columns=["system", "stem", "metric", "statistic", "value", "low", "high", "songs"],
            data=[
                [
                    *(name, stem, metric, score.statistic),
                    *(score.value, score.low, score.high, score.songs),
                ]
                for name, row in rows.items()
                for stem, metrics in row.scores.items()
                for metric, score in metrics.items()
            ],
        )
        self.log_metrics({f"scores/{subset}": table}, step)  # type: ignore[dict-item]

    @rank_zero_only
    def log_checkpoint(self, path: Path) -> None:
        """As an artifact of the run; what is offline stays in the run's folder."""
        if not self.experiment.offline:
            artifact = wandb.Artifact(f"{self.experiment.id}-{path.stem}", type="model")
            artifact.add_file(str(path))
            self.experiment.log_artifact(artifact)

    @rank_zero_only
    def add_tag(self, tag: str) -> None:
        self.experiment.tags = (*(self.experiment.tags or ()), tag)


def weights_and_biases(
    folder: str,
    project: str,
    name: str,
    tags: Sequence[str],
    group: str | None = None,
    resume: str | None = None,
) -> WeightsAndBiases:
    """A run of its own; where `resume` says so, the run that was begun in `folder` goes on.

    Offline where no key is set or no server answers, unless ``WANDB_MODE`` says otherwise. An
    offline run is kept in `folder` and can be sent later with ``wandb sync``.
    """
    place = Path(folder)
    identity = place / "wandb_run.txt"
    if resume is None or not identity.is_file():
        with replacing(identity) as partial:
            partial.write_text(f"{secrets.token_hex(4)}\n")

    def begun(mode: str | None, **settings: Any) -> Any:
        return wandb.init(
            project=project,
            name=name,
            dir=folder,
            tags=list(tags),
            group=group,
            id=identity.read_text().strip(),
            resume=None if mode == "offline" else "allow",
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(
                init_timeout=SECONDS_TO_START, finish_timeout=SECONDS_TO_FINISH, **settings
            ),
        )

    try:
        chosen = os.environ.get("WANDB_MODE") or wandb.login(prompt=False)
        run = begun(None) if chosen else begun("offline", silent=True)
    except wandb.Error as error:
        print(
            f"Weights & Biases: {str(error).splitlines()[0]}: offline for now; send it later with "
            f"`wandb sync {place}/wandb/offline-run-*`",
            file=sys.stderr,
        )
        wandb.teardown()  # or the run's name is taken by what could not be begun
        run = begun("offline", silent=True)
    # (Their own counter would refuse a metric of an earlier step, as rows of scores may be.)
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WeightsAndBiases(experiment=run)


def finish(loggers: Sequence[Logger], failed: bool) -> None:
    """End the W&B run, so that the next one of this process is not merged into it."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        wandb.finish(exit_code=int(failed))
