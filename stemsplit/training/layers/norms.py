"""Callback that logs the norms of each layer and warns of the first layer that blows up."""

import logging
import math
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.training.layers.history import Figures, LayerHistory
from stemsplit.training.layers.hooks import (
    Figure,
    Probe,
    compiled,
    layers,
    network_of,
    root_mean_square,
)
from stemsplit.training.layers.plot import draw

log = logging.getLogger(__name__)


class LayerNorms(L.Callback):
    """Logs norms of every layer, and warns of the first layer that blows up.

    A layer is a module of the network with its own parameters. At every `every`-th optimiser step,
    starting with the first, these metrics are logged:

    - ``norm/weight/LAYER``: the weights, before the step;
    - ``norm/activation/LAYER/in`` and ``…/out``: the input and the output of the layer;
    - ``norm/gradient/LAYER/in`` and ``…/out``: the gradient of the loss with respect to them;
      ``in`` is missing if no earlier layer is trained;
    - ``norm/gradient/LAYER``: the gradient of the loss with respect to the weights, before
      clipping.

    All norms are root mean squares. Unlike sums of squares, they do not grow with the width of a
    layer or the length of an excerpt, so that layers can be compared. If gradients are accumulated,
    the largest value over the batches of the step is logged for activations and their gradients.

    A warning names the first layer with a value above `factor` times the median of its previous
    values, or with a non-finite value. Values are examined in causal order: weights, then
    activations forwards, then gradients backwards. Each layer is named at most once. At the end of
    the training, all values are plotted in ``folder/layers.png``.

    Raises `InputError` if `every` or `factor` is out of range.
    """

    def __init__(self, folder: str, every: int = 50, factor: float = 100.0) -> None:
        if every < 1:
            raise InputError(f"layers: every={every} must be at least 1 step")
        if factor <= 1:
            raise InputError(f"layers: factor={factor} must be greater than 1")
        self.path = Path(folder) / "layers.png"
        self.every = every
        self.history = LayerHistory(every, factor)
        self._probe: Probe | None = None
        self._warned_compiled = False

    def _logs(self, trainer: L.Trainer) -> bool:
        return trainer.is_global_zero and trainer.global_step % self.every == 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._probe is not None or not self._logs(trainer):
            return
        network = network_of(pl_module)
        if not compiled(network):
            self._probe = Probe(network)
        elif not self._warned_compiled:
            self._warned_compiled = True
            log.warning(
                "layer norms: the network is compiled, so only the norms of weights and of their "
                "gradients are logged; set model.compile=false to log activations too"
            )

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not self._logs(trainer):
            return
        network, step = network_of(pl_module), trainer.global_step
        order = list(layers(network))
        measured = weight_norms(network)
        if self._probe is not None:
            self._probe.detach()
            order = self._probe.order + [name for name in order if name not in self._probe.order]
            measured |= self._probe.figures
            self._probe = None
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None:
            figures = on_host(measured)
        else:
            figures = only_finite_gradients(on_host(unscaled(measured, scaler, optimizer)))
        blown = self.history.add(step, figures, order)
        if blown is not None:
            log.warning(f"step {step}: {blown}; it is the first layer to blow up")
        metrics = {
            metric(quantity, name): value
            for quantity, by_layer in figures.items()
            for name, value in by_layer.items()
        }
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        try:
            self._end(trainer)
        except Exception as error:  # `exception` must stay the error that is reported
            log.warning(f"{self.path} could not be drawn ({type(error).__name__}: {error})")

    def _end(self, trainer: L.Trainer) -> None:
        if self._probe is not None:
            self._probe.detach()
            self._probe = None
        if trainer.is_global_zero and self.history.series:
            draw(self.history.series, self.history.blown, self.path)

    def state_dict(self) -> dict[str, Any]:
        return self.history.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history.load_state_dict(state_dict)


def metric(quantity: str, layer: str) -> str:
    """The name of a metric: ``norm/activation/LAYER/in`` for the quantity ``activation/in``."""
    kind, _, end = quantity.partition("/")
    return "/".join(["norm", kind, layer, *([end] if end else [])])


def weight_norms(network: nn.Module) -> dict[str, dict[str, Figure]]:
    """Norms of the weights of every layer, and of their gradients."""
    norms: dict[str, dict[str, Figure]] = {"weight": {}, "gradient": {}}
    for name, layer in layers(network).items():
        weights = list(layer.parameters(recurse=False))
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        norms["weight"][name] = root_mean_square(*(weight.detach() for weight in weights))
        if gradients:
            norms["gradient"][name] = root_mean_square(*gradients)
    return norms


def unscaled(
    figures: dict[str, dict[str, Figure]], scaler: Any, optimizer: torch.optim.Optimizer
) -> dict[str, dict[str, Figure]]:
    """Divide gradients by the factor of float16 loss scaling."""
    scaled = {"gradient/in", "gradient/out"}
    # Fused optimisers unscale the gradients of weights only in their step, so these gradients are
    # still scaled here. For other optimisers, Lightning has already unscaled them.
    if optimizer.defaults.get("fused"):
        scaled.add("gradient")
    scale = scaler.scale(next(iter(figures["weight"].values())).new_ones(()))
    return {
        quantity: (
            {name: value / scale for name, value in by_layer.items()}
            if quantity in scaled
            else by_layer
        )
        for quantity, by_layer in figures.items()
    }


def only_finite_gradients(figures: Figures) -> Figures:
    """Drop infinite and NaN gradients, which are normal with float16 loss scaling."""
    return {
        quantity: {
            name: value
            for name, value in by_layer.items()
            if math.isfinite(value) or not quantity.startswith("gradient")
        }
        for quantity, by_layer in figures.items()
    }


def on_host(figures: dict[str, dict[str, Tensor]]) -> Figures:
    """Convert tensors to numbers, with one synchronisation of the device."""
    flat = [figure for by_layer in figures.values() for figure in by_layer.values()]
    numbers = iter(torch.stack(flat).tolist())
    return {
        quantity: {name: next(numbers) for name in by_layer}
        for quantity, by_layer in figures.items()
    }
