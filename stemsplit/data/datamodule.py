"""The LightningDataModule: load excerpts of a corpus and make batches for the network."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from stemsplit.audio.entries import normal
from stemsplit.data.augment.augment import Augment
from stemsplit.data.corpus import Corpus
from stemsplit.data.excerpts.chunks import Chunk, FixedChunks, Key, RandomChunks, as_it_is
from stemsplit.data.excerpts.downsample import Downsample
from stemsplit.data.excerpts.sampling import EpochSampler, ResumableLoader, SharedBatches
from stemsplit.data.statistics import cached_statistics
from stemsplit.data.store.shared_memory import workers_that_fit
from stemsplit.data.store.stored import StoredTrack, corpus_fingerprint
from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch, Stems, Waveform
from stemsplit.separation.front_end import FrontEnd

# A stem with a lower mean square is silent: -90 dB full scale is about one step of 16-bit samples.
SILENT_POWER = 1e-9


class StemDataModule(L.LightningDataModule):
    """Batches of excerpts of a corpus for training and validation.

    Songs of the test subset are never read.

    Args:
        corpus: the songs.
        targets: stems to estimate.
        seed: seed of the random excerpts.
        chunk_seconds: length of an excerpt in seconds.
        chunks_per_track: training excerpts per song and epoch.
        validation_chunks: excerpts per validation song; None for the whole song.
        batch_size: excerpts per batch.
        workers: number of processes that prefetch batches.
        remix: draw the song and the start of each stem of a training mixture independently.
        augment: augmentation of the training excerpts; None for no augmentation.
        front_end: the separator's front end.
        views: names of the views that the network reads (see `FrontEnd`).
        sounding: probability of replacing a training excerpt by one in which a target is active
            (see `RandomChunks`).
        downsample: shares of the training set to use (see `Downsample`); None for all of it.

    Raises `InputError` for invalid settings.
    """

    def __init__(
        self,
        corpus: Corpus,
        targets: Sequence[str],
        seed: int,
        chunk_seconds: float,
        chunks_per_track: int,
        validation_chunks: int | None,
        batch_size: int = 16,
        workers: int = 0,
        remix: bool = True,
        augment: Augment | None = None,
        front_end: FrontEnd | None = None,
        views: Sequence[str] = (),
        sounding: float = 0.0,
        downsample: Downsample | None = None,
    ) -> None:
        super().__init__()
        targets = list(map(normal, targets))
        if len(set(targets)) < max(1, len(targets)):
            raise InputError(f"targets {targets} must name at least one stem, and no stem twice")
        corpus.check_targets(targets)
        if front_end is not None and front_end.sample_rate != corpus.sample_rate:
            raise InputError(
                f"the front end has a sample rate of {front_end.sample_rate} Hz, but the songs "
                f"have {corpus.sample_rate} Hz; check sample_rate and data.downsample.rate"
            )
        self.chunk = round(float(chunk_seconds) * corpus.sample_rate)
        if front_end is not None and self.chunk < front_end.window:
            raise InputError(
                f"chunk_seconds {chunk_seconds} is {self.chunk} samples, less than the window of "
                f"{front_end.window} samples; choose longer chunks or a shorter window"
            )
        counts = {
            f"chunk_seconds {chunk_seconds}": self.chunk,
            f"chunks_per_track {chunks_per_track}": chunks_per_track,
            f"validation_chunks {validation_chunks}": validation_chunks,
            f"batch_size {batch_size}": batch_size,
        }
        for setting, count in counts.items():
            if count is not None and count < 1:
                raise InputError(f"{setting} must be positive")
        if workers < 0:
            raise InputError(f"workers {workers} must be 0 or more")
        if not 0 <= sounding <= 1:
            raise InputError(f"data.sounding is {sounding}, but must be from 0 to 1")
        self.corpus = corpus
        self.targets = targets
        self.seed = seed
        self.downsample = downsample or Downsample()
        self.chunks_per_track = self.downsample.chunks_of(chunks_per_track)
        self.validation_chunks = validation_chunks
        self.batch_size = batch_size
        self.workers = workers
        self.remix = remix
        self.augment = augment
        self.front_end = front_end
        self.views = list(views)
        self.sounding = sounding
        self._loader_state: dict[str, int] | None = None
        self._train_loader: ResumableLoader | None = None

    def training_tracks(self) -> list[StoredTrack]:
        """The songs of the train subset, or the downsampled part of them."""
        return self.downsample.songs_of(self.corpus.tracks("train"), self.targets)

    def prepare_data(self) -> None:
        """Decode the training and validation songs. Lightning calls this in one process per node.

        Raises `InputError` if a target is silent in all training songs.
        """
        self.corpus.tracks("train", "valid")
        check_audible(self.training_tracks(), self.targets, self.corpus.root)

    def setup(self, stage: str) -> None:
        """Open the training and validation songs."""
        self.train_tracks = self.training_tracks()
        self.valid_tracks = self.corpus.tracks("valid")

    def trained_on(self) -> dict[str, Any]:
        """Facts about the training data for result.json."""
        tracks = self.training_tracks()
        seconds = sum(track.time for track in tracks) / self.corpus.sample_rate
        return {
            "fingerprint": corpus_fingerprint(tracks),
            "songs": len(tracks),
            "minutes": round(seconds / 60, 2),
            "chunks_per_track": self.chunks_per_track,
            "sample_rate": self.corpus.sample_rate,
            "downsample": asdict(self.downsample),
        }

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the mean and the scale of every band of every view.

        They are measured on the mixtures of the training songs.
        """
        assert self.front_end is not None
        tracks = self.training_tracks()
        return cached_statistics(tracks, self.front_end, self.views, self.corpus.cache)

    # The data module, not Lightning, saves and restores the state of the loader. First, Lightning
    # restores a loader only if the checkpoint was written in the middle of an epoch. Second,
    # Lightning sets the sampler's epoch only after the workers have begun to prefetch.
    def state_dict(self) -> dict[str, Any]:
        return {} if self._train_loader is None else {"train": self._train_loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loader_state = state_dict.get("train")

    def describe(self, keys: Sequence[Key]) -> list[str]:
        """Describe the songs and times of training excerpts, one text per key."""
        chunks = self._random_chunks()
        return [chunks.describe(key) for key in keys]

    def _random_chunks(self) -> RandomChunks:
        chunk = self.chunk if self.augment is None else self.augment.read_length(self.chunk)
        return RandomChunks(
            self.train_tracks,
            self.corpus.stems,
            chunk,
            self.seed,
            self.remix,
            self.targets,
            self.sounding,
        )

    def _processes(self) -> dict[str, int]:
        """The rank of this process and the number of processes."""
        if self.trainer is None:
            return {"rank": 0, "ranks": 1}
        return {"rank": self.trainer.global_rank, "ranks": self.trainer.world_size}

    def train_dataloader(self) -> ResumableLoader:
        positions = len(self.train_tracks) * self.chunks_per_track
        sampler = EpochSampler(positions, self.seed, **self._processes())
        chunks = self._random_chunks()
        loader = ResumableLoader(
            chunks,
            sampler,
            batch_size=self.batch_size,
            **self._loader_options("training", self.train_tracks, self.batch_size, chunks.chunk),
        )
        if self._loader_state is not None:
            loader.load_state_dict(self._loader_state)
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> DataLoader[Chunk]:
        chunks = FixedChunks(
            self.valid_tracks, self.corpus.stems, self.chunk, self.validation_chunks
        )
        # Whole songs differ in length, so each song is a batch.
        size = 1 if self.validation_chunks is None else self.batch_size
        batches = SharedBatches(len(chunks), size, **self._processes())
        longest = max(time for _, _, time in chunks.places)
        options = self._loader_options("validation", self.valid_tracks, size, longest)
        return DataLoader(chunks, batch_sampler=batches, **options)

    def _loader_options(
        self, batches: str, tracks: Sequence[StoredTrack], batch_size: int, time: int
    ) -> dict[str, Any]:
        """Options of a DataLoader whose excerpts have at most `time` samples."""
        item_bytes = max(track.samples.itemsize for track in tracks)
        batch_bytes = batch_size * len(self.corpus.stems) * self.corpus.channels * time * item_bytes
        ranks = self._processes()["ranks"]
        workers = workers_that_fit(self.workers, batch_bytes, ranks, batches)
        return {
            # By default, a loader draws its seed from the global generator. This would change the
            # random numbers of the networks.
            "generator": torch.Generator(),
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": as_it_is,
        }

    def on_before_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Chunk:
        self.arrived = perf_counter()  # read by the callback that times the loading
        return batch

    def on_after_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Batch:
        assert self.front_end is not None
        assert self.trainer is not None
        stems, keys = batch.waveforms(), batch.keys
        targets = [self.corpus.stems.index(target) for target in self.targets]
        if self.trainer.training and self.augment is not None:
            stems = self.augment(stems, keys, self.chunk, targets)
        return make_batch(self.front_end, self.views, stems.sum(dim=1), stems[:, targets], keys)


def check_audible(tracks: Sequence[StoredTrack], targets: Sequence[str], root: Path) -> None:
    """Raise `InputError` for a target that is silent in all training songs."""
    for target in targets:
        loudest = max(
            (track.levels[track.stems.index(target)].max(initial=0.0) for track in tracks),
            default=0.0,
        )
        if loudest < SILENT_POWER:
            raise InputError(
                f"{root}: {target} is silent in all {len(tracks)} training songs; correct the "
                "files or choose other targets"
            )


def make_batch(
    front_end: FrontEnd, views: Sequence[str], mixture: Waveform, stems: Stems, keys: list[Key]
) -> Batch:
    """Apply the front end to a batch in float32, independently of the network's precision."""
    with torch.autocast(mixture.device.type, enabled=False):
        spectrum = front_end(mixture)
        return Batch(
            mixture,
            stems,
            spectrum,
            front_end.views(spectrum, views),
            keys,
            lambda: front_end(stems),
        )
