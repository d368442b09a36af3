"""Decode every song of a corpus and find faults in its audio."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stemsplit import audio
from stemsplit.data.doctor.diagnosis import is_exact, length_text
from stemsplit.data.doctor.findings import Finding
from stemsplit.data.doctor.fingerprint import PARTLY, SAME, Bits, agreements, fingerprint
from stemsplit.data.headers import Headers, sources
from stemsplit.data.store.loudness import loud_text
from stemsplit.data.tracks import AudioSource, Track, song_of
from stemsplit.errors import InputError

SILENT_DB = -90.0  # root mean square; 16 bits end here
NEAR_SILENT_DB = -60.0
FULL_SCALE = 32766 / 32768
CLIPPED_RUN = 3  # samples in a row at full scale; a peak that only just fits has one or two
LEAST_MATCH_DB = 10.0  # below this the mixture is not of these stems
# Streams that were coded by themselves meet at 20 to 40 dB, 16-bit files beyond 60 dB.
LOSSLESS_MATCH_DB = 45.0


@dataclass
class Examination:
    """The findings and figures of a song.

    `match_db` is the mixture's level over that of its difference from the stems' sum; None where
    either is missing or unreadable. `match_db_of_channels` is the same for each channel, where it
    has a level.
    """

    track: Track
    seconds: float = 0.0
    match_db: float | None = None
    match_db_of_channels: list[float | None] = field(default_factory=list)
    bits: Bits | None = None
    findings: list[Finding] = field(default_factory=list)

    def find(self, severity: Literal["fault", "note"], check: str, text: str) -> None:
        self.findings.append(Finding(severity, check, song_of(self.track), text))


def examine_all(
    tracks: Sequence[Track],
    headers: Headers,
    parts: Collection[str] | None = None,
    report: Callable[[], object] = lambda: None,
) -> list[Examination]:
    """Examine every track in parallel; `report` is called after each.

    `parts` are the stems that make up every mixture, None where there may be more in it.
    Of each track in work the mixture, one stem and the stems' sum are in memory, decoded.
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
    """Decode a track, one source after the other; those without a header are passed over."""
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
    heard = mixture or total
    if heard is not None:
        song.seconds = _seconds(heard)
        song.bits = fingerprint(heard.samples, heard.sample_rate)
    if mixture is not None and total is not None and complete:
        _check_match(song, mixture, total, lossless, must=parts is not None)
    return song


def _decode(song: Examination, name: str, source: AudioSource) -> audio.Audio | None:
    try:
        decoded = audio.read(source.path, source.stream)
    except InputError as error:
        song.find("fault", "damaged", str(error))
        return None
    if source.channel is not None:
        decoded = decoded._replace(samples=decoded.samples[[source.channel]])
    if (text := loud_text(decoded.samples, decoded.sample_rate)) is not None:
        song.find("fault", "loud", f"{name} {text}")
        return None
    return decoded


def _converted(stem: audio.Audio, like: audio.Audio) -> audio.Audio:
    """Convert to the sample rate and channels of another stream."""
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
        song.find(
            "fault" if name == "mixture" else "note", "silent", f"{name} is silent from end to end"
        )
    elif level_db < NEAR_SILENT_DB:
        song.find("note", "near-silent", f"{name} is at {level_db:.0f} dB of full scale")
    runs = [_runs(np.abs(channel) >= FULL_SCALE) for channel in stream.samples]
    starts = np.concatenate(runs)
    if len(starts):
        first = starts.min() / stream.sample_rate
        text = f"{name} clips {len(starts)} times ({CLIPPED_RUN} samples or more at full scale), "
        song.find("note", "clipping", text + f"first at {first:.2f} s")


def _runs(hit: np.ndarray) -> np.ndarray:
    """The starts of runs of at least `CLIPPED_RUN` clipped samples."""
    if not hit.any():
        return np.zeros(0, int)
    edges = np.diff(np.pad(hit.astype(np.int8), 1))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return starts[ends - starts >= CLIPPED_RUN]


def _check_lengths(
    song: Examination, lengths: dict[str, float], mixture: audio.Audio | None, headers: Headers
) -> None:
    """Compare lengths with the mixture or, without one, with the longest stem."""
    exact = {name for name, source in sources(song.track).items() if is_exact(headers[source])}
    against = "mixture" if mixture is not None else "longest stem"
    expected = max(lengths.values(), default=0.0) if mixture is None else _seconds(mixture)
    for name, seconds in lengths.items():
        told = mixture is not None and {"mixture", name} <= exact
        if not told and (text := length_text(name, seconds - expected, against)):
            song.find("note", "length", text)


def _check_match(
    song: Examination,
    mixture: audio.Audio,
    total: audio.Audio,
    lossless: bool,
    must: bool,
) -> None:
    """Compare the mixture with the sum of its stems, over the mixture's length."""
    rest = mixture.samples.copy()
    time = min(rest.shape[1], total.samples.shape[1])
    rest[:, :time] -= total.samples[:, :time]
    powers = [
        [float(np.mean(np.square(row), dtype=np.float64)) for row in channel]
        for channel in zip(mixture.samples, rest, strict=True)
    ]
    song.match_db_of_channels = [_ratio_db(*channel) for channel in powers]
    song.match_db = _ratio_db(*np.mean(powers, axis=0))
    if song.match_db is None:
        return
    text = f"the mixture meets the sum of its stems at {song.match_db:.1f} dB"
    if song.match_db < LEAST_MATCH_DB:
        text += _by_channel(song.match_db_of_channels)
        text += ": it is of other stems, or of more, or shifted, or at another level"
        song.find("fault" if must else "note", "mixture", text)
    elif lossless and song.match_db < LOSSLESS_MATCH_DB:
        text += ", as after lossy coding, though the files are lossless"
        song.find("note", "mixture", text)


def _by_channel(matches: Sequence[float | None]) -> str:
    """The match of each channel in words; empty if the channels match equally."""
    known = [match for match in matches if match is not None]
    if len(known) < 2 or max(known) < LEAST_MATCH_DB:
        return ""
    channels = ("silent" if match is None else f"{match:.1f} dB" for match in matches)
    return f" ({', '.join(f'channel {n}: {text}' for n, text in enumerate(channels, 1))})"


def _ratio_db(signal: float, error: float) -> float | None:
    """A ratio of energies in dB, or None for a silent signal."""
    if signal < 10 ** (SILENT_DB / 10):
        return None
    return float(10 * np.log10(signal / (error + 1e-15 * signal)))


def duplicates(songs: Sequence[Examination]) -> Iterator[Finding]:
    """Songs with the same audio; a fault if they are in different splits."""
    heard = [(song.track, song.bits) for song in songs if song.bits is not None]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(
            lambda place: agreements(heard[place][1], [bits for _, bits in heard[place + 1 :]]),
            range(len(heard)),
        )
        for place, row in enumerate(rows):
            track = heard[place][0]
            for (other, _), agreement in zip(heard[place + 1 :], row, strict=True):
                if agreement < PARTLY:
                    continue
                is_same = agreement >= SAME
                text = "is the same audio as" if is_same else "shares part of its audio with"
                text = f"{text} {song_of(other)} (agreement {agreement:.2f})"
                must = is_same and track.subset != other.subset
                yield Finding("fault" if must else "note", "duplicate", song_of(track), text)
