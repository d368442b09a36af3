"""A folder corpus: file names are stem names; misplaced or ambiguous files are refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.augment.augment import Augment
from stemsplit.data.corpora.folders import folder
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.store.store import Store
from stemsplit.data.tracks import AudioSource, of_subset
from stemsplit.errors import InputError

RATE = 8000
SONGS = {
    "train/Night": {"Vocals": "wav", "drums": "flac", "mixture": "wav"},
    "train/Rain": {"vocals": "ogg", "Lead Guitar": "mp3"},
    "valid/Wind": {"vocals": "flac", "drums": "wav"},
    "test/Snow": {"drums": "wav"},
}
STEMS = ["drums", "lead guitar", "vocals"]


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.2 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "songs"
    for song, files in SONGS.items():
        (root / song).mkdir(parents=True)
        for number, (stem, suffix) in enumerate(files.items()):
            soundfile.write(root / song / f"{stem}.{suffix}", tone(200 * (1 + number)), RATE)
    return root


def test_stems_are_named_by_their_files(root: Path) -> None:
    (root / "train" / "Night" / "cover.jpg").write_bytes(b"")
    (root / "train" / "Night" / "._drums.wav").write_bytes(b"\x00")  # a resource file of macOS
    (root / "train" / "notes.txt").write_text("mixed by ear")
    tracks = {f"{track.subset}/{track.name}": track for track in folder(root)}
    assert set(tracks) == set(SONGS)
    night, rain = root / "train" / "Night", root / "train" / "Rain"
    assert tracks["train/Night"].mixture == AudioSource(night / "mixture.wav")
    assert tracks["train/Night"].stems == {
        "drums": AudioSource(night / "drums.flac"),
        "lead guitar": None,
        "vocals": AudioSource(night / "Vocals.wav"),
    }
    assert tracks["train/Rain"].mixture is None
    assert tracks["train/Rain"].stems["lead guitar"] == AudioSource(rain / "Lead Guitar.mp3")


def test_every_format_is_decoded_and_missing_stems_are_silent(root: Path, cache: Path) -> None:
    (root / "valid" / "Wind" / "lead guitar.m4a").write_bytes(m4a(tone(600)))
    for track in Store(cache, RATE, 1).tracks(folder(root)):
        present = {file.lower() for file in SONGS[f"{track.subset}/{track.name}"]}
        for stem in STEMS:
            rms = float(np.sqrt(np.mean(track.read(stem) ** 2)))
            if stem in present or (track.name, stem) == ("Wind", "lead guitar"):
                assert rms == pytest.approx(0.2 / np.sqrt(2), rel=0.1)
            else:
                assert rms == 0


def m4a(samples: np.ndarray) -> bytes:
    import io

    import av

    content = io.BytesIO()
    with av.open(content, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return content.getvalue()


def data_module(
    root: Path, cache: Path, targets: Sequence[str] = ("vocals",), stems: list[str] | None = None
) -> StemDataModule:
    return StemDataModule(
        Corpus(folder, str(root), stems, RATE, 1, str(cache)),
        targets=targets,
        seed=0,
        chunk_seconds=0.5,
        chunks_per_track=2,
        validation_chunks=1,
        augment=Augment(0),
    )


def test_root_is_the_only_required_setting(root: Path, cache: Path) -> None:
    data = data_module(root, cache)
    data.setup("fit")
    assert data.corpus.stems == STEMS
    [batch] = list(data.train_dataloader())
    assert batch.stems.shape == (4, 3, 1, RATE // 2)
    assert [track.name for track in data.corpus.tracks("test")] == ["Snow"]
    chosen = data_module(root, cache, stems=["vocals", "drums"])
    assert [list(track.stems) for track in chosen.corpus.tracks("train")] == [
        ["vocals", "drums"]
    ] * 2


def test_targets_missing_from_the_songs_are_refused(root: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"\['voice'\].*'lead guitar', 'vocals'"):
        data_module(root, cache, targets=["voice"]).corpus.tracks("train")
    with pytest.raises(InputError, match=r"no stem \['bass'\]; it has"):
        data_module(root, cache, stems=["vocals", "bass"]).corpus.tracks("train")


def test_all_stems_as_targets_need_explicit_stems(root: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"set stems=\[drums,lead guitar,vocals\]"):
        data_module(root, cache, targets=STEMS).corpus.tracks("train")
    assert data_module(root, cache, targets=STEMS, stems=STEMS).corpus.tracks("train")


def test_subset_may_be_absent(root: Path, tmp_path: Path) -> None:
    (root / "valid").rename(tmp_path / "elsewhere")
    tracks = folder(root)
    assert {track.subset for track in tracks} == {"train", "test"}
    with pytest.raises(InputError, match=r"validation_tracks=\[…\].*Night"):
        of_subset(tracks, "valid", root)


FAULTS = {
    "train/Night/drums.wav": r"drums\.wav: drums\.flac is the same stem; remove one",
    "train/Night/VOCALS.mp3": r"Vocals\.wav: VOCALS\.mp3 is the same stem; remove one",
    "train/Night/bass.aiff": r"bass\.aiff: convert it to one of \.wav, \.flac",
    "train/loose.wav": r"loose\.wav: is an audio file, but .* folder; move it to .*/loose/",
    "train/Empty/readme.txt": r"Empty: the folder has no stem \(STEM\.wav",
    "train/Alone/mixture.wav": r"Alone: the folder has no stem",
    "test/Night/vocals.wav": r"test/Night: .*train/Night has the same name; rename or remove one",
}


@pytest.mark.parametrize("added", FAULTS)
def test_misplaced_or_ambiguous_file_is_refused(added: str, root: Path) -> None:
    (root / added).parent.mkdir(exist_ok=True)
    (root / added).write_bytes(b"")
    with pytest.raises(InputError, match=FAULTS[added]):
        folder(root)


def test_root_at_wrong_level_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"absent: does not exist"):
        folder(root / "absent")
    for wrong in (root.parent, root / "train", root / "train" / "Night"):
        with pytest.raises(InputError, match=r"has no folder train, valid or test; set data\.root"):
            folder(wrong)
    (root / "train" / "Night" / "test").mkdir()
    with pytest.raises(InputError, match=r"Night: no songs in test; add a folder"):
        folder(root / "train" / "Night")
