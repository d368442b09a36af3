"""Excerpts of validation songs are saved as audio and images for a limited number of epochs."""

from pathlib import Path
from unittest.mock import Mock

import lightning as L
import numpy as np
import pytest
import torch
from matplotlib import image

from stemsplit import audio
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.store.activity import block_levels
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.training.callbacks.excerpt_index import read_index
from stemsplit.training.callbacks.excerpts import KEPT_EPOCHS, Excerpts, loudest
from stemsplit.training.module import SeparationModule

RATE = 8000


@pytest.fixture
def tracks(tmp_path: Path) -> list[StoredTrack]:
    """Three mono songs of 4 s; the loudest vocals are in the third second of the second song."""
    tracks = []
    for number, level in enumerate((0.1, 0.4, 0.0)):
        random = np.random.default_rng(number)
        stems = 0.05 * random.standard_normal((2, 1, 4 * RATE)).astype(np.float32)
        stems[0] *= 0.1 * bool(level)
        stems[0, :, 2 * RATE : 3 * RATE] *= 200 * level
        folder = tmp_path / "store" / str(number)
        folder.mkdir(parents=True)
        np.save(folder / "samples.npy", np.concatenate([stems.sum(axis=0, keepdims=True), stems]))
        np.save(folder / "levels.npy", [block_levels(x, 4 * RATE, RATE) for x in stems])
        tracks.append(StoredTrack(f"song {number}", "valid", ("vocals", "rest"), folder, RATE, 1.0))
    return tracks


