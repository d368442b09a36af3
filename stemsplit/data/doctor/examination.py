"""Decode every song of a corpus and find faults in its audio."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np

from stemsplit import audio
from stemsplit.data.doctor.diagnosis import is_exact, length_text
from stemsplit.data.doctor.findings import Finding, Severity
from stemsplit.data.doctor.fingerprint import PARTLY, SAME, Bits, agreements, fingerprint
from stemsplit.data.headers import Headers, sources
from stemsplit.data.store.loudness import loud_text
from stemsplit.data.tracks import AudioSource, Track, song_of
from stemsplit.errors import InputError
from stemsplit.terminal.counts import counted

# Levels (root mean squares) in dB full scale. -90 dB is about one step of 16-bit samples.
SILENT_DB = -90.0
NEAR_SILENT_DB = -60.0
FULL_SCALE = 32766 / 32768
CLIPPED_RUN = 3  # successive samples at full scale; an unclipped peak has one or two
# If `match_db` (see `Examination`) is below this, the mixture is not the sum of the stems.
LEAST_MATCH_DB = 10.0
# `match_db` is 20 to 40 dB if the mixture and the stems are lossy and were coded separately. It is
# above 60 dB for lossless 16-bit files.
LOSSLESS_MATCH_DB = 45.0


@dataclass
class Examination:
    """The findings and measurements of a song.

    `match_db` is the ratio in dB of the mixture's energy to the energy of its difference from the
    sum of the stems. It is None if the mixture or a stem is missing or unreadable, or if the
    mixture is silent. `match_db_of_channels` is this ratio for each channel, None for a silent
    channel. `bits` is the fingerprint of the mixture, or of the sum of the stems if there is no
    mixture.
    """

    track: Track
    seconds: float = 0.0
    match_db: float | None = None
    match_db_of_channels: list[float | None] = field(default_factory=list)
    bits: Bits | None = None
    findings: list[Finding] = field(default_factory=list)

    def add_finding(self, severity: Severity, check: str, text: str) -> None:
        """Add a finding about this song."""
        self.findings.append(Finding(severity, check, song_of(self.track), text))


def examine_all(
    tracks: Sequence[Track],
    headers: Headers,
    parts: Collection[str] | None = None,
    report: Callable[[], object] = lambda: None,
) -> list[Examination]:
    """Examine the tracks in parallel; call `report` after each track.

    `parts` are the stems that sum to every mixture, or None if mixtures may contain other sounds.
    At most 8 tracks are examined at once; each holds the decoded mixture, one stem and the sum of
    the stems in memory.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        jobs = [pool.submit(examine, track, headers, parts) for track in tracks]
        try:
            for job in as_completed(jobs):
                job.result()
                report()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def examine(track: Track, headers: Headers, parts: Collection[str] | None) -> Examination:
    """Decode the sources of a track one by one and check them.

    Sources whose headers cannot be read are skipped. See `examine_all` for `parts`.
    """
    song = Examination(track)
    mixture: audio.Audio | None = None
    total: audio.Audio | None = None
    lossless = True
    lengths: dict[str, float] = {}
    complete = set(parts or ()) <= set(sources(track))
    for name, source in sources(track).items():  # the mixture first
        header = headers[source]
        if isinstance(header, str) or (decoded := _decode(song, name, source)) is None:
            complete = False
            continue
        lossless = lossless and header.lossless
        _check_level(song, name, decoded)
        if name == "mixture":
            mixture = decoded
            continue
        lengths[name] = _seconds(decoded)
        total = _sum(total, _converted(decoded, mixture or total or decoded))
    _check_lengths(song, lengths, mixture, headers)
    mix = mixture or total
    if mix is not None:
        song.seconds = _seconds(mix)
        song.bits = fingerprint(mix.samples, mix.sample_rate)
    if mixture is not None and total is not None and complete:
        _check_match(song, mixture, total, lossless, must_match=parts is not None)
    return song


def _decode(song: Examination, name: str, source: AudioSource) -> audio.Audio | None:
    try:
        decoded = audio.read(source.path, source.stream)
    except InputError as error:
        song.add_finding("fault", "damaged", str(error))
        return None
    if source.channel is not None:
        decoded = decoded._replace(samples=decoded.samples[[source.channel]])
    if (text := loud_text(decoded.samples, decoded.sample_rate)) is not None:
        song.add_finding("fault", "loud", f"{name} {text}")
        return None
    return decoded


def _converted(stem: audio.Audio, like: audio.Audio) -> audio.Audio:
    """Convert a stem to the sample rate and number of channels of the stream `like`."""
    samples = stem.samples
    if len(samples) not in (1, len(like.samples)):
        samples = audio.with_channels(samples, 1)
    samples = audio.with_channels(samples, len(like.samples))
    samples = audio.resample(samples, stem.sample_rate, like.sample_rate)
    return stem._replace(samples=samples, sample_rate=like.sample_rate)


def _sum(total: audio.Audio | None, stem: audio.Audio) -> audio.Audio:
    if total is None:
        return stem
    short, long = sorted((total.samples, stem.samples), key=lambda samples: samples.shape[1])
    summed = long.copy()
    summed[:, : short.shape[1]] += short
    return total._replace(samples=summed)


def _seconds(stream: audio.Audio) -> float:
    return stream.samples.shape[1] / stream.sample_rate


