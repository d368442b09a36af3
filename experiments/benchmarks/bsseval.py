"""Compare the speed and the scores of our BSS Eval with museval.

    python experiments/benchmarks/bsseval.py [--repetitions 3] [--systems 7]

The signals are stereo white noise at 44.1 kHz: 4 stems of 60 s, and 2 stems of 30 s and of 240 s.
Window and hop are 1 s. Each system has its own process, and the processes work alternately.

- "lower limit" runs only the steps that the method needs: the transforms of the correlations and
  of the windows, and the factorisations, on arrays of the same shapes.
- `--systems` is the number of estimates of the same references that our BSS Eval scores together,
  as an evaluation does for the mixture, the oracles and the models.

Prints the median seconds; the ratio to our time (median, min–max over the repetitions); the largest
difference of the scores in dB; and the peak memory of each process.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

RATE = 44100
CASES = ((4, 60), (2, 30), (2, 240))
Signals = np.ndarray  # (stem, time, channel)
Scores = list[np.ndarray] | None


def material(stems: int, seconds: int, systems: int) -> tuple[Signals, list[Signals]]:
    random = np.random.default_rng(0)
    references = 0.1 * random.standard_normal((stems, seconds * RATE, 2))
    leaked = references + 0.3 * np.roll(references, 1, axis=0)
    noise = 0.05 * random.standard_normal(references.shape)
    return references, [leaked + noise / (1 + number) for number in range(systems)]


def by_museval(references: Signals, systems: list[Signals]) -> Scores:
    import museval

    from stemsplit.evaluation.bss_eval.museval_backend import numpy_1_names

    with numpy_1_names():
        return list(museval.evaluate(references, systems[0], win=RATE, hop=RATE))


def by_ours(references: Signals, systems: list[Signals]) -> Scores:
    from stemsplit.evaluation.bss_eval.bss_eval import bss_eval

    found = bss_eval(references, systems[0], RATE, RATE)
    return [found.sdr, found.isr, found.sir, found.sar]


def by_ours_all(references: Signals, systems: list[Signals]) -> Scores:
    from stemsplit.evaluation.bss_eval.bss_eval import bss_eval_systems

    bss_eval_systems(references, systems, RATE, RATE)
    return None


def limit(references: Signals, systems: list[Signals]) -> Scores:
    """Run the transforms and factorisations of the method, without the exact correlations."""
    from stemsplit.evaluation.bss_eval.bss_eval import WINDOWS
    from stemsplit.evaluation.bss_eval.projection import TAPS, TRANSFORM, on_threads

    stems, time, channels = references.shape
    signals = 2 * stems * channels
    cpu = torch.device("cpu")
    # The correlations transform the references twice, without and with overlapping samples, and the
    # estimates once, with overlapping samples.
    block = torch.zeros(3 * signals // 2, 8, TRANSFORM, dtype=torch.float64)
    window = torch.zeros(WINDOWS, signals, RATE + TAPS, dtype=torch.float64)
    for array, step in ((block, 8 * (TRANSFORM - TAPS)), (window, WINDOWS * RATE)):
        starts = range(0, time, step)
        for _ in on_threads(lambda _, array=array: torch.fft.rfft(array), starts, cpu):
            pass
    for size in (stems * channels * TAPS, *[channels * TAPS] * stems):
        torch.linalg.cholesky(torch.eye(size, dtype=torch.float64))
    return None


def worker(
    function: Callable[[Signals, list[Signals]], Scores],
    stems: int,
    seconds: int,
    systems: int,
    orders: Connection,
) -> None:
    """Score once per request, and send the seconds, the scores and the peak memory."""
    signals = material(stems, seconds, systems)
    while orders.recv():
        start = perf_counter()
        scores = function(*signals)
        elapsed = perf_counter() - start
        orders.send((elapsed, scores, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--systems", type=int, default=7)
    options = parser.parse_args()
    together = f"stemsplit, {options.systems} systems"
    functions = {
        "museval": (by_museval, 1),
        "stemsplit": (by_ours, 1),
        together: (by_ours_all, options.systems),
        "lower limit": (limit, 1),
    }
    console = Console(width=100)
    start = multiprocessing.get_context("spawn")
    for stems, seconds in CASES:
        pipes, found = {}, {}
        for name, (function, systems) in functions.items():
            pipes[name], end = start.Pipe()
            arguments = (function, stems, seconds, systems, end)
            start.Process(target=worker, args=arguments, daemon=True).start()
            found[name] = []
        for number in range(1 + options.repetitions):
            for name, pipe in pipes.items():
                if name == "museval" and not number:
                    continue  # museval needs no warm-up
                pipe.send(True)
                answer = pipe.recv()
                if number:
                    found[name].append(answer)
        for pipe in pipes.values():
            pipe.send(False)
        table = Table(
            "system",
            "seconds",
            "ratio to ours",
            "peak memory",
            title=f"{stems} stems × {seconds} s",
        )
        ours = [elapsed for elapsed, _, _ in found["stemsplit"]]
        for name, answers in found.items():
            ratios = [elapsed / our for (elapsed, _, _), our in zip(answers, ours, strict=True)]
            table.add_row(
                name,
                f"{median(elapsed for elapsed, _, _ in answers):.2f}",
                f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
                f"{answers[-1][2]:.1f} GB",
            )
        console.print(table)
        pairs = zip(found["museval"][0][1], found["stemsplit"][0][1], strict=True)
        console.print(
            f"largest difference of the scores: {max(np.abs(a - b).max() for a, b in pairs):.1e} dB"
        )


if __name__ == "__main__":
    main()
