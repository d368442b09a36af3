"""Measure what 8-bit integers cost and gain when a trained network separates.

    python experiments/benchmarks/int8.py [RUN] [--songs 50] [--seconds 60] [--repetitions 5]

RUN is the folder of a training run of `mlp` or `lstm`. (`open_unmix` merges its last norm into a
dense layer while it runs, which quantised layers do not support.) Without RUN, the network is
`lstm` with random weights, the song is noise, and there are no scores.

The weights of the LSTM and of the dense layers are rounded to 8 bits, and so are the inputs of
these layers while the network runs (dynamic quantisation of PyTorch): in all of these layers, or in
the dense layers only. Batch normalisation is merged into the dense layers before.

Prints a Markdown table. Its columns are the speed of the network and of the whole separation
relative to float32 (median, min–max; the variants run in turn on `--seconds` of the first test
songs), the SDR of the first target (museval: median over frames, then over the test songs), and
the paired difference of this SDR from float32 with its 95 % interval.
"""

import argparse
import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
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


def untrained() -> Separator:
    with initialize_config_dir(config_dir=configuration.CONF):
        config = compose("train", ["model=lstm"])
    OmegaConf.update(config, "name", "lstm")
    return configuration.make(config.model).separator.eval()


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


def ratio(own: Sequence[float], others: Sequence[float]) -> str:
    ratios = [first / second for first, second in zip(others, own, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--songs", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    configuration.register_resolvers()
    tracks: list[StoredTrack] = []
    if options.run is None:
        separator = untrained()
        song = 0.1 * torch.randn(2, round(options.seconds * separator.sample_rate))
    else:
        separator = stemsplit.load(options.run)
        corpus = make_corpus(configuration.saved(options.run).data)
        tracks = corpus.tracks("test")[: options.songs]
        song = material(tracks, options.seconds)
    variants = {name: quantised(separator, layers) for name, layers in VARIANTS.items()}

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for repetition in range(options.repetitions + 1):
        for name, variant in variants.items():
            measured = seconds_of(variant, song)
            if repetition > 0:  # the first one warms the caches
                times[name].append(measured)

    print("| weights | speed of the network | speed of separation | SDR, dB | difference, dB |")
    print("|---|---|---|---|---|")
    networks, wholes = zip(*times["float32"], strict=True)
    exact = [song_sdr(separator, track) for track in tracks]
    for name, variant in variants.items():
        network, whole = zip(*times[name], strict=True)
        values = [song_sdr(variant, track) for track in tracks]
        speeds = f"{ratio(network, networks)} | {ratio(whole, wholes)}"
        print(f"| {name} | {speeds} | {scores(values, exact)} |", flush=True)


def scores(values: list[float], exact: list[float]) -> str:
    if not values:
        return "– | –"
    differences = [own - other for own, other in zip(values, exact, strict=True)]
    paired = paired_difference(differences, frames=0).facts()
    interval = f"[{paired['low']:.3f}, {paired['high']:.3f}]"
    return f"{median_interval(values).value:.3f} | {paired['median']:.3f} {interval}"


if __name__ == "__main__":
    main()
