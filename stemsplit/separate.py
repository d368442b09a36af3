"""``python -m stemsplit.separate SONG… --checkpoint RUN_OR_CKPT --output DIR``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import Progress

from stemsplit import audio, processes
from stemsplit.checkpoint import load
from stemsplit.errors import InputError, one_line_errors
from stemsplit.separator import Separator


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.separate",
        description="Separate songs into stems: DIR/SONG/STEM.wav, each as long as the song and at "
        "its rate. The stems of a song sum to it. Under torchrun, processes share the songs.",
    )
    parser.add_argument("songs", nargs="+", type=Path, metavar="SONG", help="any audio format")
    parser.add_argument(
        "--checkpoint",
        required=True,
        action="append",
        type=Path,
        metavar="RUN_OR_CKPT",
        help="a run's folder, or a checkpoint; given again, the stems of all of them are found",
    )
    parser.add_argument("--output", default=Path("separated"), type=Path, metavar="DIR")
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1 …; default: the GPU where there is one",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CLASS",
        help="an architecture outside stemsplit that the checkpoint may use",
    )
    options = parser.parse_args(arguments)
    with one_line_errors(), processes.joined():
        folders = output_folders(options.songs, options.output)
        device = processes.device(options.device)
        separator = load(options.checkpoint, options.allow, device)
        for song, folder in processes.share(list(folders.items())):
            separate(separator, song, folder)


def output_folders(songs: Sequence[Path], output: Path) -> dict[Path, Path]:
    """A folder for every song, by its name; all songs must be there and differ in name."""
    folders: dict[Path, Path] = {}
    for song in songs:
        if not song.is_file():
            raise InputError(f"{song}: there is no such file")
        folder = output / song.name.removesuffix(song.suffix).removesuffix(".stem")
        if folder in folders.values():
            raise InputError(f"{song}: another song of this name goes to {folder}; rename one")
        folders[song] = folder
    return folders


def read_mixture(song: Path, channels: int) -> audio.Audio:
    """Decode what can be decoded, and mix surround sound down to what the separator works on.

    One line on stderr says what is lost or changed.
    """
    mixture, notes = audio.read_song(song)
    if len(mixture.samples) > 2 and channels <= 2:
        try:
            mixture, note = audio.downmix(mixture, channels)
        except InputError as error:
            raise InputError(f"{song}: {error}") from None
        notes = [*notes, note]
    if notes:
        print(f"{song}: {'; '.join(notes)}", file=sys.stderr)
    return mixture


def separate(separator: Separator, song: Path, folder: Path) -> None:
    """Write the stems of one song (of its first audio stream)."""
    print(song)
    mixture = read_mixture(song, separator.channels)
    with Progress() as progress:
        bar = progress.add_task("separating", total=1.0)
        try:
            stems = separator.separate(
                torch.from_numpy(mixture.samples),
                mixture.sample_rate,
                lambda done: progress.update(bar, completed=done),
            )
        except InputError as error:
            raise InputError(f"{song}: {error}") from None
    for stem, samples in stems.items():
        path = folder / f"{stem}.wav"
        audio.write(path, samples.numpy(), mixture.sample_rate)
        print(path)


if __name__ == "__main__":
    main()
