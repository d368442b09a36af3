"""Measure how much time each augmentation takes.

    python experiments/benchmarks/augment.py [--batch 16] [--seconds 6] [--repetitions 5]

Applies each augmentation alone to every stem of a batch, alternately. Its probability is 1; in
training, only the stems that are chosen at random take this time. The excerpts have four stereo
stems of noise. The first row is the published recipe, gains and swapped channels. No other row
swaps channels.

Prints the median seconds per batch (min–max over the repetitions), and the additional milliseconds
per stem compared with the row `gain`.
"""

import argparse
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from stemsplit.data.augment.augment import Augment
from stemsplit.machine.allocator import keep_freed_memory

RATE, STEMS, CHANNELS = 44100, 4, 2
ALONE: dict[str, dict[str, Any]] = {
    "gain": {},
    "polarity": {"polarity": 1.0},
    "mono": {"mono": 1.0},
    "tempo": {"tempo": 1.0},
    "pitch": {"pitch": 1.0},
    "tempo and pitch": {"tempo": 1.0, "pitch": 1.0},
    "equaliser": {"equaliser": 1.0},
    "level of the targets": {"snr_decibels": (-10, 10)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    keep_freed_memory()  # like `stemsplit.train`
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chunk = round(options.seconds * RATE)
    keys = [(0, position) for position in range(options.batch)]
    augments = {"gain and swapped channels": Augment(0)}
    augments |= {name: Augment(0, swap_channels=False, **how) for name, how in ALONE.items()}
    times: dict[str, list[float]] = {name: [] for name in augments}
    for repetition in range(options.repetitions + 1):
        for name, augment in augments.items():
            read = augment.read_length(chunk)
            stems = 0.1 * torch.randn(options.batch, STEMS, CHANNELS, read, device=device)
            start = perf_counter()
            augment(stems, keys, chunk, [STEMS - 1])[0, 0, 0, 0].item()  # wait for the device
            if repetition > 0:  # the first repetition warms up
                times[name].append(perf_counter() - start)

    title = f"{device}, batch {options.batch}"
    table = Table("augmentation", "seconds per batch", "extra ms per stem over gain", title=title)
    for name, found in times.items():
        above = 1000 * (median(found) - median(times["gain"])) / (options.batch * STEMS)
        table.add_row(
            name, f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})", f"{above:.1f}"
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
