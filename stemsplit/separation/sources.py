"""Find the files of weights: of a run, of a checkpoint or of a published model."""

from pathlib import Path

from stemsplit.errors import InputError
from stemsplit.separation.published import catalogue
from stemsplit.separation.published.download import pull
from stemsplit.settings.suggestions import near


def checkpoint_of(run_or_checkpoint: Path) -> Path:
    """Return the path of a checkpoint: the file itself, or ``best.ckpt`` in the folder of a run.

    Without ``best.ckpt`` it is ``last.ckpt``. Raises `InputError` if the folder holds neither.
    """
    candidates = [
        run_or_checkpoint,
        run_or_checkpoint / "best.ckpt",
        run_or_checkpoint / "last.ckpt",
    ]
    for path in candidates:
        if path.is_file():
            return path
    name = str(run_or_checkpoint)
    raise InputError(
        f"{name}: neither a checkpoint nor a run's folder with best.ckpt or last.ckpt"
        + ("" if run_or_checkpoint.exists() else near(name, catalogue.catalogue()))
    )


def files_of(source: str | Path) -> list[Path]:
    """Return the files of a run, a checkpoint or a published model (see `catalogue.find`).

    The weights of a published model are downloaded if they are missing. Raises `InputError` if that
    is not possible, or if there is no such run, checkpoint or model.
    """
    model = catalogue.find(source)
    return [checkpoint_of(Path(source))] if model is None else pull(model)


def resolved(source: str | Path) -> str | Path:
    """Return the name of a published model as it is, and the path of the checkpoint otherwise."""
    model = catalogue.find(source)
    return checkpoint_of(Path(source)) if model is None else model.name
