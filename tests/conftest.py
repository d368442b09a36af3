"""Two tiny corpora with the same four songs, in the layouts of MUSDB18 and MUSDB18-HQ."""

import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemsplit.data.corpora.demo_songs import write_song

# For small networks, synchronising threads takes longer than the computation.
torch.set_num_threads(1)
# Shells start background processes with SIGINT ignored, and child processes inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE_RATE = 44100
SECONDS = {  # all shorter than a default training excerpt of 6 s
    "train/Pell Orrin - Wire Garden": 3.0,
    "train/Tamsin Vole - Two Left Feet": 3.5,
    "train/The Low Kettles - Ash And Ember": 4.0,
    "test/Orla Quayle - Night Ferry": 3.0,
}
WITHOUT_BASS = "train/Tamsin Vole - Two Left Feet"

Song = dict[str, np.ndarray]


def _song(seed: int, seconds: float) -> Song:
    """Four float32 stems (channel, time); their sum is within ±1, and their channels differ."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = np.array([[0.0], [0.7]])
    hertz = random.uniform(55, 80)
    beats = np.exp(-30 * (time % 0.25))
    chord = sum(np.sin(2 * np.pi * 4 * hertz * step * time + phase) for step in (1, 1.25, 1.5))
    sung = 2 * np.pi * 8 * hertz * time + 3 * np.sin(2 * np.pi * 5 * time) + 2 * phase
    stems = {
        "drums": 0.05 * beats * random.standard_normal((2, len(time))),
        "bass": 0.2 * np.sin(2 * np.pi * hertz * time + phase) * (time % 1 < 0.8),
        "other": 0.05 * chord * (0.6 + 0.4 * np.sin(2 * np.pi * 0.5 * time)),
        "vocals": 0.15 * (np.sin(sung) + 0.3 * np.sin(2 * sung)) * np.sin(2 * np.pi * time / 3),
    }
    return {name: stem.astype(np.float32) for name, stem in stems.items()}


@pytest.fixture(scope="session")
def songs() -> dict[str, Song]:
    """The exact stems of each song by SUBSET/NAME, before they are encoded in files."""
    songs = {name: _song(seed, seconds) for seed, (name, seconds) in enumerate(SECONDS.items())}
    songs[WITHOUT_BASS]["bass"][:] = 0
    return songs


@pytest.fixture(scope="session")
def stem_corpus(songs: dict[str, Song], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training songs and a test song in MUSDB18's layout: MP4 files with five AAC streams."""
    root = tmp_path_factory.mktemp("musdb18")
    for name, stems in songs.items():
        write_song(root / f"{name}.stem.mp4", stems)
    return root


@pytest.fixture(scope="session")
def wav_corpus(songs: dict[str, Song], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same songs in MUSDB18-HQ's layout: a folder of 16-bit WAV files for each song."""
    root = tmp_path_factory.mktemp("musdb18hq")
    for name, stems in songs.items():
        (root / name).mkdir(parents=True)
        for stem, samples in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(root / name / f"{stem}.wav", samples.T, SAMPLE_RATE, "PCM_16")
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder for decoded songs and statistics that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of commands, outside the checkout."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def corpus(stem_corpus: Path, place: Path) -> list[str]:
    """The settings with which a command uses the tiny corpus."""
    names = sorted(path.name for path in (stem_corpus / "train").glob("*.stem.mp4"))
    validation = names[0].removesuffix(".stem.mp4")
    return ["data=musdb18", f"data.root={stem_corpus}", f"data.validation_tracks=['{validation}']"]
