"""End a training at a NaN or infinite loss or gradient, and name its cause."""

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
from stemsplit.training.callbacks.batches import Key, named
from stemsplit.training.layers.hooks import layers, network_of, root_mean_square, watching

LOWER = "lower optimizer.lr, or train with model.normalise=true"


class DivergedError(InputError):
    """The settings, not the songs, made the loss or a gradient NaN or infinite."""


class StopWhenNotFinite(L.Callback):
    """Raises an error before a NaN or infinite loss or gradient reaches the weights.

    `DivergedError` where the network is at fault, else `InputError`. It names the songs and places
    of the batch, the layer, and the last good checkpoint. Of a loss, that is the first module whose
    output is not finite when the batch is run again; of a gradient, the layer nearest to the loss.
    With float16's loss scaling only the loss counts: infinite gradients are how it finds its scale.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._keys: list[Key] = []
        self._loss: Tensor | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self._batch = batch
        self._keys += batch.keys  # of all batches whose gradients are accumulated

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
        if self._loss is not None:  # one of a step to come
            self._check(trainer, pl_module, [])
        self._batch = None

    def _check(
        self, trainer: L.Trainer, module: L.LightningModule, gradients: list[Tensor]
    ) -> None:
        loss, self._loss = self._loss, None
        assert loss is not None
        assert self._batch is not None
        # Their norm is finite where all are (and many times cheaper than the largest of them). One
        # transfer, so that the device is waited for once.
        norm = get_total_norm(gradients) if gradients else torch.zeros_like(loss)
        loss_value, gradient = torch.stack([loss.double(), norm.double()]).tolist()
        if math.isfinite(loss_value) and math.isfinite(gradient):
            return
        fault = None
        if not math.isfinite(loss_value):
            where, keys = fault_of_loss(trainer, module, self._batch)
            fault = f"the loss is {loss_value}; {where}; in {named(trainer, keys)}"
        if not math.isfinite(gradient):  # in all processes, since they share it
            fault = next(filter(None, processes.gather([fault])), None)
        if fault is None:
            where = fault_of_gradient(trainer, module, self._batch)
            fault = f"a gradient is not finite; {where}; in {named(trainer, self._keys)}"
        good = last_good(trainer)
        raise (DivergedError if LOWER in fault else InputError)(
            f"step {trainer.global_step}: {fault}; no step was taken; "
            + (f"last good checkpoint: {good}" if good else "there is no checkpoint yet")
        )


def fault_of_loss(
    trainer: L.Trainer, module: L.LightningModule, batch: Batch
) -> tuple[str, list[Key]]:
    """The first layer that is not finite, and the excerpts that may have caused it."""
    parts = {"stems": batch.stems, "mixture": batch.mixture}
    for name, part in parts.items():
        bad = ~part.isfinite().flatten(1).all(dim=1)
        if bad.any():
            keys = [key for key, at_fault in zip(batch.keys, bad.tolist(), strict=True) if at_fault]
            return f"samples of the {name} are not finite: mend or leave out the song", keys
    for name, part in {"spectrum": batch.spectrum, **batch.views}.items():
        if not finite(part):
            return f"the {name} of the mixture is not finite, its samples are", batch.keys
    found: list[str] = []

    def see(name: str, layer: nn.Module, inputs: Any, output: Any) -> None:
        if found or finite(output):
            return
        weights = list(layer.parameters(recurse=False))
        if not finite(weights):
            found.append(f"the weights of {name} ({type(layer).__name__}) are not finite")
        elif not finite(inputs):
            found.append(f"the input of {name} ({type(layer).__name__}) is the first not finite")
        else:
            found.append(f"the output of {name} ({type(layer).__name__}) is the first not finite")

    run_again(trainer, module, batch, see)
    if found:
        return f"{found[0]}: {LOWER}", batch.keys
    return "all that the network gives is finite, so it is the loss function's own", batch.keys


def fault_of_gradient(trainer: L.Trainer, module: L.LightningModule, batch: Batch) -> str:
    """The layer nearest to the loss with a gradient that is not finite."""
    network = network_of(module)
    order: list[str] = []
    run_again(trainer, module, batch, lambda name, *_: order.append(name))
    bad = {}
    for name, layer in layers(network).items():
        gradients = [
            weight.grad for weight in layer.parameters(recurse=False) if weight.grad is not None
        ]
        if gradients and not finite(root_mean_square(*gradients)):
            bad[name] = layer
    if not bad:
        return f"that of no layer of the network by itself: {LOWER}"
    name = max(bad, key=lambda name: order.index(name) if name in order else -1)
    return f"nearest to the loss that of {name} ({type(bad[name]).__name__}): {LOWER}"


def run_again(trainer: L.Trainer, module: L.LightningModule, batch: Batch, see: Any) -> None:
    """Run the network on a batch as in training, without gradients, and call `see` per layer.

    (Where batch norm is over all processes it is not: the others do not run the batch again.)
    """
    for layer in network_of(module).modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.eval()
    with (
        torch.no_grad(),
        trainer.precision_plugin.forward_context(),
        watching(network_of(module), see),
    ):
        cast(Any, module).separator.estimate(batch)


def finite(value: Any) -> bool:
    """Whether all numbers are finite in a tensor, or in tuples, lists and dicts of tensors."""
    if isinstance(value, Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, dict):
        value = list(value.values())
    return all(finite(part) for part in value) if isinstance(value, (tuple, list)) else True


def last_good(trainer: L.Trainer) -> Path | None:
    """The newest checkpoint whose weights are all finite."""
    callbacks = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    paths = {
        Path(path) for c in callbacks for path in (c.last_model_path, c.best_model_path) if path
    }
    newest_first = sorted(
        (path for path in paths if path.is_file()), key=lambda path: -path.stat().st_mtime
    )
    return next((path for path in newest_first if finite(read(path)["state_dict"])), None)
