"""Callback that logs norms layer by layer and names the first layer that blows up."""

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

    A layer is a module of the separator's network with parameters of its own. At every `every`-th
    optimiser step, the first included, it logs

    - ``norm/weight/LAYER``: its weights, before the step;
    - ``norm/activation/LAYER/in`` and ``…/out``: what goes into it, and what comes out;
    - ``norm/gradient/LAYER/out`` and ``…/in``: the loss's gradient with respect to what came out
      (it arrives from the loss), and to what went in (it is handed on to the layers before). It has
      no ``in`` where nothing before it is trained;
    - ``norm/gradient/LAYER``: the loss's gradient with respect to its weights, before clipping.

    All are root mean squares: what a single number of it is like. A sum of squares would grow with
    the width of a layer and the length of an excerpt, and say nothing about which layer is odd.
    Where gradients are accumulated, what passes through is the largest of the step's batches.

    A warning names the first layer with a figure beyond `factor` times the median of its own
    figures so far, or not finite: weights first, then activations forwards, then gradients
    backwards, which is how one brings about the next. No layer is named twice. When training ends,
    `folder`/layers.png shows all of it.
    """

    def __init__(self, folder: str, every: int = 50, factor: float = 100.0) -> None:
        if every < 1:
            raise InputError(f"every {every} must be a number of steps: 1 or more")
        if factor <= 1:
            raise InputError(f"factor {factor} must be more than 1")
        self.path = Path(folder) / "layers.png"
        self.every = every
        self.history = LayerHistory(every, factor)
        self._probe: Probe | None = None
        self._said_compiled = False

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
        elif not self._said_compiled:
            self._said_compiled = True
            log.warning(
                "layer norms: the network is compiled, so only those of its weights and of their "
                "gradients are logged; model.compile=false shows what passes through its layers"
            )

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not self._logs(trainer):
            return
        network, step = network_of(pl_module), trainer.global_step
        order = list(layers(network))
        measured = sizes_of_weights(network)
        if self._probe is not None:
            self._probe.detach()
            order = self._probe.order + [name for name in order if name not in self._probe.order]
            measured |= self._probe.figures
            self._probe = None
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None:
            figures = on_host(measured)
        else:
            figures = only_finite_gradients(on_host(scaled_back(measured, scaler, optimizer)))
        blown = self.history.add(step, figures, order)
        if blown is not None:
            log.warning(f"step {step}: {blown}; it is the first layer to blow up")
        metrics = {
            metric(quantity, name): value
            for quantity, of_layers in figures.items()
            for name, value in of_layers.items()
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
        except Exception as error:  # `exception` is the one to report
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
    """``activation/in`` of a layer is logged as ``norm/activation/LAYER/in``."""
    kind, _, end = quantity.partition("/")
    return "/".join(["norm", kind, layer, *([end] if end else [])])


def sizes_of_weights(network: nn.Module) -> dict[str, dict[str, Figure]]:
    """Norms of the weights of every layer, and of their gradients."""
    found: dict[str, dict[str, Figure]] = {"weight": {}, "gradient": {}}
    for name, layer in layers(network).items():
        weights = list(layer.parameters(recurse=False))
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        found["weight"][name] = root_mean_square(*(weight.detach() for weight in weights))
        if gradients:
            found["gradient"][name] = root_mean_square(*gradients)
    return found


def scaled_back(
    figures: dict[str, dict[str, Figure]], scaler: Any, optimizer: torch.optim.Optimizer
) -> dict[str, dict[str, Figure]]:
    """Gradients without the factor of float16's loss scaling."""
    scaled = {"gradient/in", "gradient/out"}
    # A fused optimiser takes it off in its step, others have done so by now.
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        scaled.add("gradient")
    scale = scaler.scale(next(iter(figures["weight"].values())).new_ones(()))
    return {
        quantity: {n: v / scale for n, v in of_layers.items()} if quantity in scaled else of_layers
        for quantity, of_layers in figures.items()
    }


def only_finite_gradients(figures: Figures) -> Figures:
    """Drop infinite gradients, by which float16's loss scaling finds its factor."""
    return {
        quantity: {
            name: value
            for name, value in of_layers.items()
            if math.isfinite(value) or not quantity.startswith("gradient")
        }
        for quantity, of_layers in figures.items()
    }


def on_host(figures: dict[str, dict[str, Tensor]]) -> Figures:
    """Convert tensors to numbers, with one synchronisation of the device."""
    flat = [figure for of_layers in figures.values() for figure in of_layers.values()]
    numbers = iter(torch.stack(flat).tolist())
    return {
        quantity: {name: next(numbers) for name in of_layers}
        for quantity, of_layers in figures.items()
    }
