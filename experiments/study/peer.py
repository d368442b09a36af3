"""Train the network of the package openunmix by its published recipe, in a separate loop.

The loop follows open-unmix's training script: batches of random excerpts with stems of random
songs, random gains and swapped channels; MSE of magnitudes; Adam with weight decay; the learning
rate falls when the validation loss stops falling. Songs, number of steps and seed are those of a
run of stemsplit, so that both can be compared. The weights with the best validation loss separate
the test songs, with one iteration of openunmix's Wiener filter.
"""

import json
import time
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from openunmix import model, transforms
from openunmix.utils import bandwidth_to_max_bin
from torch import Tensor, nn

from experiments.study.plan import Plan
from experiments.study.trainings import Training, config_of, corpus_of, score
from stemsplit import audio
from stemsplit.data.store.stored import StoredTrack
from stemsplit.files import replacing

TARGET, REST = "vocals", "accompaniment"


def peer(plan: Plan, runs: list[Training], folder: Path) -> dict[str, Any]:
    """Train openunmix's network with the seed of each run, and score all on the test songs."""
    estimates, facts = [], {}
    for run in runs:
        output = folder / f"openunmix-{run.name}"
        if not (output / "facts.json").is_file():
            train_and_separate(run, output)
        facts[output.name] = json.loads((output / "facts.json").read_text())
        estimates.append(f"{output.name}:'{output / 'estimates'}'")
    settings = [*plan.evaluate, f"estimates={{{','.join(estimates)}}}"]
    evaluation = score(runs, settings, folder / "evaluation")  # already has the runs' scores
    scores = {name: evaluation[name] for name in ("scores", "differences", "spreads")}
    return {**scores, "trainings": facts}


def train_and_separate(run: Training, output: Path) -> None:
    config, corpus = config_of(run), corpus_of(run)
    torch.manual_seed(config.seed)
    encoder = encoder_of(config)
    songs = corpus.tracks("train")
    network = network_of(config, encoder, songs)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.3, patience=config.scheduler_patience, cooldown=10
    )
    random = np.random.default_rng(config.seed)
    # The last batch of an epoch of stemsplit may be smaller, and counts as a step.
    steps = ceil(len(songs) * config.chunks_per_track / config.data.batch_size)
    length = round(config.chunk_seconds * config.sample_rate)
    best, curve, seconds = float("inf"), [], 0.0
    weights = network.state_dict()
    for epoch in range(config.epochs):
        network.train()
        started = time.perf_counter()
        for _ in range(steps):
            batch = [excerpt(songs, length, random) for _ in range(config.data.batch_size)]
            stems = torch.from_numpy(np.stack(batch))
            target = stems[:, list(songs[0].stems).index(TARGET)].contiguous()
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(network(encoder(stems.sum(1))), encoder(target))
            loss.backward()
            optimizer.step()
        seconds += time.perf_counter() - started
        validation = validation_loss(network, encoder, corpus.tracks("valid"))
        scheduler.step(validation)
        curve.append(((epoch + 1) * steps, validation))
        if validation < best:
            best = validation
            weights = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    separate(network.eval(), corpus.tracks("test"), config, output / "estimates")
    facts = {"seconds_per_step": seconds / (steps * config.epochs), "validation/loss": curve}
    with replacing(output / "facts.json") as partial:
        partial.write_text(json.dumps(facts))


def encoder_of(config: Any) -> nn.Module:
    stft, _ = transforms.make_filterbanks(
        n_fft=config.window, n_hop=config.hop, sample_rate=config.sample_rate
    )
    return nn.Sequential(stft, model.ComplexNorm(mono=config.channels == 1))


@torch.no_grad()
def network_of(config: Any, encoder: nn.Module, songs: list[StoredTrack]) -> nn.Module:
    """The network with the published width, which normalises its input by the songs' statistics."""
    frames = [encoder(torch.from_numpy(song.mixture())[None])[0].mean(0).T for song in songs]
    magnitudes = torch.cat(frames)
    scale = magnitudes.std(0, correction=0)
    bins = config.window // 2 + 1
    return model.OpenUnmix(
        nb_bins=bins,
        nb_channels=config.channels,
        hidden_size=512,
        max_bin=bandwidth_to_max_bin(config.sample_rate, config.window, config.bandwidth_hertz),
        input_mean=magnitudes.mean(0).numpy(),
        input_scale=scale.clamp(min=float(1e-4 * scale.max())).numpy(),
    )


def excerpt(songs: list[StoredTrack], length: int, random: np.random.Generator) -> np.ndarray:
    """Stems of random songs `(stem, channel, time)`, with random gains and swapped channels."""
    stems = []
    for stem in songs[0].stems:
        song = songs[random.integers(len(songs))]
        start = int(random.integers(max(1, song.time - length + 1)))
        samples = song.read(stem, start, length) * np.float32(random.uniform(0.25, 1.25))
        stems.append(samples[::-1] if random.random() < 0.5 else samples)
    return np.stack(stems)


@torch.no_grad()
def validation_loss(network: nn.Module, encoder: nn.Module, songs: list[StoredTrack]) -> float:
    """The mean loss over whole songs."""
    network.eval()
    losses = []
    for song in songs:
        mixture, target = (
            encoder(torch.from_numpy(samples)[None])
            for samples in (song.mixture(), song.read(TARGET))
        )
        losses.append(float(nn.functional.mse_loss(network(mixture), target)))
    return float(np.mean(losses))


@torch.no_grad()
def separate(network: nn.Module, songs: list[StoredTrack], config: Any, output: Path) -> None:
    separator = model.Separator(
        {TARGET: network},
        niter=1,
        residual=True,
        sample_rate=config.sample_rate,
        n_fft=config.window,
        n_hop=config.hop,
        nb_channels=config.channels,
    )
    for song in songs:
        stems: Tensor = separator(torch.from_numpy(song.mixture())[None])[0]
        folder = output / "test" / song.name
        folder.mkdir(parents=True, exist_ok=True)
        for name, samples in zip((TARGET, REST), stems, strict=True):
            audio.write(folder / f"{name}.wav", samples.numpy(), song.sample_rate)
