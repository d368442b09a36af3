"""The LightningDataModule: a corpus, its chunks and the front end, up to a `Batch`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from stemsplit.data.augment import Augment
from stemsplit.data.chunks import Chunk, EpochSampler, FixedChunks, Key, RandomChunks, collate
from stemsplit.data.statistics import cached_statistics
from stemsplit.data.store import Store, StoredTrack, corpus_fingerprint
from stemsplit.data.tracks import Subset, Track, of_subset, with_stems, with_validation
from stemsplit.errors import InputError
from stemsplit.features import FrontEnd
from stemsplit.shapes import Batch, Stems, Waveform


class StemDataModule(L.LightningDataModule):
    """Chunks of the stems of one corpus, mixed and transformed on the device.

    `lister` finds the tracks under `root`; `stems` are what the corpus's songs consist of and
    `targets` those of them that are estimated. `validation_tracks` names the songs that are held
    out of training (None: the corpus's own). `chunks_per_track` counts excerpts a training song
    and epoch; `validation_chunks` those of a validation song (None: the whole song).
    The front end and the views to compute are the separator's own. Songs of the test split are
    only ever read by `tracks("test")`.
    """

    def __init__(
        self,
        lister: Callable[[Path], list[Track]],
        root: str | None,
        stems: Sequence[str],
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
    ) -> None:
        super().__init__()
        if root is None:
            raise InputError("data.root is not set: say data.root=/path/to/the/corpus")
        self.root = Path(root).expanduser().resolve()
        unknown = [target for target in targets if target not in stems]
        if unknown:
            raise InputError(f"targets {unknown} are not among the corpus's stems {list(stems)}")
        if len(set(targets)) < max(1, len(targets)):
            raise InputError(f"targets {list(targets)} must name one stem or more, each once")
        self.chunk = round(float(chunk_seconds) * sample_rate)
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
        self.lister = lister
        self.stems = list(stems)
        self.targets = list(targets)
        self.seed = seed
        self.chunks_per_track = chunks_per_track
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
        self.first_epoch = 0
        self._listed: list[Track] | None = None

    def _tracks(self) -> list[Track]:
        if self._listed is None:
            tracks = self.lister(self.root)
            if self.validation_tracks is not None:
                tracks = with_validation(tracks, self.validation_tracks)
            self._listed = with_stems(tracks, self.stems)
        return self._listed

    def tracks(self, *subsets: Subset) -> list[StoredTrack]:
        """The decoded songs of these subsets; raises `InputError` where one has none."""
        tracks = self._tracks()
        chosen = [track for subset in subsets for track in of_subset(tracks, subset, self.root)]
        return self.store.tracks(chosen)

    def prepare_data(self) -> None:
        self.tracks("train", "valid")

    def setup(self, stage: str) -> None:
        self.train_tracks = self.tracks("train")
        self.valid_tracks = self.tracks("valid")

    def fingerprint(self) -> str:
        """Names what the model is trained on."""
        return corpus_fingerprint(self.tracks("train"))

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and scale of every band of every view, over the mixtures of the training songs."""
        assert self.front_end is not None
        return cached_statistics(self.tracks("train"), self.front_end, self.views, self.cache)

    # Lightning tells the sampler each epoch, but on resuming only after workers were sent ahead.
    # Checkpoints are written at the end of epochs, so the next one is where a resumed run begins.
    def state_dict(self) -> dict[str, Any]:
        return {"next_epoch": self.trainer.current_epoch + 1 if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.first_epoch = state_dict["next_epoch"]

    def train_dataloader(self) -> DataLoader[Chunk]:
        chunks = RandomChunks(self.train_tracks, self.stems, self.chunk, self.seed, self.remix)
        sampler = EpochSampler(len(self.train_tracks) * self.chunks_per_track, self.seed)
        sampler.set_epoch(self.first_epoch)
        return self._loader(chunks, batch_size=self.batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Chunk]:
        chunks = FixedChunks(self.valid_tracks, self.stems, self.chunk, self.validation_chunks)
        # Whole songs differ in length, so they come one by one.
        size = 1 if self.validation_chunks is None else self.batch_size
        return self._loader(chunks, batch_size=size)

    def _loader(self, chunks: Dataset[Chunk], **how: Any) -> DataLoader[Chunk]:
        return DataLoader(
            chunks,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=collate,
            **how,
        )

    def on_after_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Batch:
        assert self.front_end is not None
        assert self.trainer is not None
        stems, keys = batch
        if self.trainer.training and self.augment is not None:
            stems = self.augment(stems, keys)
        mixture = stems.sum(dim=1)
        wanted = stems[:, [self.stems.index(target) for target in self.targets]]
        return make_batch(self.front_end, self.views, mixture, wanted, keys)


def make_batch(
    front_end: FrontEnd, views: Sequence[str], mixture: Waveform, stems: Stems, keys: list[Key]
) -> Batch:
    """The front end's part of a batch, in float32 whatever precision the network runs in."""

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
