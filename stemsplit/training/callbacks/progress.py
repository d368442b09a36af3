"""Show the progress of training: a status in a terminal, plain lines elsewhere."""

import sys
from statistics import mean
from time import monotonic
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.live import Live
from rich.text import Text

from stemsplit.terminal.streams import unfailing
from stemsplit.training.module import SeparationModule

REDRAWN_SECONDS = 0.25  # interval of the status in a terminal
PRINTED_SECONDS = 60  # interval of the lines printed without a terminal


class Progress(ProgressBar):
    """Shows epoch, step, remaining time of the epoch, loss and SDR (mean over the targets).

    In a terminal, a status of one or two lines is redrawn in place. Otherwise, the status is
    printed once a minute. In both cases, a line is printed at the end of each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self._live: Live | None = None
        self._shown = self._began = self._epoch_began = monotonic()
        self._first_step: int | None = None

    def enable(self) -> None:
        self.enabled = True

    def disable(self) -> None:
        self.enabled = False
        self._stop()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print a line. Rich redirects stdout, so that the line appears above the status."""
        print(*args, **kwargs)

    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = self._epoch_began = monotonic()
        self._first_step = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._first_step is None:
            self._first_step = batch_idx  # not 0 if the run was resumed in the middle of an epoch

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._due():
            steps = self._step(
                "step", batch_idx + 1, self._first_step or 0, self.total_train_batches
            )
            self._show([*steps, *losses(pl_module), *scores(trainer)])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = monotonic()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.has_dataloader_changed(dataloader_idx)
        if self._due():
            total = self.total_val_batches_current_dataloader
            self._show([*self._step("validation", batch_idx + 1, 0, total), *scores(trainer)])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self.enabled:
            return
        parts = [self._epoch(), f"took {duration(monotonic() - self._epoch_began)}"]
        parts += losses(pl_module)  # read before the module logs the loss and resets it
        if (validated := trainer.callback_metrics.get("validation/loss")) is not None:
            parts.append(f"validation loss {float(validated):.4g}")
        self._print([*parts, *scores(trainer)])

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._stop()

    def _console(self) -> Console:
        if self._live is not None:
            return self._live.console
        return Console(file=unfailing(sys.stdout), highlight=False)

    def _start(self) -> None:
        console = self._console()
        if self.enabled and self._live is None and console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _due(self) -> bool:
        if not self.enabled:
            return False
        every = PRINTED_SECONDS if self._live is None else REDRAWN_SECONDS
        now = monotonic()
        if now - self._shown < every:
            return False
        self._shown = now
        return True

    def _show(self, parts: list[str]) -> None:
        if self._live is None:
            self._print([self._epoch(), *parts])
        else:
            status = in_lines([self._epoch(), *parts], self._live.console.width)
            self._live.update(Text(status, no_wrap=True, overflow="crop"), refresh=True)

    def _print(self, parts: list[str]) -> None:
        self._console().print(Text(", ".join(parts)), soft_wrap=self._live is None)

    def _epoch(self) -> str:
        epochs = self.trainer.max_epochs
        total = f"/{epochs}" if epochs and epochs > 0 else ""
        return f"epoch {self.trainer.current_epoch + 1}{total}"

    def _step(self, name: str, done: int, first: int, total: float) -> list[str]:
        if total == float("inf"):
            return [f"{name} {done}"]
        seconds_left = (monotonic() - self._began) / max(1, done - first) * (total - done)
        return [f"{name} {done}/{int(total)}", f"{duration(seconds_left)} left"]


def in_lines(parts: list[str], width: int) -> str:
    """Join parts by two spaces, or by a line break if the line would be longer than `width`.

    Rich cannot do this: it breaks lines at any space, even at no-break spaces.
    """
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}  {part}" if lines[-1] else part
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(lines)


def losses(module: L.LightningModule) -> list[str]:
    """The mean loss of the current epoch in this process."""
    if not isinstance(module, SeparationModule) or not module.train_loss.count:
        return []
    return [f"loss {float(module.train_loss.total) / module.train_loss.count:.4g}"]


def scores(trainer: L.Trainer) -> list[str]:
    """The SDR of the last validation, averaged over the targets."""
    decibels = [
        float(value)
        for name, value in trainer.callback_metrics.items()
        if name.startswith("validation/sdr/")
    ]
    return [f"SDR {mean(decibels):.2f} dB"] if decibels else []


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
