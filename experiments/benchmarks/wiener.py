"""Compare the speed and the result of our multichannel Wiener filter with open-unmix's.

    python experiments/benchmarks/wiener.py [--repetitions 7] [--frames 300]

Both filters run alternately in one process, one iteration each, on random stereo spectra of 2049
frequencies in their own contiguous layouts. open-unmix has two columns: `wiener` starts from
magnitudes, as in normal use, and `EM` starts from complex estimates, like our filter. `EM` is the
fairer comparison.

Prints the median milliseconds; the ratio to our time (median, min–max over the repetitions); and
the largest difference of the results, relative to the largest value.
"""

import argparse
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from openunmix import filtering
from rich.console import Console
from rich.table import Table

from stemsplit.separation.wiener import wiener

FREQUENCIES = 2049


def milliseconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return 1000 * (perf_counter() - start)


def ratio(times: list[float], ours: list[float]) -> str:
    ratios = [time / our for time, our in zip(times, ours, strict=True)]
    return f"{median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"


def compare(stems: int, frames: int, repetitions: int) -> list[str]:
    """A row of the table: three times in milliseconds, two ratios, and the difference."""
    # open-unmix: (frame, freq, channel, complex, stem). iterations=0 returns the start values.
    their_mixture = torch.randn(frames, FREQUENCIES, 2, 2)
    magnitudes = torch.rand(frames, FREQUENCIES, 2, stems)
    their_estimates = filtering.wiener(magnitudes, their_mixture, iterations=0)
    mixture = torch.view_as_complex(their_mixture).permute(2, 1, 0)[None].contiguous()
    estimates = torch.view_as_complex(their_estimates.permute(4, 2, 1, 0, 3).contiguous())[None]

    # `wiener` divides its input by one if no value exceeds 10. `/ 1` makes the same copies for EM.
    functions = {
        "wiener": lambda: filtering.wiener(magnitudes, their_mixture, iterations=1),
        "EM": lambda: filtering.expectation_maximization(their_estimates / 1, their_mixture / 1, 1),
        "ours": lambda: wiener(estimates, mixture, iterations=1),
    }
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 1):
        for name, function in functions.items():
            elapsed = milliseconds(function)
            if repetition > 0:  # the first repetition warms up
                times[name].append(elapsed)

    theirs = torch.view_as_complex(functions["wiener"]().permute(4, 2, 1, 0, 3).contiguous())
    difference = (functions["ours"]()[0] - theirs).abs().max() / theirs.abs().max()
    return [
        *(f"{median(times[name]):.0f}" for name in functions),
        ratio(times["wiener"], times["ours"]),
        ratio(times["EM"], times["ours"]),
        f"{difference:.1e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument(
        "--frames", type=int, default=300, help="default: %(default)s, open-unmix's window"
    )
    arguments = parser.parse_args()

    torch.manual_seed(0)
    times = ("wiener ms", "EM ms", "ours ms")
    table = Table("stems", "threads", *times, "wiener / ours", "EM / ours", "difference")
    for threads in dict.fromkeys((1, torch.get_num_threads())):
        torch.set_num_threads(threads)
        for stems in (2, 4):
            row = compare(stems, arguments.frames, arguments.repetitions)
            table.add_row(str(stems), str(threads), *row)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
