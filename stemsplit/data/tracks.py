"""The songs of a corpus and the audio files of their stems.

A new corpus needs a lister in `corpora/`: a function from its root folder to a list of `Track`s.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stemsplit.audio.entries import misnamed, normal, unreadable
from stemsplit.errors import InputError

Subset = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class AudioSource:
    """An audio stream of a file, or one channel of the stream if `channel` is set (0 is left)."""

    path: Path
    stream: int = 0
    channel: int | None = None


@dataclass(frozen=True)
class Track:
    """A song.

    Attributes:
        name: name of the song; unique in the corpus.
        subset: ``train``, ``valid`` or ``test``.
        mixture: source of the mixture; None if the mixture is the sum of the stems. In lossy
            corpora, the mixture is coded separately, so it can differ from the sum of the stems.
        stems: source of every stem; None for silence.
        weight: probability of a training excerpt from this song, relative to the other songs.
        corpus: 0 for the main corpus, and 1, 2, … for supplementary corpora.
    """

    name: str
    subset: Subset
    mixture: AudioSource | None
    stems: dict[str, AudioSource | None]
    weight: float = 1.0
    corpus: int = 0

    @property
    def path(self) -> Path:
        """The first file of the song, for messages."""
        sources = (self.mixture, *self.stems.values())
        return next(source.path for source in sources if source is not None)


def listed(lister: Callable[[Path], list[Track]], root: Path, setting: str) -> list[Track]:
    """The tracks that a lister finds in a folder.

    Raises `InputError` that names the setting if the lister cannot be used, for example if one of
    its arguments has the wrong type.
    """
    if not callable(lister):
        raise InputError(f"{setting}: {lister!r} is not a function that lists songs")
    try:
        return lister(root)
    except InputError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{setting}: cannot list the songs: {error}") from error


def song_of(track: Track) -> str:
    """The name of a song for messages: ``SUBSET/NAME``, and the number of its supplement if any."""
    return f"{track.subset}/{track.name}" + (f" (data.also {track.corpus})" if track.corpus else "")


def check_folder(root: Path) -> None:
    """Raise `InputError` if the folder of a corpus does not exist or cannot be read."""
    if not os.path.lexists(root):
        raise InputError(f"{root}: does not exist; set data.root to the folder of the corpus")
    if (reason := unreadable(root)) is not None:
        raise InputError(reason)
    if not root.is_dir():
        raise InputError(f"{root}: is not a folder; set data.root to the folder of the corpus")


def with_validation(tracks: Sequence[Track], names: Sequence[str]) -> list[Track]:
    """Use the named songs for validation and all other songs outside the test subset for training.

    Raises `InputError` if a name does not belong to a song outside the test subset.
    """
    names = [normal(name) for name in names]
    songs = {track.name for track in tracks if track.subset != "test"}
    unknown = sorted(set(names) - songs)
    if unknown:
        raise InputError(
            f"data.validation_tracks names {unknown}, which are not training songs; "
            f"the training songs are {sorted(songs)}"
        )
    return [
        track
        if track.subset == "test"
        else replace(track, subset="valid" if track.name in names else "train")
        for track in tracks
    ]


def of_subset(tracks: Sequence[Track], subset: Subset, root: Path) -> list[Track]:
    """The tracks of one subset. Raises `InputError` if the subset is empty."""
    chosen = [track for track in tracks if track.subset == subset]
    if chosen:
        return chosen
    training = sorted(track.name for track in tracks if track.subset == "train")
    ways_out = {
        "train": "training needs songs that are not used for validation",
        "valid": "choose at least one with data.validation_tracks=[…]; the training songs are "
        f"{training[:20]}",
        "test": "scoring needs test songs",
    }
    songs = {"train": "training", "valid": "validation", "test": "test"}[subset]
    raise InputError(f"{root}: no {songs} songs; {ways_out[subset]}")


def with_stems(tracks: Sequence[Track], stems: Sequence[str]) -> list[Track]:
    """Return the same tracks with these stems only.

    Raises `InputError` if `Track.stems` has no entry for one of the stems, or if a track without a
    mixture has no file for any of the stems.
    """
    for track in tracks:
        missing = [stem for stem in stems if stem not in track.stems]
        if missing:
            raise InputError(
                f"{track.path}: no stem {missing}; it has {sorted(track.stems)}"
                + "".join(
                    f"; {file.name} is ignored: the expected name is {stem}.wav"
                    for stem in missing
                    for file in misnamed(track.path.parent, f"{stem}.wav")
                )
            )
        if track.mixture is None and all(track.stems[stem] is None for stem in stems):
            raise InputError(
                f"{track.path.parent}: has neither a mixture nor any of the stems {list(stems)}; "
                "add more stems to the setting stems or remove the song"
            )
    return [replace(track, stems={stem: track.stems[stem] for stem in stems}) for track in tracks]


def check_targets(targets: Sequence[str], stems: Sequence[str]) -> None:
    """Raise `InputError` if a target is not one of the stems."""
    unknown = [target for target in targets if target not in stems]
    if unknown:
        raise InputError(f"targets {unknown} are not among the corpus's stems {list(stems)}")


def check_rest(stems: Sequence[str], targets: Sequence[str], root: Path) -> None:
    """Raise `InputError` if the corpus has no stems besides the targets."""
    if set(stems) <= set(targets):
        raise InputError(
            f"{root}: has no stems besides the targets {list(stems)}; add files of the other stems "
            f"or, if the mixtures contain nothing else, set stems=[{','.join(stems)}]"
        )


def all_stems(tracks: Sequence[Track]) -> list[str]:
    """The names of all stems that have audio in at least one track, sorted."""
    return sorted({stem for track in tracks for stem, source in track.stems.items() if source})
