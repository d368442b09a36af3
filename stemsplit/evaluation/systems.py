"""Systems to score: separators, folders of estimates, oracles, and the mixture."""

import hashlib
from collections.abc import Sequence
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import Protocol as Interface
from typing import runtime_checkable

import numpy as np
import torch

from stemsplit import audio
from stemsplit.data.headers import read_headers
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation import oracles
from stemsplit.evaluation.matching import Estimates, Song
from stemsplit.evaluation.protocol import for_scenario, residual_of
from stemsplit.separation.checkpoint import checkpoint_of, load
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator


@runtime_checkable
class System(Interface):
    """One row of a table."""

    name: str

    def check(self, track: StoredTrack, wanted: Sequence[str], channels: int) -> None:
        """Raise `InputError` for what can be told of a song's estimates before they are made."""
        return  # nothing, where it can always be made

    def identity(self, track: StoredTrack) -> str:
        """Cache key: two songs with the same key have the same estimates."""

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        """Estimates of the stems of `references`; channels and length may differ."""


class Mixture(System):
    """The do-nothing system: the mixture, as it is, is the estimate of every stem."""

    name = "mixture"

    def identity(self, track: StoredTrack) -> str:
        return "mixture"

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        return dict.fromkeys(references, track.mixture())


class Oracle(System):
    """An ideal mask of a front end's Fourier transform."""

    def __init__(self, name: str, front_end: FrontEnd) -> None:
        self.name = name
        self.front_end = front_end

    def identity(self, track: StoredTrack) -> str:
        return f"{self.name} {self.front_end.window} {self.front_end.hop}"

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        stems = torch.from_numpy(np.stack(list(references.values())))[None]
        mixture = torch.from_numpy(track.mixture())[None]
        estimates = oracles.separate(oracles.ORACLES[self.name], self.front_end, stems, mixture)
        return dict(zip(references, estimates[0].numpy(), strict=True))


class Resampled(System):
    """The true stems, there and back through a separator's lower rate: the most it can reach."""

    def __init__(self, sample_rate: int) -> None:
        self.name = f"true stems at {sample_rate} Hz"
        self.sample_rate = sample_rate

    def identity(self, track: StoredTrack) -> str:
        return self.name

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        low, high = self.sample_rate, track.sample_rate
        return {
            stem: audio.resample(audio.resample(samples, high, low), low, high)
            for stem, samples in references.items()
        }


@lru_cache(maxsize=32)
def loaded(checkpoint: Path, digest: str, device: str) -> Separator:
    """The separator of a checkpoint with this content, loaded once in a process.

    A training that goes on replaces its checkpoints, so the path alone does not name the weights.
    Raises `InputError` if the file's content has changed since.
    """
    separator = load(checkpoint, device=device)
    if digest_of_file(checkpoint) != digest:
        raise InputError(
            f"{checkpoint}: has changed since the scoring began; score a copy of it, or score it "
            "again when its training has ended"
        )
    return separator


def digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


class Trained(System):
    """A checkpoint's separator; with `wiener_iterations` other ones than its own."""

    def __init__(
        self,
        name: str,
        checkpoint: Path,
        device: str = "cpu",
        wiener_iterations: int | None = None,
    ) -> None:
        self.name = name
        self.checkpoint = checkpoint_of(checkpoint)
        self.device = device
        self.wiener_iterations = wiener_iterations
        self.digest = digest_of_file(self.checkpoint)

    @property
    def separator(self) -> Separator:
        separator = copy(loaded(self.checkpoint, self.digest, self.device))
        if self.wiener_iterations is not None:
            separator.wiener_iterations = self.wiener_iterations
        return separator

    def check(self, track: StoredTrack, wanted: Sequence[str], channels: int) -> None:
        try:
            for_scenario(self.separator.stems, wanted)
        except InputError as error:
            raise InputError(f"{self.name}, {self.checkpoint}: {error}") from None

    def identity(self, track: StoredTrack) -> str:
        return f"{self.digest} {self.wiener_iterations}"

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        stems = self.separator.separate(torch.from_numpy(track.mixture()), track.sample_rate)
        return summed({stem: samples.numpy() for stem, samples in stems.items()}, list(references))


