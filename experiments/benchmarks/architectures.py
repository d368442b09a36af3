"""Measure the size and the speed of every architecture.

    python experiments/benchmarks/architectures.py [MODEL…]

Prints a Markdown table for the named models (default: all), with the settings of conf/: 44.1 kHz,
stereo, one target. The columns are

- parameters;
- multiply-accumulate operations per second of audio, in matrix products, convolutions and
  attention, without Fourier transforms and Wiener filter;
- real-time factor: computing time per second of audio for a whole song, with the Wiener filter, in
  float32, median of several runs.
"""

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from stemsplit.configuration import CONF, make, register_resolvers
from stemsplit.separation.separator import Separator

SECONDS = 20  # length of the separator's chunks


def separator_of(model: str) -> Separator:
    with initialize_config_dir(config_dir=CONF):
        config = compose("train", [f"model={model}"])
    OmegaConf.update(config, "name", model)
    return make(config.model).separator.eval()


def multiply_accumulates(separator: Separator) -> float:
    """Count the multiply-accumulate operations of the network per second of audio."""
    mixture = torch.randn(1, separator.channels, SECONDS * separator.sample_rate)
    views = separator.front_end.views(separator.front_end(mixture), separator.network.views)
    # The counter does not see inside fused kernels.
    with (
        torch.no_grad(),
        torch.backends.mkldnn.flags(enabled=False),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        separator.network(views if separator.network.views else mixture)
    return counter.get_total_flops() / 2 / SECONDS


def real_time_factor(separator: Separator, repetitions: int) -> float:
    song = 0.1 * torch.randn(separator.channels, SECONDS * separator.sample_rate)
    times = []
    for _ in range(repetitions + 1):
        start = perf_counter()
        separator.separate(song, separator.sample_rate, precision="float32")
        times.append(perf_counter() - start)
    return median(times[1:]) / SECONDS


def main() -> None:
    every = sorted(path.stem for path in (Path(CONF) / "model").glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=every, metavar="MODEL")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    register_resolvers()
    print("| `model=` | parameters | MAC / s | real-time factor |")
    print("|---|---|---|---|")
    for model in options.models:
        separator = separator_of(model)
        network = separator.network
        assert isinstance(network, nn.Module)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        products = multiply_accumulates(separator)
        factor = real_time_factor(separator, options.repetitions)
        print(
            f"| `{model}` | {parameters / 1e6:.1f} M | {products / 1e9:.2f} G | {factor:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
