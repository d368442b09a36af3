"""The figures of every layer are right, logged and kept, and the layer that blows up is named."""

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
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than the training, and has tests of its own."""
    monkeypatch.setattr("stemsplit.training.layers.norms.draw", lambda *what: None)


LAYERS = ["first", "middle.0", "middle.2", "last"]


def rms(tensor: Tensor) -> float:
    return float(tensor.double().square().mean().sqrt())


def rows(folder: Path) -> list[dict[str, str]]:
    return MetricsCsv(str(folder)).rows


def network(module: SeparationModule) -> Any:
    return network_of(module)


def test_a_layer_has_parameters_of_its_own(module: SeparationModule) -> None:
    assert list(layers(network(module))) == LAYERS
    assert list(layers(nn.Linear(2, 2))) == ["network"]


def test_the_figures_are_those_of_the_formula(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    data = songs(1)
    chain, batch = network(module), data.batches[0]
    # By hand, with autograd alone. (The last layer reads what `middle` gives.)
    weights = list(chain.last.parameters())
    frames = batch.views["magnitude"].transpose(2, 3).flatten(0, 1)
    into = chain.middle(chain.first(frames))
    out = chain.last(into)
    mask = out.abs().unflatten(0, (-1, 1, 1)).transpose(3, 4)
    loss = (mask * batch.views["magnitude"][:, None] - batch.stem_spectra.abs()).square().mean()
    d_into, d_out, *d_weights = torch.autograd.grad(loss, [into, out, *weights])
    expected = {
        "norm/weight/last": rms(torch.cat([w.detach().flatten() for w in weights])),
        "norm/activation/last/in": rms(into.detach()),
        "norm/activation/last/out": rms(out.detach()),
        "norm/gradient/last/in": rms(d_into),
        "norm/gradient/last/out": rms(d_out),
        "norm/gradient/last": rms(torch.cat([d.flatten() for d in d_weights])),
        "norm/activation/first/in": rms(frames),
    }
    trainer(LayerNorms(str(tmp_path)), logger=[MetricsCsv(str(tmp_path))]).fit(module, data)
    row = rows(tmp_path)[0]
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
    # What goes into the first layer is no function of a weight.
    assert "norm/gradient/first/in" not in row
    of_each = {"norm/weight/{}", "norm/gradient/{}", "norm/activation/{}/in"}
    of_each |= {"norm/activation/{}/out", "norm/gradient/{}/out"}
    assert {name.format(layer) for name in of_each for layer in LAYERS} <= set(row)


class Skip(nn.Module):
    """A linear layer that works beside a skip connection, and in place afterwards."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, features)

    def forward(self, frames: Tensor) -> Tensor:
        flat = frames.flatten(0, 1)
        return (flat + self.linear(flat).mul_(2)).view_as(frames)


def test_a_layers_gradient_leaves_out_the_skip_beside_it(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    chain = network(module)
    skip = chain.middle[2] = Skip(8)
    trainer(LayerNorms(str(tmp_path)), logger=[MetricsCsv(str(tmp_path))]).fit(module, songs(1))
    row = {name: float(value) for name, value in rows(tmp_path)[0].items()}
    # Whatever it is given, what a matrix hands back lies between its smallest and largest gain.
    gains = torch.linalg.svdvals(skip.linear.weight.detach())
    ratio = row["norm/gradient/middle.2.linear/in"] / row["norm/gradient/middle.2.linear/out"]
    assert gains.min() * (1 - 1e-2) <= ratio <= gains.max() * (1 + 1e-2)


@pytest.mark.parametrize(("every", "accumulate"), [(1, 1), (3, 1), (2, 2)])
def test_rows_are_those_of_the_logged_steps_and_nothing_is_left_behind(
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


def test_measuring_changes_no_training(
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
    """From its call number `after` on, it multiplies by `times`."""

    def __init__(self, after: int, times: float) -> None:
        super().__init__()
        self.after = after
        self.times = times
        self.calls = 0

    def forward(self, frames: Tensor) -> Tensor:
        self.calls += 1
        return frames * self.times if self.calls > self.after else frames


class Backwards(Growing):
    """The same to the gradient alone."""

    def forward(self, frames: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.after and frames.requires_grad:
            frames = frames * 1
            frames.register_hook(lambda gradient: gradient * self.times)
        return frames


@pytest.mark.parametrize(
    ("disturbed", "how", "times", "blown"),
    [
        # What `first` gives is in order: the first to see it is the LSTM's input.
        ("first", Growing, 1e4, "the input of middle.0"),
        ("middle", Growing, math.inf, "the input of last"),
        ("last", Backwards, 1e4, "the gradient at the output of last"),
        ("middle", Backwards, 1e4, "the gradient at the output of middle.2"),
        ("first", Backwards, math.inf, "the gradient at the output of first"),
    ],
)
def test_the_first_layer_that_blows_up_is_named_once(
    module: SeparationModule,
    songs: Any,
    trainer: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    disturbed: str,
    how: Callable[[int, float], nn.Module],
    times: float,
    blown: str,
) -> None:
    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=0.0)
    network(module).disturb[disturbed] = how(5, times)
    trainer(LayerNorms(str(tmp_path), every=1)).fit(module, songs(8))
    said = [record.getMessage() for record in caplog.records if "blow up" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"step 5: {blown} has a root mean square of ")


def test_a_calm_training_is_not_warned_of(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    trainer(LayerNorms(str(tmp_path), every=1)).fit(module, songs(10))
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in warnings if record.name.startswith("stemsplit")]


def test_a_layer_that_starts_from_zero_may_grow() -> None:
    history = LayerHistory(spacing=1, factor=100)
    for step in range(10):
        size = 0.0 if step < 5 else 1e-3 * step
        assert history.add(step, {"weight": {"a": size}}, ["a"]) is None


def test_a_long_run_is_remembered_evenly() -> None:
    history = LayerHistory(spacing=50, factor=100)
    for step in range(0, 50 * 5 * MAX_STEPS, 50):
        history.add(step, {"weight": {"a": 1.0}}, ["a"])
    steps = [step for step, _ in history.series["weight"]["a"]]
    assert MAX_STEPS / 2 <= len(steps) <= MAX_STEPS
    assert {later - earlier for earlier, later in pairwise(steps)} == {400}


def test_history_survives_resuming(
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


def test_a_compiled_network_shows_its_weights_and_says_so_once(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    network(module).compile(backend="eager")
    callback = LayerNorms(str(tmp_path), every=1)
    trainer(callback).fit(module, songs(2))
    assert set(callback.history.series) == {"weight", "gradient"}
    said = [record for record in caplog.records if "compiled" in record.getMessage()]
    assert len(said) == 1


def test_float16s_loss_scaling_leaves_no_trace(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    start = {name: value.clone() for name, value in module.state_dict().items()}
    found = []
    for scale in (1.0, 2.0**10):
        module.load_state_dict(start)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        callback = LayerNorms(str(tmp_path))
        precision = MixedPrecision("16-mixed", "cpu", scaler)
        trainer(callback, plugins=[precision]).fit(module, songs(1))
        found.append(callback.history.series)
    assert set(found[0]) == set(found[1])
    for quantity, by_layer in found[0].items():
        for name, ((_, value),) in by_layer.items():
            ((_, scaled),) = found[1][quantity][name]
            # Unscaled, the smallest of float16's gradients are lost.
            assert scaled == pytest.approx(value, rel=0.05), (quantity, name)


@pytest.mark.parametrize("setting", [{"every": 0}, {"factor": 1.0}])
def test_senseless_settings_are_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        LayerNorms(str(tmp_path), **setting)
