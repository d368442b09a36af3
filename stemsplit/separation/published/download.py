"""Download and check the weights of a published model; files saved by hand are checked too."""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from time import sleep

from rich.filesize import decimal

from stemsplit.errors import DISK_FULL, InputError
from stemsplit.files import LOCK, make_writable_folder, one_at_a_time
from stemsplit.machine.caches import cache_folder
from stemsplit.separation.published.catalogue import PARTIAL, File, Model
from stemsplit.separation.published.transfer import DroppedError, RefusedError, Transfer

PAUSES_SECONDS = (1.0, 3.0, 10.0)  # before the second, third and fourth attempt
ADVANCE = 2**20  # bytes; after an attempt that receives this much, failures are counted from 1


def folder_of(model: Model) -> Path:
    """Return the folder of the model's weights in the cache folder."""
    return cache_folder() / "models" / model.name


def paths_of(model: Model) -> list[Path]:
    """Return the paths of the model's files, which may not exist."""
    return [folder_of(model) / file.name for file in model.files]


def part_of(path: Path) -> Path:
    """The file that keeps the bytes of an interrupted download."""
    return path.with_name(f"{path.name}{PARTIAL}")


def is_downloaded(model: Model) -> bool:
    """Whether all files exist and have the stated sizes; `pull` also checks their digests."""
    return all(
        path.is_file() and file.size in (None, path.stat().st_size)
        for file, path in zip(model.files, paths_of(model), strict=True)
    )


def pull(model: Model) -> list[Path]:
    """Download the files that are missing, check all files, and return their paths.

    Prints name, size and licence before a download. A second process that pulls the same model
    waits for the first. If a file cannot be downloaded, raises `InputError` that says where to put
    the file by hand. Also raises `InputError` if a file is not the published one.
    """
    folder, paths = folder_of(model), paths_of(model)
    if not all(path.is_file() for path in paths):
        make_writable_folder(folder, "choose another folder with the variable STEMSPLIT_CACHE")
        with one_at_a_time(folder, f"downloads {model.name}"):
            # Another process may have downloaded files while this one waited.
            missing = [
                (file, path)
                for file, path in zip(model.files, paths, strict=True)
                if not path.is_file()
            ]
            if missing:
                print(announcement(model), file=sys.stderr)
            for file, path in missing:
                fetch(model, file, path)
    for file, path in zip(model.files, paths, strict=True):
        if (difference := difference_from(file, path)) is not None:
            raise InputError(
                f"{path}: is not the published file: {difference}; replace it, or remove it with "
                f"`stemsplit models remove {model.name}`"
            )
    return paths


def remove(model: Model) -> bool:
    """Remove the model's files, whole or partial, and its folder if nothing else is in it.

    Returns whether the folder is gone. Raises `InputError` if nothing is downloaded.
    """
    folder = folder_of(model)
    if not folder.is_dir():
        raise InputError(f"{model.name}: not downloaded; {folder} does not exist")
    with one_at_a_time(folder, f"downloads {model.name}"):
        candidates = [file for path in paths_of(model) for file in (path, part_of(path))]
        files = [file for file in candidates if os.path.lexists(file)]
        for file in (*files, folder / LOCK):
            file.unlink(missing_ok=True)
        has_others = any(folder.iterdir())
        if has_others and not files:
            raise InputError(f"{model.name}: not downloaded; {folder} has only other files")
        if has_others or folder.is_symlink():
            return False
        folder.rmdir()
    return True


def announcement(model: Model) -> str:
    """The line that is printed before a download."""
    size = "files of unknown size"
    if model.size is not None:
        size = decimal(model.size) if model.has_exact_size else f"about {decimal(model.size)}"
    facts = [] if model.title == model.name else [model.title]
    facts.append(f"licence: {model.licence}")
    if model.saw_musdb18_test == "yes":
        facts.append("its training data include MUSDB18's test songs")
    return f"{model.name}: downloading {size} ({'; '.join(facts)}) to {folder_of(model)}"


def fetch(model: Model, file: File, path: Path) -> None:
    """Download one file. Bytes of an interrupted download are kept in ``NAME.part``."""
    part = part_of(path)
    by_hand = f"download {file.address} in another way and save it as {path}"
    transfer = Transfer(file.address, part, file.size, resumable=file.sha256 is not None)
    try:
        was_resumed = transfer.received > 0
        receive(transfer, file)
        difference = difference_from(file, part)
        if difference is not None and was_resumed:
            # The bytes that were kept may be from another version of the file, so the whole file
            # is downloaded again.
            part.unlink()
            receive(transfer, file)
            difference = difference_from(file, part)
        if difference is not None:
            part.unlink()
            raise InputError(
                f"{model.name}: the server sent another file: {difference}; it was removed; "
                f"{by_hand}"
            )
        with part.open("rb") as complete:
            os.fsync(complete.fileno())
        part.replace(path)
    except RefusedError as error:
        raise InputError(f"{model.name}: cannot be downloaded ({error}); {by_hand}") from None
    except DroppedError as error:
        raise InputError(
            f"{model.name}: the download failed repeatedly ({error}); run the command again to "
            f"continue it, or {by_hand}"
        ) from None
    except OSError as error:
        full = "the disk is full: free some space" if error.errno in DISK_FULL else error.strerror
        raise InputError(
            f"{model.name}: {part} cannot be written ({full}); choose another folder with the "
            f"variable STEMSPLIT_CACHE, or {by_hand}"
        ) from None


def receive(transfer: Transfer, file: File) -> None:
    """Receive a file; if the connection is lost, try again after a pause.

    Raises the last `DroppedError` after several attempts in a row without progress.
    """
    # Imported here, because `progress` imports rich, which takes 0.1 s.
    from stemsplit.separation.published.progress import shown

    check_space(transfer)
    failures, furthest = 0, transfer.received
    with shown(file.name) as progress:
        while True:
            try:
                transfer.receive(progress)
                return
            except DroppedError:
                received = transfer.received
                failures = 1 if received >= furthest + ADVANCE else failures + 1
                furthest = max(furthest, received)
                if failures > len(PAUSES_SECONDS):
                    raise
                sleep(PAUSES_SECONDS[failures - 1])


def check_space(transfer: Transfer) -> None:
    """Raise `RefusedError` if the disk has too little space for the rest of the file."""
    if transfer.size is None:
        return
    needed = transfer.size - transfer.received
    free = shutil.disk_usage(transfer.part.parent).free
    if needed > free:
        raise RefusedError(
            f"the disk is full: {decimal(needed)} are needed, but only {decimal(free)} are free in "
            f"{transfer.part.parent}"
        )


def difference_from(file: File, path: Path) -> str | None:
    """Say how a file on the disk differs from the published one; None if no difference is found."""
    size = path.stat().st_size
    if file.size not in (None, size):
        return f"it has {size} bytes, not {file.size}"
    if file.sha256 is None:
        with path.open("rb") as content:
            begin = content.read(100).strip()
        # A proxy or a login page may answer with a web page in place of the server.
        return "it is empty or a web page" if not begin or begin.startswith(b"<") else None
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        if not digest.startswith(file.sha256):
            return f"its SHA-256 begins with {digest[:8]}, not {file.sha256[:8]}"
    return None
