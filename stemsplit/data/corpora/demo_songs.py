"""Sixteen synthesised songs in MUSDB18's layout, so that everything runs without a download.

Each song is a pure function of its name and a seed: a score is composed, four players play it,
and the stems are coded as MUSDB18 codes them, five AAC streams in an MP4 file.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stemsplit.data.corpora.synthesis.accompaniment import bass, chords
from stemsplit.data.corpora.synthesis.drums import drums
from stemsplit.data.corpora.synthesis.score import compose
from stemsplit.data.corpora.synthesis.singing import RANGES, draw_voice, sing
from stemsplit.data.corpora.synthesis.sound import SAMPLE_RATE, Signal, edges, highpass
from stemsplit.files import check_writable, replacing

STEMS = ("drums", "bass", "other", "vocals")  # their order in a file, after the mixture
TRAIN_SONGS = (
    "Paper Lanterns - Low Tide",
    "Marlow Fennick - Second Platform",
    "The Quiet Ferries - Salt On The Window",
    "Odessa Thrush - Half A Moon",
    "Copper Hollow Choir - Long Way Round",
    "Juniper Static - Neon Orchard",
    "Tilda Marchbank - Keep The Change",
    "Velvet Almanac - October Letters",
    "Glass Harbour Club - Slow Machinery",
    "Harlan Weatherby - The Lamplighter",
    "Northern Kettles - Bicycle Weather",
    "Amber Viaduct - Nothing But Rain",
)
TEST_SONGS = (
    "Silas Penhallow - River Under Town",
    "The Borrowed Coats - Last Bus Home",
    "Iris Calloway - Small Hours",
    "Lemon Observatory - Counting Satellites",
)
SONGS = TRAIN_SONGS + TEST_SONGS
# A soprano's and a tenor's.
VALIDATION_TRACKS = ("Velvet Almanac - October Letters", "Harlan Weatherby - The Lamplighter")

BIT_RATE = 192_000  # of each stream
# Half the time of the coder's careful search; the stems' sum still meets the mixture at 22 dB.
CODER = {"aac_coder": "fast", "aac_ms": "0"}
PEAK = 0.9


def synthesise_song(
    name: str, seed: int = 0, seconds: float | None = None
) -> dict[str, np.ndarray]:
    """The stems of a song, float32 (channel, time) at 44.1 kHz; their sum peaks near 0.9.

    `name` is one of SONGS; `seconds` is about how long it is, to a bar (None: 20 to 30 s).
    """
    number = SONGS.index(name)
    # One generator a player: another drum fill does not change what is sung.
    composer, *players, engineer = (
        np.random.default_rng(child)
        for child in np.random.SeedSequence(entropy=seed, spawn_key=(number,)).spawn(6)
    )
    voice = draw_voice(list(RANGES)[number % len(RANGES)], composer)
    score = compose(composer, voice.lowest_pitch, seconds)
    return _mix(
        {
            "drums": drums(score, players[0]),
            "bass": bass(score, players[1]),
            "other": chords(score, players[2]),
            "vocals": sing(score.melody, score.seconds, voice, players[3]),
        },
        engineer,
    )


def _mix(stems: dict[str, Signal], engineer: np.random.Generator) -> dict[str, Signal]:
    """Set the levels: the voice 4 to 0 dB below the band that plays with it."""
    level_db = {
        "drums": engineer.uniform(-2.0, 1.0),
        "bass": engineer.uniform(-3.0, 0.0),
        "other": engineer.uniform(-3.0, 1.0),
    }
    mixed = {}
    for name, stem in stems.items():
        clean = highpass(stem, 30.0)  # no direct current
        clean *= edges(clean.shape[-1], 0.0, 0.6)
        mixed[name] = clean / _playing_level(clean) * np.float32(10 ** (level_db.get(name, 0) / 20))
    band = mixed["drums"] + mixed["bass"] + mixed["other"]
    mixed["vocals"] *= _playing_level(band) * np.float32(10 ** (engineer.uniform(-4.0, 0.0) / 20))
    loudest = max(np.abs(sound).max() for sound in (band + mixed["vocals"], *mixed.values()))
    return {name: stem * np.float32(PEAK / loudest) for name, stem in mixed.items()}


def _playing_level(sound: Signal) -> np.float32:
    """Root mean square over those tenths of a second in which the sound is not silent."""
    tenth = SAMPLE_RATE // 10
    whole = sound[:, : sound.shape[-1] // tenth * tenth]
    power = np.mean(whole.reshape(2, -1, tenth) ** 2, axis=(0, 2))
    return np.sqrt(np.mean(power[power > 1e-3 * power.max()]))


def write_demo_corpus(
    root: Path,
    seed: int = 0,
    seconds: float | None = None,
    report: Callable[[int, int], None] = lambda done, songs: None,
) -> None:
    """Write ROOT/train/NAME.stem.mp4 and ROOT/test/NAME.stem.mp4, as MUSDB18 lays them out.

    A file is there only when it is whole, and one that is there is kept, whatever seed it came
    from: an interrupted call can be repeated, and two at once do no harm. `report` is told the
    songs done and the songs in all.
    """
    missing = [name for name in SONGS if not song_path(root, name).exists()]
    if missing:
        check_writable(root, "data.cache")
    done = len(SONGS) - len(missing)
    report(done, len(SONGS))

    def write(name: str) -> None:
        write_song(song_path(root, name), synthesise_song(name, seed, seconds))

    # Threads are enough: numpy, scipy and the coder release the interpreter for most of the time.
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for song in as_completed([pool.submit(write, name) for name in missing]):
            song.result()
            done += 1
            report(done, len(SONGS))
    finally:
        pool.shutdown(cancel_futures=True)


def song_path(root: Path, name: str) -> Path:
    return root / ("train" if name in TRAIN_SONGS else "test") / f"{name}.stem.mp4"


def write_song(path: Path, stems: dict[str, np.ndarray], mixture: np.ndarray | None = None) -> None:
    """Code a song as one MP4 file, which appears under its name when it is whole.

    Without a mixture, that is the sum of the stems.
    """
    sounds = [stems[name] for name in STEMS]
    with replacing(path) as partial:
        _encode(partial, [np.sum(sounds, axis=0) if mixture is None else mixture, *sounds])


def _encode(path: Path, sounds: list[np.ndarray]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        streams = []
        for _ in sounds:
            stream = container.add_stream("aac", rate=SAMPLE_RATE, options=CODER)
            stream.layout = "stereo"
            stream.bit_rate = BIT_RATE
            streams.append(stream)
        # A second of each stream in turn: a player finds all five at the place where it reads.
        for start in range(0, sounds[0].shape[-1], SAMPLE_RATE):
            for stream, sound in zip(streams, sounds, strict=True):
                second = np.ascontiguousarray(sound[:, start : start + SAMPLE_RATE])
                frame = av.AudioFrame.from_ndarray(second, format="fltp", layout="stereo")
                frame.sample_rate = SAMPLE_RATE
                frame.time_base = Fraction(1, SAMPLE_RATE)
                frame.pts = start
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
