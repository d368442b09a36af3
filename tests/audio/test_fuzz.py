"""Damaged files of eight formats: samples or an `InputError`, never a crash, a hang or a leak."""

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.audio.encoding import Encoding, open_writer
from stemsplit.audio.stem_mp4 import open_stem_writer
from stemsplit.audio.timeline import MOST_SILENCE_SECONDS
from stemsplit.errors import InputError

RATE = 44100
FILES = 200
FAST_FILES = 40
SECONDS = 10  # limit of processor time for each file
MEGABYTES = 300  # limit for all files of one process, beyond the libraries
HUGE = [b"\xff" * 4, b"\x7f" + b"\xff" * 3, b"\xff" * 8, b"\x10" + bytes(7), bytes(7) + b"\x10"]

# Reads each file as a user's song, and prints one line of JSON for each. A file that takes more
# processor time than the limit ends the process.
READER = """
import json, os, resource, signal, sys, time
from pathlib import Path
import numpy as np
from stemsplit.audio import open_song
from stemsplit.errors import InputError

def open_files():
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0

files_before, memory_before = open_files(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_PROF, int(sys.argv[1]))
    start, count, error = time.process_time(), 0, None
    try:
        with open_song(Path(line.rstrip("\\n"))) as song:
            for block in song:
                assert block.dtype == np.float32 and block.shape[0] == song.channels
                assert np.isfinite(block).all()
                count += block.shape[1]
        assert count and isinstance(song.losses, list)
    except InputError as input_error:
        error = str(input_error)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before
    print(json.dumps({
        "samples": count,
        "error": error,
        "files": open_files() - files_before,
        "megabytes": memory / 1024,
        "seconds": time.process_time() - start,
    }), flush=True)
"""


def sound() -> np.ndarray:
    """A tone and noise, 1.5 s of stereo."""
    time = np.arange(round(1.5 * RATE)) / RATE
    noise = np.random.default_rng(0).standard_normal((2, len(time)))
    return (0.3 * np.sin(2 * np.pi * 440 * time) + 0.05 * noise).astype(np.float32)


def encode_opus(path: Path, samples: np.ndarray) -> None:
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48000, layout="stereo")
        packed = np.ascontiguousarray(samples.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, "flt", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = 48000, Fraction(1, 48000), 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def encode_stems(path: Path, samples: np.ndarray) -> None:
    with open_stem_writer(path, RATE, 2, {"title": "Song"}) as writer:
        writer.write(samples, [0.25 * samples] * 4)


def with_encoding(encoding: Encoding) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, samples: np.ndarray) -> None:
        with open_writer(path, encoding, RATE, 2, {"title": "Song", "artist": "A"}) as writer:
            writer.write(samples)

    return write


WRITERS = {
    "wav": with_encoding(Encoding("wav", "16")),
    "flac": with_encoding(Encoding("flac", "24")),
    "mp3": with_encoding(Encoding("mp3", None, 128)),
    "ogg": with_encoding(Encoding("ogg", None, 128)),
    "m4a": with_encoding(Encoding("m4a", None, 128)),
    "stem.mp4": encode_stems,
    "opus": encode_opus,
    "aiff": lambda path, samples: soundfile.write(path, samples.T, RATE, "PCM_16", format="AIFF"),
}


