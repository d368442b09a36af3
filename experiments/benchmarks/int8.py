"""Measure what 8-bit integers cost and gain when a trained network separates.

    python experiments/benchmarks/int8.py RUN [--songs 50] [--seconds 60] [--repetitions 5]

RUN is the folder of a training whose network has LSTM or dense layers. Their weights, and their
inputs while the network runs, are rounded to 8 bits (dynamic quantisation of PyTorch): in all of
these layers, or in the dense layers only. Batch normalisation is merged into the dense layers.

Prints a Markdown table. Its columns are the speed of the network and of the whole separation
relative to float32 (median, min–max; the variants run in turn on `--seconds` of the first test
songs), the SDR of the first target (museval: median over frames, then over the test songs), and
the paired difference of this SDR from float32 with its 95 % interval.
"""

import argparse
import copy
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_linear_bn_eval

import stemsplit
from stemsplit import configuration
from stemsplit.command_line.corpora import make_corpus
from stemsplit.data.store.stored import StoredTrack
from stemsplit.evaluation.bss_eval.bss_eval import bss_eval
from stemsplit.evaluation.intervals import median_interval, paired_difference
from stemsplit.separation.separator import Separator

VARIANTS: dict[str, set[type[nn.Module]]] = {
    "float32": set(),
    "int8, dense layers": {nn.Linear},
    "int8, dense layers and LSTM": {nn.Linear, nn.LSTM},
}


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
    if layers:
        with warnings.catch_warnings():
            # PyTorch recommends torchao, which has no LSTM.
            warnings.simplefilter("ignore", DeprecationWarning)
            merge_norms(variant.network)
            variant.network = torch.ao.quantization.quantize_dynamic(variant.network, layers)
    return variant.eval()


def song_sdr(separator: Separator, track: StoredTrack) -> float:
    mixture, target = track.mixture(), separator.targets[0]
    truth = track.read(target)
    estimate = separator.separate(torch.from_numpy(mixture), track.sample_rate)[target].numpy()
    references = np.stack([truth.T, (mixture - truth).T])
    estimates = np.stack([estimate.T, (mixture - estimate).T])
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


def seconds_of(separator: Separator, song: Tensor) -> tuple[float, float]:
    """Computing time of the network alone and of the whole separation."""
    views = separator.front_end.views(separator.front_end(song[None]), separator.network.views)
    start = perf_counter()
    separator.network(views)
    middle = perf_counter()
    separator.separate(song, separator.sample_rate)
    return middle - start, perf_counter() - middle


def ratio(own: list[float], others: list[float]) -> str:
    ratios = [first / second for first, second in zip(others, own, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    separator = stemsplit.load(options.run)
    variants = {name: quantised(separator, layers) for name, layers in VARIANTS.items()}
    configuration.register_resolvers()
    tracks = make_corpus(configuration.saved(options.run).data).tracks("test")[: options.songs]

    song = material(tracks, options.seconds)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for repetition in range(options.repetitions + 1):
        for name, variant in variants.items():
            measured = seconds_of(variant, song)
            if repetition > 0:  # the first one warms the caches
                times[name].append(measured)
    scores = {
        name: [song_sdr(variant, track) for track in tracks] for name, variant in variants.items()
    }

    print("| weights | speed of the network | speed of separation | SDR, dB | difference, dB |")
    print("|---|---|---|---|---|")
    networks, wholes = zip(*times["float32"], strict=True)
    for name, values in scores.items():
        network, whole = zip(*times[name], strict=True)
        sdr = median_interval(values)
        differences = [own - other for own, other in zip(values, scores["float32"], strict=True)]
        difference = paired_difference(differences, frames=0).facts()
        print(
            f"| {name} | {ratio(network, networks)} | {ratio(whole, wholes)} "
            f"| {sdr.value:.3f} | {difference['median']:.3f} "
            f"[{difference['low']:.3f}, {difference['high']:.3f}] |"
        )


if __name__ == "__main__":
    main()
