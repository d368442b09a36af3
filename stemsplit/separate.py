"""``python -m stemsplit.separate SONG… --checkpoint RUN_OR_CKPT --output DIR``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from stemsplit.errors import one_line_errors
from stemsplit.files import exit_at_sigterm, make_writable_folder, removed_if_empty


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.separate",
        description="Separate songs into stems: DIR/SONG/STEM.wav, each as long as the song and at "
        "its rate. The stems of a song sum to it. Under torchrun, processes share the songs.",
        epilog="Memory: about 1 GB, and a song and its stems as 32-bit floats, 21 MB a minute for "
        "each of them in stereo at 44.1 kHz; about twice as much for a song at another rate than "
        "the separator's.",
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
    with one_line_errors():
        options = parser.parse_args(arguments)
        with removed_if_empty(options.output), exit_at_sigterm():
            # Before a model is loaded and work is done.
            make_writable_folder(options.output, "choose another folder with --output")
            from stemsplit.separation.songs import separate_songs  # torch, which --help needs not

            separate_songs(
                options.songs, options.output, options.checkpoint, options.allow, options.device
            )


if __name__ == "__main__":
    main()