def mutated(content: bytes, kind: int, random: np.random.Generator) -> bytes:
    """Damage a file in one of eight ways, mostly in its first kilobytes, where the headers are."""
    changed = bytearray(content)
    head = min(len(changed), 1000)
    place = int(random.integers(0, head if random.random() < 0.7 else len(changed)))
    length = int(random.integers(1, 2000))
    if kind == 0:  # bit flips
        for bit in random.integers(0, 8 * len(changed), int(random.integers(1, 300))):
            changed[bit // 8] ^= 1 << bit % 8
    elif kind == 1:  # bit flips in the header
        for bit in random.integers(0, 8 * head, int(random.integers(1, 40))):
            changed[bit // 8] ^= 1 << bit % 8
    elif kind == 2:
        del changed[int(random.integers(0, len(changed))) :]
    elif kind == 3:
        del changed[place : place + length]
    elif kind == 4:  # foreign bytes between others
        changed[place:place] = random.bytes(length)
    elif kind == 5:  # a repeated piece
        changed[place:place] = changed[place : place + length] * int(random.integers(1, 20))
    elif kind == 6:
        changed[place : place + length] = bytes(len(changed[place : place + length]))
    else:  # huge numbers, also in the index at the end of an MP4 file
        for _ in range(int(random.integers(1, 6))):
            number = HUGE[int(random.integers(len(HUGE)))]
            place = int(random.integers(0, head))
            place = len(changed) - 1 - place if random.random() < 0.5 else place
            changed[place : place + len(number)] = number
    return bytes(changed)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    for suffix, write in WRITERS.items():
        write(folder / f"song.{suffix}", sound())
    return {suffix: (folder / f"song.{suffix}").read_bytes() for suffix in WRITERS}


def read_all(paths: list[Path]) -> list[dict[str, object]]:
    """Read files in another process, with a time limit for each."""
    process = subprocess.Popen(
        [sys.executable, "-c", READER, str(SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        names = "".join(f"{path}\n" for path in paths)
        output, _ = process.communicate(names, timeout=60 + SECONDS * len(paths))
    finally:
        process.kill()
    results = [json.loads(line) for line in output.splitlines()]
    if len(results) < len(paths):
        pytest.fail(f"{paths[len(results)].name} ends the process with {process.returncode}")
    return results


def check(paths: list[Path]) -> list[dict[str, object]]:
    results = read_all(paths)
    for path, result in zip(paths, results, strict=True):
        assert result["files"] == 0, path.name
        assert result["megabytes"] < MEGABYTES, path.name
        assert result["seconds"] < SECONDS, path.name
        if result["error"] is not None:
            assert result["error"].startswith(f"{path}: "), path.name
            assert "\n" not in result["error"], path.name
    return results


def damaged_files(numbers: range, originals: dict[str, bytes], folder: Path) -> list[Path]:
    paths = []
    for number in numbers:
        suffix = list(originals)[number % len(originals)]
        path = folder / f"{number:03}.{suffix}"
        kind = number // len(originals) % 8
        path.write_bytes(mutated(originals[suffix], kind, np.random.default_rng(number)))
        paths.append(path)
    return paths


def test_undamaged_files_are_read_completely(originals: dict[str, bytes], tmp_path: Path) -> None:
    paths = [tmp_path / f"song.{suffix}" for suffix in originals]
    for path, content in zip(paths, originals.values(), strict=True):
        path.write_bytes(content)
    for result in check(paths):
        assert result["error"] is None
        assert result["samples"] == len(sound()[0])


@pytest.mark.parametrize("numbers", [range(FAST_FILES)])
def test_damaged_files_are_read_or_refused(
    numbers: range, originals: dict[str, bytes], tmp_path: Path
) -> None:
    results = check(damaged_files(numbers, originals, tmp_path))
    read = [result for result in results if result["error"] is None]
    assert 0.2 * len(results) < len(read) < len(results)  # both outcomes occur


def test_unknown_codec_is_refused(originals: dict[str, bytes], tmp_path: Path) -> None:
    content = originals["m4a"]
    path = tmp_path / "song.m4a"
    # Two places name AAC.
    path.write_bytes(content.replace(b"mp4a", b"zzzz").replace(b"\x40\x15", b"\x01\x15"))
    with pytest.raises(InputError, match=r"song\.m4a: .* a codec that FFmpeg does not know"):
        audio.read_song(path)


def test_huge_numbers_in_the_index_take_neither_time_nor_memory(
    originals: dict[str, bytes], tmp_path: Path
) -> None:
    content = originals["stem.mp4"]
    paths = []
    for name in (b"mvhd", b"mdhd", b"stts", b"elst", b"stsz", b"stsc", b"tkhd"):
        start = content.index(name) + 4
        for offset in range(start, start + 24, 4):
            for number in (b"\x7f\xff\xff\xff", b"\x00\xff\xff\xff"):
                path = tmp_path / f"{name.decode()}-{offset - start}-{number.hex()}.stem.mp4"
                path.write_bytes(content[:offset] + number + content[offset + 4 :])
                paths.append(path)
    for path, result in zip(paths, check(paths), strict=True):
        # Wrong time stamps look like lost audio, which silence replaces within limits.
        assert result["samples"] <= (2 * MOST_SILENCE_SECONDS + 2) * RATE, path.name


@pytest.mark.slow
def test_all_damaged_files_are_read_or_refused(originals: dict[str, bytes], tmp_path: Path) -> None:
    check(damaged_files(range(FAST_FILES, FILES), originals, tmp_path))
