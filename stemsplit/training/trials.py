"""A training that is a trial of an Optuna study: it reports, and ends where it falls behind."""

import math
from pathlib import Path

import lightning as L
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from stemsplit.errors import InputError
from stemsplit.training.not_finite import DivergedError

NAME = "sweep"
PRUNED = "pruned"  # the attribute of a trial that ended before its time, and why
NOT_FINITE = "not finite"
ERROR = "error"  # … of one that failed
RISING = "validation/sdr/"  # what is the better the higher
PRUNERS = {
    None: optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
}


def study_in(
    folder: Path, sampler: optuna.samplers.BaseSampler | None = None, pruner: str | None = None
) -> optuna.Study:
    """The study in FOLDER/study.journal, which any number of processes may read and write."""
    if pruner not in PRUNERS:
        raise InputError(f"there is no pruner {pruner}: choose null, median or halving")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        study_name=NAME,
        storage=JournalStorage(JournalFileBackend(str(folder / "study.journal"))),
        sampler=sampler,
        pruner=PRUNERS[pruner](),
        direction="maximize",
        load_if_exists=True,
    )


class ReportTrial(L.Callback):
    """Report `monitor` after every validation to trial `number` of the study in `folder`.

    Training ends where the `pruner` (``median``, ``halving``; null: none) has seen enough of it. A
    trial whose loss, gradients or figure stop being finite counts as pruned too: that is what its
    settings lead to, and another start would not change it.
    """

    def __init__(
        self, folder: str, number: int | None, monitor: str, pruner: str | None = None
    ) -> None:
        if number is None:
            raise InputError("+sweep=… is for sweeps: say -m as well")
        if not monitor.startswith(RISING):
            raise InputError(
                f"callbacks.trial.monitor={monitor}: a sweep looks for the highest SDR, of "
                "validation/sdr/STEM"
            )
        self.study = study_in(Path(folder).resolve(), pruner=pruner)
        found = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number == number]
        if not found:
            raise InputError(f"{folder}: the study there has no trial {number}")
        self.finished = found[0].state.is_finished()  # then this is a training of its own by now
        self.trial = optuna.trial.Trial(self.study, found[0]._trial_id)
        self.monitor = monitor
        self.pruned = False

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            raise InputError(
                f"{self.monitor}: is not measured; there is "
                f"{', '.join(sorted(trainer.callback_metrics)) or 'nothing'}"
            )
        if self.falls_behind(trainer.current_epoch, float(value)):
            self.pruned = trainer.should_stop = True

    def falls_behind(self, epoch: int, value: float) -> bool:
        """Report, and ask whether this trial is to end. A resumed epoch was reported before."""
        if self.finished:
            return False
        if not math.isfinite(value):
            self.trial.set_user_attr(PRUNED, NOT_FINITE)
            return True
        known = self.study.get_trials(deepcopy=False)[self.trial.number]
        if epoch not in known.intermediate_values:
            self.trial.report(value, epoch)
        behind = bool(self.trial.should_prune())  # of NumPy
        if behind:
            self.trial.set_user_attr(PRUNED, "fell behind")
        return behind

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError) and trainer.is_global_zero and not self.finished:
            self.trial.set_user_attr(PRUNED, NOT_FINITE)
