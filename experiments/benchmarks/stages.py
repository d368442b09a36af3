"""Print where the time of a training step and of a separation goes, stage by stage.

    python experiments/benchmarks/stages.py [MODEL…] [--batch 16] [--threads 2] [--set SETTING…]

MODEL is a name of conf/model (default: open_unmix and mel_blstm). The code of `stemsplit.train`
trains on songs of noise, with all callbacks and loggers. The code of `stemsplit separate` separates
one minute in float32, from a FLAC file to WAV files. Both run on the CPU.

Prints for each stage its time and its share of the step (median over the steps), without the stages
that it calls; the share of the step that its matrix products, convolutions and LSTMs take
("products"); the speed of these products in GFLOP/s; and this speed as a share of the speed of a
large matrix product in the same run. The backward pass of a layer has a row of its own. "Not
assigned" is the rest of the step: the code between the stages. The last line compares profiled
steps with steps without a profiler.
"""

import argparse
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import soundfile
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from stage_times.flops import flops_of
from stage_times.recorder import Recorder
from stage_times.stages import staged, stages_of

from stemsplit import train
from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.training_data import make_data
from stemsplit.configuration import CONF, make, register_resolvers
from stemsplit.machine.allocator import keep_freed_memory
from stemsplit.separation.separator import Separator
from stemsplit.separation.songs.song import separate_file

STEMS = ("drums", "bass", "other", "vocals")
SONGS, SONG_SECONDS, RATE = 4, 20, 44100
HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
Array = np.ndarray


