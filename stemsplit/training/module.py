"""The one LightningModule: a separator, a loss, an optimiser. Architectures are the separator's."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import CatMetric

from stemsplit.separator import Separator
from stemsplit.shapes import Batch, Estimate, Stems

SILENT = 1e-8  # mean square: -80 dB of full scale


class SeparationModule(L.LightningModule):
    """Trains a separator on batches of a `StemDataModule`.

    `optimizer` makes an optimiser of the parameters, `scheduler` (or None) a scheduler of the
    optimiser, which sees ``validation/loss`` where it asks for a figure. With `normalise` the
    inputs' statistics are put into the network before training.
    """

    def __init__(
        self,
        separator: Separator,
        loss: Callable[[Estimate, Batch], Float[Tensor, ""]],
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        scheduler: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler] | None,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.separator = separator
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.normalise = normalise
        self.validation_sdr = nn.ModuleList([CatMetric() for _ in separator.targets])

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss = self.loss(self.separator.estimate(batch), batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.keys))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        estimate = self.separator.estimate(batch)
        loss = self.loss(estimate, batch)
        self.log("validation/loss", loss, prog_bar=True, batch_size=len(batch.keys))
        ratios = signal_to_distortion(batch.stems, estimate.waveforms)
        for stem, metric in enumerate(self._validation_sdr()):
            sounds = batch.stems[:, stem].square().mean(dim=(1, 2)) > SILENT
            if sounds.any():
                metric.update(ratios[sounds, stem])

    def on_validation_epoch_end(self) -> None:
        """SDR: the median over the excerpts in which the stem sounds, before the Wiener filter."""
        for target, metric in zip(self.separator.targets, self._validation_sdr(), strict=True):
            if metric.update_called:
                self.log(f"validation/sdr/{target}", metric.compute().median(), prog_bar=True)
            metric.reset()

    def _validation_sdr(self) -> list[CatMetric]:
        return cast(list[CatMetric], list(self.validation_sdr))

    def on_train_epoch_end(self) -> None:
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        # Here, not when Lightning would: it writes the epoch's checkpoint before that, and a
        # resumed run would lose a step of the scheduler.
        for configured in self.trainer.lr_scheduler_configs:
            if not isinstance(configured.scheduler, ReduceLROnPlateau):
                configured.scheduler.step()
            elif (loss := self.trainer.callback_metrics.get("validation/loss")) is not None:
                configured.scheduler.step(loss)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Nothing: the step is taken in `on_train_epoch_end`."""

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = {"scheduler": self.scheduler(optimizer), "monitor": "validation/loss"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["separator"] = self.separator.description


def signal_to_distortion(references: Stems, estimates: Stems) -> Float[Tensor, "batch stem"]:
    """20 log10 ‖reference‖ / ‖reference - estimate‖ in dB over all channels and samples."""
    signal = references.square().sum(dim=(2, 3))
    distortion = (references - estimates).square().sum(dim=(2, 3))
    tiny = torch.finfo(signal.dtype).tiny
    return 10 * (signal.clamp(min=tiny).log10() - distortion.clamp(min=tiny).log10())
