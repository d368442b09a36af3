"""Refuse to score published models on songs that were in their training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation.rows import Row, Rows
from stemsplit.evaluation.systems import Trained
from stemsplit.separation.origins import origins
from stemsplit.separation.published.catalogue import catalogue
from stemsplit.separation.published.musdb18_test import SONGS

CORPORA = {"musdb18", "musdb18hq", "musdb7"}
NOTE = "its training saw these songs"


def systems_that_saw(
    systems: Iterable[Trained], corpus: str, subset: str, tracks: Sequence[StoredTrack]
) -> dict[str, list[str]]:
    """The systems whose training saw some of the tracks, with the names of these tracks.

    A system saw MUSDB18's test songs if it contains published weights whose training saw them. The
    test songs are recognised by their names in every corpus. In the corpora `CORPORA`, all songs of
    the subset ``test`` are test songs of MUSDB18.
    """
    whole = corpus in CORPORA and subset == "test"
    seen = [track.name for track in tracks if whole or track.name.casefold() in SONGS]
    models = catalogue()

    def saw(system: Trained) -> bool:
        names = origins(system.source)
        return any(models[name].saw_musdb18_test == "yes" for name in names if name in models)

    return {system.name: seen for system in systems if seen and saw(system)}


def check_unseen(seen: Mapping[str, Sequence[str]]) -> None:
    """Raise `InputError` if a system saw some of the tracks."""
    for name, tracks in seen.items():
        count = f"{len(tracks)} of the songs" if len(tracks) > 1 else "one of the songs"
        raise InputError(
            f"{name}: its training saw {count} ({tracks[0]}…), so its scores would be too high; "
            "choose other songs, or score it all the same with allow_training_songs=true"
        )


def with_notes(rows: Rows, seen: Mapping[str, Sequence[str]]) -> Rows:
    """Add a note to the rows of the systems that saw the songs."""

    def noted(name: str, row: Row) -> Row:
        if name not in seen:
            return row
        return replace(row, notes={**row.notes, NOTE: len(seen[name])})

    return {name: noted(name, row) for name, row in rows.items()}
