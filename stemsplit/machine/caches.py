"""Find the cache folders. If the usual folders are not writable, use a temporary folder."""

import getpass
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

# For each environment variable, its subfolder of the temporary folder. Most of the variables belong
# to wandb, matplotlib and numba (for librosa), which may ignore XDG_CACHE_HOME.
FOLDERS = {
    "STEMSPLIT_CACHE": "stemsplit",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "WANDB_CACHE_DIR": "wandb/cache",
    "WANDB_CONFIG_DIR": "wandb/config",
    "WANDB_DATA_DIR": "wandb/data",
}


def use_temporary_caches_without_home() -> None:
    """Set USER if the user has no name. Set temporary caches if the cache folder is not writable.

    In containers and on clusters, the user may have no name or no writable home folder. Imports of
    torch, numba and wandb then fail. Variables that are already set keep their values, with one
    exception: XDG_CACHE_HOME is replaced if its folder is not writable.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        os.environ["USER"] = str(os.getuid())  # torch uses USER in the name of a folder
    if can_be_written(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")):
        return
    folder = private_temporary_folder()
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    for variable, subfolder in FOLDERS.items():
        if not os.environ.get(variable):
            os.environ[variable] = str(folder / subfolder)


def cache_folder() -> Path:
    """The folder of decoded songs and downloaded weights."""
    # Path.expanduser would raise an error for a user without a home folder.
    return Path(os.path.expanduser(os.environ.get("STEMSPLIT_CACHE") or "~/.cache/stemsplit"))


def can_be_written(folder: str) -> bool:
    """Whether a folder is writable or, if it does not exist, can be made."""
    path = Path(folder)
    if not path.is_absolute():  # expanduser leaves "~" for a user without a home
        return False
    existing = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def private_temporary_folder() -> Path:
    """A temporary folder that only this user can write to.

    All commands get the same folder. But if another user owns this folder or can write to it, each
    command gets a new folder.
    """
    folder = Path(tempfile.gettempdir()) / f"stemsplit-{getpass.getuser()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    is_own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    if is_own and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return folder
    return Path(tempfile.mkdtemp(prefix="stemsplit-"))
