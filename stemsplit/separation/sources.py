"""Find the weight files of a run, a checkpoint or a published model."""

import os
from collections.abc import Iterable, Mapping
from itertools import combinations, permutations
from pathlib import Path

from stemsplit.errors import InputError
from stemsplit.files import is_same_file
from stemsplit.separation.published import catalogue
from stemsplit.separation.published.download import paths_of, pull
from stemsplit.settings.suggestions import near


def checkpoint_of(run_or_checkpoint: Path) -> Path:
    """Return the path itself if it is a file, or the path of the checkpoint in a run's folder.

    The checkpoint is ``best.ckpt`` or, if there is no such file, ``last.ckpt``. Raises `InputError`
    if the folder holds neither.
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
    """Return the paths of the weight files of a run, a checkpoint or a published model.

    The weights of a published model are downloaded if they are missing. Raises `InputError` if that
    is not possible, or if there is no such run, checkpoint or model.
    """
    model = catalogue.find(source)
    return [checkpoint_of(Path(source))] if model is None else pull(model)


def resolved(source: str | Path) -> str | Path:
    """Return the name if `source` is a published model, or the path of its checkpoint otherwise."""
    model = catalogue.find(source)
    return checkpoint_of(Path(source)) if model is None else model.name


def check_outputs(outputs: Mapping[str, Path | None], sources: Iterable[str | Path]) -> None:
    """Raise `InputError` if an output would replace a file of a source or another output.

    An output is also refused if it is a folder, or a parent folder of another output. `outputs`
    maps the options of a command to their paths. Published models are not downloaded.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    for option, path in given.items():
        if path.is_dir():
            raise InputError(f"{option} {path}: is a folder; name a file in it")
    for (first, one), (second, other) in combinations(given.items(), 2):
        if is_same_file(one, other):
            raise InputError(f"{first} {one} and {second} {other} are the same file; rename one")
    for (first, one), (second, other) in permutations(given.items(), 2):
        if Path(os.path.realpath(one)) in Path(os.path.realpath(other)).parents:
            raise InputError(
                f"{first} {one} is a file, but {second} {other} needs a folder there; rename one"
            )
    for source in sources:
        model = catalogue.find(source)
        files = [checkpoint_of(Path(source))] if model is None else paths_of(model)
        for option, path in given.items():
            if any(is_same_file(path, file) for file in files):
                raise InputError(
                    f"{option} {path}: would replace the source {source}; choose another file"
                )
