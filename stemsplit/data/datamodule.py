"""The LightningDataModule: loaders of excerpts of a corpus, and the front end, up to a `Batch`."""

import os
from collections.abc import Callable, Mapping, Sequence
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
from stemsplit.data.combined import Corpus, combined
from stemsplit.data.excerpts.chunks import Chunk, FixedChunks, Key, RandomChunks, as_it_is
from stemsplit.data.excerpts.downsample import Downsample, scaled
from stemsplit.data.excerpts.sampling import EpochSampler, ResumableLoader, SharedBatches
from stemsplit.data.statistics import cached_statistics
from stemsplit.data.store.shared_memory import workers_that_fit
from stemsplit.data.store.store import Store
from stemsplit.data.store.stored import StoredTrack, corpus_fingerprint
from stemsplit.data.tracks import (
    Subset,
    Track,
    all_stems,
    check_targets,
    found_stems,
    of_subset,
    song_of,
    with_stems,
    with_validation,
)
from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch, Stems, Waveform
from stemsplit.separation.front_end import FrontEnd

SILENT_POWER = 1e-9  # mean square: 16 bits end at -90 dB


class StemDataModule(L.LightningDataModule):
    """Excerpts of the stems of a corpus, mixed and transformed on the device.

    `lister` finds the tracks under `root`; `stems` are what the corpus's songs consist of
    (None: whatever is found) and `targets` those of them that are estimated. `validation_tracks`
    names the songs that are held out of training (None: the corpus's own). `chunks_per_track`
    counts excerpts a training song and epoch; `validation_chunks` those of a validation song
    (None: the whole song). `also` are corpora whose training songs are added: mappings of what a
    `Corpus` takes. `sounding` is the probability of an excerpt in which a target sounds on purpose
    (see `RandomChunks`), and `downsample` what a `Downsample` takes.
    The front end and the views to compute are the separator's own. Songs of the test split are
    only ever read by `tracks("test")`.
    """

    def __init__(
        self,
        lister: Callable[[Path], list[Track]],
        root: str | None,
        stems: Sequence[str] | None,
        targets: Sequence[str],
        sample_rate: int,
        channels: int,
        seed: int,
        chunk_seconds: float,
        chunks_per_track: int,
        validation_chunks: int | None,
        cache: str,
        validation_tracks: Sequence[str] | None = None,
        batch_size: int = 16,
        workers: int = 0,
        remix: bool = True,
        augment: Augment | None = None,
        front_end: FrontEnd | None = None,
        views: Sequence[str] = (),
        also: Sequence[Mapping[str, Any]] = (),
        sounding: float = 0.0,
        downsample: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if root is None:
            raise InputError("data.root is not set: say data.root=/path/to/the/corpus")
        self.root = Path(os.path.realpath(Path(root).expanduser()))
        targets = list(map(normal, targets))
        if stems is not None:
            stems = list(map(normal, stems))
            check_targets(targets, stems)
        if len(set(targets)) < max(1, len(targets)):
            raise InputError(f"targets {list(targets)} must name one stem or more, each once")
        self.downsample = Downsample(**(downsample or {}))
        sample_rate = scaled(sample_rate, self.downsample.rate)
        if front_end is not None and front_end.sample_rate != sample_rate:
            raise InputError(
                f"the front end is made for {front_end.sample_rate} Hz and cannot take "
                f"{sample_rate} Hz, which sample_rate and data.downsample.rate make"
            )
        self.chunk = round(float(chunk_seconds) * sample_rate)
        if front_end is not None and self.chunk < front_end.window:
            raise InputError(
                f"chunk_seconds {chunk_seconds} are {self.chunk} samples, fewer than the window of "
                f"{front_end.window}: choose longer chunks or a shorter window"
            )
        counts = {
            f"chunk_seconds {chunk_seconds}": self.chunk,
            f"chunks_per_track {chunks_per_track}": chunks_per_track,
            f"validation_chunks {validation_chunks}": validation_chunks,
            f"batch_size {batch_size}": batch_size,
        }
        for setting, count in counts.items():
            if count is not None and count < 1:
                raise InputError(f"{setting} leaves nothing to train on: it must be positive")
        if workers < 0:
            raise InputError(f"workers {workers} must be 0 or more")
        if not 0 <= sounding <= 1:
            raise InputError(f"data.sounding {sounding} must be a probability, from 0 to 1")
        self.lister = lister
        self.also = [Corpus(**corpus) for corpus in also]
        self._stems = stems
        self.targets = targets
        self.seed = seed
        self.chunks_per_track = self.downsample.chunks_of(chunks_per_track)
        self.sounding = sounding
        self.validation_chunks = validation_chunks
        self.validation_tracks = validation_tracks
        self.batch_size = batch_size
        self.workers = workers
        self.remix = remix
        self.augment = augment
        self.cache = Path(cache).expanduser()
        self.store = Store(self.cache, sample_rate, channels)
        self.front_end = front_end
        self.views = list(views)
        self._loader_state: dict[str, int] | None = None
        self._train_loader: ResumableLoader | None = None
        self._listed: list[Track] | None = None

    def listing(self) -> list[Track]:
        """The songs of all subsets, not decoded."""
        if self._listed is None:
            tracks = self.lister(self.root)
            if self.validation_tracks is not None:
                tracks = with_validation(tracks, self.validation_tracks)
            tracks = combined(tracks, self.also)
            refuse_shared(self.store, tracks)
            trained = [track for track in tracks if track.subset != "test"]
            tested = [track for track in tracks if track.subset == "test"]
            stems = self._stems
            if stems is None:
                # What only test songs have is no part of training.
                own = [track for track in trained or tested if not track.corpus]
                stems = self._stems = found_stems(own, self.targets, self.root)
                tested = with_stems(tested, sorted({*stems, *all_stems(tested)}))
            else:
                tested = with_stems(tested, stems)
            self._listed = with_stems(trained, stems) + tested
        return self._listed

    @property
    def stems(self) -> list[str]:
        """The stems of the songs, in the order of an excerpt's array."""
        self.listing()
        assert self._stems is not None
        return self._stems

    def tracks(self, *subsets: Subset) -> list[StoredTrack]:
        """The decoded songs of these subsets; raises `InputError` if a subset has none."""
        tracks = self.listing()
        chosen = [track for subset in subsets for track in of_subset(tracks, subset, self.root)]
        return self.store.tracks(chosen)

    def training_tracks(self) -> list[StoredTrack]:
        """The songs to train on: the train split, or the downsampled part of it."""
        return self.downsample.songs_of(self.tracks("train"), self.targets)

    def prepare_data(self) -> None:
        """Decode the songs that are not decoded yet; one process of a node does it.

        Raises `InputError` where there is nothing to learn from them.
        """
        self.tracks("train", "valid")
        check_sound(self.training_tracks(), self.targets, self.root)

    def contents(self) -> dict[str, str]:
        """The content hash of every song for training and validation."""
        return {
            song_of(track) + (f" (data.also {track.corpus})" if track.corpus else ""): (
                self.store.content(track)
            )
            for track in self.listing()
            if track.subset != "test"
        }

    def setup(self, stage: str) -> None:
        self.train_tracks = self.training_tracks()
        self.valid_tracks = self.tracks("valid")

    def trained_on(self) -> dict[str, Any]:
        """Facts about the training data for result.json."""
        tracks = self.training_tracks()
        seconds = sum(track.time for track in tracks) / self.store.sample_rate
        return {
            "fingerprint": corpus_fingerprint(tracks),
            "songs": len(tracks),
            "minutes": round(seconds / 60, 2),
            "chunks_per_track": self.chunks_per_track,
            "sample_rate": self.store.sample_rate,
            "downsample": asdict(self.downsample),
        }

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and scale of every band of every view, over the mixtures of the training songs."""
        assert self.front_end is not None
        return cached_statistics(self.training_tracks(), self.front_end, self.views, self.cache)

    # Lightning hands a loader its state only in the middle of an epoch, and tells the sampler the
    # epoch only after workers were sent ahead; so the loader's state is kept here.
    def state_dict(self) -> dict[str, Any]:
        return {} if self._train_loader is None else {"train": self._train_loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loader_state = state_dict.get("train")

    def describe(self, keys: Sequence[Key]) -> list[str]:
        """Where the excerpts of a training batch come from, one text each."""
        chunks = self._random_chunks()
        return [chunks.describe(key) for key in keys]

    def _random_chunks(self) -> RandomChunks:
        chunk = self.chunk if self.augment is None else self.augment.read_length(self.chunk)
        return RandomChunks(
            self.train_tracks,
            self.stems,
            chunk,
            self.seed,
            self.remix,
            self.targets,
            self.sounding,
        )

    def _processes(self) -> dict[str, int]:
        """The rank of this process, and the number of processes."""
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
            **self._how_to_load("training", self.train_tracks, self.batch_size, chunks.chunk),
        )
        if self._loader_state is not None:
            loader.load_state_dict(self._loader_state)
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> DataLoader[Chunk]:
        chunks = FixedChunks(self.valid_tracks, self.stems, self.chunk, self.validation_chunks)
        # Whole songs differ in length, so they come one by one.
        size = 1 if self.validation_chunks is None else self.batch_size
        batches = SharedBatches(len(chunks), size, **self._processes())
        longest = max(time for _, _, time in chunks.places)
        how = self._how_to_load("validation", self.valid_tracks, size, longest)
        return DataLoader(chunks, batch_sampler=batches, **how)

    def _how_to_load(
        self, batches: str, tracks: Sequence[StoredTrack], batch_size: int, time: int
    ) -> dict[str, Any]:
        item_bytes = max(track.samples.itemsize for track in tracks)
        batch_bytes = batch_size * len(self.stems) * self.store.channels * time * item_bytes
        ranks = self._processes()["ranks"]
        workers = workers_that_fit(self.workers, batch_bytes, ranks, batches)
        return {
            "generator": torch.Generator(),  # of workers' seeds: the global one is the networks'
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "collate_fn": as_it_is,
        }

    def on_before_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Chunk:
        self.arrived = perf_counter()
        return batch

    def on_after_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Batch:
        assert self.front_end is not None
        assert self.trainer is not None
        stems, keys = batch.waveforms(), batch.keys
        targets = [self.stems.index(target) for target in self.targets]
        if self.trainer.training and self.augment is not None:
            stems = self.augment(stems, keys, self.chunk, targets)
        return make_batch(self.front_end, self.views, stems.sum(dim=1), stems[:, targets], keys)


def refuse_shared(store: Store, tracks: Sequence[Track]) -> None:
    """Raise `InputError` if two splits share a song, whatever its name is."""
    for one, other in store.repeated(tracks):
        if one.subset != other.subset:
            raise InputError(
                f"{other.path}: is the same as {one.path}, a {one.subset} song; remove one of them "
                "(python -m stemsplit.doctor finds also what only sounds the same)"
            )


def check_sound(tracks: Sequence[StoredTrack], targets: Sequence[str], root: Path) -> None:
    """Raise `InputError` for a target that is silent in all training songs."""
    for target in targets:
        loudest = max(
            (track.levels[track.stems.index(target)].max(initial=0.0) for track in tracks),
            default=0.0,
        )
        if loudest < SILENT_POWER:
            raise InputError(
                f"{root}: {target} is silent in all {len(tracks)} training songs, so there is "
                "nothing to learn; mend their files, or name other targets"
            )


def make_batch(
    front_end: FrontEnd, views: Sequence[str], mixture: Waveform, stems: Stems, keys: list[Key]
) -> Batch:
    """Apply the front end to a batch, in float32 whatever precision the network runs in."""

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
