"""Compare a corpus with MUSDB18 and MUSDB18-HQ: layout, codecs and number of songs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stemsplit.data.doctor.findings import Finding, Severity
from stemsplit.data.headers import Header, Headers, sources
from stemsplit.data.tracks import Subset, Track, song_of

STEMS = {"drums", "bass", "other", "vocals"}
Counts = dict[Subset, int]
COUNTS: Counts = {"train": 86, "valid": 14, "test": 50}
PREVIEW_COUNTS: Counts = {"train": 80, "valid": 14, "test": 50}  # six songs have no preview
PREVIEW_SECONDS = 10.0  # a corpus of shorter songs consists of previews, which last 7 s
CODECS = {"MUSDB18": "aac", "MUSDB18-HQ": "pcm_"}


def layout(root: Path, tracks: Sequence[Track]) -> str | None:
    """Name the layout: ``MUSDB18`` (stem.mp4 files) or ``MUSDB18-HQ`` (folders with mixture.wav).

    The result is None for all other layouts.
    """
    files = [track.mixture.path for track in tracks if track.mixture is not None]
    if len(files) < len(tracks):
        return None
    if all(file.name.endswith(".stem.mp4") for file in files):
        return "MUSDB18"
    stems = {stem for track in tracks for stem in track.stems}
    if stems != STEMS:
        return None
    if all(file.name == "mixture.wav" and file.parent.parent.parent == root for file in files):
        return "MUSDB18-HQ"
    return None


def wrong_counts(root: Path, tracks: Sequence[Track], headers: Headers) -> Iterator[Finding]:
    """A finding if the corpus is MUSDB18 with a wrong number of songs.

    There is also a finding if an official validation song is missing. The corpus counts as MUSDB18
    if it has at least half of the official validation songs.
    """
    if layout(root, tracks) is None or (missing := _missing_names(root, tracks)) is None:
        return
    lengths = [header.seconds or 0 for header in headers.values() if isinstance(header, Header)]
    is_preview = max(lengths, default=0) < PREVIEW_SECONDS
    official = PREVIEW_COUNTS if is_preview else COUNTS
    name = "MUSDB18-7, the previews of MUSDB18," if is_preview else layout(root, tracks)
    text = _counts(f"{name} has", official, tracks)
    if missing:
        text += f"; missing official validation songs: {', '.join(missing)}"
    if missing or not (_has_counts(official, tracks) or _has_counts(COUNTS, tracks)):
        severity: Severity = "note" if is_preview else "fault"
        yield Finding(severity, "official counts", "", text)


def other_corpus(root: Path, tracks: Sequence[Track]) -> Iterator[Finding]:
    """A note if the corpus has the layout of MUSDB18 but other songs."""
    if layout(root, tracks) is not None and _missing_names(root, tracks) is None:
        text = _counts(f"{layout(root, tracks)} has", COUNTS, tracks)
        text += ": another corpus with the same layout"
        yield Finding("note", "official counts", "", text)


def foreign_codecs(root: Path, tracks: Sequence[Track], headers: Headers) -> Iterator[Finding]:
    """Notes on songs with a codec that the official corpus does not use."""
    corpus = layout(root, tracks)
    if corpus is None:
        return
    for track in tracks:
        streams = [headers[source] for source in sources(track).values()]
        codecs = {header.codec for header in streams if isinstance(header, Header)}
        foreign = sorted(codec for codec in codecs if not codec.startswith(CODECS[corpus]))
        if foreign:
            text = (
                f"the codec is {', '.join(foreign)}, but {corpus} has {CODECS[corpus].strip('_')}"
            )
            yield Finding("note", "codec", song_of(track), text)


def _has_counts(official: Counts, tracks: Sequence[Track]) -> bool:
    """Whether the subsets have the official numbers of songs; train and valid count as one."""
    counts = Counter(track.subset for track in tracks)
    numbers = counts["train"] + counts["valid"], counts["test"]
    return numbers == (official["train"] + official["valid"], official["test"])


def _counts(subject: str, official: Counts, tracks: Sequence[Track]) -> str:
    counts = Counter(track.subset for track in tracks)
    wanted = "/".join(str(count) for count in official.values())
    actual = "/".join(str(counts[subset]) for subset in official)
    return f"{subject} {wanted} training/validation/test songs, but this corpus has {actual}"


def _missing_names(root: Path, tracks: Sequence[Track]) -> list[str] | None:
    """The official validation songs that the corpus lacks, or None if it lacks more than half.

    The result is also None if musdb, which lists these songs, cannot be imported.
    """
    try:
        import musdb  # imported only for the layouts of MUSDB18
    except RuntimeError:  # the program ffmpeg is missing
        return None
    official = set(musdb.DB(root=str(root), subsets=[]).setup["validation_tracks"])
    missing = sorted(official - {track.name for track in tracks})
    return missing if len(missing) <= len(official) / 2 else None
