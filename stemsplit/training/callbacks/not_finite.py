"""Stop training at a NaN or infinite loss or gradient, and report the cause."""

import math
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from stemsplit import processes
from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch
from stemsplit.separation.checkpoint import read
from stemsplit.training.callbacks.batches import Key, describe
from stemsplit.training.layers.hooks import layers, network_of, root_mean_square, watching

ADVICE = "lower optimizer.lr, or set model.normalise=true"


class DivergedError(InputError):
    """The loss or a gradient is NaN or infinite because of the settings, not the songs."""


class StopWhenNotFinite(L.Callback):
    """Stops training before a NaN or infinite loss or gradient changes the weights.

    Raises `DivergedError` if the network has diverged, else `InputError`. The message names the
    songs and positions of the batch, the layer, and the newest checkpoint with finite weights. If
    the loss is not finite, the batch is run again to find the first module with a non-finite
    output. If only gradients are not finite, the message names the affected layer nearest to the
    loss. With float16 loss scaling, only the loss is checked, because the scaler uses infinite
    gradients to choose its scale.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._keys: list[Key] = []
        self._loss: Tensor | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._batch = batch
        self._keys += batch.keys  # keys of all batches whose gradients are accumulated

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            gradients = []
        self._check(trainer, pl_module, gradients)
        self._keys = []

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        # If gradients accumulate, this batch made no step, and its loss is still unchecked.
        if self._loss is not None:
            self._check(trainer, pl_module, [])
        self._batch = None

    def _check(
        self, trainer: L.Trainer, module: L.LightningModule, gradients: list[Tensor]
    ) -> None:
        loss, self._loss = self._loss, None
        assert loss is not None
        assert self._batch is not None
        # If a gradient is NaN or infinite, the norm is not finite either. (Very large gradients can
        # also make the norm overflow.) The norm is much cheaper to compute than the maximum of the
        # gradients. Loss and norm are transferred together, to synchronise with the device only
        # once.
        norm = get_total_norm(gradients) if gradients else torch.zeros_like(loss)
        loss_value, norm_value = torch.stack([loss.double(), norm.double()]).tolist()
        if math.isfinite(loss_value) and math.isfinite(norm_value):
            return
        error = None
        if not math.isfinite(loss_value):
            cause, keys = cause_in_loss(trainer, module, self._batch)
            error = f"the loss is {loss_value}; {cause}; in {describe(trainer, keys)}"
        if not math.isfinite(norm_value):
            # All processes have the same averaged gradients, so all of them call `gather`.
            error = next(filter(None, processes.gather([error])), None)
        if error is None:
            cause = cause_in_gradient(trainer, module, self._batch)
            songs = describe(trainer, self._keys)
            error = f"the norm of the gradients is not finite; {cause}; in {songs}"
        checkpoint = last_good(trainer)
        raise (DivergedError if ADVICE in error else InputError)(
            f"step {trainer.global_step}: {error}; the weights were not changed; "
            + (
                f"last good checkpoint: {checkpoint}"
                if checkpoint
                else "there is no checkpoint yet"
            )
        )


def cause_in_loss(
    trainer: L.Trainer, module: L.LightningModule, batch: Batch
) -> tuple[str, list[Key]]:
    """Describe the first non-finite tensor, with the keys of the excerpts that may be the cause."""
    signals = {"stems": batch.stems, "mixture": batch.mixture}
    for name, signal in signals.items():
        is_bad = (~signal.isfinite().flatten(1).all(dim=1)).tolist()
        if any(is_bad):
            keys = [key for key, bad in zip(batch.keys, is_bad, strict=True) if bad]
            return f"samples of the {name} are not finite: repair or remove the song", keys
    for name, view in {"spectrum": batch.spectrum, **batch.views}.items():
        if not finite(view):
            return f"the {name} of the mixture is not finite, although its samples are", batch.keys
    causes: list[str] = []

    def examine(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if causes or finite(output):
            return
        weights = list(layer.parameters(recurse=False))
        place = "weights" if not finite(weights) else "input" if not finite(inputs) else "output"
        layer_type = type(layer).__name__
        causes.append(f"the first non-finite value is in the {place} of {name} ({layer_type})")

    run_again(trainer, module, batch, examine)
    if causes:
        return f"{causes[0]}: {ADVICE}", batch.keys
    return "all outputs of the network are finite, so the loss function is the cause", batch.keys


def cause_in_gradient(trainer: L.Trainer, module: L.LightningModule, batch: Batch) -> str:
    """Among the layers with a non-finite gradient, describe the layer nearest to the loss."""
    network = network_of(module)
    order: list[str] = []
    run_again(trainer, module, batch, lambda name, *_: order.append(name))
    affected = {}
    for name, layer in layers(network).items():
        gradients = [
            weight.grad for weight in layer.parameters(recurse=False) if weight.grad is not None
        ]
        if gradients and not finite(root_mean_square(*gradients)):
            affected[name] = layer
    if not affected:
        return (
            f"the gradient of each layer is finite, but the norm over all layers is not: {ADVICE}"
        )
    name = max(affected, key=lambda name: order.index(name) if name in order else -1)
    layer_type = type(affected[name]).__name__
    return f"the affected layer nearest to the loss is {name} ({layer_type}): {ADVICE}"


def run_again(trainer: L.Trainer, module: L.LightningModule, batch: Batch, visit: Any) -> None:
    """Run the network on a batch as in training, but without gradients; see `watching` for `visit`.

    Synchronised batch norm uses its running statistics, because other processes do not run this
    batch.
    """
    for layer in network_of(module).modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.eval()
    with (
        torch.no_grad(),
        trainer.precision_plugin.forward_context(),
        watching(network_of(module), visit),
    ):
        cast(Any, module).separator.estimate(batch)


def finite(value: Any) -> bool:
    """Whether all values of a tensor, or of tuples, lists and dicts of tensors, are finite."""
    if isinstance(value, Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, dict):
        value = list(value.values())
    return all(finite(part) for part in value) if isinstance(value, (tuple, list)) else True


def last_good(trainer: L.Trainer) -> Path | None:
    """The newest checkpoint with finite weights."""
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    paths = {
        Path(path) for c in callbacks for path in (c.last_model_path, c.best_model_path) if path
    }
    newest_first = sorted(
        (path for path in paths if path.is_file()), key=lambda path: -path.stat().st_mtime
    )
    return next((path for path in newest_first if finite(read(path)["state_dict"])), None)
