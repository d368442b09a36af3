"""Separate one song file as a stream, so that the memory does not depend on its length."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from stemsplit import processes
from stemsplit.audio.song_stream import open_song
from stemsplit.errors import InputError
from stemsplit.files import make_writable_folder, removed_if_empty
from stemsplit.separation.chunks.inference import Inference
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.loading import Source, load
from stemsplit.separation.separator import Separator
from stemsplit.separation.songs.lines import SeparatedSong
from stemsplit.separation.songs.listing import Song, song_name
from stemsplit.separation.songs.mixture import (
    Progress,
    channels_for,
    mixed_down,
    with_loudest_noted,
    with_progress,
)
from stemsplit.separation.songs.naming import model_name
from stemsplit.separation.songs.outputs import Output
from stemsplit.separation.songs.selection import selected
from stemsplit.separation.songs.writing import write_stems


def separate_file(
    song: str | Path,
    output: str | Path,
    model: Source | Sequence[Source] | Separator | Ensemble = "umxhq",
    *,
    stems: Sequence[str] | None = None,
    two_stems: str | None = None,
    format: str = "wav",
    bit_depth: str | int | None = None,
    bitrate: int | None = None,
    clip: str = "report",
    name: str | None = None,
    progress: Progress | None = None,
    wiener_iterations: int | None = None,
    chunk_seconds: float | None = None,
    overlap_seconds: float | None = None,
    shifts: int = 1,
    batch: int | None = None,
    precision: str = "auto",
    device: str = "auto",
) -> SeparatedSong:
    """Separate a song file into files in the folder `output`.

    The memory that the separation needs does not depend on the length of the song.

    `model` is the name of a published model, a run's folder, a weight file, a list of these, or the
    separator that `load` returned. It is loaded onto `device` unless it is loaded already.

    - `stems` selects stems by name. `two_stems` selects one stem and the sum of the others.
    - `format` is ``wav``, ``flac``, ``mp3``, ``ogg``, ``m4a`` or ``stem.mp4`` (one file that holds
      the song and its four stems). `bit_depth` is ``16``, ``24`` or ``32f``; the
      default is the one closest to the song's own. `bitrate` is in kbit/s, for lossy formats.
    - `clip` says what happens to samples beyond ±1. ``report`` limits them where the format cannot
      hold them, and counts them in the notes; ``rescale`` multiplies all stems by one factor;
      ``clamp`` limits them in every format; ``none`` never limits them, so it excludes 16 and 24
      bits.
    - `name` is the path of a file in `output` without its suffix; it may contain ``{song}``,
      ``{stem}`` and ``{model}``. The default is ``{song}/{stem}``, or ``{song}`` for ``stem.mp4``.
    - `progress` is called with the fraction of the song that is done. If it returns False, the
      separation ends.
    - The other settings are those of `Inference`, except that the default `precision` is ``auto``.

    The files appear together when all of them are complete. Raises `InputError` if the song, the
    model, the folder or a setting cannot be used, and `Cancelled` after `progress` returned False.
    """
    settings = Output(
        folder=Path(output),
        format=format,
        bit_depth=None if bit_depth is None else str(bit_depth),
        bitrate=bitrate,
        clip=clip,
        name=name,
        stems=stems,
        two_stems=two_stems,
        model=model_name(model) if isinstance(model, str | Path | Sequence) else "model",
    )
    settings.check()
    inference = Inference(
        wiener_iterations, chunk_seconds, overlap_seconds, shifts, batch, precision
    )
    inference.check()
    path = Path(song)
    with removed_if_empty(settings.folder):
        make_writable_folder(settings.folder)
        if isinstance(model, Separator | Ensemble):
            separator = model
        else:
            separator = load(model, device=processes.device(device))
        return separate_song(separator, Song(path, song_name(path)), settings, inference, progress)


def separate_song(
    separator: Separator | Ensemble,
    song: Song,
    output: Output,
    inference: Inference,
    progress: Progress | None,
) -> SeparatedSong:
    """Separate a song with settings that are checked already; see `separate_file`."""
    started = time.perf_counter()
    stems = output.selection(separator.stems)
    paths = output.paths(song, list(stems))
    notes: list[str] = []
    try:
        with open_song(song.path) as stream, ExitStack() as folders:
            for folder in dict.fromkeys(path.parent for path in paths.values()):
                folders.enter_context(removed_if_empty(folder))
            rate = stream.sample_rate
            channels = channels_for(separator.channels, stream.channels)
            encoding = output.encoding(stream.bit_depth)
            output.check_form(encoding, rate, channels)
            output.check_destination(song, separator.stems, paths)
            blocks = with_loudest_noted(mixed_down(stream, channels, notes), rate, notes)
            separated = separator.stream(blocks, rate, channels, inference)
            expected = (stream.declared_seconds or 0) * rate
            chosen = selected(with_progress(separated, expected, progress), stems)
            samples = write_stems(
                chosen, paths, output, encoding, rate, channels, stream.tags, notes
            )
            losses = stream.losses
    except InputError as error:
        if str(error).startswith(f"{song.path}: "):
            raise
        raise InputError(f"{song.path}: {error}") from None
    elapsed = time.perf_counter() - started
    return SeparatedSong(paths, samples / rate, elapsed, [*losses, *notes])