class Folder(System):
    """Anyone's estimates as museval has them: ``ROOT/SUBSET/TRACK/STEM.wav``, or ROOT/TRACK/…."""

    def __init__(self, root: Path, name: str | None = None) -> None:
        self.root = root.expanduser().resolve()
        self.name = self.root.name if name is None else name
        if not self.root.is_dir():
            raise InputError(f"{root}: there is no such folder of estimates")

    def files(self, track: StoredTrack) -> dict[str, Path]:
        """The file of each stem; raises `InputError` where there are none."""
        places = (self.root / track.subset / track.name, self.root / track.name)
        for place in places:
            files = {file.stem: file for file in sorted(place.glob("[!.]*.wav"))}
            files.pop("mixture", None)
            if files:
                return files
        raise InputError(
            f"{places[0]}: no wav files; estimates belong into SUBSET/TRACK/STEM.wav below "
            f"{self.root}, one folder for every {track.subset} song"
        )

    def identity(self, track: StoredTrack) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for file in self.files(track).values():
            digest.update(f"{file.name} ".encode("utf-8", "surrogateescape"))
            digest.update(digest_of_file(file).encode())
        return digest.hexdigest()

    def check(self, track: StoredTrack, wanted: Sequence[str], channels: int) -> None:
        """Raise `InputError` for what names and headers of a song's files tell is wrong."""
        for stem, files in self.parts(track, wanted).items():
            seconds = {}
            for file in files:
                headers = read_headers(file)
                if not headers:
                    raise InputError(f"{file}: holds no audio")
                header = headers[0]
                if header.sample_rate != track.sample_rate:
                    raise InputError(
                        f"{file}: has {header.sample_rate} Hz, the references {track.sample_rate} "
                        "Hz; resample the estimates, or score at their rate with "
                        f"sample_rate={header.sample_rate}"
                    )
                if header.channels != channels and 1 not in (header.channels, channels):
                    raise InputError(
                        f"{file}: has {header.channels} channels, the references {channels}: "
                        "mix it down first"
                    )
                seconds[file.name] = header.seconds
            if len(set(seconds.values())) > 1:
                raise InputError(
                    f"{self.root}, {track.name}: what is summed to the {stem} differs in length "
                    f"(seconds: {seconds})"
                )

    def parts(self, track: StoredTrack, wanted: Sequence[str]) -> dict[str, list[Path]]:
        """The files whose sum is each wanted stem; raises `InputError` where one is missing."""
        files = self.files(track)
        residual = residual_of(wanted)
        parts = {stem: [stem] for stem in wanted}
        if residual is not None:
            parts[residual] = self._residual_parts(track, wanted, residual)
        for stem in wanted:
            if missing := [part for part in parts[stem] if part not in files]:
                raise InputError(
                    f"{self.root}, {track.name}: no {missing[0]} among the stems {list(files)}: "
                    "it cannot be scored"
                )
        return {stem: [files[part] for part in parts[stem]] for stem in wanted}

    def _residual_parts(
        self, track: StoredTrack, wanted: Sequence[str], residual: str
    ) -> list[str]:
        """The file of the residual itself, or those of the corpus's stems that add up to it.

        Where the corpus has a stem of the residual's name beside others, a file of that name is
        the residual only if none of these others has a file.
        """
        files = self.files(track)
        parts = [stem for stem in track.stems if stem == residual or stem not in wanted]
        if residual in files and (
            residual not in parts or not any(part in files for part in parts if part != residual)
        ):
            return [residual]
        where = f"{self.root}, {track.name}: no {residual}.wav"
        if residual in files:
            where = f"{self.root}, {track.name}: {residual}.wav is not all of the {residual}"
        if missing := [part for part in parts if part not in files]:
            raise InputError(
                f"{where}, and of the stems that it is the sum of {', '.join(missing)} missing"
            )
        if strays := [part for part in files if part not in (*wanted, *parts)]:
            raise InputError(
                f"{where}, and beside the corpus's stems ({', '.join(track.stems)}), of which it "
                f"is the sum, there is {', '.join(strays)}: write {residual}.wav, or take it out "
                "of the folder"
            )
        return parts

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        return {
            stem: np.sum([audio.read(file).samples for file in files], axis=0)
            for stem, files in self.parts(track, list(references)).items()
        }


def summed(stems: Estimates, wanted: Sequence[str]) -> Estimates:
    """The wanted stems, of which the residual is the sum of all others."""
    return {
        stem: stems[parts[0]]
        if len(parts) == 1
        else np.sum([stems[part] for part in parts], axis=0)
        for stem, parts in for_scenario(list(stems), wanted).items()
    }


def references_of(track: StoredTrack, wanted: Sequence[str]) -> Song:
    """The true stems; the residual is the sum of all that are not wanted otherwise."""
    return summed({stem: track.read(stem) for stem in track.stems}, wanted)
