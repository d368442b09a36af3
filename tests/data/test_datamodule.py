"""The data module: stems sum to the mixture, and test songs are never used for training."""

import shutil
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from stemsplit import audio
from stemsplit.data.augment.augment import Augment
from stemsplit.data.corpora.folders import folder
from stemsplit.data.corpora.musdb import musdb18hq
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.excerpts.chunks import Chunk
from stemsplit.data.excerpts.downsample import Downsample
from stemsplit.data.store.stored import corpus_fingerprint
from stemsplit.data.tracks import Track
from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch
from stemsplit.separation.front_end import FrontEnd

STEMS = ["drums", "bass", "other", "vocals"]
VALIDATION = "Pell Orrin - Wire Garden"
OTHER_VALIDATION = "The Low Kettles - Ash And Ember"
TEST = "Orla Quayle - Night Ferry"
RATE = 8000
CORPUS = signature(Corpus).parameters


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all tests of the module, because they decode the same songs."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def listed(wav_corpus: Path) -> list[Track]:
    return musdb18hq(wav_corpus)


@pytest.fixture
def build(wav_corpus: Path, listed: list[Track], shared: Path) -> Callable[..., StemDataModule]:
    """A function that makes a data module of the tiny corpus; arguments replace the defaults."""

    def build(**changes: object) -> StemDataModule:
        default = {
            "lister": lambda root: listed,
            "root": str(wav_corpus),
            "stems": STEMS,
            "targets": ["vocals"],
            "sample_rate": RATE,
            "channels": 2,
            "seed": 0,
            "chunk_seconds": 0.5,
            "chunks_per_track": 3,
            "validation_chunks": 2,
            "validation_tracks": [VALIDATION],
            "batch_size": 4,
            "cache": str(shared),
            "augment": Augment(0),
            "front_end": FrontEnd(RATE, window=512, hop=128, mel_bands=32, mfccs=20),
            "views": ["magnitude", "mel"],
        }
        settings = default | changes
        of_corpus = {name: settings.pop(name) for name in CORPUS if name in settings}
        return StemDataModule(Corpus(**of_corpus), **settings)

    return build


def prepared(data: StemDataModule, training: bool = True) -> StemDataModule:
    data.trainer = SimpleNamespace(training=training, global_rank=0, world_size=1)
    data.prepare_data()
    data.setup("fit")
    return data


def batches(data: StemDataModule, training: bool = True) -> list[Batch]:
    prepared(data, training)
    loader = data.train_dataloader() if training else data.val_dataloader()
    return [data.on_after_batch_transfer(chunk, 0) for chunk in loader]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": None}, r"data\.root"),
        ({"targets": ["vocals", "kazoo"]}, r"kazoo.*drums.*vocals"),
        ({"chunk_seconds": 0}, "chunk_seconds 0"),
        ({"chunk_seconds": -1.5}, r"chunk_seconds -1\.5"),
        ({"chunk_seconds": 1e-6}, "chunk_seconds 1e-06"),  # less than one sample
        ({"chunks_per_track": 0}, "chunks_per_track 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": -4}, "batch_size -4"),
        ({"validation_chunks": 0}, "validation_chunks 0"),
        ({"validation_chunks": -1}, "validation_chunks -1"),
    ],
)
def test_invalid_setting_is_refused(
    settings: dict, message: str, build: Callable[..., StemDataModule]
) -> None:
    with pytest.raises(InputError, match=message):
        build(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_tracks": ["Nobody - Nothing"]}, f"Nobody - Nothing.*{VALIDATION}"),
        ({"validation_tracks": [TEST]}, TEST),
        ({"validation_tracks": None}, r"data\.validation_tracks"),
        ({"stems": [*STEMS, "kazoo"]}, r"no stem \['kazoo'\]"),
        ({"lister": musdb18hq, "root": "/nowhere"}, "/nowhere: does not exist"),
    ],
)
def test_missing_songs_and_stems_are_refused(
    settings: dict, message: str, build: Callable[..., StemDataModule]
) -> None:
    with pytest.raises(InputError, match=message):
        build(**settings).prepare_data()


