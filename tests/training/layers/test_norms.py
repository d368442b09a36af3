"""Layer norms are correct, logged and resumed, and the layer that blows up is named."""

import logging
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.training.callbacks.checkpoints import RunCheckpoint
from stemsplit.training.layers.history import MAX_STEPS, LayerHistory
from stemsplit.training.layers.hooks import layers, network_of
from stemsplit.training.layers.norms import LayerNorms
from stemsplit.training.loggers.metrics_csv import MetricsCsv
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


@pytest.fixture(autouse=True)
def no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip plotting, which takes longer than the training and is tested elsewhere."""
    monkeypatch.setattr("stemsplit.training.layers.norms.draw", lambda *arguments: None)


LAYERS = ["first", "middle.0", "middle.2", "last"]


def rms(tensor: Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def rows(folder: Path) -> list[dict[str, str]]:
    return MetricsCsv(str(folder)).rows


def network(module: SeparationModule) -> Any:
    return network_of(module)


def test_layers_are_modules_with_direct_parameters(module: SeparationModule) -> None:
    assert list(layers(network(module))) == LAYERS
    assert list(layers(nn.Linear(2, 2))) == ["network"]


def test_norms_equal_values_from_autograd(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    data = songs(1)
    chain, batch = network(module), data.batches[0]
    # Compute the norms of the last layer, whose input is the output of `middle`.
    weights = list(chain.last.parameters())
    frames = batch.views["magnitude"].transpose(2, 3).flatten(0, 1)
    inputs = chain.middle(chain.first(frames))
    outputs = chain.last(inputs)
    mask = outputs.abs().unflatten(0, (-1, 1, 1)).transpose(3, 4)
    loss = (mask * batch.views["magnitude"][:, None] - batch.stem_spectra.abs()).square().mean()
    d_inputs, d_outputs, *d_weights = torch.autograd.grad(loss, [inputs, outputs, *weights])
    expected = {
        "norm/weight/last": rms(torch.cat([w.detach().flatten() for w in weights])),
        "norm/activation/last/in": rms(inputs.detach()),
        "norm/activation/last/out": rms(outputs.detach()),
        "norm/gradient/last/in": rms(d_inputs),
        "norm/gradient/last/out": rms(d_outputs),
        "norm/gradient/last": rms(torch.cat([d.flatten() for d in d_weights])),
        "norm/activation/first/in": rms(frames),
    }
    trainer(LayerNorms(str(tmp_path)), logger=[MetricsCsv(str(tmp_path))]).fit(module, data)
    row = rows(tmp_path)[0]
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    # The input of the first layer does not depend on any weights.
    assert "norm/gradient/first/in" not in row
    names = {"norm/weight/{}", "norm/gradient/{}", "norm/activation/{}/in"}
    names |= {"norm/activation/{}/out", "norm/gradient/{}/out"}
    assert {name.format(layer) for name in names for layer in LAYERS} <= set(row)


class Skip(nn.Module):
    """A linear layer with a skip connection and an in-place operation."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, frames: Tensor) -> Tensor:
        flat = frames.flatten(0, 1)
        return (flat + self.linear(flat).mul_(2)).view_as(frames)


