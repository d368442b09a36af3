"""Put the caches of libraries in a temporary folder where there is no usable home."""

import getpass
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

# wandb, matplotlib and numba (for librosa) do not all follow XDG_CACHE_HOME.
FOLDERS = {
    "STEMSPLIT_CACHE": "stemsplit",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "WANDB_CACHE_DIR": "wandb/cache",
    "WANDB_CONFIG_DIR": "wandb/config",
    "WANDB_DATA_DIR": "wandb/data",
}


def use_temporary_caches_without_home() -> None:
    """Set the variables of the environment that libraries ask for a name and for cache folders.

    Containers and clusters run commands as a user without a name, or without a home that can be
    written to: torch, numba and wandb then fail when they are imported. Variables that are set
    stay as they are.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = str(os.getuid())  # torch puts it into the name of a folder
    if can_be_written(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")):
        return
    folder = private_temporary_folder()
    # A cache that cannot be written to is of no use, wherever XDG_CACHE_HOME says.
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    for name, place in FOLDERS.items():
        if not os.environ.get(name):
            os.environ[name] = str(folder / place)


def can_be_written(folder: str) -> bool:
    """Whether a folder can be written to; if it does not exist, whether it can be made."""
    path = Path(folder)
    if not path.is_absolute():  # "~" of a user without a home
        return False
    existing = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def private_temporary_folder() -> Path:
    """The same folder for all commands of this user, which nobody else can write to."""
    folder = Path(tempfile.gettempdir()) / f"stemsplit-{getpass.getuser()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if mine and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return folder
    return Path(tempfile.mkdtemp(prefix="stemsplit-"))  # somebody else was there first
