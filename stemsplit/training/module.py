"""The LightningModule that trains every architecture: a separator, a loss, an optimiser."""

from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any, cast

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stemsplit import processes
from stemsplit.models.shapes import Batch, Estimate, Stems
from stemsplit.separation.separator import Separator
from stemsplit.training import schedules
from stemsplit.training.losses import SILENT
from stemsplit.training.random_states import random_states, restore

SCORES = ("sdr", "gain")  # of a target in the validation excerpts


class SeparationModule(L.LightningModule):
    """Trains a separator on batches of a `StemDataModule`.

    `optimizer` makes an optimiser of the parameters, `scheduler` (or None) a scheduler of the
    optimiser, which sees ``validation/loss`` if it needs one; `schedules` says when it steps. With
    `normalise` the inputs' statistics are put into the network before training; with `compile` the
    network is compiled, in place.

    Only the network runs in the trainer's precision: spectra and losses are float32. Checkpoints
    hold the random states and the running mean of the loss beside what Lightning keeps, so that a
    training that goes on in the middle of an epoch ends as one that never stopped.
    """

    def __init__(
        self,
        separator: Separator,
        loss: Callable[[Estimate, Batch], Float[Tensor, ""]],
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None,
        normalise: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.separator = separator
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.normalise = normalise
        self.train_loss = Mean()
        self.validation_loss = Mean()
        self.validation_scores: dict[str, list[float]] = {}
        self._random_states: list[dict[str, Any]] | None = None
        if compile:
            cast(nn.Module, separator.network).compile()

    @property
    def logged(self) -> list[str]:
        """The names of the figures that a training has after every validation."""
        scores = [f"{score}/{target}" for target in self.separator.targets for score in SCORES]
        return ["train/loss", "validation/loss", *(f"validation/{score}" for score in scores)]

    def on_fit_start(self) -> None:
        if self.trainer.checkpoint_callbacks:
            _ = self.separator.description  # raises now if no checkpoint of it can be made

    def on_train_start(self) -> None:
        schedules.check_length(self.trainer)
        # Dropout of its own for every process; a resumed one has its state.
        if self.trainer.world_size > 1 and self._random_states is None:
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        # Now, since making loaders and workers and validating have drawn from them.
        if self._random_states is not None:
            restore(self._random_states)
            self._random_states = None

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self._loss(self.separator.estimate(batch), batch)
        self.train_loss.add(loss, len(batch.keys))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, index: int) -> None:
        # Training may end in the middle of an epoch. With this flag Lightning validates there as
        # at the end of an epoch, so that the last weights are scored and can become the best ones.
        if self.trainer.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True

    def _loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        with torch.autocast(batch.mixture.device.type, enabled=False):
            return self.loss(estimate, batch)

    def validation_step(self, batch: Batch, index: int) -> None:
        estimate = self.separator.estimate(batch)
        loss = self._loss(estimate, batch)
        count = len(batch.keys)
        self.validation_loss.add(loss, count)
        with torch.autocast(batch.mixture.device.type, enabled=False):
            sdr = signal_to_distortion(batch.stems, estimate.waveforms)[:count]
            mixture = batch.mixture[:, None].expand_as(batch.stems)
            gain = sdr - signal_to_distortion(batch.stems, mixture)[:count]
        sounds = batch.stems[:count].square().mean(dim=(2, 3)) > SILENT
        for score, ratios in zip(SCORES, (sdr, gain), strict=True):
            for stem, target in enumerate(self.separator.targets):
                found = ratios[sounds[:, stem], stem].tolist()
                self.validation_scores.setdefault(f"{score}/{target}", []).extend(found)

    def on_validation_epoch_end(self) -> None:
        """Log SDR and its gain over the mixture, before the Wiener filter.

        Medians over the excerpts in which the stem sounds.
        """
        self.log("validation/loss", self.validation_loss.take(), prog_bar=True)
        for score in SCORES:
            for target in self.separator.targets:
                name = f"{score}/{target}"
                if ratios := processes.gather(self.validation_scores.pop(name, [])):
                    self.log(f"validation/{name}", median(ratios), prog_bar=score == "sdr")

    def on_train_epoch_end(self) -> None:
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_now({"train/loss": self.train_loss.take(), "lr": lr})
        # Here, not when Lightning would: it writes the epoch's checkpoint before that, and a
        # resumed run would lose a step of the scheduler.
        for configured in self.trainer.lr_scheduler_configs:
            if configured.interval == "step":
                continue
            if not isinstance(configured.scheduler, ReduceLROnPlateau):
                configured.scheduler.step()
            elif (loss := self.trainer.callback_metrics.get("validation/loss")) is not None:
                configured.scheduler.step(loss)

    def log_now(self, metrics: dict[str, float]) -> None:
        """Figures of the epoch that ends, logged before its checkpoint is written.

        (Lightning would log them after it: a run that is killed in between would lose them.)
        """
        for name, value in metrics.items():
            self.log(name, value, logger=False)
        for logger in self.trainer.loggers:
            epoch = {"epoch": self.current_epoch}
            logger.log_metrics({**metrics, **epoch}, self.trainer.global_step - 1)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step schedulers of optimiser steps; `on_train_epoch_end` steps those of epochs."""
        (configured,) = self.trainer.lr_scheduler_configs
        if configured.interval == "step":
            scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        length = partial(schedules.length, self.trainer)
        scheduler = schedules.configured(self.scheduler, optimizer, length)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning refuses to clip for a fused optimiser in mixed precision, since one with a
        # gradient scaler unscales for itself; without a scaler there is nothing to unscale.
        if gradient_clip_val and getattr(self.trainer.precision_plugin, "scaler", None) is None:
            by_value = gradient_clip_algorithm == "value"
            clip = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
            clip(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["separator"] = self.separator.description
        checkpoint["random_states"] = random_states()
        checkpoint["train_loss"] = self.train_loss.totals()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_states = checkpoint["random_states"]
        # (The epoch's mean is of all processes, so one of them can hold it all.)
        if processes.rank() == 0:
            self.train_loss.start_from(*checkpoint["train_loss"])


class Mean:
    """The running mean of a loss over the excerpts of all processes.

    (Lightning's own, with sync_dist, waits for ever where a progress bar of one process asks.)
    """

    def __init__(self) -> None:
        self.start_from(0.0, 0)

    def start_from(self, total: float, count: int) -> None:
        self.total: Tensor | float = total
        self.count = count

    def add(self, mean: Tensor, count: int) -> None:
        # It stays on the device: a figure of every step would make the device wait.
        self.total = self.total + count * mean.detach().double()
        self.count += count

    def totals(self) -> tuple[float, int]:
        """The sum and the number of excerpts so far."""
        parts = processes.gather([(float(self.total), self.count)])
        return sum(total for total, _ in parts), sum(count for _, count in parts)

    def take(self) -> float:
        total, count = self.totals()
        self.start_from(0.0, 0)
        return total / max(1, count)


def signal_to_distortion(references: Stems, estimates: Stems) -> Float[Tensor, "batch stem"]:
    """20 log10 ‖reference‖ / ‖reference - estimate‖ in dB over all channels and samples."""
    signal = references.square().sum(dim=(2, 3))
    distortion = (references - estimates).square().sum(dim=(2, 3))
    tiny = torch.finfo(signal.dtype).tiny
    return 10 * (signal.clamp(min=tiny).log10() - distortion.clamp(min=tiny).log10())
