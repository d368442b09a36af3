"""Time and profile steps, and divide their time among the stages."""

from collections import defaultdict
from time import perf_counter

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from stage_times.stages import PREFIX

PRODUCTS = {
    *(f"aten::{name}" for name in ("mm", "addmm", "bmm", "baddbmm", "mkldnn_convolution")),
    *("aten::mkldnn_rnn_layer", "aten::mkldnn_rnn_layer_backward", "aten::convolution_backward"),
    *("aten::_slow_conv2d_forward", "aten::_slow_conv2d_backward"),
    "aten::_convolution",  # transposed convolutions have no function of their own
    "aten::_scaled_dot_product_flash_attention_for_cpu",
}
BACKWARD = "backward: "
WARM_UP = 2  # steps
Times = dict[str, tuple[float, float]]  # stage → seconds, seconds of them in products


class Recorder:
    """Times steps, profiles every second one, and measures the speed of a matrix product."""

    def __init__(self, steps: int, dtype: torch.dtype = torch.float32) -> None:
        self.steps = steps
        self.dtype = dtype
        self.number = 0
        self.seconds: dict[bool, list[float]] = {False: [], True: []}
        self.times: list[Times] = []
        self.limits: list[float] = []
        self.profiler: profile | None = None

    @property
    def is_done(self) -> bool:
        return len(self.times) == self.steps

    def start(self) -> None:
        self.limits.append(speed_of_product(self.dtype))
        is_profiled = self.number >= WARM_UP and self.number % 2 == 1
        self.profiler = profile(activities=[ProfilerActivity.CPU]) if is_profiled else None
        if self.profiler is not None:
            self.profiler.start()
        self.started = perf_counter()

    def stop(self) -> None:
        seconds = perf_counter() - self.started
        if self.profiler is not None:
            self.profiler.stop()
            self.times.append(times_of(list(self.profiler.events() or [])))
        if self.number >= WARM_UP:
            self.seconds[self.profiler is not None].append(seconds)
        self.number += 1


def speed_of_product(dtype: torch.dtype, size: int = 2048) -> float:
    """The speed of a large matrix product in FLOP/s."""
    left, right = torch.randn(2, size, size).to(dtype)
    left @ right
    start = perf_counter()
    left @ right
    return 2 * size**3 / (perf_counter() - start)


def times_of(events: list[FunctionEvent]) -> Times:
    """The time of every stage, without the stages inside it, in one thread.

    A backward event has the sequence number of its forward event, so it belongs to the layer of the
    forward event.
    """
    thread = next(event.thread for event in events if event.name.startswith(PREFIX))
    times: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    stages: dict[int, str | None] = {}
    layer_of: dict[int, str] = {}
    for event in sorted(events, key=lambda event: (event.time_range.start, -event.time_range.end)):
        if event.thread != thread:
            continue
        stage = stages[event.cpu_parent.id] if event.cpu_parent is not None else None
        if event.name.startswith("Optimizer.step"):
            stage = "optimiser"
        elif event.name.startswith("Optimizer.zero_grad"):
            stage = "setting gradients to zero"
        elif event.name.startswith(PREFIX):
            stage = event.name.removeprefix(PREFIX)
        elif event.sequence_nr >= 0 and stage is not None:
            if stage.startswith(BACKWARD):
                stage = BACKWARD + layer_of.get(event.sequence_nr, "other")
            else:
                layer_of[event.sequence_nr] = stage
        stages[event.id] = stage
        if stage is not None:
            seconds = event.self_cpu_time_total / 1e6
            times[stage][0] += seconds
            times[stage][1] += seconds if event.name in PRODUCTS else 0.0
    return {stage: (total, products) for stage, (total, products) in times.items()}