class ExcerptLogger:
    """A logger that records the excerpts it gets."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def log_excerpt(self, number: int, files: dict[str, Path], epoch: int, step: int) -> None:
        assert set(files) == {
            "mixture",
            *(f"vocals/{kind}" for kind in ("reference", "estimate", "spectrograms")),
        }
        assert all(file.is_file() for file in files.values())
        self.shown.append((number, epoch))


def trainer_at(
    epoch: int, tracks: list[StoredTrack], epochs: int = 1000, **attributes: object
) -> L.Trainer:
    """A mock trainer in a validation of two batches at `epoch`."""
    corpus = Mock(spec=Corpus, sample_rate=RATE, tracks=lambda subset: tracks)
    data = Mock(spec=StemDataModule, corpus=corpus)
    defaults = {
        "num_val_batches": [2],
        "sanity_checking": False,
        "is_global_zero": True,
        "current_epoch": epoch,
        "global_step": 10 * (epoch + 1),
        "max_epochs": epochs,
        "datamodule": data,
        "loggers": [],
    }
    return Mock(spec=L.Trainer, **(defaults | attributes))


def validated(callback: Excerpts, trainer: L.Trainer, module: SeparationModule) -> None:
    for batch in range(2):
        callback.on_validation_batch_end(trainer, module, None, None, batch)


def epochs_of(folder: Path) -> list[int]:
    [first, *_] = read_index(folder / "excerpts")
    return [estimate["epoch"] for estimate in first["stems"]["vocals"]["estimates"]]


def test_loudest_position_is_found(tracks: list[StoredTrack]) -> None:
    energy, start = loudest(tracks[1], "vocals", RATE)
    assert start == pytest.approx(2 * RATE, abs=RATE / 10)
    assert energy > loudest(tracks[0], "vocals", RATE)[0]
    assert loudest(tracks[1], "vocals", 9 * RATE)[1] == 0  # longer than the song


def test_excerpts_have_audio_images_and_sdr(
    tracks: list[StoredTrack], module: SeparationModule, tmp_path: Path
) -> None:
    callback = Excerpts(str(tmp_path), every=2, count=2, seconds=1.0)
    logger = ExcerptLogger()
    before = torch.random.get_rng_state(), module.training
    for epoch in range(4):
        validated(callback, trainer_at(epoch, tracks, epochs=4, loggers=[logger]), module)
    assert (torch.random.get_rng_state() == before[0]).all()
    assert module.training == before[1]
    assert logger.shown == [(number, epoch) for epoch in (0, 2, 3) for number in range(2)]
    index = read_index(tmp_path / "excerpts")
    assert [excerpt["track"] for excerpt in index] == ["song 1", "song 0"]
    assert index[0]["start_seconds"] == pytest.approx(2.0, abs=0.1)
    vocals = index[0]["stems"]["vocals"]
    assert [(entry["epoch"], entry["step"]) for entry in vocals["estimates"]] == [
        (0, 9),
        (2, 29),
        (3, 39),
    ]
    last = vocals["estimates"][-1]
    for name in (index[0]["mixture"], vocals["reference"], last["audio"]):
        sound = audio.read(tmp_path / "excerpts" / name)
        assert sound.samples.shape[1] / sound.sample_rate == pytest.approx(1.0, abs=0.2)
    assert image.imread(tmp_path / "excerpts" / last["picture"]).std() > 0.05
    mixture = tracks[1].mixture()
    vocals, mixed = (x[:, 2 * RATE : 3 * RATE] for x in (tracks[1].read("vocals"), mixture))
    expected = 10 * np.log10((vocals**2).sum() / ((mixed - vocals) ** 2).sum())
    assert last["sdr_mixture"] == pytest.approx(expected, abs=1.0)
    # A song without vocals has no SDR.
    silent = Excerpts(str(tmp_path / "silent"), count=1, seconds=1.0)
    validated(silent, trainer_at(0, tracks[2:]), module)
    [estimate] = read_index(tmp_path / "silent/excerpts")[0]["stems"]["vocals"]["estimates"]
    assert estimate["sdr"] is None


def test_resumed_training_extends_the_index(
    tracks: list[StoredTrack], module: SeparationModule, tmp_path: Path
) -> None:
    for epochs in (range(3), range(1, 4)):  # epochs 1 and 2 are repeated
        callback = Excerpts(str(tmp_path), every=1, count=1, seconds=0.5)
        for epoch in epochs:
            validated(callback, trainer_at(epoch, tracks), module)
    assert epochs_of(tmp_path) == [0, 1, 2, 3]
    # Other excerpts start a new index, and a damaged index is ignored.
    validated(Excerpts(str(tmp_path), 1, 1, 0.25), trainer_at(5, tracks), module)
    assert epochs_of(tmp_path) == [5]
    (tmp_path / "excerpts/index.json").write_text("{")
    validated(Excerpts(str(tmp_path), 1, 1, 0.25), trainer_at(6, tracks), module)
    assert epochs_of(tmp_path) == [6]
    assert len(list((tmp_path / "excerpts").rglob("*epoch*"))) == 2


def test_long_training_keeps_a_limited_number_of_epochs(
    tracks: list[StoredTrack],
    module: SeparationModule,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "stemsplit.training.callbacks.excerpts.spectrogram_comparison",
        lambda signals, rate, path, *rest: path.write_text("picture"),
    )
    callback = Excerpts(str(tmp_path), every=5, count=1, seconds=0.25)
    for epoch in range(0, 1000, 5):
        validated(callback, trainer_at(epoch, tracks), module)
    kept = epochs_of(tmp_path)
    assert kept[0] == 0
    assert len(set(np.diff(kept[:-1]))) == 1
    assert KEPT_EPOCHS / 2 <= len(kept) <= KEPT_EPOCHS + 1
    assert len(list((tmp_path / "excerpts").rglob("*epoch*.mp3"))) == len(kept)


def test_excerpts_follow_rare_validations(
    tracks: list[StoredTrack], module: SeparationModule, tmp_path: Path
) -> None:
    for epoch in range(1, 12, 2):  # multiples of 4 are not validated
        callback = Excerpts(str(tmp_path), every=4, count=1, seconds=0.25)
        validated(callback, trainer_at(epoch, tracks), module)
    assert epochs_of(tmp_path) == [1, 5, 9]


@pytest.mark.parametrize("attributes", [{"sanity_checking": True}, {"is_global_zero": False}])
def test_other_processes_and_sanity_check_write_no_excerpts(
    attributes: dict, tracks: list[StoredTrack], module: SeparationModule, tmp_path: Path
) -> None:
    validated(Excerpts(str(tmp_path)), trainer_at(0, tracks, **attributes), module)
    assert not (tmp_path / "excerpts").exists()


@pytest.mark.parametrize("setting", [{"every": 0}, {"count": 0}, {"seconds": 0.0}])
def test_invalid_settings_are_rejected(setting: dict) -> None:
    with pytest.raises(InputError, match="must be positive"):
        Excerpts("run", **setting)
