"""Systems to score: separators, oracles and the mixture.

The module `estimates` contains the system that reads its stems from files.
"""

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
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation import oracles
from stemsplit.evaluation.matching import Estimates, Song
from stemsplit.evaluation.protocol import for_scenario
from stemsplit.separation.checkpoint import load
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator
from stemsplit.separation.sources import files_of, resolved


@runtime_checkable
class System(Interface):
    """Anything that estimates stems and can be scored. A table of scores has one row per system."""

    name: str

    def check(self, track: StoredTrack, wanted: Sequence[str], channels: int) -> None:
        """Raise `InputError` if estimates of the wanted stems are missing or do not fit.

        `channels` is the number of channels of the references. The method is called
        for all songs before the scoring starts, so it must be fast.
        """
        return  # systems that can separate every song need no check

    def identity(self, track: StoredTrack) -> str:
        """Cache key: two songs with the same key have the same estimates."""

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        """Estimate the stems that are in `references`.

        The estimates may have another number of channels or another length than the references.
        """


class Mixture(System):
    """The do-nothing baseline: the unchanged mixture is the estimate of every stem."""

    name = "mixture"

    def identity(self, track: StoredTrack) -> str:
        return "mixture"

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        return dict.fromkeys(references, track.mixture())


class Oracle(System):
    """An ideal mask on the spectra that `front_end` computes; `name` is a key of `ORACLES`."""

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
    """The true stems, resampled to a sample rate in Hz and back.

    The scores of this system are an upper bound for separators with that sample rate.
    """

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
def loaded(source: str | Path, digest: str, device: str) -> Separator:
    """Load the separator of a checkpoint or of a published model, once per process.

    `digest` is part of the cache key because a running training replaces its checkpoints. Raises
    `InputError` if the file no longer has this digest.
    """
    separator = load(source, device=device)
    if digest_of_files(files_of(source)) != digest:
        raise InputError(
            f"{source}: has changed since the scoring began; score a copy, or score it again "
            "when its training has ended"
        )
    return separator


def digest_of_files(paths: Sequence[Path]) -> str:
    return " ".join(map(digest_of_file, paths))


def digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


class Trained(System):
    """The separator of a run, of a checkpoint or of a published model (see `sources.files_of`).

    If `wiener_iterations` is not None, it replaces the separator's own number of Wiener iterations.
    """

    def __init__(
        self,
        name: str,
        source: str | Path,
        device: str = "cpu",
        wiener_iterations: int | None = None,
    ) -> None:
        self.name = name
        self.source = resolved(source)
        self.device = device
        self.wiener_iterations = wiener_iterations
        self.digest = digest_of_files(files_of(self.source))

    @property
    def separator(self) -> Separator:
        separator = copy(loaded(self.source, self.digest, self.device))
        if self.wiener_iterations is not None:
            separator.wiener_iterations = self.wiener_iterations
        return separator

    def check(self, track: StoredTrack, wanted: Sequence[str], channels: int) -> None:
        try:
            for_scenario(self.separator.stems, wanted)
        except InputError as error:
            raise InputError(f"{self.name}, {self.source}: {error}") from None

    def identity(self, track: StoredTrack) -> str:
        return f"{self.digest} {self.wiener_iterations}"

    def separate(self, track: StoredTrack, references: Song) -> Estimates:
        stems = self.separator.separate(torch.from_numpy(track.mixture()), track.sample_rate)
        return summed({stem: samples.numpy() for stem, samples in stems.items()}, list(references))


def summed(stems: Estimates, wanted: Sequence[str]) -> Estimates:
    """Return the wanted stems.

    If the last one is a residual (``accompaniment`` or ``residual``), it is the sum of all stems
    that are not wanted.
    """
    return {
        stem: stems[parts[0]]
        if len(parts) == 1
        else np.sum([stems[part] for part in parts], axis=0)
        for stem, parts in for_scenario(list(stems), wanted).items()
    }


def references_of(track: StoredTrack, wanted: Sequence[str]) -> Song:
    """The true stems as `(channel, time)`, with a residual as in `summed`."""
    return summed({stem: track.read(stem) for stem in track.stems}, wanted)
