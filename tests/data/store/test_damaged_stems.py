"""Training refuses a stem with missing samples, and the doctor reports it as a fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.doctor.examination import examine
from stemsplit.data.headers import headers_of
from stemsplit.data.store.decoding import decode
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError

RATE = 32000
SOUND = 0.1 * np.random.default_rng(0).standard_normal((2 * RATE, 2))


def damage(path: Path) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(300) + content[middle + 300 :])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("vocals.flac", damage, r"4,096 samples\) are missing at"),
        ("vocals.flac", cut, "truncated"),
        ("vocals.wav", cut, "truncated"),
        ("vocals.mp3", damage, "cannot be decoded|missing at"),
        ("vocals.ogg", damage, "missing at|truncated"),
        ("vocals.ogg", cut, "its last page is missing"),
    ],
)
def test_stem_with_missing_samples_is_refused(
    name: str, harm: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    soundfile.write(path, SOUND, RATE)
    soundfile.write(tmp_path / "drums.wav", SOUND, RATE)
    stems = {"vocals": AudioSource(path), "drums": AudioSource(tmp_path / "drums.wav")}
    track = Track("song", "train", None, stems)
    assert examine(track, headers_of([track]), None).findings == []
    decode(track, RATE, 2)
    harm(path)
    with pytest.raises(InputError, match=rf"{name}: .*({message})"):
        decode(track, RATE, 2)
    [finding] = examine(track, headers_of([track]), None).findings
    assert (finding.severity, finding.check) == ("fault", "damaged")
    assert name in finding.text
