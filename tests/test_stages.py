"""The benchmark `stages.py` assigns time and operations to the right stages, and runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from stemsplit.separation.checkpoint import build
from stemsplit.separation.separator import Separator

BENCHMARKS = Path(__file__).resolve().parent.parent / "experiments/benchmarks"
TINY = ("sample_rate=8000", "window=1024", "hop=256", "bandwidth_hertz=4000")


@pytest.fixture(autouse=True)
def _as_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def separator() -> Separator:
    front_end = {"sample_rate": 8000, "window": 256, "hop": 64}
    network = {"class": "stemsplit.models.blstm.Blstm", "hidden": 8, "layers": 1}
    return build(front_end, network, ["vocals"], "rest", 2).train()


def test_layers_have_their_forward_and_backward_time() -> None:
    from stage_times.recorder import times_of
    from stage_times.stages import staged, stages_of

    made = separator()
    with stages_of(made, depth=3), profile(activities=[ProfilerActivity.CPU]) as profiler:
        mixture = torch.randn(1, 2, 4000)
        views = made.front_end.views(made.front_end(mixture), made.network.views)
        loss = made.network(views).sum()
        staged("backward: other", loss.backward)()
    times = times_of(list(profiler.events() or []))
    layers = ("branches.magnitude.lstm", "branches.magnitude.encoder", "decoder.0", "decoder.3")
    for layer in layers:
        for stage in (f"network {layer}", f"backward: network {layer}"):
            seconds, in_products = times[stage]
            assert 0 < in_products <= seconds, stage
    assert times["STFT"][0] > 0
    assert "network branches" not in times
    assert not any(hook for layer in made.modules() for hook in layer._forward_hooks.values())


def test_operations_are_counted_once_and_in_the_layer_that_does_them() -> None:
    from stage_times.flops import flops_of

    made = separator()
    flops = flops_of(made, 64 * 9, depth=3)
    frames, features = 10, 2 * 129
    products = {
        "branches.magnitude.encoder": features * 8,
        "decoder.0": 16 * 8,
        "decoder.3": 8 * features,
    }
    for layer, products_of_a_frame in products.items():
        assert flops[f"network {layer}"] == 2 * frames * products_of_a_frame
    # The backward pass has two products: the gradients of the weights and of the input.
    for layer in ("branches.magnitude.encoder", "decoder.3"):
        assert flops[f"backward: network {layer}"] == 2 * flops[f"network {layer}"]
    assert flops["network"] == flops["network decoder"] == 0
    assert flops["network branches.magnitude.lstm"] == 2 * frames * 2 * (8 + 4) * 16


def test_the_functions_that_the_script_measures_exist() -> None:
    import stages
    from stage_times.stages import stages_of

    assert stages.main
    with stages_of(separator(), depth=3):
        pass


@pytest.mark.slow
def test_benchmark_runs() -> None:
    script = [sys.executable, str(BENCHMARKS / "stages.py"), "mlp", "hdemucs_small"]
    options = ["--steps", "1", "--batch", "1", "--seconds", "1", "--threads", "1"]
    ended = subprocess.run(
        [*script, *options, "--set", *TINY], capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr
    assert "Wiener filter" in ended.stdout
    for stage in ("optimiser", "backward: network", "dither", "not assigned"):
        assert ended.stdout.count(stage) >= 2, stage
