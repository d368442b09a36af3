"""The known errata of MUSDB18 and MUSDB18-HQ, from sigsep.github.io/datasets/musdb.html."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from stemsplit.data.doctor.examination import LEAST_MATCH_DB, Examination
from stemsplit.data.doctor.findings import Finding
from stemsplit.data.tracks import Track, song_of

LEFT_DIFFERS = "PR - Oh No"
ERRATA = {
    "Al James - Schoolboy Facination": "synthesised vocals are mixed into the stem other",
    "BKS - Bulldozer": "a cowbell is mixed into the stem other at 1:12",
    "Chris Durban - Celebrate": "other instruments bleed into vocals",
    "Detsky Sad - Walkie Talkie": "the stem other is mixed into drums",
    "Enda Reilly - Cur An Long Ag Seol": "somebody speaks at the start of the stem other",
    "Hop Along - Sister Cities": "other instruments bleed into vocals",
    "Leaf - Wicked": "an electric guitar is mixed into drums at 2:20 and 3:02",
    LEFT_DIFFERS: "the left channel of the mixture is not the sum of the stems",
}


def known_errata(tracks: Sequence[Track]) -> Iterator[Finding]:
    """A note for every song in the authors' list of errata."""
    for track in tracks:
        if track.name in ERRATA:
            text = f"{ERRATA[track.name]} (a known erratum of MUSDB18)"
            yield Finding("note", "erratum", song_of(track), text)


def excused(song: Examination) -> list[Finding]:
    """The findings of a song of MUSDB18; one error of the official files is not a fault.

    In the song `LEFT_DIFFERS`, the left channel of the official mixture is not the sum of the
    stems. The finding on this mixture becomes a note if the right channel is correct.
    """
    left_differs = (
        song.track.name == LEFT_DIFFERS
        and len(song.match_db_of_channels) == 2
        and (song.match_db_of_channels[1] or 0.0) >= LEAST_MATCH_DB
    )
    return [
        replace(finding, severity="note", text=f"{finding.text}; the official files have this too")
        if left_differs and finding.check == "mixture"
        else finding
        for finding in song.findings
    ]
