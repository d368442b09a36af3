"""Compare a corpus with the official layout, codecs and counts of MUSDB18 and MUSDB18-HQ."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stemsplit.data.doctor.findings import Finding
from stemsplit.data.headers import Header, Headers, sources
from stemsplit.data.tracks import Subset, Track, song_of

STEMS = {"drums", "bass", "other", "vocals"}
COUNTS: dict[Subset, int] = {"train": 86, "valid": 14, "test": 50}
PREVIEW_SECONDS = 10.0  # MUSDB18's previews are of 7 s, and of fewer songs
CODECS = {"MUSDB18": "aac", "MUSDB18-HQ": "pcm_"}


def layout(root: Path, tracks: Sequence[Track]) -> str | None:
    """``MUSDB18`` (stem.mp4 files), ``MUSDB18-HQ`` (folders with mixture.wav), or neither."""
    files = [track.mixture.path for track in tracks if track.mixture is not None]
    if len(files) < len(tracks):
        return None
    if all(file.name.endswith(".stem.mp4") for file in files):
        return "MUSDB18"
    found = {stem for track in tracks for stem in track.stems}
    if not (found == STEMS and all(set(track.stems) <= STEMS for track in tracks)):
        return None
    if all(file.name == "mixture.wav" and file.parent.parent.parent == root for file in files):
        return "MUSDB18-HQ"
    return None


def wrong_counts(root: Path, tracks: Sequence[Track], headers: Headers) -> Iterator[Finding]:
    """A finding if MUSDB18, recognised by its validation songs, has a wrong number of songs."""
    if layout(root, tracks) is None or (missing := _missing_names(root, tracks)) is None:
        return
    text = _counts(root, tracks)
    if missing:
        text += f"; official validation songs that are missing: {', '.join(missing)}"
    lengths = [header.seconds or 0 for header in headers.values() if isinstance(header, Header)]
    is_preview = max(lengths, default=0) < PREVIEW_SECONDS
    if missing or not _are_official(tracks):
        yield Finding("note" if is_preview else "fault", "official counts", "", text)


def other_corpus(root: Path, tracks: Sequence[Track]) -> Iterator[Finding]:
    """A note if the layout is MUSDB18's but the songs are not."""
    if layout(root, tracks) is not None and _missing_names(root, tracks) is None:
        text = f"{_counts(root, tracks)}: another corpus in its layout"
        yield Finding("note", "official counts", "", text)


def foreign_codecs(root: Path, tracks: Sequence[Track], headers: Headers) -> Iterator[Finding]:
    """Songs whose codec is not the layout's own."""
    found = layout(root, tracks)
    if found is None:
        return
    for track in tracks:
        streams = [headers[source] for source in sources(track).values()]
        codecs = {header.codec for header in streams if isinstance(header, Header)}
        foreign = sorted(codec for codec in codecs if not codec.startswith(CODECS[found]))
        if foreign:
            text = f"coded as {', '.join(foreign)}; {found} has {CODECS[found].strip('_')}"
            yield Finding("note", "codec", song_of(track), text)


def _are_official(tracks: Sequence[Track]) -> bool:
    """Whichever songs of the train folder validate."""
    counts = Counter(track.subset for track in tracks)
    held = counts["train"] + counts["valid"], counts["test"]
    return held == (COUNTS["train"] + COUNTS["valid"], COUNTS["test"])


def _counts(root: Path, tracks: Sequence[Track]) -> str:
    counts = Counter(track.subset for track in tracks)
    official, here = ("/".join(str(of[subset]) for subset in COUNTS) for of in (COUNTS, counts))
    name = layout(root, tracks)
    return f"{name} has {official} songs to train, validate and test; here are {here}"


def _missing_names(root: Path, tracks: Sequence[Track]) -> list[str] | None:
    """The official validation songs that are not here; None where most are not."""
    import musdb  # late: it asks for ffmpeg, which other layouts do without

    official = set(musdb.DB(root=str(root), subsets=[]).setup["validation_tracks"])
    missing = sorted(official - {track.name for track in tracks})
    return missing if len(missing) <= len(official) / 2 else None
