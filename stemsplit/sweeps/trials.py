"""The training of a trial: report its figure to the Optuna study, and prune it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import read
from stemsplit.training.callbacks.not_finite import DivergedError

NAME = "sweep"
JOURNAL = "study.journal"
PRUNED = "pruned"  # the attribute of a trial that ended before its time, and why
NOT_FINITE = "not finite"
ERROR = "error"  # … of one that failed
RISING = "validation/sdr/"  # what is the better the higher
FIGURE = "figure"  # of a checkpoint, in the state of `ReportTrial`
PRUNERS = {
    None: optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
}


def begin(folder: Path) -> optuna.Study:
    """Create or open the study of a sweep, in the process that starts trials."""
    journal = folder.resolve() / JOURNAL
    mend(journal)
    with damage_in(journal):
        return optuna.create_study(
            study_name=NAME,
            storage=storage(journal),
            direction="maximize",
            load_if_exists=True,
        )


def study_in(folder: Path, pruner: str | None = None) -> optuna.Study:
    """Open the study in FOLDER/study.journal; several processes may read and write it.

    Raises `InputError` where there is none, or a damaged one.
    """
    chosen = pruner_named(pruner)
    journal = folder.resolve() / JOURNAL
    if not journal.is_file():
        raise InputError(f"{folder}: not the folder of a sweep, it holds no {JOURNAL}")
    with damage_in(journal):
        return optuna.load_study(study_name=NAME, storage=storage(journal), pruner=chosen)


def pruner_named(name: str | None) -> optuna.pruners.BasePruner:
    if name not in PRUNERS:
        raise InputError(
            f"callbacks.trial.pruner={name}: unknown pruner; choose null, median or halving"
        )
    return PRUNERS[name]()


def storage(journal: Path) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # (Optuna's other lock is a link, and one that is left in a folder that moves is waited for.)
    return JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))


@contextmanager
def damage_in(journal: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError) as error:  # ValueError: JSON's too
        why = "holds no sweep" if isinstance(error, KeyError) else f"is damaged ({error})"
        raise InputError(f"{journal}: {why}; remove the folder, or what is wrong in it") from None


def mend(journal: Path) -> None:
    """Remove an unfinished last line that a killed process left."""
    if not journal.is_file():
        return
    lock = JournalFileOpenLock(str(journal))
    lock.acquire()
    try:
        with journal.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def check(monitor: str, pruner: str | None, targets: Sequence[str]) -> None:
    """Raise `InputError` for a monitor that no validation logs, or that falls as stems improve."""
    measured = [f"{RISING}{target}" for target in targets]
    if monitor not in measured:
        raise InputError(
            f"callbacks.trial.monitor={monitor}: a sweep looks for the highest of "
            f"{', '.join(measured)}"
        )
    pruner_named(pruner)


def figure_of(checkpoint: Path) -> float:
    """The monitored figure of a checkpoint; raises `InputError` if it is not finite."""
    figure = read(checkpoint)["callbacks"].get(ReportTrial.__qualname__, {}).get(FIGURE, math.nan)
    if not math.isfinite(figure):
        raise InputError(f"{checkpoint}: has no finite figure of its validation")
    return float(figure)


class ReportTrial(L.Callback):
    """Report `monitor` after every validation to trial `number` of the study in `folder`.

    Training ends where the `pruner` (``median``, ``halving``; null: none) has seen enough of it,
    but in its last epoch. A trial whose loss, gradients or figure stop being finite counts as
    pruned too: that is what its settings lead to, and another start would not change it. Of several
    validations in an epoch, the pruner sees the first. Checkpoints hold the figure they had.
    """

    def __init__(
        self, folder: str, number: int | None, monitor: str, pruner: str | None = None
    ) -> None:
        if number is None:
            raise InputError("+sweep=… is for sweeps: say -m as well")
        self.study = study_in(Path(folder), pruner=pruner)
        found = [trial for trial in self.study.get_trials(deepcopy=False) if trial.number == number]
        if not found:
            raise InputError(f"{folder}: the study there has no trial {number}")
        self.finished = found[0].state.is_finished()  # then this is a training of its own by now
        self.trial = optuna.trial.Trial(self.study, found[0]._trial_id)
        self.monitor = monitor
        self.figure = math.nan
        # Broken off when it was about to end:
        self.pruned = PRUNED in found[0].user_attrs and not self.finished

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
                f"{self.monitor}: is not measured; there is "
                f"{', '.join(sorted(trainer.callback_metrics)) or 'nothing'}"
            )
        self.figure = float(value)
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if self.falls_behind(trainer.current_epoch, self.figure, last):
            self.pruned = trainer.should_stop = True

    def falls_behind(self, epoch: int, value: float, last: bool = False) -> bool:
        """Report a figure and return whether to prune. A resumed epoch is not reported again."""
        if self.finished:
            return False
        if not math.isfinite(value):
            self.trial.set_user_attr(PRUNED, NOT_FINITE)
            return True
        known = self.study.get_trials(deepcopy=False)[self.trial.number]
        if epoch not in known.intermediate_values:
            self.trial.report(value, epoch)
        behind = not last and bool(self.trial.should_prune())  # of NumPy
        if behind:
            self.trial.set_user_attr(PRUNED, "fell behind")
        return behind

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError) and trainer.is_global_zero and not self.finished:
            self.trial.set_user_attr(PRUNED, NOT_FINITE)
