"""The LightningModule that trains a separator of any architecture."""

from collections.abc import Callable, Iterable, Sequence
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
from stemsplit.training.freezing import freeze as frozen
from stemsplit.training.losses import SILENT
from stemsplit.training.random_states import random_states, restore

SCORES = ("sdr", "gain")  # validation metrics of each target


class SeparationModule(L.LightningModule):
    """Trains a separator on batches of a `StemDataModule`.

    `optimizer` creates an optimiser for the parameters. `scheduler` creates a learning rate
    scheduler for the optimiser, or is None; `schedules.configured` decides when the scheduler
    steps. A scheduler that needs a metric gets ``validation/loss``. `normalise` tells the train
    command to set the statistics of the network's inputs before the training. With `compile`, the
    network is compiled in place. `freeze` are patterns: parameters with a matching name are not
    trained (see `freezing.freeze`).

    Only the network runs in the precision of the trainer; spectra and losses are float32. In
    addition to Lightning's content, checkpoints store the random states and the running mean of the
    loss. A training resumed in the middle of an epoch therefore ends with the same weights as an
    uninterrupted one.
    """

    def __init__(
        self,
        separator: Separator,
        loss: Callable[[Estimate, Batch], Float[Tensor, ""]],
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None,
        normalise: bool = True,
        compile: bool = False,
        freeze: Sequence[str] = (),
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
        self.published: list[str] = []  # published models whose weights the training started from
        self._random_states: list[dict[str, Any]] | None = None
        network = cast(nn.Module, separator.network)
        self.frozen_statistics = frozen(network, freeze)
        if compile:
            network.compile()

    def trained(self) -> list[nn.Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def logged(self) -> list[str]:
        """The names of the metrics that are available after every validation."""
        scores = [f"{score}/{target}" for target in self.separator.targets for score in SCORES]
        return ["train/loss", "validation/loss", *(f"validation/{score}" for score in scores)]

    def on_fit_start(self) -> None:
        if self.trainer.checkpoint_callbacks:
            _ = self.separator.description  # raises an error if the separator cannot be saved

    def on_train_start(self) -> None:
        schedules.check_length(self.trainer)
        # Each process needs its own dropout masks. Resumed processes restore their random state.
        if self.trainer.world_size > 1 and self._random_states is None:
            torch.manual_seed(torch.initial_seed() + self.trainer.global_rank)

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        # Validation and excerpts set all layers to training mode again.
        for name in self.frozen_statistics:
            cast(nn.Module, self.separator.network).get_submodule(name).eval()
        # Restore the states only now, because data loaders and validation also draw random numbers.
        if self._random_states is not None:
            restore(self._random_states)
            self._random_states = None

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self._loss(self.separator.estimate(batch), batch)
        self.train_loss.add(loss, len(batch.keys))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, index: int) -> None:
        # Training may end in the middle of an epoch. This flag makes Lightning validate there, so
        # that the last weights are scored and can become the best checkpoint.
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
        is_audible = batch.stems[:count].square().mean(dim=(2, 3)) > SILENT
        for score, ratios in zip(SCORES, (sdr, gain), strict=True):
            for stem, target in enumerate(self.separator.targets):
                decibels = ratios[is_audible[:, stem], stem].tolist()
                self.validation_scores.setdefault(f"{score}/{target}", []).extend(decibels)

    def on_validation_epoch_end(self) -> None:
        """Log the loss, the SDR of each target, and its gain over the SDR of the mixture.

        SDR and gain are medians in dB, over the excerpts in which the stem is not silent. The
        Wiener filter is not applied.
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
        # Lightning would step schedulers only after it has written the checkpoint of the epoch, so
        # a resumed run would lose one step of the scheduler.
        for configured in self.trainer.lr_scheduler_configs:
            if configured.interval == "step":
                continue
            if not isinstance(configured.scheduler, ReduceLROnPlateau):
                configured.scheduler.step()
            elif (loss := self.trainer.callback_metrics.get("validation/loss")) is not None:
                configured.scheduler.step(loss)

    def log_now(self, metrics: dict[str, float]) -> None:
        """Log metrics of the ending epoch before its checkpoint is written.

        Lightning would log them after the checkpoint, so a run killed in between would lose them.
        """
        for name, value in metrics.items():
            self.log(name, value, logger=False)
        for logger in self.trainer.loggers:
            epoch = {"epoch": self.current_epoch}
            logger.log_metrics({**metrics, **epoch}, self.trainer.global_step - 1)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step schedulers with interval ``step``; `on_train_epoch_end` steps all others."""
        (configured,) = self.trainer.lr_scheduler_configs
        if configured.interval == "step":
            scheduler.step()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.trained())
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
        # Lightning does not clip gradients for fused optimisers in mixed precision, because such
        # optimisers unscale the gradients themselves. Without a gradient scaler, clipping is safe.
        if gradient_clip_val and getattr(self.trainer.precision_plugin, "scaler", None) is None:
            by_value = gradient_clip_algorithm == "value"
            clip = nn.utils.clip_grad_value_ if by_value else nn.utils.clip_grad_norm_
            clip(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["separator"] = self.separator.description
        checkpoint["published"] = self.published
        checkpoint["random_states"] = random_states()
        checkpoint["train_loss"] = self.train_loss.totals()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_states = checkpoint["random_states"]
        self.published = checkpoint.get("published", [])  # missing in checkpoints of older versions
        # The totals are sums over all processes, so they must be counted in only one of them.
        if processes.rank() == 0:
            self.train_loss.start_from(*checkpoint["train_loss"])


class Mean:
    """Running mean of a loss over the excerpts of all processes.

    Lightning's own mean, with ``sync_dist=True``, blocks forever if only one process reads it, as
    a progress bar does.
    """

    def __init__(self) -> None:
        self.start_from(0.0, 0)

    def start_from(self, total: float, count: int) -> None:
        self.total: Tensor | float = total
        self.count = count

    def add(self, mean: Tensor, count: int) -> None:
        # The total stays on the device; reading it at every step would stall the device.
        self.total = self.total + count * mean.detach().double()
        self.count += count

    def totals(self) -> tuple[float, int]:
        """The sum of the losses and the number of excerpts so far, over all processes."""
        parts = processes.gather([(float(self.total), self.count)])
        return sum(total for total, _ in parts), sum(count for _, count in parts)

    def take(self) -> float:
        """Return the mean over all processes, and reset it."""
        total, count = self.totals()
        self.start_from(0.0, 0)
        return total / max(1, count)


def signal_to_distortion(references: Stems, estimates: Stems) -> Float[Tensor, "batch stem"]:
    """SDR in dB over all channels and samples: 20 log10(‖reference‖ / ‖reference - estimate‖)."""
    signal = references.square().sum(dim=(2, 3))
    distortion = (references - estimates).square().sum(dim=(2, 3))
    tiny = torch.finfo(signal.dtype).tiny
    return 10 * (signal.clamp(min=tiny).log10() - distortion.clamp(min=tiny).log10())