def test_gradient_excludes_skip_connection(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    chain = network(module)
    skip = chain.middle[2] = Skip(8)
    trainer(LayerNorms(str(tmp_path)), logger=[MetricsCsv(str(tmp_path))]).fit(module, songs(1))
    row = {name: float(value) for name, value in rows(tmp_path)[0].items()}
    # The gain of a matrix is between its smallest and its largest singular value.
    gains = torch.linalg.svdvals(skip.linear.weight.detach())
    ratio = row["norm/gradient/middle.2.linear/in"] / row["norm/gradient/middle.2.linear/out"]
    assert gains.min() * (1 - 1e-2) <= ratio <= gains.max() * (1 + 1e-2)


@pytest.mark.parametrize(("every", "accumulate"), [(1, 1), (3, 1), (2, 2)])
def test_norms_are_logged_at_intervals_and_hooks_removed(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, every: int, accumulate: int
) -> None:
    callback = LayerNorms(str(tmp_path), every=every)
    logger = MetricsCsv(str(tmp_path))
    trainer(callback, logger=[logger], max_epochs=2, accumulate_grad_batches=accumulate).fit(
        module, songs(4)
    )
    steps = 8 // accumulate
    logged = [int(row["step"]) for row in rows(tmp_path) if row["norm/weight/first"]]
    assert logged == list(range(0, steps, every))
    assert {int(row["epoch"]) for row in rows(tmp_path)} == {0, 1}
    assert len({row["step"] for row in rows(tmp_path)}) == len(rows(tmp_path))
    for layer in network(module).modules():
        assert not layer._forward_hooks
        assert not layer._forward_pre_hooks


def test_measuring_does_not_change_training(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    start = {name: value.clone() for name, value in module.state_dict().items()}
    ends = []
    for callbacks in ([], [LayerNorms(str(tmp_path), every=1)]):
        module.load_state_dict(start)
        trainer(*callbacks).fit(module, songs(3))
        ends.append([weight.detach().clone() for weight in module.parameters()])
    assert all(map(torch.equal, *ends))
    assert not all(map(torch.equal, ends[0], start.values()))


def test_validation_is_not_measured(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    data = songs(2)
    large = songs(2, lambda number, stems: stems.mul_(1000)).train_dataloader()
    data.val_dataloader = lambda: large
    callback = LayerNorms(str(tmp_path), every=1)
    trainer(callback, accumulate_grad_batches=2, val_check_interval=1).fit(module, data)
    ((_, value),) = callback.history.series["activation/in"]["first"]
    assert value < 10


class Growing(nn.Module):
    """Multiplies its input by `times`, after the first `after` calls."""

    def __init__(self, after: int, times: float) -> None:
        super().__init__()
        self.after = after
        self.times = times
        self.calls = 0

    def forward(self, frames: Tensor) -> Tensor:
        self.calls += 1
        return frames * self.times if self.calls > self.after else frames


class Backwards(Growing):
    """Multiplies the gradient instead of the input."""

    def forward(self, frames: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.after and frames.requires_grad:
            frames = frames * 1
            frames.register_hook(lambda gradient: gradient * self.times)
        return frames


@pytest.mark.parametrize(
    ("disturbed", "disturbance", "times", "blown"),
    [
        # The output of `first` is disturbed after it was measured, so the LSTM's input is named.
        ("first", Growing, 1e4, "the input of middle.0"),
        ("middle", Growing, math.inf, "the input of last"),
        ("last", Backwards, 1e4, "the gradient at the output of last"),
        ("middle", Backwards, 1e4, "the gradient at the output of middle.2"),
        ("first", Backwards, math.inf, "the gradient at the output of first"),
    ],
)
def test_warning_names_first_layer_once(
    module: SeparationModule,
    songs: Any,
    trainer: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    disturbed: str,
    disturbance: Callable[[int, float], nn.Module],
    times: float,
    blown: str,
) -> None:
    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    network(module).disturb[disturbed] = disturbance(5, times)
    trainer(LayerNorms(str(tmp_path), every=1)).fit(module, songs(8))
    messages = [record.getMessage() for record in caplog.records]
    warnings = [message for message in messages if "blow up" in message]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"step 5: {blown} has a root mean square of ")


def test_stable_training_has_no_warning(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    trainer(LayerNorms(str(tmp_path), every=1)).fit(module, songs(10))
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in warnings if record.name.startswith("stemsplit")]


def test_layer_may_grow_from_zero() -> None:
    history = LayerHistory(spacing=1, factor=100)
    for step in range(10):
        size = 0.0 if step < 5 else 1e-3 * step
        assert history.add(step, {"weight": {"a": size}}, ["a"]) is None


def test_history_of_long_run_is_evenly_spaced() -> None:
    history = LayerHistory(spacing=50, factor=100)
    for step in range(0, 50 * 5 * MAX_STEPS, 50):
        history.add(step, {"weight": {"a": 1.0}}, ["a"])
    steps = [step for step, _ in history.series["weight"]["a"]]
    assert MAX_STEPS / 2 <= len(steps) <= MAX_STEPS
    assert {later - earlier for earlier, later in pairwise(steps)} == {400}


def test_history_is_resumed(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    def train(epochs: int, checkpoint: Path | None = None) -> LayerNorms:
        callback = LayerNorms(str(tmp_path), every=2)
        last = RunCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False)
        fit = trainer(callback, last, max_epochs=epochs, enable_checkpointing=True)
        fit.fit(module, songs(3), ckpt_path=checkpoint, weights_only=True)
        return callback

    before = train(1).history.state_dict()
    resumed = train(3, tmp_path / "last.ckpt").history.state_dict()
    for quantity, by_layer in resumed["series"].items():
        for name, series in by_layer.items():
            assert [step for step, _ in series] == [0, 2, 4, 6, 8]
            assert series[:2] == before["series"][quantity][name]


def test_compiled_network_logs_weights_and_warns_once(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    network(module).compile(backend="eager")
    callback = LayerNorms(str(tmp_path), every=1)
    trainer(callback).fit(module, songs(2))
    assert set(callback.history.series) == {"weight", "gradient"}
    warnings = [record for record in caplog.records if "compiled" in record.getMessage()]
    assert len(warnings) == 1


@pytest.mark.parametrize("fused", [False, True])  # a fused optimiser unscales in its own step
def test_norms_do_not_depend_on_loss_scaling(
    fused: bool, module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1e-3, fused=fused)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    norms = []
    for scale in (1.0, 2.0**10):
        module.load_state_dict(start)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        callback = LayerNorms(str(tmp_path))
        precision = MixedPrecision("16-mixed", "cpu", scaler)
        trainer(callback, plugins=[precision]).fit(module, songs(1))
        norms.append(callback.history.series)
    assert set(norms[0]) == set(norms[1])
    for quantity, by_layer in norms[0].items():
        for name, ((_, value),) in by_layer.items():
            ((_, scaled),) = norms[1][quantity][name]
            # The tolerance is large, because small float16 gradients underflow without scaling.
            assert scaled == pytest.approx(value, rel=0.05), (quantity, name)


@pytest.mark.parametrize("setting", [{"every": 0}, {"factor": 1.0}])
def test_invalid_settings_are_rejected(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        LayerNorms(str(tmp_path), **setting)
