"""Name the files of stems by a template such as ``{song}/{stem}``."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Formatter

from stemsplit.errors import InputError
from stemsplit.files import LONGEST_NAME, file_name

FIELDS = ("song", "stem", "model")
WEIGHT_FILES = (".ckpt", ".pth", ".pt", ".safetensors")
CHECKPOINTS_OF_RUNS = ("best.ckpt", "last.ckpt")
ONE_FILE = "stem.mp4"  # the format whose files hold all stems of a song


def default_template(format: str) -> str:
    return "{song}" if format == ONE_FILE else "{song}/{stem}"


def check_template(template: str, format: str) -> None:
    """Raise `InputError` if a template of names is invalid or leads out of the output folder."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"name {template!r}: {error}; example: {{song}}/{{stem}}") from None
    fields = [
        f"{field}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
        for _, field, form, conversion in parts
        if field is not None
    ]
    for field in fields:
        if field not in FIELDS:
            raise InputError(
                f"name {template!r}: unknown field {{{field}}}; choose {{song}}, {{stem}} or "
                "{model}"
            )
    if format == ONE_FILE and "stem" in fields:
        raise InputError(
            f"name {template!r}: a {ONE_FILE} file holds all stems; leave {{stem}} out"
        )
    if format != ONE_FILE and "stem" not in fields:
        raise InputError(f"name {template!r}: all stems would be one file; add {{stem}}")
    relative_path(template, song="song", stem="stem", model="model", suffix="")


def relative_path(template: str, song: str, stem: str, model: str, suffix: str) -> Path:
    """Fill in a template, and return the path relative to the output folder.

    The name of the song is shortened if a part of the path would be too long for file systems.
    Raises `InputError` if the path leads out of the output folder, or if another part of it is too
    long.
    """
    parts = template.replace(os.sep, "/").split("/")
    parts[-1] += suffix
    beside = [part.format(song="", stem=stem, model=model) for part in parts if "{song}" in part]
    room = LONGEST_NAME - max((len(os.fsencode(text)) for text in beside), default=0)
    folder, slash, last = song.rpartition("/")
    song = folder + slash + file_name(last, longest=room)
    filled = "/".join(parts).format(song=song, stem=stem, model=model)
    path = Path(filled)
    if {"", ".", ".."} & set(filled.split("/")) or path.is_absolute() or path.drive:
        raise InputError(
            f"name {template!r}: {filled!r} is not a path inside the output folder; remove "
            "'..', and '/' at the start, at the end or twice in a row"
        )
    longest = max(len(os.fsencode(part)) for part in path.parts)
    if longest > LONGEST_NAME or "\0" in filled:
        raise InputError(
            f"name {template[:20]!r}…: file systems accept up to {LONGEST_NAME} bytes between two "
            "'/', and no NUL character; choose another name"
        )
    return path


def check_paths(paths: Iterable[Path], song: Path) -> None:
    """Raise `InputError` if a file of stems would replace the song itself."""
    for path in paths:
        if path.exists() and path.samefile(song):
            raise InputError(
                f"{song}: its stem {path} would replace the song; choose another --output or --name"
            )


def has_song_folders(template: str) -> bool:
    """Whether each song has its own folder, in which the files have the names of the stems."""
    folder, _, name = template.rpartition("/")
    return name == "{stem}" and "{song}" in folder


def check_strays(folder: Path, suffix: str, stems: Sequence[str], song: Path) -> None:
    """Raise `InputError` if `folder` holds files with `suffix` other than `stems` and the song.

    Hidden files do not count: some systems write one for every file.
    """
    strays = [
        path.name
        for path in folder.glob(f"*{suffix}")
        if path.stem not in stems
        and not path.name.startswith(".")
        and path.resolve() != song.resolve()
    ]
    if strays:
        raise InputError(
            f"{folder}: holds {', '.join(sorted(strays))}, which this separator does not write; "
            f"remove these files, or choose another --output for {song}"
        )


def model_name(sources: str | Path | Sequence[str | Path]) -> str:
    """Return the text for the field {model} of a template: the names of all sources, joined by "+".

    The name of a source is the name of a published model, of a run's folder, or of a weight file
    without its suffix. ``best.ckpt`` and ``last.ckpt`` have the name of the folder that holds them.
    """
    parts = [sources] if isinstance(sources, str | Path) else sources
    return "+".join(_name_of(Path(part)) for part in parts)


def _name_of(source: Path) -> str:
    if source.suffix not in WEIGHT_FILES:
        return source.resolve().name
    if source.name in CHECKPOINTS_OF_RUNS:
        return source.resolve().parent.name
    return source.stem
