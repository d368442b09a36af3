"""A system that reads its estimates from files, which any tool may have written."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stemsplit import audio
from stemsplit.data.headers import read_headers
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation.matching import Estimates, Song
from stemsplit.evaluation.protocol import residual_of
from stemsplit.evaluation.systems import System, digest_of_file


class Folder(System):
    """Estimates in museval's layout, ``ROOT/SUBSET/TRACK/STEM.wav`` or ``ROOT/TRACK/STEM.wav``.

    Raises `InputError` if the folder does not exist.
    """

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = Path(os.path.expanduser(root)).resolve()
        self.name = self.root.name if name is None else name
        if not self.root.is_dir():
            raise InputError(f"{root}: the folder of estimates does not exist")

    def files(self, track: StoredTrack) -> dict[str, Path]:
        """The file of each stem; raises `InputError` if the song has no files."""
        folders = (self.root / track.subset / track.name, self.root / track.name)
        for folder in folders:
            files = {file.stem: file for file in sorted(folder.glob("[!.]*.wav"))}
            files.pop("mixture", None)
            if files:
                return files
        raise InputError(
            f"{folders[0]}: no wav files; estimates must be {self.root}/SUBSET/TRACK/STEM.wav, "
            f"with one folder for every {track.subset} song"
        )

    def identity(self, track: StoredTrack) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files(track).values():
            digest.update(f"{file.name} ".encode("utf-8", "surrogateescape"))
            digest.update(digest_of_file(file).encode())
        return digest.hexdigest()

    def check(self, track: StoredTrack, wanted: Sequence[str], channels: int) -> None:
        """Raise `InputError` if files are missing or their headers do not fit the references."""
        for stem, files in self.parts(track, wanted).items():
            seconds = {}
            for file in files:
                headers = read_headers(file)
                if not headers:
                    raise InputError(f"{file}: contains no audio")
                header = headers[0]
                if header.sample_rate != track.sample_rate:
                    raise InputError(
                        f"{file}: has a sample rate of {header.sample_rate} Hz, but the references "
                        f"have {track.sample_rate} Hz; resample the estimates, or score at their "
                        f"rate with sample_rate={header.sample_rate}"
                    )
                if header.channels != channels and 1 not in (header.channels, channels):
                    raise InputError(
                        f"{file}: has {header.channels} channels, but the references have "
                        f"{channels}; mix it down first"
                    )
                seconds[file.name] = header.seconds
            if len(set(seconds.values())) > 1:
                raise InputError(
                    f"{self.root}, {track.name}: the files that sum to {stem} differ in length "
                    f"(seconds: {seconds})"
                )

    def parts(self, track: StoredTrack, wanted: Sequence[str]) -> dict[str, list[Path]]:
        """The files that sum to each wanted stem; raises `InputError` if one is missing."""
        files = self.files(track)
        residual = residual_of(wanted)
        parts = {stem: [stem] for stem in wanted}
        if residual is not None:
            parts[residual] = self._residual_parts(track, wanted, residual)
        for stem in wanted:
            if missing := [part for part in parts[stem] if part not in files]:
                raise InputError(
                    f"{self.root}, {track.name}: {missing[0]} cannot be scored: it is not among "
                    f"the stems with a file, {list(files)}"
                )
        return {stem: [files[part] for part in parts[stem]] for stem in wanted}

    def _residual_parts(
        self, track: StoredTrack, wanted: Sequence[str], residual: str
    ) -> list[str]:
        """Names of the files that sum to the residual: its own file, or the files of all its parts.

        The parts are all stems of the corpus except the other wanted stems. One part may have the
        name of the residual, for example if the stems of the corpus are vocals, accompaniment and
        crowd. The file with this name contains the whole residual if no other part has a file.
        Otherwise, it contains only the part with this name.
        """
        files = self.files(track)
        parts = [stem for stem in track.stems if stem == residual or stem not in wanted]
        if residual in files and (
            residual not in parts or not any(part in files for part in parts if part != residual)
        ):
            return [residual]
        problem = f"{self.root}, {track.name}: there is no {residual}.wav"
        if residual in files:
            problem = f"{self.root}, {track.name}: {residual}.wav is only a part of the {residual}"
        if missing := [part for part in parts if part not in files]:
            raise InputError(
                f"{problem}, and these parts of the {residual} are missing: {', '.join(missing)}"
            )
        if strays := [part for part in files if part not in (*wanted, *parts)]:
            raise InputError(
                f"{problem}, and these files are not stems of the corpus "
                f"({', '.join(track.stems)}): {', '.join(strays)}; write {residual}.wav, or remove "
                "these files"
            )
        return parts

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        return {
            stem: np.sum([audio.read(file).samples for file in files], axis=0)
            for stem, files in self.parts(track, list(references)).items()
        }
