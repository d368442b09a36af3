"""List files and folders by normalised names, and say why a file cannot be read."""

import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from stemsplit.errors import InputError

# data=folder reads files with a suffix in FORMATS, refuses files with a suffix in OTHER_AUDIO, and
# ignores all other files.
FORMATS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
# fmt: off
OTHER_AUDIO = (
    ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".dff", ".dsf", ".dts",
    ".eac3", ".mka", ".mp2", ".mp4", ".mpc", ".oga", ".opus", ".ra", ".snd", ".spx", ".tta", ".voc",
    ".w64", ".webm", ".wma", ".wv",
)
# fmt: on
ALIASES = {"training": "train", "validation": "valid", "val": "valid", "testing": "test"}

Name = TypeVar("Name", bound=str)


def is_audio(path: Path) -> bool:
    """Whether a file is audio, judged by the suffix of its name."""
    return path.suffix.lower() in (*FORMATS, *OTHER_AUDIO)


def normal(name: str) -> str:
    """Return the name in Unicode's composed form (NFC); some file systems decompose names."""
    return unicodedata.normalize("NFC", name)


def visible(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted by name, without hidden ones.

    Raises `InputError` if the folder cannot be read.
    """
    if (reason := unreadable(folder)) is not None:
        raise InputError(reason)
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return sorted(entries, key=lambda entry: normal(entry.name))


def unreadable(path: Path) -> str | None:
    """Say in one line why a file or folder cannot be read; return None if it can be read."""
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return _not_permitted(path)
    except OSError as error:
        if not path.is_symlink():
            missing = isinstance(error, FileNotFoundError)
            return f"{path}: {'does not exist' if missing else error.strerror}"
        way_out = "repair the link, mount its target, or remove it"
        if isinstance(error, FileNotFoundError):
            return f"{path}: is a link to {os.path.realpath(path)}, which does not exist; {way_out}"
        return f"{path}: is a link to {path.readlink()}, which cannot be followed; {way_out}"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return f"{path}: is a pipe, a socket or a device; choose a file"
    needed = os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)
    effective = os.access in os.supports_effective_ids
    return None if os.access(path, needed, effective_ids=effective) else _not_permitted(path)


def _not_permitted(path: Path) -> str:
    return f"{path}: no permission to read it; change its permissions"


def check_links(entries: Sequence[Path]) -> None:
    """Raise `InputError` for a broken link, because its song would be missing without a message."""
    for entry in entries:
        if entry.is_symlink() and (reason := unreadable(entry)) is not None:
            raise InputError(reason)


def subset_folders(root: Path, subsets: Sequence[Name]) -> list[Name]:
    """Return the subsets that have a folder in `root`.

    Raises `InputError` for a folder that looks like a subset under another name, such as
    ``validation``. Otherwise its songs would be missing without a message.
    """
    entries = visible(root)
    check_links([entry for entry in entries if entry.name in subsets])
    present = [subset for subset in subsets if (root / subset).is_dir()]
    for entry in entries:
        name = ALIASES.get(entry.name.lower(), entry.name.lower())
        if name in subsets and entry.name != name and entry.is_dir():
            if name in present and (root / name).samefile(entry):  # the file system ignores case
                continue
            raise InputError(
                f"{entry}: is not read because of its name; rename the folder to {name}"
            )
    return present


def misnamed(folder: Path, expected: str) -> list[Path]:
    """Return audio files whose names differ from `expected` only in case or suffix."""
    stem = normal(Path(expected).stem).lower()
    return [
        entry
        for entry in visible(folder)
        if is_audio(entry) and entry.name != expected and normal(entry.stem).lower() == stem
    ]
