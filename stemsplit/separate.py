"""``stemsplit separate SONG…``: separate songs into stems."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stemsplit.errors import one_line_errors
from stemsplit.files import exit_at_sigterm, make_writable_folder, removed_if_empty

if TYPE_CHECKING:  # imports torch, which --help does not need
    from stemsplit.separation.ensemble import Ensemble
    from stemsplit.separation.separator import Separator

DEFAULT_MODEL = "umxhq"


def main(arguments: Sequence[str] | None = None) -> None:
    with one_line_errors():
        words = sys.argv[1:] if arguments is None else arguments
        options = parse(words)
        # These modules import torch, which takes seconds and which --help does not need.
        from stemsplit.machine.allocator import keep_freed_memory
        from stemsplit.processes import Part
        from stemsplit.separation.chunks.inference import Inference
        from stemsplit.separation.songs.lines import Lines
        from stemsplit.separation.songs.naming import model_name
        from stemsplit.separation.songs.outputs import Output
        from stemsplit.separation.songs.queue import Settings, separate_songs

        output = Output(
            folder=options.output,
            format=options.format,
            bit_depth=options.bit_depth,
            bitrate=options.bitrate,
            clip=options.clip,
            name=options.name,
            stems=options.stems,
            two_stems=options.two_stems,
            model=model_name(options.models),
        )
        inference = Inference(
            wiener_iterations=options.wiener,
            chunk_seconds=options.chunk_seconds,
            overlap_seconds=options.overlap,
            shifts=options.shifts,
            batch=options.batch,
            precision=options.precision,
        )
        part = Part(*options.part)
        settings = Settings(output, inference, options.jobs, options.skip_existing, part)
        settings.check()
        keep_freed_memory()
        with removed_if_empty(options.output), exit_at_sigterm():
            # Checked first, so that an unusable folder is reported before the model is loaded.
            make_writable_folder(options.output, "choose another folder with --output")
            lines = Lines(options.json)
            separate_songs(options.songs, settings, lambda: separator_of(options), lines)


def separator_of(options: argparse.Namespace) -> Separator | Ensemble:
    """Load the separator that the options choose."""
    from stemsplit import processes
    from stemsplit.separation.loading import load

    device = processes.device(options.device)
    return load(options.models, options.allow, device, options.weights)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line. A file whose name starts with a dash is a song, not an option."""
    parser = argument_parser()
    options = parser.parse_intermixed_args(
        [f"./{word}" if word.startswith("-") and Path(word).is_file() else word for word in words]
    )
    options.models = options.models or [DEFAULT_MODEL]
    return options


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stemsplit separate",
        usage="stemsplit separate SONG… [OPTION…]",
        description="Separate songs into stems, such as vocals and drums. The files "
        "separated/SONG/STEM.wav have the length, the sample rate and the bit depth of the song, "
        "and sum to the song. Songs of any length need the same memory.",
        epilog="Examples: stemsplit separate song.mp3 --two-stems vocals · stemsplit separate "
        "music/ --format flac --skip-existing · torchrun --nproc-per-node 2 -m stemsplit.separate "
        "music/ (each process of torchrun or srun separates a part of the songs). Exit code: 0 if "
        "all songs were separated, 1 if a song failed or a setting is invalid, 2 if the command "
        "line cannot be parsed, 130 after Ctrl-C.",
    )
    parser.add_argument(
        "songs",
        nargs="+",
        type=path,
        metavar="SONG",
        help="audio or video file in any format, a folder (with its subfolders), or a pattern in "
        "quotes such as '*.mp3' or 'music/**/*.flac'",
    )
    add_model_options(parser)
    add_stem_options(parser)
    add_file_options(parser)
    add_separation_options(parser)
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="NAME",
        help=f"published model, see `stemsplit models`; default: {DEFAULT_MODEL}. Several models "
        "(repeat the option) are averaged where they estimate the same stem",
    )
    group.add_argument(
        "--checkpoint",
        dest="models",
        action="append",
        metavar="RUN_OR_FILE",
        help="folder of a training run, checkpoint, bundle, or weights of open-unmix; can be "
        "repeated and combined with --model",
    )
    group.add_argument(
        "--weights",
        type=numbers,
        metavar="W,W…",
        help="weights of the models in the average, in their order, such as 2,1; default: equal",
    )
    group.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, mps …; default: a CUDA device if there is one, otherwise the CPU",
    )
    group.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CLASS",
        help="Python class outside stemsplit, such as package.module.Class, that a checkpoint may "
        "use; for models of your own; can be repeated",
    )


