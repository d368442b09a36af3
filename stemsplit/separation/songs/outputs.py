"""Settings: where and how to write the stems of songs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stemsplit.audio import stem_mp4
from stemsplit.audio.encoding import FORMATS, Encoding, check_encoding
from stemsplit.errors import InputError
from stemsplit.separation.songs import full_scale, naming
from stemsplit.separation.songs.listing import Song
from stemsplit.separation.songs.selection import rest_of, selection

INTEGER_DEPTHS = ("16", "24")


class Output(NamedTuple):
    """Where stems are written, under which names and in which format.

    `stemsplit.separate_file` explains the fields as its arguments. Here, `model` is the text for
    the field ``{model}`` in names.
    """

    folder: Path
    format: str = "wav"
    bit_depth: str | None = None
    bitrate: int | None = None
    clip: str = "report"
    name: str | None = None
    stems: Sequence[str] | None = None
    two_stems: str | None = None
    model: str = "model"

    @property
    def template(self) -> str:
        return naming.default_template(self.format) if self.name is None else self.name

    @property
    def suffix(self) -> str:
        return f".{self.format}"

    @property
    def is_one_file(self) -> bool:
        return self.format == naming.ONE_FILE

    def check(self) -> None:
        """Raise `InputError` for settings that do not fit together, independently of the song."""
        if self.format not in (*FORMATS, naming.ONE_FILE):
            known = ", ".join((*FORMATS, naming.ONE_FILE))
            raise InputError(f"format {self.format!r}: unknown; choose one of {known}")
        if self.clip not in full_scale.MODES:
            raise InputError(
                f"clip {self.clip!r}: unknown; choose one of {', '.join(full_scale.MODES)}"
            )
        if self.stems is not None and (isinstance(self.stems, str) or not self.stems):
            raise InputError(f"stems {self.stems!r}: give a list of at least one stem")
        if self.stems is not None and self.two_stems is not None:
            raise InputError("stems and two_stems exclude each other; choose one of them")
        naming.check_template(self.template, self.format)
        if not self.is_one_file:
            check_encoding(self.encoding("32f"), sample_rate=44100, channels=1)
            return
        if self.stems is not None or self.two_stems is not None:
            raise InputError(
                f"a {naming.ONE_FILE} file always holds four stems; do not choose stems"
            )
        if self.bit_depth is not None:
            raise InputError(f"a {naming.ONE_FILE} file is lossy, so it has no bit depth")
        stem_mp4.check_stem_file(stem_mp4.STEMS, channels=2, bitrate=self.bitrate)

    def selection(self, present: Sequence[str]) -> dict[str, list[int]]:
        """Return, for each stem to write, the indices of the estimated stems that sum to it.

        `present` are the stems that the separator estimates. Raises `InputError` if a stem that is
        needed is not among them.
        """
        if self.is_one_file and set(present) != set(stem_mp4.STEMS):
            raise InputError(
                f"a {naming.ONE_FILE} file holds {', '.join(stem_mp4.STEMS)}, but this separator "
                f"estimates {', '.join(present)}; choose another model or another format"
            )
        return selection(present, self.stems, self.two_stems)

    def check_form(self, encoding: Encoding, sample_rate: int, channels: int) -> None:
        """Raise `InputError` if the format cannot hold the stems of a song."""
        if self.is_one_file:
            stem_mp4.check_stem_file(stem_mp4.STEMS, channels, self.bitrate)
        else:
            check_encoding(encoding, sample_rate, channels)

    def encoding(self, song_depth: str) -> Encoding:
        """Return the encoding for a song of this bit depth, ``16``, ``24`` or ``32f``.

        Raises `InputError` if `clip` is ``none``, but the bit depth cannot hold samples beyond full
        scale.
        """
        depth = self.bit_depth
        if depth is None and self.format in ("wav", "flac"):
            depth = "24" if (self.format, song_depth) == ("flac", "32f") else song_depth
        if self.clip == "none" and depth in INTEGER_DEPTHS:
            raise InputError(
                f"clip none: {depth} bits cannot hold samples beyond full scale; choose bit depth "
                "32f, or clip report, clamp or rescale"
            )
        return Encoding(self.format, depth, self.bitrate)

    def paths(self, song: Song, stems: Sequence[str]) -> dict[str, Path]:
        """Return the path of each stem of a song; all stems may be in one file."""
        return {
            stem: self.folder
            / naming.relative_path(self.template, song.name, stem, self.model, self.suffix)
            for stem in stems
        }

    def check_destination(self, song: Song, present: Sequence[str], paths: dict[str, Path]) -> None:
        """Raise `InputError` if stems would replace the song, or the folder holds other stems.

        `present` are the stems of the separator. `paths` holds the file of each stem to write.
        """
        naming.check_paths(paths.values(), song.path)
        if naming.has_song_folders(self.template):
            known = [*present, *paths, *(rest_of(present, stem) for stem in present)]
            folder = next(iter(paths.values())).parent
            naming.check_strays(folder, self.suffix, known, song.path)
