"""Refuse to score separators on songs that were in their training."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stemsplit.data.corpus import Corpus
from stemsplit.data.tracks import Subset
from stemsplit.data.trained_songs import trained_contents
from stemsplit.errors import InputError
from stemsplit.evaluation.rows import Row, Rows
from stemsplit.evaluation.systems import Trained
from stemsplit.separation.origins import origins
from stemsplit.separation.published.catalogue import catalogue
from stemsplit.separation.published.musdb18_test import SONGS

CORPORA = {"musdb18", "musdb18hq", "musdb7"}
NOTE = "its training saw these songs"


def systems_that_saw(
    systems: Iterable[Trained], corpus: Corpus, name: str, subset: Subset
) -> dict[str, list[str]]:
    """The systems whose training saw songs of a subset, with the names of these songs.

    `name` is the name of the corpus. See `songs_seen`.
    """
    seen = {system.name: songs_seen(system.source, corpus, name, subset) for system in systems}
    return {system: songs for system, songs in seen.items() if songs}


def songs_seen(source: str | Path, corpus: Corpus, name: str, subset: Subset) -> list[str]:
    """The names of those songs of a subset that were in the training of a separator.

    `source` is the checkpoint of a run, or the name of a published model. The folder of a run
    records the training songs. The training also saw MUSDB18's test songs if the separator contains
    published weights whose training saw them, or if its run started with such weights. The test
    songs are recognised by their names in every corpus. In the corpora `CORPORA`, all songs of the
    subset ``test`` are test songs of MUSDB18.
    """
    tracks = [track for track in corpus.songs if track.subset == subset]
    whole = name in CORPORA and subset == "test"
    of_test = {track.name for track in tracks if whole or track.name.casefold() in SONGS}
    models = catalogue()
    published = [models[model] for model in origins(source) if model in models] if of_test else []
    if not any(model.saw_musdb18_test == "yes" for model in published):
        of_test = set()
    trained = trained_contents(source) if isinstance(source, Path) else set()
    return [
        track.name
        for track in tracks
        if track.name in of_test or (trained and corpus.store.content(track) in trained)
    ]


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
