"""Callback for the training of a trial: report its metric to the study, and stop it if pruned."""

import math
from collections.abc import Sequence
from pathlib import Path

import lightning as L

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import read
from stemsplit.sweeps.study import NOT_FINITE, PRUNED, open_study, open_trial, pruner_named
from stemsplit.training.callbacks.not_finite import DivergedError

MONITORS = "validation/sdr/"  # prefix of the metrics that a sweep can maximise
FIGURE = "figure"  # key of the monitored metric in the state of `ReportTrial`


def check(monitor: str, pruner: str | None, targets: Sequence[str]) -> None:
    """Raise `InputError` for an unknown pruner, and for a monitor that a sweep cannot maximise."""
    measured = [f"{MONITORS}{target}" for target in targets]
    if monitor not in measured:
        raise InputError(
            f"callbacks.trial.monitor={monitor}: a sweep cannot maximise it; choose "
            f"{' or '.join(measured)}"
        )
    pruner_named(pruner)


def figure_of(checkpoint: Path) -> float:
    """The monitored metric of a checkpoint; raises `InputError` if it is not finite."""
    figure = read(checkpoint)["callbacks"].get(ReportTrial.__qualname__, {}).get(FIGURE, math.nan)
    if not math.isfinite(figure):
        raise InputError(f"{checkpoint}: has no finite value of the monitored metric")
    return float(figure)


class ReportTrial(L.Callback):
    """Report `monitor` after every validation to trial `number` of the study in `folder`.

    The `pruner` (``median`` or ``halving``; null for none) may end the training before its last
    epoch. If an epoch has several validations, the pruner sees only the first. A trial is also
    pruned if its loss, its gradients or `monitor` become NaN or infinite. Such a trial does not
    count as failed, because the same settings would diverge again. Checkpoints store the latest
    value of `monitor`.
    """

    def __init__(
        self, folder: str, number: int | None, monitor: str, pruner: str | None = None
    ) -> None:
        if number is None:
            raise InputError("+sweep=… needs the option -m; add it to the command")
        self.study = open_study(Path(folder), pruner=pruner)
        self.trial = open_trial(self.study, Path(folder), number)
        [known] = [trial for trial in self.study.trials if trial.number == number]
        # A user can resume the folder of a finished trial as an ordinary run. Such a run must not
        # change the study.
        self.finished = known.state.is_finished()
        self.monitor = monitor
        self.figure = math.nan
        # An interrupted trial may have been pruned already.
        self.pruned = PRUNED in known.user_attrs and not self.finished

    def state_dict(self) -> dict[str, float]:
        return {FIGURE: self.figure}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.pruned:
            trainer.should_stop = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise InputError(
                f"callbacks.trial.monitor={self.monitor}: this metric is not logged; logged "
                f"metrics: {', '.join(sorted(trainer.callback_metrics)) or 'none'}"
            )
        self.figure = float(value)
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self.falls_behind(trainer.current_epoch, self.figure, last):
            self.pruned = trainer.should_stop = True

    def falls_behind(self, epoch: int, value: float, last: bool = False) -> bool:
        """Report the value of an epoch; return whether to prune the trial.

        An epoch that a resumed run repeats is not reported again. In the `last` epoch, only a value
        that is not finite prunes the trial.
        """
        if self.finished:
            return False
        if not math.isfinite(value):
            self.trial.set_user_attr(PRUNED, NOT_FINITE)
            return True
        known = self.study.get_trials(deepcopy=False)[self.trial.number]
        if epoch not in known.intermediate_values:
            self.trial.report(value, epoch)
        behind = not last and bool(self.trial.should_prune())  # a NumPy boolean
        if behind:
            self.trial.set_user_attr(PRUNED, "fell behind")
        return behind

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError) and trainer.is_global_zero and not self.finished:
            self.trial.set_user_attr(PRUNED, NOT_FINITE)
