"""Write the stems of a song, block by block."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from stemsplit.audio.dither import Quantiser
from stemsplit.audio.encoding import Encoding, open_writer
from stemsplit.audio.stem_mp4 import STEMS, open_stem_writer
from stemsplit.files import replacing_together
from stemsplit.separation.songs import full_scale
from stemsplit.separation.songs.outputs import INTEGER_DEPTHS, Output
from stemsplit.separation.songs.selection import StemBlock

Write = Callable[[StemBlock], None]


def write_stems(
    blocks: Iterable[StemBlock],
    paths: Mapping[str, Path],
    output: Output,
    encoding: Encoding,
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str],
    notes: list[str],
) -> int:
    """Write each stem to its path; return the number of samples of a stem.

    The files appear together when all are complete. Lines about the level and the sample rate are
    added to `notes`.
    """
    stems = list(paths)
    counts = [0] * len(stems)
    samples = 0
    with replacing_together() as partial:
        partials = {stem: partial(path) for stem, path in paths.items()}
        if output.clip == "rescale":
            blocks = full_scale.rescaled(blocks, paths[stems[0]].parent, notes)
        elif output.clip == "clamp" or (output.clip == "report" and encoding.bit_depth != "32f"):
            blocks = full_scale.limited(blocks, counts)
        if encoding.bit_depth in INTEGER_DEPTHS:
            blocks = map(Quantiser(int(encoding.bit_depth), len(stems)).quantise, blocks)
        if output.is_one_file:
            opened = one_file(partials, sample_rate, channels, tags, encoding.bitrate, notes)
        else:
            opened = file_for_each_stem(partials, encoding, sample_rate, channels, tags, notes)
        with opened as write:
            for block in blocks:
                samples += block.shape[-1]
                write(block)
    if output.clip == "report" and any(counts):
        notes.append(full_scale.limits_text(stems, counts))
    return samples


@contextmanager
def file_for_each_stem(
    paths: Mapping[str, Path],
    encoding: Encoding,
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str],
    notes: list[str],
) -> Iterator[Write]:
    """Yield a function that writes each stem of a block to its own file."""
    with ExitStack() as files:
        writers = [
            files.enter_context(open_writer(path, encoding, sample_rate, channels, tags))
            for path in paths.values()
        ]
        notes += writers[0].notes

        def write(block: StemBlock) -> None:
            for writer, samples in zip(writers, block, strict=True):
                writer.write(samples)

        yield write


@contextmanager
def one_file(
    paths: Mapping[str, Path],
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str],
    bitrate: int | None,
    notes: list[str],
) -> Iterator[Write]:
    """Yield a function that writes a block of all stems, and their sum, to a ``.stem.mp4`` file."""
    path = next(iter(paths.values()))
    order = [list(paths).index(stem) for stem in STEMS]
    with open_stem_writer(path, sample_rate, channels, tags, bitrate=bitrate) as writer:
        notes += writer.notes
        yield lambda block: writer.write(block.sum(axis=0), list(block[order]))
