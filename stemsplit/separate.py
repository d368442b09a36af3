"""``python -m stemsplit.separate SONG… --checkpoint RUN_OR_CKPT --output DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.errors import one_line_errors
from stemsplit.files import exit_at_sigterm, make_writable_folder, removed_if_empty

if TYPE_CHECKING:  # imports torch, which --help does not need
    from stemsplit.separation.separator import Separator


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.separate",
        description="Separate songs into stems. The files DIR/SONG/STEM.wav have the length and "
        "sample rate of the song. The stems sum to the song. Under torchrun, each process "
        "separates a part of the songs.",
        epilog="Memory: about 1 GB, plus 21 MB per minute for the song and for each stem (stereo "
        "at 44.1 kHz); about twice as much if separator and song have different sample rates.",
    )
    parser.add_argument(
        "songs", nargs="+", type=Path, metavar="SONG", help="audio file in any format"
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        action="append",
        type=Path,
        metavar="RUN_OR_CKPT",
        help="a run's folder or a checkpoint; repeat it to combine separators of different stems",
    )
    parser.add_argument(
        "--output",
        default=Path("separated"),
        type=Path,
        metavar="DIR",
        help="folder for the stems; default: separated",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1 …; default: a GPU, if available",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CLASS",
        help="class outside stemsplit that the checkpoint may load; can be repeated",
    )
    with one_line_errors():
        options = parser.parse_args(arguments)
        with removed_if_empty(options.output), exit_at_sigterm():
            # An unusable output folder is an error before the model is loaded.
            make_writable_folder(options.output, "choose another folder with --output")
            from stemsplit.separation.songs import separate_songs

            separate_songs(options.songs, options.output, lambda: separator_of(options))


def separator_of(options: argparse.Namespace) -> Separator:
    """Load the separator that the options choose."""
    from stemsplit import processes
    from stemsplit.separation.checkpoint import load

    return load(options.checkpoint, options.allow, processes.device(options.device))


if __name__ == "__main__":
    main()