def test_stems_sum_to_mixture(build: Callable[..., StemDataModule]) -> None:
    all_batches = batches(build(targets=STEMS))
    assert [len(batch.mixture) for batch in all_batches] == [4, 2]
    for batch in all_batches:
        assert batch.stems.shape[1:] == (4, 2, RATE // 2)
        assert torch.allclose(batch.stems.sum(1), batch.mixture, atol=1e-6)
        assert batch.mixture.any()


@pytest.mark.parametrize("training", [False, True])
def test_stems_have_the_order_of_targets(
    training: bool, build: Callable[..., StemDataModule]
) -> None:
    four_targets = batches(build(targets=STEMS), training)
    two_targets = batches(build(targets=["vocals", "drums"]), training)
    for expected, batch in zip(four_targets, two_targets, strict=True):
        assert batch.keys == expected.keys
        assert torch.equal(batch.mixture, expected.mixture)  # the mixture is the sum of all stems
        assert torch.equal(batch.stems, expected.stems[:, [3, 0]])


def test_spectra_and_views_equal_those_of_the_front_end(
    build: Callable[..., StemDataModule],
) -> None:
    data = build(targets=["bass", "vocals"])
    for batch in batches(data):
        assert torch.equal(batch.spectrum, data.front_end(batch.mixture))
        assert list(batch.views) == ["magnitude", "mel"]
        torch.testing.assert_close(batch.views["magnitude"], batch.spectrum.abs())
        assert batch.stem_spectra.shape == (len(batch.mixture), 2, *batch.spectrum.shape[1:])
        for stem in range(2):
            spectrum = data.front_end(batch.stems[:, stem])
            assert torch.allclose(batch.stem_spectra[:, stem], spectrum, atol=1e-6)


def test_batch_is_float32_under_autocast(build: Callable[..., StemDataModule]) -> None:
    data = prepared(build())
    chunk = next(iter(data.train_dataloader()))
    plain = data.on_after_batch_transfer(chunk, 0)
    with torch.autocast("cpu", torch.bfloat16):
        batch = data.on_after_batch_transfer(chunk, 0)
    assert torch.equal(batch.spectrum, plain.spectrum)
    for view in ("magnitude", "mel"):
        assert batch.views[view].dtype == torch.float32
        assert torch.equal(batch.views[view], plain.views[view])


def test_only_training_batches_are_augmented(build: Callable[..., StemDataModule]) -> None:
    augmented, plain = build(), build(augment=None)
    for batch, plain_batch in zip(batches(augmented), batches(plain), strict=True):
        assert batch.keys == plain_batch.keys
        assert not torch.allclose(batch.stems, plain_batch.stems)
    for batch, plain_batch in zip(batches(augmented, False), batches(plain, False), strict=True):
        assert torch.equal(batch.stems, plain_batch.stems)


@pytest.mark.parametrize("remix", [False, True])
def test_tempo_change_keeps_the_chunk_length(
    remix: bool, build: Callable[..., StemDataModule]
) -> None:
    augment = Augment(0, tempo=0.5, pitch=0.5, snr_decibels=(3, 3), remix=remix, sample_rate=RATE)
    data = build(targets=STEMS[2:], augment=augment, remix=remix)
    for batch in batches(data):
        assert batch.stems.shape[1:] == (2, 2, RATE // 2)
        assert batch.mixture.isfinite().all()
        # Unless either is silent, the targets are 3 dB above the rest of the mixture.
        sums = torch.stack([batch.stems.sum(1), batch.mixture - batch.stems.sum(1)])
        levels = sums.square().mean((2, 3)).sqrt()
        audible = levels.amin(0) > 1e-2
        assert audible.any()
        ratios = levels[0][audible] / levels[1][audible]
        assert torch.allclose(ratios, torch.tensor(10 ** (3 / 20)))
    longest = next(iter(data.train_dataloader())).stems.shape[-1]
    assert longest == augment.read_length(RATE // 2) > 1.12 * RATE // 2
    for batch in batches(data, training=False):
        assert batch.stems.shape[-1] == RATE // 2


def test_whole_songs_are_validated_one_by_one(build: Callable[..., StemDataModule]) -> None:
    data = build(validation_chunks=None, validation_tracks=[VALIDATION, OTHER_VALIDATION])
    lengths = [batch.mixture.shape[-1] for batch in batches(data, training=False)]
    assert lengths == [track.time for track in data.valid_tracks]


def test_test_songs_are_not_read(
    build: Callable[..., StemDataModule], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test songs are decoded only when the test subset is requested."""
    read: list[Path] = []
    read_streams = audio.read_streams

    def recording(path: Path, streams: list[int]) -> list[audio.Audio]:
        read.append(path)
        return read_streams(path, streams)

    monkeypatch.setattr(audio, "read_streams", recording)
    data = prepared(build(cache=str(cache)))
    data.statistics()
    data.trained_on()
    assert {track.name for track in data.valid_tracks} == {VALIDATION}
    names = {track.name for track in data.train_tracks}
    assert len(names) == 2
    assert not names & {VALIDATION, TEST}
    assert len(read) == 15
    assert not any(TEST in str(path) for path in read)
    assert [track.name for track in data.corpus.tracks("test")] == [TEST]


def fingerprint(data: StemDataModule) -> str:
    return data.trained_on()["fingerprint"]


def test_fingerprint_depends_on_training_songs_only(
    build: Callable[..., StemDataModule], listed: list[Track], wav_corpus: Path, tmp_path: Path
) -> None:
    data = build()
    before = fingerprint(data)
    assert corpus_fingerprint(data.corpus.tracks("train")[::-1]) == before
    assert fingerprint(build(lister=lambda root: listed[::-1])) == before
    assert fingerprint(build(validation_tracks=[OTHER_VALIDATION])) != before
    copy = Path(shutil.copytree(wav_corpus, tmp_path / "copy"))
    of_copy = {"lister": musdb18hq, "root": str(copy)}
    assert fingerprint(build(**of_copy)) == before
    for name, changes in ((f"test/{TEST}", False), (f"train/{OTHER_VALIDATION}", True)):
        shutil.copy(copy / name / "drums.wav", copy / name / "bass.wav")
        assert (fingerprint(build(**of_copy)) != before) == changes


def test_statistics_are_those_of_training_mixtures(build: Callable[..., StemDataModule]) -> None:
    data = prepared(build())
    statistics = data.statistics()
    assert set(statistics) == {"magnitude", "mel"}
    mixtures = [torch.from_numpy(track.mixture())[None] for track in data.train_tracks]
    frames = torch.cat([data.front_end(mixture).abs() for mixture in mixtures], dim=-1)
    assert torch.allclose(statistics["magnitude"][0], frames.mean((0, 1, 3)), rtol=1e-3)


class KeyRecorder(L.LightningModule):
    """A module that records the keys of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[tuple[int, int]]] = []
        self.validated: list[list[tuple[int, int]]] = []

    def on_train_epoch_start(self) -> None:
        self.trained.append([])

    def on_validation_epoch_start(self) -> None:
        self.validated.append([])

    def training_step(self, batch: Batch) -> Tensor:
        assert isinstance(batch, Batch)
        self.trained[-1] += batch.keys
        return self.weight * batch.mixture.mean()

    def validation_step(self, batch: Batch) -> None:
        self.validated[-1] += batch.keys

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(folder: Path, epochs: int) -> L.Trainer:
    last = ModelCheckpoint(dirpath=folder, filename="last", enable_version_counter=False)
    return L.Trainer(
        callbacks=[last],
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def test_excerpts_differ_between_epochs(
    build: Callable[..., StemDataModule], tmp_path: Path
) -> None:
    module = KeyRecorder()
    trainer(tmp_path, epochs=2).fit(module, datamodule=build())
    first, second = module.trained
    assert sorted(first) == [(0, position) for position in range(6)]
    assert sorted(second) == [(1, position) for position in range(6)]
    assert [key[1] for key in first] != [key[1] for key in second]
    assert module.validated[0] == module.validated[1]
    assert len(module.validated[0]) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_training_has_the_excerpts_of_later_epochs(
    build: Callable[..., StemDataModule], tmp_path: Path, workers: int
) -> None:
    uninterrupted, resumed = KeyRecorder(), KeyRecorder()
    trainer(tmp_path, epochs=3).fit(uninterrupted, datamodule=build(workers=workers))
    folder = tmp_path / "interrupted"
    trainer(folder, epochs=1).fit(KeyRecorder(), datamodule=build(workers=workers))
    trainer(folder, epochs=3).fit(
        resumed, datamodule=build(workers=workers), ckpt_path=folder / "last.ckpt"
    )
    assert resumed.trained == uninterrupted.trained[1:]


def test_chunk_is_moved_to_device(build: Callable[..., StemDataModule]) -> None:
    data = prepared(build())
    chunk = next(iter(data.train_dataloader()))
    moved = data.transfer_batch_to_device(chunk, torch.device("cpu"), 0)
    assert isinstance(moved, Chunk)
    assert moved.keys == chunk.keys
    assert torch.equal(moved.stems, chunk.stems)


def test_downsampled_songs_are_used_for_training(build: Callable[..., StemDataModule]) -> None:
    full, reduced = build(), prepared(build(downsample=Downsample(songs=0.5, chunks=0.67)))
    [chosen] = reduced.train_tracks
    assert chosen.name in {track.name for track in full.corpus.tracks("train")}
    assert len(full.corpus.tracks("train")) == 2
    assert [track.name for track in reduced.valid_tracks] == [VALIDATION]
    assert {key for chunk in reduced.train_dataloader() for key in chunk.keys} == {(0, 0), (0, 1)}
    facts = reduced.trained_on()
    assert facts == {
        "fingerprint": corpus_fingerprint([chosen]),
        "songs": 1,
        "minutes": round(chosen.time / RATE / 60, 2),
        "chunks_per_track": 2,
        "sample_rate": RATE,
        "downsample": {"chunks": 0.67, "songs": 0.5, "rate": 1.0},
    }
    assert facts["fingerprint"] != fingerprint(full)
    statistics = reduced.statistics()["magnitude"][0]
    assert not torch.equal(statistics, full.statistics()["magnitude"][0])


def test_front_end_of_another_rate_is_refused(build: Callable[..., StemDataModule]) -> None:
    front_end = FrontEnd(RATE // 2, window=256, hop=64, mel_bands=16, mfccs=10)
    with pytest.raises(InputError, match=r"front end has a sample rate of 4000 Hz, but .* 8000 Hz"):
        build(front_end=front_end)


def test_sounding_must_be_a_probability(build: Callable[..., StemDataModule]) -> None:
    assert prepared(build(sounding=0.5)).train_dataloader().dataset.sounding == 0.5
    for wrong in (-0.1, 1.5):
        with pytest.raises(
            InputError, match=rf"data\.sounding is {wrong}, but must be from 0 to 1"
        ):
            build(sounding=wrong)


@pytest.mark.parametrize(
    ("source", "copy"),
    [(f"test/{TEST}", "train/under another name"), (f"train/{VALIDATION}", "train/again")],
)
def test_same_song_in_two_subsets_is_refused(
    build: Callable[..., StemDataModule], wav_corpus: Path, tmp_path: Path, source: str, copy: str
) -> None:
    root = Path(shutil.copytree(wav_corpus, tmp_path / "corpus"))
    shutil.copytree(root / source, root / copy)
    with pytest.raises(InputError, match=r"is the same as .*; remove one of them"):
        build(lister=musdb18hq, root=str(root)).corpus.tracks("train")


def test_stems_of_test_songs_only_are_not_used_for_training(
    build: Callable[..., StemDataModule], wav_corpus: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(wav_corpus, tmp_path / "corpus"))
    settings = {"lister": folder, "root": str(root), "stems": None}
    before = fingerprint(build(**settings))
    shutil.copy(root / "test" / TEST / "drums.wav", root / "test" / TEST / "choir.wav")
    data = build(**settings)
    assert data.corpus.stems == sorted(STEMS)
    assert fingerprint(data) == before
    [test_song] = data.corpus.tracks("test")
    assert "choir" in test_song.stems


def test_silent_target_is_refused(build: Callable[..., StemDataModule], tmp_path: Path) -> None:
    for song in ("train/A", "train/B", "valid/C"):
        (tmp_path / song).mkdir(parents=True)
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, (RATE, 2))
        noise *= not song.startswith("train")
        for stem in ("drums", "vocals"):
            soundfile.write(tmp_path / song / f"{stem}.wav", noise, RATE)
    settings = {"lister": folder, "root": str(tmp_path), "stems": None, "validation_tracks": None}
    with pytest.raises(InputError, match="vocals is silent in all 2 training songs"):
        build(**settings).prepare_data()
    soundfile.write(tmp_path / "train/A/drums.wav", noise + 0.1, RATE)
    with pytest.raises(InputError, match="vocals is silent in all 2 training songs"):
        build(**settings).prepare_data()
    build(**settings, targets=["drums"]).prepare_data()  # one song contains drums


def test_contents_have_hashes_of_training_and_validation_songs(
    build: Callable[..., StemDataModule], wav_corpus: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(wav_corpus, tmp_path / "copy"))
    before = build().corpus.contents()
    assert set(before) == {
        "train/Tamsin Vole - Two Left Feet",
        f"train/{OTHER_VALIDATION}",
        f"valid/{VALIDATION}",
    }
    of_copy = {"lister": musdb18hq, "root": str(copy)}
    assert build(**of_copy).corpus.contents() == before
    assert build(**of_copy, sample_rate=16000, front_end=None).corpus.contents() == before
    song = copy / "train" / OTHER_VALIDATION
    (song / "drums.wav").unlink()
    shutil.copy(song / "bass.wav", song / "drums.wav")
    after = build(**of_copy).corpus.contents()
    assert {song for song in before if before[song] != after[song]} == {f"train/{OTHER_VALIDATION}"}


def test_stem_names_are_normalised_to_one_unicode_form(
    build: Callable[..., StemDataModule],
) -> None:
    composed, decomposed = "b\u00e4sse", "ba\u0308sse"
    data = build(stems=[decomposed, "vocals"], targets=[decomposed])
    assert data.targets == [composed]


def test_circular_link_to_root_is_refused(
    build: Callable[..., StemDataModule], tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match=r"loop: is a link to .*loop, which cannot be followed"):
        build(lister=musdb18hq, root=str(tmp_path / "loop")).prepare_data()
