"""Sixteen synthesised songs in the layout of MUSDB18, to try all commands without a download.

Each song depends only on its name and a seed. A song is composed, four instruments play it, and
the mixture and the stems are coded as in MUSDB18: five AAC streams in an MP4 file.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from stemsplit.data.corpora.synthesis.accompaniment import bass, chords
from stemsplit.data.corpora.synthesis.composition import compose
from stemsplit.data.corpora.synthesis.drums import drums
from stemsplit.data.corpora.synthesis.singing import RANGES, draw_voice, sing
from stemsplit.data.corpora.synthesis.sound import SAMPLE_RATE, Signal, edges, highpass
from stemsplit.files import check_writable, replacing

STEMS = ("drums", "bass", "other", "vocals")  # order of the streams in a file, after the mixture
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
# One song has a soprano, the other a tenor.
VALIDATION_TRACKS = ("Velvet Almanac - October Letters", "Harlan Weatherby - The Lamplighter")

BIT_RATE = 192_000  # bits per second of each stream
# These options make the coder twice as fast as its defaults. The sum of the coded stems still
# equals the coded mixture with an error of -22 dB.
CODER = {"aac_coder": "fast", "aac_ms": "0"}
PEAK = 0.9


def synthesise_song(
    name: str, seed: int = 0, seconds: float | None = None
) -> dict[str, np.ndarray]:
    """Synthesise the stems of a song, float32 (channel, time) at 44.1 kHz.

    They are scaled so that the largest peak of all stems and of their sum is 0.9. `name` is one of
    `SONGS`. `seconds` is the approximate length, because a song has a whole number of bars; None
    means 20 to 30 s.
    """
    number = SONGS.index(name)
    # Each instrument has its own generator, so that a change of the drums does not change the
    # singing.
    composer, *players, engineer = (
        np.random.default_rng(child)
        for child in np.random.SeedSequence(entropy=seed, spawn_key=(number,)).spawn(6)
    )
    voice = draw_voice(list(RANGES)[number % len(RANGES)], composer)
    composition = compose(composer, voice.lowest_pitch, seconds)
    return _mix(
        {
            "drums": drums(composition, players[0]),
            "bass": bass(composition, players[1]),
            "other": chords(composition, players[2]),
            "vocals": sing(composition.melody, composition.seconds, voice, players[3]),
        },
        engineer,
    )


def _mix(stems: dict[str, Signal], engineer: np.random.Generator) -> dict[str, Signal]:
    """Set the levels of the stems. The voice is 0 to 4 dB below the sum of all other stems."""
    level_db = {
        "drums": engineer.uniform(-2.0, 1.0),
        "bass": engineer.uniform(-3.0, 0.0),
        "other": engineer.uniform(-3.0, 1.0),
    }
    mixed = {}
    for name, stem in stems.items():
        clean = highpass(stem, 30.0)  # remove the DC offset
        clean *= edges(clean.shape[-1], 0.0, 0.6)
        mixed[name] = clean / _playing_level(clean) * np.float32(10 ** (level_db.get(name, 0) / 20))
    band = mixed["drums"] + mixed["bass"] + mixed["other"]
    mixed["vocals"] *= _playing_level(band) * np.float32(10 ** (engineer.uniform(-4.0, 0.0) / 20))
    loudest = max(np.abs(sound).max() for sound in (band + mixed["vocals"], *mixed.values()))
    return {name: stem * np.float32(PEAK / loudest) for name, stem in mixed.items()}


def _playing_level(sound: Signal) -> np.float32:
    """Root mean square over blocks of 0.1 s.

    Blocks more than 30 dB below the loudest block count as silent and are left out.
    """
    block = SAMPLE_RATE // 10
    blocks = sound[:, : sound.shape[-1] // block * block].reshape(2, -1, block)
    power = np.mean(blocks**2, axis=(0, 2))
    return np.sqrt(np.mean(power[power > 1e-3 * power.max()]))


def write_demo_corpus(
    root: Path,
    seed: int = 0,
    seconds: float | None = None,
    report: Callable[[int, int], None] = lambda done, songs: None,
) -> None:
    """Write ROOT/train/NAME.stem.mp4 and ROOT/test/NAME.stem.mp4, the layout of MUSDB18.

    Existing files are kept, even if another seed produced them. A file gets its name only when it
    is complete, so an interrupted call can be repeated, and several processes may write at once.
    `report` is called with the number of finished songs and the number of all songs.
    """
    missing = [name for name in SONGS if not song_path(root, name).exists()]
    if missing:
        check_writable(root, "data.cache")
    done = len(SONGS) - len(missing)
    report(done, len(SONGS))

    def write(name: str) -> None:
        write_song(song_path(root, name), synthesise_song(name, seed, seconds))

    # Threads run in parallel here: numpy, scipy and the coder release the interpreter lock.
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
    """Write a song as an MP4 file of five streams.

    If `mixture` is None, it is the sum of the stems. The file gets its final name when it is
    complete.
    """
    sounds = [stems[name] for name in STEMS]
    with replacing(path) as partial:
        _encode(partial, [np.sum(sounds, axis=0) if mixture is None else mixture, *sounds])


def _encode(path: Path, sounds: list[np.ndarray]) -> None:
    """Code stereo sounds at 44.1 kHz as the streams of an MP4 file."""
    with av.open(str(path), "w", format="mp4") as container:
        streams = []
        for _ in sounds:
            stream = container.add_stream("aac", rate=SAMPLE_RATE, options=CODER)
            stream.layout = "stereo"
            stream.bit_rate = BIT_RATE
            streams.append(stream)
        # Interleave the streams in blocks of one second, so that a player can stream the file.
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
