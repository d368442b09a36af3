"""A non-finite loss or gradient stops the run before it changes the weights."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.training.callbacks.checkpoints import RunCheckpoint
from stemsplit.training.callbacks.not_finite import StopWhenNotFinite
from stemsplit.training.layers.hooks import network_of
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


def failure(fit: Any, module: SeparationModule, data: Any) -> str:
    """The error message of a training, which has one line; checks that the weights are finite."""
    with pytest.raises(InputError) as error:
        fit.fit(module, data)
    assert all(weight.isfinite().all() for weight in module.parameters())
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("planted", [math.nan, math.inf])
@pytest.mark.parametrize(("stem", "part"), [(0, "stems"), (1, "mixture")])
def test_error_names_song_with_non_finite_samples(
    module: SeparationModule, songs: Any, trainer: Any, planted: float, stem: int, part: str
) -> None:
    def spoil(number: int, stems: Tensor) -> None:
        if number == 1:  # chunks 2 and 3
            stems[1, stem, 0, 100] = planted

    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    before = [weight.detach().clone() for weight in module.parameters()]
    message = failure(trainer(StopWhenNotFinite()), module, songs(3, spoil))
    assert message.startswith("step 1: the loss is")
    assert f"samples of the {part} are not finite" in message
    assert "in song 3 at 3.5 s;" in message  # and no other song
    assert "there is no checkpoint yet" in message
    assert all(map(torch.equal, before, module.parameters()))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    ("disturbed", "named"),
    [
        ("first", "the first non-finite value is in the input of middle.0 (LSTM)"),
        ("middle", "the first non-finite value is in the input of last (Linear)"),
    ],
)
def test_error_names_first_layer_with_non_finite_input(
    module: SeparationModule,
    songs: Any,
    trainer: Any,
    accumulate: int,
    disturbed: str,
    named: str,
) -> None:
    network: Any = network_of(module)
    network.disturb[disturbed] = lambda frames: frames / (frames > math.inf)
    message = failure(
        trainer(StopWhenNotFinite(), accumulate_grad_batches=accumulate), module, songs(3)
    )
    assert message.startswith(("step 0: the loss is nan", "step 0: the loss is inf"))
    assert named in message
    assert "in song 0 at 0.5 s | song 1 at 1.5 s;" in message
    assert "optimizer.lr" in message


def test_error_names_first_layer_with_non_finite_output(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    network: Any = network_of(module)
    network.middle[2].register_forward_hook(lambda layer, inputs, output: output / 0)
    message = failure(trainer(StopWhenNotFinite()), module, songs(1))
    assert "the first non-finite value is in the output of middle.2 (Linear)" in message


def test_error_names_layer_with_non_finite_weights(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    network: Any = network_of(module)
    torch.nn.init.constant_(network.middle[0].bias_hh_l0, math.nan)
    with pytest.raises(InputError, match=r"value is in the weights of middle\.0 \(LSTM\)"):
        trainer(StopWhenNotFinite()).fit(module, songs(1))


def test_error_names_non_finite_loss_function(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    module.loss = lambda estimate, batch: estimate.magnitudes.sum() / 0
    message = failure(trainer(StopWhenNotFinite()), module, songs(1))
    assert "the loss function is the cause" in message


class BreaksBackwards:
    def __init__(self, call: int) -> None:
        self.calls = -call

    def __call__(self, frames: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 1 and frames.requires_grad:
            frames = frames * 1
            frames.register_hook(lambda gradient: gradient * math.nan)
        return frames


@pytest.mark.parametrize(
    ("disturbed", "named"),
    [
        ("first", "first (Linear)"),
        ("middle", "middle.2 (Linear)"),
        ("last", "last (Linear)"),
    ],
)
def test_error_names_layer_with_non_finite_gradient(
    module: SeparationModule, songs: Any, trainer: Any, disturbed: str, named: str
) -> None:
    network: Any = network_of(module)
    network.disturb[disturbed] = BreaksBackwards(call=1)
    message = failure(trainer(StopWhenNotFinite(), gradient_clip_val=1.0), module, songs(3))
    assert message.startswith("step 1: the norm of the gradients is not finite")
    assert f"the affected layer nearest to the loss is {named}" in message
    assert "in song 2 at 2.5 s | song 3 at 3.5 s;" in message


def test_error_names_all_accumulated_batches(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    network: Any = network_of(module)
    network.disturb["last"] = BreaksBackwards(call=2)
    message = failure(trainer(StopWhenNotFinite(), accumulate_grad_batches=2), module, songs(4))
    assert message.startswith("step 1: the norm of the gradients")
    assert " | ".join(f"song {song} at {song}.5 s" for song in (4, 5, 6, 7)) in message
    assert "song 3" not in message


@pytest.mark.parametrize("spoilt", [False, True])
def test_error_names_last_good_checkpoint(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, spoilt: bool
) -> None:
    last = RunCheckpoint(dirpath=tmp_path, filename="last", every_n_epochs=1)
    network: Any = network_of(module)
    network.disturb["last"] = BreaksBackwards(call=2)  # in the second epoch
    fit = trainer(StopWhenNotFinite(), last, max_epochs=2, enable_checkpointing=True)
    if spoilt:  # damage the checkpoint after it was written
        on_start = fit.callbacks[0].on_train_batch_start

        def spoil(trainer: Any, *arguments: Any) -> None:
            if (path := tmp_path / "last.ckpt").is_file():
                content = torch.load(path, weights_only=True)
                next(iter(content["state_dict"].values())).fill_(math.nan)
                torch.save(content, path)
            on_start(trainer, *arguments)

        fit.callbacks[0].on_train_batch_start = spoil
    message = failure(fit, module, songs(2))
    good = f"last good checkpoint: {tmp_path / 'last.ckpt'}"
    assert (good in message) != spoilt


def test_error_names_keys_without_data_module(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    data = songs(1, lambda number, stems: stems.fill_(math.nan)).train_dataloader()
    message = failure(trainer(StopWhenNotFinite()), module, data)
    assert "in chunk (0, 0) | chunk (0, 1);" in message


def test_loss_scaling_allows_infinite_gradients(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    network: Any = network_of(module)
    network.disturb["last"] = BreaksBackwards(call=0)

    def fit() -> L.Trainer:
        scaling = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
        return trainer(StopWhenNotFinite(), plugins=[scaling])

    fit().fit(module, songs(2))
    assert network.disturb["last"].calls == 2
    assert all(weight.isfinite().all() for weight in module.parameters())
    spoilt = songs(1, lambda number, stems: stems.fill_(math.nan))
    assert "the loss is nan" in failure(fit(), module, spoilt)


def test_error_names_layer_of_compiled_network(
    module: SeparationModule, songs: Any, trainer: Any
) -> None:
    network: Any = network_of(module)
    network.disturb["middle"] = lambda frames: frames / 0
    compiled_in_training = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled_in_training.append(torch.is_grad_enabled())
        return graph

    network.compile(backend=backend)
    message = failure(trainer(StopWhenNotFinite()), module, songs(1))
    assert compiled_in_training
    assert all(compiled_in_training)  # the second run for the diagnosis compiles nothing
    assert "the first non-finite value is in the input of last (Linear)" in message
