"""Compare the time and the memory of separating a song with open-unmix's own separator.

    python experiments/benchmarks/separate.py [--seconds 180] [--repetitions 3] [--profile]

Both systems load the same weights (random values in open-unmix's four published networks) and
separate the same stereo song into four stems, with one iteration of expectation maximisation. The
song is in memory, and so are the stems. Each system has a process of its own, in which it first
separates ten seconds to warm up. The processes work in turn.

Prints the median seconds, the real-time factor, the peak memory of the process, and how many times
as fast ours is (median, min–max over the repetitions). `--profile` prints a profile of our
separator instead.
"""

import argparse
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

RATE, TARGETS = 44100, ("vocals", "drums", "bass", "other")
Separate = Callable[[Tensor], object]


def write_weights(folder: Path) -> None:
    """Write the weights of four networks, in the layout of the published files."""
    from openunmix.model import OpenUnmix

    torch.manual_seed(0)
    for target in TARGETS:
        network = OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487)
        torch.save(network.state_dict(), folder / f"{target}-00000000.pth")


def theirs(folder: Path) -> Separate:
    from openunmix.model import OpenUnmix, Separator

    networks = {}
    for target in TARGETS:
        networks[target] = OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487)
        weights = torch.load(folder / f"{target}-00000000.pth", weights_only=True)
        networks[target].load_state_dict(weights)
    separator = Separator(networks, niter=1, sample_rate=RATE, n_fft=4096, n_hop=1024).eval()
    separator.freeze()
    return lambda song: separator(song[None])


def ours(folder: Path) -> Separate:
    import stemsplit
    from stemsplit.machine.allocator import keep_freed_memory

    keep_freed_memory()  # like `stemsplit separate`
    separator = stemsplit.load([folder / f"{target}-00000000.pth" for target in TARGETS])
    return lambda song: separator.separate(song, RATE, precision="float32")


SYSTEMS = {"open-unmix": theirs, "stemsplit": ours}


def song_of(seconds: float) -> Tensor:
    return 0.1 * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0))


def worker(name: str, folder: Path, seconds: float, orders: Connection) -> None:
    """Separate the song once per request, and send the seconds and the peak memory in MB."""
    separate = SYSTEMS[name](folder)
    with torch.inference_mode():
        separate(song_of(10))
        song = song_of(seconds)
        while orders.recv():
            start = perf_counter()
            separate(song)
            elapsed = perf_counter() - start
            orders.send((elapsed, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def profile(folder: Path, seconds: float) -> None:
    separate = ours(folder)
    separate(song_of(10))
    with torch.profiler.profile() as profiler:
        separate(song_of(seconds))
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=14))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder)
        if options.profile:
            profile(folder, options.seconds)
            return
        start = multiprocessing.get_context("spawn")
        pipes = {}
        for system in SYSTEMS:
            pipes[system], end = start.Pipe()
            arguments = (system, folder, options.seconds, end)
            start.Process(target=worker, args=arguments, daemon=True).start()
        times: dict[str, list[float]] = {system: [] for system in SYSTEMS}
        memory = {}
        for _ in range(options.repetitions):
            for system, pipe in pipes.items():
                pipe.send(True)
                elapsed, memory[system] = pipe.recv()
                times[system].append(elapsed)
        for pipe in pipes.values():
            pipe.send(False)

    title = f"{options.seconds:.0f} s of stereo, 4 stems, {torch.get_num_threads()} threads"
    table = Table("system", "seconds", "real-time factor", "peak memory", title=title)
    for system, elapsed in times.items():
        table.add_row(
            system,
            f"{median(elapsed):.1f}",
            f"{median(elapsed) / options.seconds:.3f}",
            f"{memory[system]:.0f} MB",
        )
    ratios = [their / our for their, our in zip(*times.values(), strict=True)]
    console = Console(width=100)
    console.print(table)
    console.print(
        f"open-unmix / stemsplit: {median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