def add_stem_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stems").add_mutually_exclusive_group()
    group.add_argument(
        "--stems",
        type=names,
        metavar="STEM,STEM…",
        help="write only these stems, such as vocals,drums; default: all",
    )
    group.add_argument(
        "--two-stems",
        metavar="STEM",
        help="write this stem and the sum of all others, such as vocals and accompaniment, or "
        "drums and no_drums; if the model has only two stems, both keep their names",
    )


def add_file_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument(
        "--output",
        default=Path("separated"),
        type=path,
        metavar="DIR",
        help="folder for the stems; default: separated",
    )
    group.add_argument(
        "--name",
        metavar="TEMPLATE",
        help="path of a stem in the output folder, with the fields {song}, {stem} and {model}; "
        "default: {song}/{stem}, and {song} for stem.mp4. The suffix is added",
    )
    group.add_argument(
        "--format",
        default="wav",
        help="wav, flac, mp3, ogg, m4a, or stem.mp4 (one file with the song and four stems, as in "
        "MUSDB18); default: wav. Tags of the song are kept where the format has tags",
    )
    group.add_argument(
        "--bit-depth",
        metavar="BITS",
        help="16, 24, or 32f (floating point, wav only); default: the one closest to the song's "
        "own, 16 for lossy songs, 24 if a floating-point song is written as flac. 16 and 24 "
        "bits are dithered, and the stems still sum to the song",
    )
    group.add_argument(
        "--bitrate", type=int, metavar="KBIT", help="bitrate of mp3, ogg and m4a files, in kbit/s"
    )
    group.add_argument(
        "--clip",
        default="report",
        metavar="MODE",
        help="what to do with samples beyond full scale: report (clip them in every format except "
        "32f, and print how many), rescale (multiply all stems of the song by one factor), "
        "clamp (clip them in every format), none (keep them; needs 32f or a lossy format); "
        "default: report",
    )
    group.add_argument(
        "--skip-existing", action="store_true", help="skip songs whose stems all exist"
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="print one line of JSON per song on stdout, and everything else on stderr",
    )


def add_separation_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("separation")
    group.add_argument(
        "--wiener",
        type=int,
        metavar="N",
        help="iterations of the Wiener filter, which works within each chunk; 0 turns it off; "
        "default: the model's own number",
    )
    group.add_argument(
        "--chunk-seconds",
        type=float,
        metavar="SECONDS",
        help="length of the chunks in which a song is separated, up to 3600; longer chunks need "
        "more memory; default: the model's own",
    )
    group.add_argument(
        "--overlap",
        type=float,
        metavar="SECONDS",
        help="overlap of neighbouring chunks, at most half a chunk; default: the model's own",
    )
    group.add_argument(
        "--shifts",
        type=int,
        default=1,
        metavar="N",
        help="separate N times, up to 100, with chunks at other positions, and average the "
        "results; default: 1",
    )
    group.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="number of chunks that the network processes at once; default: up to 4 on a CPU "
        "and 16 on other devices, fewer if the memory is too small",
    )
    group.add_argument(
        "--precision",
        default="auto",
        help="precision of the network: auto (bfloat16 on a CPU with instructions for it, float32 "
        "elsewhere), float32 or bfloat16; default: auto",
    )
    group.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="number of songs to separate at the same time; they share the model and the cores; "
        "default: 1",
    )
    group.add_argument(
        "--part",
        type=part,
        default="1/1",
        metavar="K/N",
        help="separate only every N-th song, from the K-th on, for jobs that share the songs, such "
        "as a job array with $SLURM_ARRAY_TASK_ID; default: 1/1, all songs",
    )


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers separated by commas") from None


def part(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: write K/N, such as 2/4, with K from 1 to N")
    return int(number) - 1, int(count)


def path(text: str) -> Path:
    if not text:  # for example an unset variable; Path("") would be the current folder
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


if __name__ == "__main__":
    main()
