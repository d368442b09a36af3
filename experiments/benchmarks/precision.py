"""Measure what bfloat16 and 8-bit integers cost and gain when a network separates.

    python experiments/benchmarks/precision.py [RUN …] [--models NAME …] [--songs 50] [--seconds 30]

RUN is the folder of a training run. NAME is a value of ``model=``; the network then has random
weights, the song is noise, and there are no scores.

In bfloat16, the network runs as with ``separate --precision bfloat16``; the processor needs
instructions for it. For 8-bit integers, PyTorch's dynamic quantisation rounds the weights of some
layers, and the inputs of these layers while the network runs. One variant rounds the dense layers
only, the other one the dense layers and the LSTM. Both first merge batch normalisation into the
dense layers. Only `mlp` and `lstm` support this: `open_unmix` merges its last norm into
a dense layer while it runs, and the other networks have few or no such layers.

Prints a Markdown table. Its columns are the speed of the network and of the whole separation
relative to float32 (median, min–max; the variants run in turn on `--seconds` of the first test
songs), the SDR of the first target (museval: median over frames, then over the test songs), and
the paired difference of this SDR from float32 with its 95 % interval.
"""

import argparse
import copy
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from architectures import separator_of
from torch import Tensor, nn
from torch.nn.utils import fuse_linear_bn_eval

import stemsplit
from stemsplit import configuration
from stemsplit.command_line.corpora import make_corpus
from stemsplit.data.store.stored import StoredTrack
from stemsplit.evaluation.bss_eval.bss_eval import bss_eval
from stemsplit.evaluation.intervals import median_interval, paired_difference
from stemsplit.machine.allocator import keep_freed_memory
from stemsplit.machine.bfloat16 import cpu_is_fast_in_bfloat16
from stemsplit.models.lstm import Lstm
from stemsplit.models.mlp import Mlp
from stemsplit.separation.separator import Separator

QUANTISED: dict[str, set[type[nn.Module]]] = {
    "int8, dense layers": {nn.Linear},
    "int8, dense layers and LSTM": {nn.Linear, nn.LSTM},
}


class Variant(NamedTuple):
    separator: Separator
    precision: str = "float32"


def variants_of(separator: Separator) -> dict[str, Variant]:
    variants = {"float32": Variant(separator)}
    if cpu_is_fast_in_bfloat16():
        variants["bfloat16"] = Variant(separator, "bfloat16")
    if isinstance(separator.network, Lstm | Mlp):
        for name, layers in QUANTISED.items():
            variants[name] = Variant(quantised(separator, layers))
    return variants


def merge_norms(network: nn.Module) -> None:
    """Merge each batch normalisation into the dense layer that is registered before it."""
    for module in network.modules():
        previous: nn.Module | None = None
        merged = {}
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d) and isinstance(previous, nn.Linear):
                fused = fuse_linear_bn_eval(previous, child)
                previous.weight, previous.bias = fused.weight, fused.bias
                merged[name] = nn.Identity()
            previous = child
        for name, identity in merged.items():
            setattr(module, name, identity)


def quantised(separator: Separator, layers: set[type[nn.Module]]) -> Separator:
    """A copy of the separator with 8-bit integers in all layers of these types."""
    variant = copy.deepcopy(separator)
    with warnings.catch_warnings():
        # PyTorch recommends torchao, which has no LSTM.
        warnings.simplefilter("ignore", DeprecationWarning)
        merge_norms(variant.network)
        variant.network = torch.ao.quantization.quantize_dynamic(variant.network, layers)
    return variant.eval()


def song_sdr(variant: Variant, track: StoredTrack) -> float:
    mixture, target = track.mixture(), variant.separator.targets[0]
    truth = track.read(target)
    stems = variant.separator.separate(mixture, track.sample_rate, precision=variant.precision)
    references = np.stack([truth.T, (mixture - truth).T])
    estimates = np.stack([stems[target].T, (mixture - stems[target]).T])
    scores = bss_eval(references, estimates, track.sample_rate, track.sample_rate).sdr[0]
    return float(np.nanmedian(scores))


def material(tracks: list[StoredTrack], seconds: float) -> Tensor:
    """The mixtures of the first songs one after the other, `seconds` long if there are enough."""
    samples = round(seconds * tracks[0].sample_rate)
    parts: list[np.ndarray] = []
    for track in tracks:
        parts.append(track.mixture())
        if sum(part.shape[1] for part in parts) >= samples:
            break
    return torch.from_numpy(np.concatenate(parts, axis=1)[:, :samples])


def seconds_of(variant: Variant, song: Tensor) -> tuple[float, float]:
    """Computing time of the network alone and of the whole separation."""
    separator, precision = variant
    views = separator.front_end.views(separator.front_end(song[None]), separator.network.views)
    half = precision == "bfloat16"
    start = perf_counter()
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        separator.network(views if separator.network.views else song[None])
    middle = perf_counter()
    separator.separate(song, separator.sample_rate, precision=precision)
    return middle - start, perf_counter() - middle


def ratio(own: Sequence[float], others: Sequence[float]) -> str:
    ratios = [first / second for first, second in zip(others, own, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="*")
    parser.add_argument("--models", metavar="NAME", nargs="+", default=[])
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if not options.runs and not options.models:
        parser.error("name a run, or --models")
    configuration.register_resolvers()
    keep_freed_memory()
    print("| network | numbers | network speed | speed of separation | SDR, dB | difference, dB |")
    print("|---|---|---|---|---|---|")
    for model in options.models:
        separator = separator_of(model)
        song = 0.1 * torch.randn(2, round(options.seconds * separator.sample_rate))
        compare(model, separator, song, [], options.repetitions)
    for run in options.runs:
        corpus = make_corpus(configuration.saved(run).data)
        tracks = corpus.tracks("test")[: options.songs]
        song = material(tracks, options.seconds)
        separator = stemsplit.load(run)
        assert isinstance(separator, Separator)
        compare(run.name, separator, song, tracks, options.repetitions)


def compare(
    name: str, separator: Separator, song: Tensor, tracks: list[StoredTrack], repetitions: int
) -> None:
    """Print a row for each variant of a separator."""
    variants = variants_of(separator)
    times: dict[str, list[tuple[float, float]]] = {numbers: [] for numbers in variants}
    for repetition in range(repetitions + 1):
        for numbers, variant in variants.items():
            measured = seconds_of(variant, song)
            if repetition > 0:  # the first one warms the caches
                times[numbers].append(measured)
    networks, wholes = zip(*times["float32"], strict=True)
    exact = [song_sdr(variants["float32"], track) for track in tracks]
    for numbers, variant in variants.items():
        network, whole = zip(*times[numbers], strict=True)
        values = [song_sdr(variant, track) for track in tracks]
        speeds = f"{ratio(network, networks)} | {ratio(whole, wholes)}"
        print(f"| `{name}` | {numbers} | {speeds} | {scores(values, exact)} |", flush=True)


def scores(values: list[float], exact: list[float]) -> str:
    if not values:
        return "– | –"
    differences = [own - other for own, other in zip(values, exact, strict=True)]
    paired = paired_difference(differences, frames=0).facts()
    interval = f"[{paired['low']:.3f}, {paired['high']:.3f}]"
    return f"{median_interval(values).value:.3f} | {paired['median']:.3f} {interval}"


if __name__ == "__main__":
    main()
