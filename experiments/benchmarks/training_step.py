"""Compare the time of our training step of `open_unmix` with open-unmix's own.

    python experiments/benchmarks/training_step.py [--batch 16] [--seconds 6] [--steps 5]

A step starts with the stems of a batch and ends with updated weights. open-unmix's step is the loop
of its training script: its own STFT, network and Adam. Our step is that of `stemsplit train`:
mixing, front end, network, loss, clipping and the fused Adam of conf/. Both have the published size
and the same input shapes. Each system has its own process, because the allocator settings hold for
a whole process. The processes take their steps alternately.

Prints the median seconds per step, and how many times as fast ours is (median, min–max over the
steps): in float32 and, if bf16 is the default precision on this machine, in bf16 and with the
default precisions (open-unmix's is float32). On a GPU, it also prints the share of our step that
cuDNN's LSTM takes by itself.
"""

import argparse
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from stemsplit.configuration import precision
from stemsplit.data.augment.augment import Augment
from stemsplit.data.datamodule import make_batch
from stemsplit.machine.allocator import keep_freed_memory

RATE, STEMS, CHANNELS = 44100, 4, 2
Step = Callable[[], Tensor]


def theirs(stems: Tensor, bf16: bool) -> Step:
    """open-unmix's training step. With `bf16`, only the network runs in bf16, as in our step."""
    from openunmix import model, transforms

    stft, _ = transforms.make_filterbanks(n_fft=4096, n_hop=1024, sample_rate=RATE)
    encoder = nn.Sequential(stft, model.ComplexNorm(mono=False)).to(stems.device)
    unmix = model.OpenUnmix(nb_bins=2049, nb_channels=CHANNELS, hidden_size=512, max_bin=1487)
    unmix = unmix.to(stems.device).train()
    optimizer = torch.optim.Adam(unmix.parameters(), lr=1e-3, weight_decay=1e-5)

    def step() -> Tensor:
        optimizer.zero_grad()
        mixture, target = encoder(stems.sum(dim=1)), encoder(stems[:, -1].contiguous())
        with torch.autocast(stems.device.type, torch.bfloat16, enabled=bf16):
            estimate = unmix(mixture)
        loss = nn.functional.mse_loss(estimate, target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def ours(stems: Tensor, bf16: bool) -> Step:
    """Our training step: `SeparationModule` on a batch of `StemDataModule`, settings of conf/."""
    from stemsplit.separation.checkpoint import build
    from stemsplit.training.losses import magnitude_mse

    separator = build(
        {"sample_rate": RATE, "window": 4096, "hop": 1024},
        {"class": "stemsplit.models.blstm.Blstm", "views": ["magnitude"], "hidden": 512},
        ["vocals"],
        "accompaniment",
        CHANNELS,
    )
    separator = separator.to(stems.device).train()
    optimizer = torch.optim.Adam(separator.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    augment = Augment(seed=0)
    keys = [(0, position) for position in range(len(stems))]

    def step() -> Tensor:
        mixed = augment(stems, keys)
        views = separator.network.views
        batch = make_batch(separator.front_end, views, mixed.sum(dim=1), mixed[:, -1:], keys)
        with torch.autocast(stems.device.type, torch.bfloat16, enabled=bf16):
            estimate = separator.estimate(batch)
        loss = magnitude_mse(estimate, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(separator.parameters(), 5.0)
        optimizer.step()
        return loss.detach()

    return step


def lstm_alone(stems: Tensor, bf16: bool) -> Step:
    """Forward and backward pass of the three LSTM layers, on features of the same shape."""
    frames = 1 + stems.shape[-1] // 1024
    features = torch.randn(frames, len(stems), 512, device=stems.device, requires_grad=True)
    lstm = nn.LSTM(512, 256, num_layers=3, bidirectional=True, dropout=0.4).to(stems.device)

    def step() -> Tensor:
        with torch.autocast(stems.device.type, torch.bfloat16, enabled=bf16):
            result, _ = lstm(features)
        result.float().sum().backward()
        return result.detach()[0, 0, 0]

    return step


def worker(
    made: Callable[[Tensor, bool], Step],
    bf16: bool,
    batch: int,
    seconds: float,
    device: str,
    orders: Connection,
) -> None:
    """Take a step per request, and send its seconds."""
    if made is ours:
        keep_freed_memory()  # like `stemsplit.train`
    torch.manual_seed(0)
    stems = 0.1 * torch.randn(batch, STEMS, CHANNELS, round(seconds * RATE), device=device)
    step = made(stems, bf16)
    while orders.recv():
        start = perf_counter()
        step().item()  # wait for the device
        orders.send(perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bf16_is_default = precision("auto") == "bf16-mixed"
    systems = {"open-unmix, float32": (theirs, False), "stemsplit, float32": (ours, False)}
    if bf16_is_default:  # elsewhere, a step in bf16 takes many times as long
        systems |= {"open-unmix, bf16": (theirs, True), "stemsplit, bf16": (ours, True)}
    if bf16_is_default and device == "cuda":
        systems["LSTM alone, bf16"] = (lstm_alone, True)

    start = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    for name, (made, bf16) in systems.items():
        pipes[name], end = start.Pipe()
        how = (made, bf16, options.batch, options.seconds, device, end)
        workers.append(start.Process(target=worker, args=how, daemon=True))
        workers[-1].start()
    times: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(options.warm_up + options.steps):
        for name, pipe in pipes.items():
            pipe.send(True)
            elapsed = pipe.recv()
            if number >= options.warm_up:
                times[name].append(elapsed)
    for pipe in pipes.values():
        pipe.send(False)

    table = Table("system", "seconds per step", title=f"{device}, batch {options.batch}")
    for name, found in times.items():
        table.add_row(name, f"{median(found):.3f}")
    ratios = Table("comparison", "open-unmix / ours")
    comparisons = [("float32 against float32", "open-unmix, float32", "stemsplit, float32")]
    if bf16_is_default:
        comparisons += [
            ("bf16 against bf16", "open-unmix, bf16", "stemsplit, bf16"),
            ("default precisions: float32 against bf16", "open-unmix, float32", "stemsplit, bf16"),
        ]
    for name, peer, our in comparisons:
        found = [a / b for a, b in zip(times[peer], times[our], strict=True)]
        ratios.add_row(name, f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})")
    if "LSTM alone, bf16" in times:
        share = median(times["LSTM alone, bf16"]) / median(times["stemsplit, bf16"])
        ratios.add_row("cuDNN's LSTM alone, share of our bf16 step", f"{share:.0%}")
    console = Console(width=100)
    console.print(table)
    console.print(ratios)


if __name__ == "__main__":
    main()