def _check_level(song: Examination, name: str, stream: audio.Audio) -> None:
    power = float(np.mean(np.square(stream.samples), dtype=np.float64))
    level_db = 10 * np.log10(power + 1e-20)
    if level_db < SILENT_DB:
        severity: Severity = "fault" if name == "mixture" else "note"
        song.add_finding(severity, "silent", f"{name} is silent throughout")
    elif level_db < NEAR_SILENT_DB:
        song.add_finding(
            "note", "near-silent", f"{name} has a level of {level_db:.0f} dB full scale"
        )
    runs = [_runs(np.abs(channel) >= FULL_SCALE) for channel in stream.samples]
    starts = np.concatenate(runs)
    if len(starts):
        first = starts.min() / stream.sample_rate
        text = (
            f"{name} clips {counted(len(starts), 'time')}, first at {first:.2f} s "
            f"({CLIPPED_RUN} or more samples at full scale)"
        )
        song.add_finding("note", "clipping", text)


def _runs(clipped: np.ndarray) -> np.ndarray:
    """The starts of runs of at least `CLIPPED_RUN` clipped samples."""
    if not clipped.any():
        return np.zeros(0, int)
    edges = np.diff(np.pad(clipped.astype(np.int8), 1))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return starts[ends - starts >= CLIPPED_RUN]


def _check_lengths(
    song: Examination, lengths: dict[str, float], mixture: audio.Audio | None, headers: Headers
) -> None:
    """Compare the lengths of the stems, in seconds, with the length of the mixture.

    Without a mixture, compare them with the longest stem. A stem is skipped if its header and the
    header of the mixture state exact lengths, because `listing_findings` compares these lengths.
    """
    exact = {name for name, source in sources(song.track).items() if is_exact(headers[source])}
    against = "mixture" if mixture is not None else "longest stem"
    expected = max(lengths.values(), default=0.0) if mixture is None else _seconds(mixture)
    for name, seconds in lengths.items():
        is_reported = mixture is not None and {"mixture", name} <= exact
        if not is_reported and (text := length_text(name, seconds - expected, against)):
            song.add_finding("note", "length", text)


def _check_match(
    song: Examination,
    mixture: audio.Audio,
    total: audio.Audio,
    lossless: bool,
    must_match: bool,
) -> None:
    """Compare the mixture with the sum of its stems over the mixture's length.

    If `must_match`, a mismatch is a fault, otherwise a note.
    """
    residual = mixture.samples.copy()
    time = min(residual.shape[1], total.samples.shape[1])
    residual[:, :time] -= total.samples[:, :time]
    powers = [
        [float(np.mean(np.square(row), dtype=np.float64)) for row in channel]
        for channel in zip(mixture.samples, residual, strict=True)
    ]
    song.match_db_of_channels = [_ratio_db(*channel) for channel in powers]
    song.match_db = _ratio_db(*np.mean(powers, axis=0))
    if song.match_db is None:
        return
    text = "the ratio of the mixture to its difference from the sum of the stems is only "
    text += f"{song.match_db:.1f} dB"
    if song.match_db < LEAST_MATCH_DB:
        text += _by_channel(song.match_db_of_channels)
        text += ": the mixture has other or additional stems, a time shift or another level"
        song.add_finding("fault" if must_match else "note", "mixture", text)
    elif lossless and song.match_db < LOSSLESS_MATCH_DB:
        text += ", as after lossy coding, although the files are lossless"
        song.add_finding("note", "mixture", text)


def _by_channel(matches: Sequence[float | None]) -> str:
    """Describe the match of each channel.

    The text is empty if no channel matches well, or if fewer than two channels have audio.
    """
    known = [match for match in matches if match is not None]
    if len(known) < 2 or max(known) < LEAST_MATCH_DB:
        return ""
    channels = ("silent" if match is None else f"{match:.1f} dB" for match in matches)
    return f" ({', '.join(f'channel {n}: {text}' for n, text in enumerate(channels, 1))})"


def _ratio_db(signal: float, error: float) -> float | None:
    """The ratio of two powers (mean squares) in dB, or None for a silent signal."""
    if signal < 10 ** (SILENT_DB / 10):
        return None
    return float(10 * np.log10(signal / (error + 1e-15 * signal)))


def duplicates(songs: Sequence[Examination]) -> Iterator[Finding]:
    """Yield a finding for each pair of songs that share audio.

    The finding is a fault if the songs are equal and in different subsets, and otherwise a note.
    """
    fingerprints = [(song.track, song.bits) for song in songs if song.bits is not None]

    def agreements_with_later_songs(index: int) -> list[float]:
        return agreements(fingerprints[index][1], [bits for _, bits in fingerprints[index + 1 :]])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(agreements_with_later_songs, range(len(fingerprints)))
        for index, row in enumerate(rows):
            track = fingerprints[index][0]
            for (later, _), agreement in zip(fingerprints[index + 1 :], row, strict=True):
                if agreement < PARTLY:
                    continue
                is_same = agreement >= SAME
                text = "has the same audio as" if is_same else "shares part of its audio with"
                text = f"{text} {song_of(later)} (agreement {agreement:.2f})"
                severity: Severity = "note"
                if is_same and track.subset != later.subset:
                    severity = "fault"
                yield Finding(severity, "duplicate", song_of(track), text)
