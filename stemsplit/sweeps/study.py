"""The Optuna study of a sweep, in the file SWEEP/study.journal, and its trials."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from stemsplit.errors import InputError

NAME = "sweep"
JOURNAL = "study.journal"
# Attributes of trials:
PRUNED = "pruned"  # why the training was stopped early
ERROR = "error"  # why the trial failed
REPEATS = "instead of"  # number of the failed trial that this trial repeats
SETTINGS = "settings"  # settings of a queued trial, which has no parameters before it starts
NOT_FINITE = "not finite"  # value of the attribute PRUNED after NaN or infinity in the training
PRUNERS = {
    None: optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "halving": optuna.pruners.SuccessiveHalvingPruner,
}


def create_study(folder: Path) -> optuna.Study:
    """Create or open the study of a sweep, in the process that starts trials."""
    journal = journal_of(folder)
    remove_unfinished_line(journal)
    with readable(journal):
        return optuna.create_study(
            study_name=NAME,
            storage=storage_in(journal),
            direction="maximize",
            load_if_exists=True,
        )


def open_study(folder: Path, pruner: str | None = None) -> optuna.Study:
    """Open the study in a sweep's folder; several processes may read and write it at once.

    Raises `InputError` if there is no study or if it is damaged.
    """
    chosen = pruner_named(pruner)
    journal = journal_of(folder)
    if not journal.is_file():
        raise InputError(f"{folder}: not the folder of a sweep, because it has no {JOURNAL}")
    with readable(journal):
        return optuna.load_study(study_name=NAME, storage=storage_in(journal), pruner=chosen)


def open_trial(study: optuna.Study, folder: Path, number: int) -> Trial:
    """Open a trial of the study in `folder`, so that the caller can report values to it.

    `Study.ask` returns a `Trial` only to the process that starts the trial. The worker that trains
    the trial also needs a `Trial`, and so does a resumed sweep. Optuna has no function that opens
    an existing trial, so this function calls the public constructor of `Trial`.
    """
    storage = storage_in(journal_of(folder))
    study_id = storage.get_study_id_from_name(NAME)
    try:
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
    except KeyError:
        raise InputError(f"{folder}: the study has no trial {number}") from None
    return Trial(study, trial_id)


def pruner_named(name: str | None) -> optuna.pruners.BasePruner:
    if name not in PRUNERS:
        raise InputError(
            f"callbacks.trial.pruner={name}: unknown pruner; choose null, median or halving"
        )
    return PRUNERS[name]()


def journal_of(folder: Path) -> Path:
    return folder.resolve() / JOURNAL


def storage_in(journal: Path) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna's default lock is a link to the absolute path of the journal. If a sweep is killed and
    # its folder is moved, such a link would block every access. So a lock file is used.
    return JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))


@contextmanager
def readable(journal: Path) -> Iterator[None]:
    """Raise `InputError` for a journal that Optuna cannot read."""
    try:
        yield
    except (KeyError, ValueError) as error:  # a JSONDecodeError is a ValueError
        fault = "holds no sweep" if isinstance(error, KeyError) else f"is damaged ({error})"
        raise InputError(f"{journal}: {fault}; repair the file or remove the folder") from None


def remove_unfinished_line(journal: Path) -> None:
    """Remove the unfinished last line that a killed process may have left."""
    if not journal.is_file():
        return
    lock = JournalFileOpenLock(str(journal))
    lock.acquire()
    try:
        with journal.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def trials_in(study: optuna.Study, state: TrialState) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.state == state]


def failed_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The failed trials that have not been repeated yet."""
    repeated = {trial.user_attrs.get(REPEATS) for trial in study.trials}
    return [trial for trial in trials_in(study, TrialState.FAIL) if trial.number not in repeated]
