"""Find faults of a corpus in its list of songs and in the headers of its files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stemsplit.audio.entries import is_audio, misnamed, normal, unreadable, visible
from stemsplit.data.doctor.findings import Finding, Severity
from stemsplit.data.doctor.official import STEMS, foreign_codecs, layout, wrong_counts
from stemsplit.data.headers import Header, Headers, headers_of, sources
from stemsplit.data.tracks import Subset, Track, of_subset, song_of, with_stems, with_validation
from stemsplit.errors import InputError
from stemsplit.terminal.counts import counted

LENGTH_SECONDS = 0.1  # a codec's delay and padding can explain differences of length up to this


def listing_findings(
    root: Path,
    tracks: Sequence[Track],
    stems: Sequence[str],
    channels: int,
    validation_tracks: Sequence[str] | None = None,
    headers: Headers | None = None,
) -> list[Finding]:
    """Return all findings that need no decoded audio. `stemsplit train` reports them too.

    `tracks` are all tracks of the corpus. `stems`, `channels` and `validation_tracks` are the
    settings of the training. If `headers` is None, the headers are read from the files.
    """
    headers = headers_of(tracks) if headers is None else headers
    return [
        *_refusals(root, tracks, stems, validation_tracks),
        *_unlisted(root, tracks),
        *_misnamed(root, tracks),
        *wrong_counts(root, tracks, headers),
        *foreign_codecs(root, tracks, headers),
        *_headers_missing(tracks, headers),
        *_forms_differ(tracks, headers, channels),
        *_lengths_differ(tracks, headers),
    ]


def _refusals(
    root: Path,
    tracks: Sequence[Track],
    stems: Sequence[str],
    validation_tracks: Sequence[str] | None,
) -> Iterator[Finding]:
    """Findings on missing stems, unknown names of validation songs, and empty subsets."""
    for track in tracks:
        try:
            with_stems([track], stems)
        except InputError as error:
            yield Finding("fault", "missing stem", song_of(track), str(error))
        for stem in stems:
            if stem in track.stems and track.stems[stem] is None:
                text = f"{stem} has no file; it counts as silence"
                yield Finding("note", "missing stem", song_of(track), text)
    try:
        if validation_tracks is not None:
            tracks = with_validation(tracks, validation_tracks)
    except InputError as error:
        yield Finding("fault", "validation songs", "", str(error))
        return
    songs: dict[Subset, str] = {"train": "training", "valid": "validation", "test": "test"}
    for subset, name in songs.items():
        try:
            of_subset(tracks, subset, root)
        except InputError as error:
            # A corpus without training songs can be scored, and a corpus without test songs can be
            # trained on. But a corpus with training songs needs validation songs.
            has_training = any(track.subset == "train" for track in tracks)
            severity: Severity = "fault" if subset == "valid" and has_training else "note"
            yield Finding(severity, f"{name} songs", "", str(error))


def _unlisted(root: Path, tracks: Sequence[Track]) -> Iterator[Finding]:
    """Faults for files and folders that contain audio but are not listed as songs.

    In a subset whose songs are folders, only folders are checked. In a subset whose songs are
    files, only files are checked.
    """
    paths = {source.path for track in tracks for source in sources(track).values()}
    listed = paths | {path.parent for path in paths}
    for folder in (root / "train", root / "valid", root / "test"):
        entries = visible(folder) if folder.is_dir() else []
        as_folders = {entry.is_dir() for entry in entries if entry in listed}
        for entry in entries:
            if entry not in listed and entry.is_dir() in as_folders and _holds_audio(entry):
                text = f"{entry} contains audio, but is not a song of the corpus"
                if entry.is_dir() and layout(root, tracks) == "MUSDB18-HQ":
                    text += ": mixture.wav is missing"
                    for file in misnamed(entry, "mixture.wav"):
                        text += f", but {file.name} exists"
                song = f"{folder.name}/{normal(entry.name)}"
                yield Finding("fault", "not listed", song, text)


def _misnamed(root: Path, tracks: Sequence[Track]) -> Iterator[Finding]:
    """Notes on MUSDB18-HQ files whose name differs from ``STEM.wav`` only in case or suffix."""
    if layout(root, tracks) != "MUSDB18-HQ":
        return
    for track in tracks:
        for stem in ("mixture", *sorted(STEMS)):
            for file in misnamed(track.path.parent, f"{stem}.wav"):
                text = f"{file.name} is ignored: the file of the {stem} is {stem}.wav"
                yield Finding("note", "not listed", song_of(track), text)


def _holds_audio(entry: Path) -> bool:
    return any(map(is_audio, visible(entry) if entry.is_dir() else [entry]))


def _headers_missing(tracks: Sequence[Track], headers: Headers) -> Iterator[Finding]:
    """Faults for files whose header cannot be read."""
    for track in tracks:
        reasons = {
            reason: "damaged" if unreadable(source.path) is None else "unreadable"
            for source in sources(track).values()
            if isinstance(reason := headers[source], str)
        }
        for reason, check in reasons.items():
            yield Finding("fault", check, song_of(track), reason)


def _forms_differ(tracks: Sequence[Track], headers: Headers, channels: int) -> Iterator[Finding]:
    """Notes on sample rates and channels that differ between songs or within a song.

    A number of channels that cannot be converted to `channels` is a fault.
    """
    forms: dict[tuple[int, int], list[str]] = {}
    for track in tracks:
        forms_of_track = {
            stem: (header.sample_rate, header.channels)
            for stem, source in sources(track).items()
            if isinstance(header := headers[source], Header)
        }
        if not forms_of_track:
            continue
        usual = Counter(forms_of_track.values()).most_common(1)[0][0]
        forms.setdefault(usual, []).append(song_of(track))
        for stem, form in forms_of_track.items():
            if form != usual:
                text = f"{stem} has {_format(form)}, the other streams have {_format(usual)}"
                yield Finding("note", "rate or channels", song_of(track), text)
            if form[1] not in (1, channels) and channels != 1:
                text = (
                    f"{stem} has {form[1]} channels, which cannot be converted to {channels}: "
                    "mix it down"
                )
                yield Finding("fault", "rate or channels", song_of(track), text)
    if len(forms) > 1:
        usual = max(forms, key=lambda form: len(forms[form]))
        rest = [
            f"{', '.join(songs[:3])}{', …' if len(songs) > 3 else ''}: {_format(form)}"
            for form, songs in forms.items()
            if form != usual
        ]
        songs = counted(len(forms[usual]), "song")
        text = f"{songs} with {_format(usual)}, but {'; '.join(rest)}"
        yield Finding("note", "rate or channels", "", f"{text} (decoding converts them)")


def _format(form: tuple[int, int]) -> str:
    return f"{form[0]} Hz and {form[1]} channel{'s' if form[1] != 1 else ''}"


def _lengths_differ(tracks: Sequence[Track], headers: Headers) -> Iterator[Finding]:
    """Notes on stems whose length in the header differs from the mixture's."""
    for track in tracks:
        exact = {
            name: header.seconds
            for name, source in sources(track).items()
            if isinstance(header := headers[source], Header) and header.seconds is not None
        }
        if "mixture" in exact:
            mixture = exact.pop("mixture")
            for stem, seconds in exact.items():
                if text := length_text(stem, seconds - mixture, "mixture"):
                    yield Finding("note", "length", song_of(track), text)


def is_exact(header: Header | str) -> bool:
    """Whether the header states an exact length."""
    return isinstance(header, Header) and header.seconds is not None


def length_text(stem: str, longer: float, against: str) -> str | None:
    """Describe that a stem is `longer` seconds longer (if negative: shorter) than `against`.

    Return None if a codec's delay and padding can explain the difference.
    """
    if abs(longer) <= LENGTH_SECONDS:
        return None
    comparison = "longer" if longer > 0 else "shorter"
    return f"{stem} is {abs(longer):.2f} s {comparison} than the {against}"
