"""Find the published models whose weights are in a checkpoint, even if the file was renamed."""

import hashlib
import zipfile
from pathlib import Path

from stemsplit.errors import InputError
from stemsplit.separation import checkpoint
from stemsplit.separation.description import check_published
from stemsplit.separation.formats import bundle
from stemsplit.separation.published import catalogue
from stemsplit.separation.sources import checkpoint_of


def origins(source: str | Path) -> list[str]:
    """Return the names of the published models whose weights a run, checkpoint or model contains.

    A downloaded file is recognised by its SHA-256. A bundle, and a checkpoint that
    `checkpoint.save` wrote, hold the names of the models.
    """
    if (model := catalogue.find(source)) is not None:
        return [model.name]
    path = checkpoint_of(Path(source))
    if name := published_as(path):
        return [name]
    # Only bundles and zip files of torch can hold names, so files of other formats are not read.
    holds_names = zipfile.is_zipfile(path) or bundle.is_safetensors(path)
    content = checkpoint.read(path) if holds_names else {}
    names: list[str] = content.get("published", [])
    try:
        check_published(names)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return names


def published_as(path: Path) -> str | None:
    """Return the name of the published model that has this file, or None if no model has it."""
    size = path.stat().st_size
    candidates = [
        (model.name, file.sha256)
        for model in catalogue.catalogue().values()
        for file in model.files
        if file.sha256 is not None and file.size in (None, size)
    ]
    if not candidates:
        return None
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return next((name for name, start in candidates if digest.startswith(start)), None)
