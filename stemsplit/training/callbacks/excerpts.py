"""Separate the same validation excerpts every few epochs, to listen to and look at."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import lightning as L
import numpy as np
import soundfile
import torch
from jaxtyping import Float32

from stemsplit import audio
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.store.activity import block_length
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation.spectrograms import spectrogram_comparison
from stemsplit.files import file_name, replacing
from stemsplit.training.module import SeparationModule, signal_to_distortion

KEPT = 20  # epochs of which there is something to hear; of longer runs every second one, fourth …
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
DPI = 60

Samples = Float32[np.ndarray, "channel time"]


class Excerpt(NamedTuple):
    """A stretch of a song, and its true stems."""

    track: str
    start_seconds: float
    mixture: Samples
    stems: dict[str, Samples]


@runtime_checkable
class ShowsExcerpts(Protocol):
    """A logger that can show what a run's folder holds of an excerpt."""

    def log_excerpt(self, number: int, files: Mapping[str, Path], epoch: int, step: int) -> None:
        """`files` by name: ``mixture``, ``STEM/reference``, ``…/estimate``, ``…/spectrograms``."""


class Excerpts(L.Callback):
    """Separates excerpts of validation songs as a user would, Wiener filter included.

    They are the same throughout a training: of `count` songs the `seconds` in which the first
    target is loudest, of the songs in which it is loudest. At the first validation of every `every`
    epochs, and at that of the last epoch asked for, `folder`/excerpts gets an MP3 file of each
    target and a picture of its spectrogram beside those of mixture and reference; ``index.json``
    lists them by excerpt, stem and epoch, with the SDR of estimate and mixture (None of a reference
    that is silent). No more than about 20 epochs are kept. The weights are those that validation
    scores. Loggers that `ShowsExcerpts` have them shown.
    """

    def __init__(self, folder: str, every: int = 5, count: int = 2, seconds: float = 6.0) -> None:
        if every < 1 or count < 1 or seconds <= 0:
            raise InputError(
                f"excerpts: every {every} epochs, count {count} and seconds {seconds} must be more "
                "than nothing; callbacks.excerpts=null leaves them out"
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
        # With the last batch, for when the epoch has ended the weights may be others again.
        if batch_idx + 1 < sum(trainer.num_val_batches) or trainer.sanity_checking:
            return
        epoch = trainer.current_epoch
        last = epoch + 1 == trainer.max_epochs
        if trainer.is_global_zero and (last or self._due(epoch)):
            assert isinstance(pl_module, SeparationModule)
            self._show(trainer, pl_module, epoch)

    def _due(self, epoch: int) -> bool:
        """Whether excerpts are due. Not every epoch is validated; a resumed run repeats some."""
        spacing = self.spacing(epoch)
        estimates = [
            one
            for excerpt in read_index(self.folder)
            for of_stem in excerpt["stems"].values()
            for one in of_stem["estimates"]
        ]
        return all(
            one["epoch"] // spacing != epoch // spacing or one["epoch"] >= epoch
            for one in estimates
        )

    def spacing(self, epoch: int) -> int:
        """The number of epochs between kept excerpts at this epoch."""
        spacing = self.every
        while epoch >= KEPT * spacing:
            spacing *= 2
        return spacing

    def _show(self, trainer: L.Trainer, module: SeparationModule, epoch: int) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        rate = data.corpus.sample_rate
        if self._excerpts is None:
            self._excerpts = self._choose(data, module.separator.targets)
        index = self._index(rate)
        for number, excerpt in enumerate(self._excerpts):
            found = module.separator.separate(torch.from_numpy(excerpt.mixture), rate)
            files = {"mixture": self.folder / index[number]["mixture"]}
            for stem, reference in excerpt.stems.items():
                estimate = found[stem].numpy()
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
                of_stem = index[number]["stems"][stem]
                files[f"{stem}/reference"] = self.folder / of_stem["reference"]
                files[f"{stem}/estimate"] = audio_file
                files[f"{stem}/spectrograms"] = picture
                of_stem["estimates"] = [
                    *(one for one in of_stem["estimates"] if one["epoch"] < epoch),
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
        self._thin_out(index, epoch)
        with replacing(self.folder / "index.json") as partial:
            partial.write_text(json.dumps({"excerpts": index}, indent=2) + "\n")
        self._remove_unlisted(index)

    def _choose(self, data: StemDataModule, targets: Sequence[str]) -> list[Excerpt]:
        rate = data.corpus.sample_rate
        time = round(self.seconds * rate)
        places = sorted(
            ((*loudest(track, targets[0], time), track) for track in data.corpus.tracks("valid")),
            key=lambda place: -place[0],
        )
        found = []
        for _, start, track in places[: self.count]:
            mixture = track.mixture()[:, start : start + time]
            stems = {stem: track.read(stem, start, mixture.shape[1]) for stem in targets}
            found.append(Excerpt(track.name, start / rate, mixture, stems))
        return found

    def _index(self, rate: int) -> list[dict[str, Any]]:
        """Read the index, or start a new one with the references if the excerpts have changed."""
        assert self._excerpts is not None
        new = [
            {
                "track": excerpt.track,
                "start_seconds": round(excerpt.start_seconds, 3),
                "seconds": round(excerpt.mixture.shape[1] / rate, 3),
                "mixture": f"{number}/mixture.mp3",
                "stems": {
                    stem: {
                        "reference": f"{number}/{file_name(stem, '-reference.mp3')}",
                        "estimates": [],
                    }
                    for stem in excerpt.stems
                },
            }
            for number, excerpt in enumerate(self._excerpts)
        ]
        before = read_index(self.folder)
        if [without_estimates(one) for one in before] == [without_estimates(one) for one in new]:
            return before
        for excerpt, listed in zip(self._excerpts, new, strict=True):
            write_mp3(self.folder / str(listed["mixture"]), excerpt.mixture, rate)
            for stem, samples in excerpt.stems.items():
                path = self.folder / listed["stems"][stem]["reference"]
                write_mp3(path, samples, rate)
        return new

    def _thin_out(self, index: list[dict[str, Any]], epoch: int) -> None:
        """Keep the first excerpt of every `spacing` epochs, and the present one."""
        spacing = self.spacing(epoch)
        for excerpt in index:
            for of_stem in excerpt["stems"].values():
                firsts: dict[int, dict[str, Any]] = {}
                for one in of_stem["estimates"]:
                    firsts.setdefault(one["epoch"] // spacing, one)
                of_stem["estimates"] = [
                    one
                    for one in of_stem["estimates"]
                    if one["epoch"] == epoch or one in firsts.values()
                ]

    def _remove_unlisted(self, index: list[dict[str, Any]]) -> None:
        listed = {
            one[kind]
            for excerpt in index
            for of_stem in excerpt["stems"].values()
            for one in of_stem["estimates"]
            for kind in ("audio", "picture")
        }
        for file in self.folder.glob("*/*-epoch-*"):
            if str(file.relative_to(self.folder)) not in listed:
                file.unlink()


def read_index(folder: Path) -> list[dict[str, Any]]:
    """Read the index of a run's ``excerpts``; empty if it is missing or damaged."""
    try:
        excerpts: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())["excerpts"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    return excerpts


def without_estimates(excerpt: Mapping[str, Any]) -> dict[str, Any]:
    stems = {stem: of_stem["reference"] for stem, of_stem in excerpt["stems"].items()}
    return {**excerpt, "stems": stems}


def loudest(track: StoredTrack, stem: str, time: int) -> tuple[float, int]:
    """The energy and the start of the loudest `time` samples of a stem, to the block."""
    levels = track.levels[track.stems.index(stem)].astype(np.float64)
    block = block_length(track.sample_rate)
    sums = np.cumsum(np.concatenate([[0.0], levels]))
    length = min(len(levels), max(1, round(time / block)))
    energies = sums[length:] - sums[:-length]
    start = int(np.argmax(energies))
    return float(energies[start]), max(0, min(start * block, track.time - time))


def write_mp3(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write an MP3 file, which every browser plays; more than two channels are averaged."""
    if len(samples) > 2:
        samples = samples.mean(axis=0, keepdims=True)
    if sample_rate not in MP3_RATES:
        higher = [rate for rate in MP3_RATES if rate > sample_rate]
        sample_rate, given = min(higher, default=MP3_RATES[-1]), sample_rate
        samples = audio.resample(samples, given, sample_rate)
    with replacing(path) as partial:
        soundfile.write(partial, np.clip(samples, -1, 1).T, sample_rate, format="MP3")


def sdr(reference: Samples, estimate: Samples) -> float | None:
    """The SDR in dB, or None for a silent reference."""
    if not reference.any():
        return None
    pair = (torch.from_numpy(samples)[None, None] for samples in (reference, estimate))
    return round(float(signal_to_distortion(*pair)), 3)