class StepEnds(L.Callback):
    """Record each step from one call of `on_train_batch_end` to the next."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def on_train_start(self, *arguments: Any) -> None:
        self.recorder.start()

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.recorder.stop()
        if self.recorder.is_done:
            raise TrainingDone
        self.recorder.start()


class TrainingDone(Exception):  # noqa: N818
    """Ends the training."""


def train_steps(
    model: str, folder: Path, options: argparse.Namespace
) -> tuple[Recorder, Counter[str]]:
    """Train as `stemsplit.train` does, until enough steps are profiled."""
    config = composed(
        model,
        "data=folder",
        "logger=csv",
        f"data.root={folder / 'songs'}",
        f"data.cache={folder / 'cache'}",
        f"data.batch_size={options.batch}",
        f"chunk_seconds={options.seconds}",
        f"run_dir={folder / 'run'}",
        "trainer.accelerator=cpu",
        "trainer.num_sanity_val_steps=0",
        *options.set,
    )
    module = make(config.model)
    separator = module.separator
    half = str(config.trainer.precision).startswith("bf16")
    recorder = Recorder(options.steps, torch.bfloat16 if half else torch.float32)
    callbacks = list(train.made(config.callbacks, "callbacks").values())
    for callback in callbacks:
        for hook in HOOKS:
            if getattr(type(callback), hook) is not getattr(L.Callback, hook):
                name = f"callback {type(callback).__name__}"
                setattr(callback, hook, staged(name, getattr(callback, hook)))
    trainer = make(config.trainer, callbacks=[*callbacks, StepEnds(recorder)], logger=False)
    corpus = make_corpus(config.data)
    data = make_data(
        config.data, corpus, front_end=separator.front_end, views=separator.network.views
    )
    data.prepare_data()
    loggers = list(train.made(config.logger, "logger").values())
    for logger in loggers:
        logger.log_metrics = staged("logging", logger.log_metrics)
    with stages_of(separator, options.depth), suppress(TrainingDone):
        train.fit(config, trainer, module, data, loggers)
    excerpt = flops_of(separator.train(), data.chunk, options.depth)
    return recorder, Counter({stage: config.data.batch_size * excerpt[stage] for stage in excerpt})


def separations(
    model: str, folder: Path, options: argparse.Namespace
) -> tuple[Recorder, Counter[str]]:
    """Separate a minute as `stemsplit separate` does, until enough separations are profiled."""
    separator: Separator = make(composed(model, *options.set).model).separator.eval()
    recorder = Recorder(options.steps)
    samples: list[int] = []

    def count(separator: Any, inputs: Any) -> None:
        mixture = inputs[0]
        samples.append(len(mixture) * mixture.shape[-1])

    separator.register_forward_pre_hook(count)
    with stages_of(separator, options.depth):
        while not recorder.is_done:
            recorder.start()
            samples.clear()
            # The recorder measures the speed limit in float32, so the network uses float32, too.
            separate_file(folder / "song.flac", folder / "stems", separator, precision="float32")
            recorder.stop()
    with torch.no_grad():
        chunk = flops_of(separator, separator.chunk, options.depth)
    chunks = sum(samples) / separator.chunk
    return recorder, Counter({stage: round(chunks * chunk[stage]) for stage in chunk})


def composed(model: str, *settings: str) -> Any:
    with initialize_config_dir(config_dir=CONF):
        config = compose("train", [f"model={model}", *settings])
    OmegaConf.update(config, "name", model)
    OmegaConf.update(config, "corpus", "noise")
    return config


def write_songs(folder: Path, rate: int) -> None:
    """Write training songs of four stems, and a minute to separate."""
    random = np.random.default_rng(0)
    for song in range(SONGS):
        place = folder / "songs" / ("valid" if song == 0 else "train") / str(song)
        place.mkdir(parents=True)
        for stem in STEMS:
            noise = random.uniform(-0.2, 0.2, (SONG_SECONDS * RATE, 2))
            soundfile.write(place / f"{stem}.wav", noise, RATE)
    soundfile.write(folder / "song.flac", random.uniform(-0.5, 0.5, (60 * rate, 2)), rate)


def show(title: str, recorder: Recorder, flops: Counter[str]) -> None:
    """Print medians over the steps. `flops` counts the operations of each stage in a step."""
    table = Table("stage", "ms", "share", "products", "GFLOP/s", "of limit", title=title)
    whole, limit = np.array(recorder.seconds[True]), median(recorder.limits)

    def add(stage: str, seconds: Array, products: Array, flops: float) -> None:
        speed = flops / np.median(products) if flops and products.all() else None
        table.add_row(
            stage,
            f"{1000 * np.median(seconds):.1f}",
            f"{np.median(seconds / whole):.1%}",
            f"{np.median(products / whole):.1%}" if products.any() else "",
            "" if speed is None else f"{speed / 1e9:.0f}",
            "" if speed is None else f"{speed / limit:.0%}",
        )

    times = {
        stage: np.array([each.get(stage, (0.0, 0.0)) for each in recorder.times]).T
        for stage in {stage: None for each in recorder.times for stage in each}
    }
    for stage, (seconds, products) in sorted(times.items(), key=lambda row: -row[1][0].mean()):
        add(stage, seconds, products, flops[stage])
    table.add_section()
    nothing = np.zeros(2)[:, None]
    network = sum((each for stage, each in times.items() if "network" in stage), nothing)
    assigned = sum(times.values(), nothing)
    add("all of the network", *network, flops.total())
    add("not assigned", whole - assigned[0], np.zeros(1), 0)
    add("whole", whole, assigned[1], flops.total())
    console = Console(width=100)
    console.print(table)
    without = median(recorder.seconds[False])
    console.print(
        f"limit: {limit / 1e9:.0f} GFLOP/s, a matrix product; without a profiler: "
        f"{1000 * without:.1f} ms; {torch.get_num_threads()} threads"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["open_unmix", "mel_blstm"], metavar="MODEL")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of a training excerpt")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--depth", type=int, default=3, help="most parts in the name of a layer")
    parser.add_argument("--rate", type=int, default=RATE, help="sample rate of the song in Hz")
    parser.add_argument("--only", choices=("train", "separate"), default="")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING", help="Hydra settings")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    register_resolvers()
    train.quieten()
    for model in options.models:
        with tempfile.TemporaryDirectory() as name:
            write_songs(Path(name), options.rate)
            if options.only != "separate":
                steps = train_steps(model, Path(name), options)
                show(f"{model}: a training step, batch {options.batch}", *steps)
            if options.only != "train":
                minutes = separations(model, Path(name), options)
                show(f"{model}: separation of a minute, {options.rate} Hz", *minutes)


if __name__ == "__main__":
    main()
