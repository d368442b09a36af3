"""Separate the same validation excerpts every few epochs; save audio and spectrograms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
import numpy as np
import torch

from stemsplit.audio import Samples
from stemsplit.audio.writing import write_mp3
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.store.activity import block_length
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation.spectrograms import spectrogram_comparison
from stemsplit.files import file_name
from stemsplit.training.callbacks.excerpt_index import (
    Excerpt,
    Index,
    all_estimates,
    new_index,
    read_index,
    remove_unlisted,
    thin_out,
    without_estimates,
    write_index,
)
from stemsplit.training.module import SeparationModule, signal_to_distortion

KEPT_EPOCHS = 20  # in longer runs, only every second, fourth, … set of excerpts is kept
DPI = 60


@runtime_checkable
class ShowsExcerpts(Protocol):
    """A logger that can show the audio and spectrograms of excerpts."""

    def log_excerpt(self, number: int, files: Mapping[str, Path], epoch: int, step: int) -> None:
        """Log the files of an excerpt.

        The keys of `files` are ``mixture``, ``STEM/reference``, ``STEM/estimate`` and
        ``STEM/spectrograms``.
        """


class Excerpts(L.Callback):
    """Separates excerpts of validation songs, and applies the Wiener filter.

    The excerpts stay the same throughout a run. An excerpt consists of the `seconds` in which
    the first target is loudest, and the `count` songs with the loudest excerpts are chosen. The
    excerpts are separated in the first validation of each interval of `every` epochs, and in the
    validation of the last epoch. In long runs, the intervals are 2, 4, … times as long. The
    separator has the weights of the validation: with `MovingAverage`, the averaged weights.

    ``folder/excerpts`` gets an MP3 file of each mixture. For each target, it gets MP3 files of the
    reference and the estimate, and an image with the spectrograms of mixture, reference and
    estimate. ``index.json`` lists these files by excerpt, stem and epoch, with the SDR of estimate
    and mixture in dB (null if the reference is silent). The files of about `KEPT_EPOCHS` epochs are
    kept. Loggers that implement `ShowsExcerpts` also get the files.

    Raises `InputError` if a number is not positive.
    """

    def __init__(self, folder: str, every: int = 5, count: int = 2, seconds: float = 6.0) -> None:
        if every < 1 or count < 1 or seconds <= 0:
            raise InputError(
                f"excerpts: every={every}, count={count} and seconds={seconds} must be positive; "
                "to disable excerpts, set callbacks.excerpts=null"
            )
        self.folder = Path(folder) / "excerpts"
        self.every = every
        self.count = count
        self.seconds = seconds
        self._excerpts: list[Excerpt] | None = None

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        # Separate at the last batch of the validation, because averaged weights are already
        # swapped out when the validation epoch ends.
        if batch_idx + 1 < sum(trainer.num_val_batches) or trainer.sanity_checking:
            return
        epoch = trainer.current_epoch
        last = epoch + 1 == trainer.max_epochs
        if trainer.is_global_zero and (last or self._due(epoch)):
            assert isinstance(pl_module, SeparationModule)
            self._show(trainer, pl_module, epoch)

    def _due(self, epoch: int) -> bool:
        """Whether no earlier epoch of the same interval of `spacing` epochs has estimates.

        The index decides this, not the number of the epoch, because not every epoch is validated,
        and a resumed run repeats epochs.
        """
        spacing = self.spacing(epoch)
        epochs = [estimate["epoch"] for estimate in all_estimates(read_index(self.folder))]
        return all(earlier // spacing != epoch // spacing or earlier >= epoch for earlier in epochs)

    def spacing(self, epoch: int) -> int:
        """The number of epochs between two kept sets of excerpts, in a run of `epoch` epochs."""
        spacing = self.every
        while epoch >= KEPT_EPOCHS * spacing:
            spacing *= 2
        return spacing

    def _show(self, trainer: L.Trainer, module: SeparationModule, epoch: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        rate = data.corpus.sample_rate
        if self._excerpts is None:
            self._excerpts = self._choose(data, module.separator.targets)
        index = self._index(rate)
        for number, excerpt in enumerate(self._excerpts):
            estimates = module.separator.separate(torch.from_numpy(excerpt.mixture), rate)
            files = {"mixture": self.folder / index[number]["mixture"]}
            for stem, reference in excerpt.stems.items():
                estimate = estimates[stem].numpy()
                audio_file = self.folder / str(number) / file_name(stem, f"-epoch-{epoch:04}.mp3")
                picture = audio_file.with_suffix(".png")
                write_mp3(audio_file, estimate, rate)
                spectrogram_comparison(
                    {
                        "mixture": excerpt.mixture,
                        f"{stem} (reference)": reference,
                        f"{stem} (estimate)": estimate,
                    },
                    rate,
                    picture,
                    f"{excerpt.track}, epoch {epoch}",
                    DPI,
                )
                stem_entry = index[number]["stems"][stem]
                files[f"{stem}/reference"] = self.folder / stem_entry["reference"]
                files[f"{stem}/estimate"] = audio_file
                files[f"{stem}/spectrograms"] = picture
                stem_entry["estimates"] = [
                    *(entry for entry in stem_entry["estimates"] if entry["epoch"] < epoch),
                    {
                        "epoch": epoch,
                        "step": trainer.global_step - 1,
                        "sdr": sdr(reference, estimate),
                        "sdr_mixture": sdr(reference, excerpt.mixture),
                        "audio": str(audio_file.relative_to(self.folder)),
                        "picture": str(picture.relative_to(self.folder)),
                    },
                ]
            for logger in trainer.loggers:
                if isinstance(logger, ShowsExcerpts):
                    logger.log_excerpt(number, files, epoch, trainer.global_step - 1)
        thin_out(index, epoch, self.spacing(epoch))
        write_index(self.folder, index)
        remove_unlisted(self.folder, index)

    def _choose(self, data: StemDataModule, targets: Sequence[str]) -> list[Excerpt]:
        """Choose the songs with the loudest first target, each at its loudest position."""
        rate = data.corpus.sample_rate
        time = round(self.seconds * rate)
        candidates = sorted(
            ((*loudest(track, targets[0], time), track) for track in data.corpus.tracks("valid")),
            key=lambda candidate: -candidate[0],
        )
        excerpts = []
        for _, start, track in candidates[: self.count]:
            mixture = track.mixture()[:, start : start + time]
            stems = {stem: track.read(stem, start, mixture.shape[1]) for stem in targets}
            excerpts.append(Excerpt(track.name, start / rate, mixture, stems))
        return excerpts

    def _index(self, rate: int) -> Index:
        """Read the index; if the excerpts have changed, start a new one and write references."""
        assert self._excerpts is not None
        new = new_index(self._excerpts, rate)
        old = read_index(self.folder)
        if without_estimates(old) == without_estimates(new):
            return old
        for excerpt, entry in zip(self._excerpts, new, strict=True):
            write_mp3(self.folder / str(entry["mixture"]), excerpt.mixture, rate)
            for stem, samples in excerpt.stems.items():
                path = self.folder / entry["stems"][stem]["reference"]
                write_mp3(path, samples, rate)
        return new


def loudest(track: StoredTrack, stem: str, time: int) -> tuple[float, int]:
    """Find the loudest `time` samples of a stem; return their loudness and their first sample.

    The loudness is a sum of mean squares of blocks. The first sample is accurate to one block.
    """
    levels = track.levels[track.stems.index(stem)].astype(np.float64)
    block = block_length(track.sample_rate)
    sums = np.cumsum(np.concatenate([[0.0], levels]))
    length = min(len(levels), max(1, round(time / block)))
    energies = sums[length:] - sums[:-length]
    start = int(np.argmax(energies))
    return float(energies[start]), max(0, min(start * block, track.time - time))


def sdr(reference: Samples, estimate: Samples) -> float | None:
    """The SDR in dB, or None if the reference is silent."""
    if not reference.any():
        return None
    true, estimated = (torch.from_numpy(samples)[None, None] for samples in (reference, estimate))
    return round(float(signal_to_distortion(true, estimated)), 3)
