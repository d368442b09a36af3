"""Compare the speed of our data pipeline with open-unmix's and musdb's.

    python experiments/benchmarks/data.py [--songs 4] [--rounds 5] [--steps 0]

Writes songs of 3 minutes to a temporary folder, in MUSDB18's layout and as WAV files. Then
measures, in one process and alternately:

- reading: excerpts per second, in batches of 16 six-second excerpts of four stems from different
  songs, without worker processes. open-unmix's `MUSDBDataset` reads the stem.mp4 files and the WAV
  files. We read 16-bit batches, as they are sent to a device, and batches like open-unmix's:
  float32, augmented and mixed. The upper limit is a copy of the same bytes from memory maps, to
  one array per stem or to one array per batch. The files are in the system's cache;
- decoding and previews: seconds to decode all stems of a song for the first time, for sixteen songs
  of 3 minutes and sixteen of 7 s. musdb decodes with `track.stems` (one call for all stems), or
  with `audio` and `sources` (like open-unmix). Our store uses one process or all cores; the time
  includes the start of the worker processes. The store writes to memory if possible, because musdb
  writes nothing. The upper limit is libavcodec alone, without use of the samples. Each system has
  its own process;
- epochs: seconds per epoch of open-unmix's own network, STFT and Adam (batch 16), with its data
  pipeline and with ours;
- waiting: the share of the time of such a step that is spent waiting for our data;
- memory: the anonymous memory of a process that reads the excerpts of an hour of training (46,080).

All processes keep freed memory (`stemsplit.machine.allocator`), as training does, except those in
which musdb or libavcodec alone decodes. Prints medians, and how many times as fast ours is (median,
min–max over the rounds).
"""

import argparse
import multiprocessing
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter
from unittest.mock import patch

import av
import musdb
import numpy as np
import openunmix
import soundfile
import torch
from openunmix import data as their_data
from openunmix import model, transforms
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemsplit import audio
from stemsplit.data.augment.augment import Augment
from stemsplit.data.corpora.demo_songs import SONGS, synthesise_song, write_song
from stemsplit.data.corpora.musdb import musdb18
from stemsplit.data.excerpts.chunks import Chunk, RandomChunks, as_it_is
from stemsplit.data.excerpts.sampling import EpochSampler, ResumableLoader
from stemsplit.data.store.store import Store
from stemsplit.data.store.stored import StoredTrack
from stemsplit.machine.allocator import keep_freed_memory

RATE, SECONDS, BATCH = 44100, 6.0, 16
CHUNK = round(SECONDS * RATE)
STEMS = ("drums", "bass", "other", "vocals")
CHUNKS_PER_TRACK = 64
PARTS = ("reading", "decoding", "previews", "epochs", "waiting", "memory")
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
HOUR = 46_080  # excerpts: 16 in 1.25 s, the time of a training step on two cores

console = Console(width=100)


def make_corpora(root: Path, songs: int) -> None:
    """Write ROOT/mp4 and ROOT/wav. A song is half a minute of a demo song, repeated six times."""
    for name in SONGS[:songs]:
        stems = synthesise_song(name, seconds=30.0)
        long = {stem: np.tile(samples, 6)[:, : 180 * RATE] for stem, samples in stems.items()}
        path = root / "mp4" / "train" / f"{name}.stem.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_song(path, long)
        folder = root / "wav" / "train" / name
        folder.mkdir(parents=True)
        streams = audio.read_streams(path, range(5))
        for stem, decoded in zip(("mixture", *STEMS), streams, strict=True):
            soundfile.write(folder / f"{stem}.wav", decoded.samples.T, RATE, "PCM_16")


def their_loader(root: Path, is_wav: bool) -> DataLoader[tuple[Tensor, Tensor]]:
    """Training excerpts of open-unmix's training script, with its augmentation."""
    augmentations = their_data.Compose([their_data._augment_gain, their_data._augment_channelswap])
    songs = their_data.MUSDBDataset(
        target="vocals",
        root=str(root),
        is_wav=is_wav,
        subsets="train",
        split="train",
        seq_duration=SECONDS,
        samples_per_track=CHUNKS_PER_TRACK,
        source_augmentations=augmentations,
        random_track_mix=True,
    )
    return DataLoader(songs, batch_size=BATCH, shuffle=True, drop_last=True)


def our_loader(tracks: list[StoredTrack], workers: int = 0) -> ResumableLoader:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    sampler = EpochSampler(len(tracks) * CHUNKS_PER_TRACK, seed=0)
    return ResumableLoader(
        chunks, sampler, batch_size=BATCH, collate_fn=as_it_is, num_workers=workers
    )


def endless(loader: DataLoader) -> Iterator[Chunk]:
    epoch = 0
    while True:
        if isinstance(loader, ResumableLoader):
            loader.epochs.set_epoch(epoch)
        yield from loader
        epoch += 1


def plain_reads(tracks: list[StoredTrack], into_batch: bool) -> Iterator[object]:
    """Copy as many bytes as a batch has, from random positions of the memory maps."""
    draw = random.Random(0)
    while True:
        batch = np.empty((BATCH, len(STEMS), 2, CHUNK), np.int16) if into_batch else []
        for row in range(BATCH):
            for column in range(len(STEMS)):
                samples = draw.choice(tracks).samples
                start = draw.randrange(samples.shape[-1] - CHUNK)
                stored = samples[1 + column, :, start : start + CHUNK]
                if isinstance(batch, list):
                    batch.append(np.array(stored))
                else:
                    batch[row, column] = stored
        yield batch


def mixed(chunks: Iterator[Chunk]) -> Iterator[tuple[Tensor, Tensor]]:
    """Mixture and target, as in open-unmix's data set."""
    augment = Augment(seed=0)
    for chunk in chunks:
        stems = augment(chunk.waveforms(), chunk.keys)
        yield stems.sum(dim=1), stems[:, STEMS.index("vocals")]


def excerpts_per_second(source: Iterator[object], batches: int) -> float:
    start = perf_counter()
    for _ in range(batches):
        next(source)
    return batches * BATCH / (perf_counter() - start)


def compare_reading(root: Path, tracks: list[StoredTrack], rounds: int) -> None:
    ours = endless(our_loader(tracks))
    sources: dict[str, tuple[Iterator[object], int]] = {
        "open-unmix, stem.mp4": (iter(endless(their_loader(root / "mp4", is_wav=False))), 1),
        "open-unmix, wav": (iter(endless(their_loader(root / "wav", is_wav=True))), 2),
        "memory map, one array per stem": (plain_reads(tracks, into_batch=False), 20),
        "memory map, one array per batch": (plain_reads(tracks, into_batch=True), 20),
        "stemsplit, 16-bit batch": (ours, 20),
        "stemsplit, float32, mixed": (mixed(ours), 20),
    }
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for number in range(1 + rounds):
        for name, (source, batches) in sources.items():
            rate = excerpts_per_second(source, batches)
            if number:  # the first round warms up
                rates[name].append(rate)
    table = Table("system", "excerpts per second", "our 16-bit / this row", "our mixed / this row")
    for name, found in rates.items():
        table.add_row(
            name,
            f"{median(found):.1f}",
            times(found, rates["stemsplit, 16-bit batch"]),
            times(found, rates["stemsplit, float32, mixed"]),
        )
    console.print(table)


def times(theirs: list[float], ours: list[float]) -> str:
    """Ratio of our rate to theirs, over the rounds."""
    ratios = [our / their for their, our in zip(theirs, ours, strict=True)]
    return f"{median(ratios):.3g} × ({min(ratios):.3g}–{max(ratios):.3g})"


def make_many(root: Path) -> None:
    """Write ROOT/long, four copies of every song, and ROOT/short, sixteen songs of 7 s.

    The copies differ in an empty box at the end of the file, so the store decodes each of them.
    """
    for song in list((root / "mp4" / "train").iterdir()):
        for copy in range(4):
            path = root / "long" / "train" / f"{copy} {song.name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(song.read_bytes() + (9).to_bytes(4, "big") + b"free" + bytes([copy]))
    for name in SONGS:
        write_song(root / "short/train" / f"{name}.stem.mp4", synthesise_song(name, seconds=7.0))


def decoder(system: str, corpus: Path, orders: Connection) -> None:
    """Decode all songs once per request, and send the number of songs per second."""
    listed = musdb18(corpus)
    database = musdb.DB(root=str(corpus), subsets="train")

    def at_once() -> None:
        for track in database:
            track.stems  # noqa: B018

    def one_by_one() -> None:
        for track in database:
            for stem in (track, *track.sources.values()):
                stem.audio  # noqa: B018

    def limit() -> None:
        for track in listed:
            with av.open(str(track.path)) as container:
                for packet in container.demux(container.streams.audio):
                    packet.decode()

    def store() -> None:
        cores = 1 if system == "stemsplit, one process" else os.cpu_count()
        with (
            tempfile.TemporaryDirectory(dir=IN_MEMORY) as cache,
            patch("os.cpu_count", return_value=cores),
            open(os.devnull, "w") as nowhere,
            redirect_stdout(nowhere),
            redirect_stderr(nowhere),
        ):
            Store(Path(cache), RATE, 2).tracks(listed)

    if system.startswith("stemsplit"):
        keep_freed_memory()  # like `stemsplit.train`
    systems = {
        "musdb, stems": at_once,
        "musdb, audio and sources": one_by_one,
        "libavcodec alone, one process": limit,
    }
    while orders.recv():
        orders.send(len(listed) / seconds(systems.get(system, store)))


def compare_decoding(corpus: Path, rounds: int) -> None:
    systems = [
        "musdb, stems",
        "musdb, audio and sources",
        "libavcodec alone, one process",
        "stemsplit, one process",
    ]
    if corpus.name == "long":  # the store decodes short songs in one process anyway
        systems.append("stemsplit, all cores")
    start = multiprocessing.get_context("spawn")
    pipes = {}
    for system in systems:
        pipes[system], end = start.Pipe()
        start.Process(target=decoder, args=(system, corpus, end)).start()
        end.close()  # so that recv raises an error if the process dies
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(1 + rounds):
        for name, pipe in pipes.items():
            pipe.send(True)
            rate = pipe.recv()
            if number:  # the first round warms up
                rates[name].append(rate)
    for pipe in pipes.values():
        pipe.send(False)
    ours = [system for system in systems if system.startswith("stemsplit")]
    columns = [f"{system.removeprefix('stemsplit, ')}" for system in ours]
    table = Table(f"first decoding, {corpus.name} songs", "seconds per song", *columns)
    for name, found in rates.items():
        ratios = (times(found, rates[system]) for system in ours)
        table.add_row(name, f"{1 / median(found):.2f}", *ratios)
    console.print(table)


def seconds(function: Callable[[], object]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


class OpenUnmixStep:
    """A training step of open-unmix's network, STFT and Adam, at the published size."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        stft, _ = transforms.make_filterbanks(n_fft=4096, n_hop=1024, sample_rate=RATE)
        self.encoder = nn.Sequential(stft, model.ComplexNorm(mono=False)).to(device)
        self.network = openunmix.model.OpenUnmix(
            nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=1487
        ).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3, weight_decay=1e-5)
        self.device = device

    def __call__(self, mixture: Tensor, target: Tensor) -> None:
        self.optimizer.zero_grad()
        estimate = self.network(self.encoder(mixture.to(self.device)))
        loss = nn.functional.mse_loss(estimate, self.encoder(target.to(self.device)))
        loss.backward()
        self.optimizer.step()
        loss.item()


class OurStep(OpenUnmixStep):
    """The same step on our chunks, which are converted, augmented and mixed on the device."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.augment = Augment(seed=0)

    def take(self, chunk: Chunk) -> None:
        moved = chunk._replace(
            stems=chunk.stems.to(self.device, non_blocking=True), units=chunk.units.to(self.device)
        )
        stems = self.augment(moved.waveforms(), moved.keys)
        self(stems.sum(dim=1), stems[:, STEMS.index("vocals")].contiguous())


def compare_epochs(root: Path, tracks: list[StoredTrack], device: str, steps: int) -> None:
    their_step, our_step = OpenUnmixStep(device), OurStep(device)
    loaders = their_loader(root / "mp4", is_wav=False), our_loader(tracks)
    for batch, chunk in zip(*loaders, strict=False):  # warm up with one step each
        their_step(*batch)
        our_step.take(chunk)
        break
    steps = steps or len(loaders[1])

    def their_epoch() -> None:
        for _, (mixture, target) in zip(range(steps), loaders[0], strict=False):
            their_step(mixture, target)

    def our_epoch() -> None:
        for _, chunk in zip(range(steps), loaders[1], strict=False):
            our_step.take(chunk)

    theirs, ours = seconds(their_epoch), seconds(our_epoch)
    table = Table(f"an epoch of {steps} steps on {device}", "seconds", "open-unmix / ours")
    table.add_row("open-unmix's data pipeline", f"{theirs:.1f}", "")
    table.add_row("our data pipeline", f"{ours:.1f}", f"{theirs / ours:.2f} ×")
    console.print(table)


def waiting(tracks: list[StoredTrack], device: str, steps: int = 10) -> None:
    """Print the share of the training time that is spent waiting for the next batch."""
    step = OurStep(device)
    for workers in (0, 2, 4):
        source = iter(our_loader(tracks, workers))
        step.take(next(source))
        waited = 0.0
        start = perf_counter()
        for _ in range(min(steps, len(tracks) * CHUNKS_PER_TRACK // BATCH - 1)):
            asked = perf_counter()
            chunk = next(source)
            waited += perf_counter() - asked
            step.take(chunk)
        share = waited / (perf_counter() - start)
        console.print(f"{workers} worker processes: waiting for data takes {share:.1%} of the time")


def hour_of_excerpts(tracks: list[StoredTrack], answers: Connection) -> None:
    """Send the megabytes of anonymous memory after every twentieth of an hour's excerpts."""
    keep_freed_memory()
    source = endless(our_loader(tracks))
    augment = Augment(seed=0)
    found = []
    for part in range(20):
        for _ in range(HOUR // BATCH // 20):
            chunk = next(source)
            augment(chunk.waveforms(), chunk.keys).sum(dim=1)
        status = Path("/proc/self/status").read_text()
        found.append(int(status.split("RssAnon:")[1].split()[0]) / 1024)
        if not part:
            console.print(f"memory after {HOUR // 20} excerpts: {found[0]:.0f} MB")
    answers.send(found)


def memory(tracks: list[StoredTrack]) -> None:
    start = multiprocessing.get_context("spawn")
    answers, end = start.Pipe()
    process = start.Process(target=hour_of_excerpts, args=(tracks, end))
    process.start()
    end.close()
    found = answers.recv()
    process.join()
    console.print(
        f"memory after {HOUR} excerpts: {found[-1]:.0f} MB, at most {max(found):.0f} MB; "
        f"growth {found[-1] - found[0]:+.1f} MB, in the last three quarters of the hour "
        f"{found[-1] - found[4]:+.1f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--steps", type=int, default=0, help="steps of an epoch; 0: all")
    options = parser.parse_args()
    keep_freed_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    root = Path(tempfile.mkdtemp(prefix="stemsplit-benchmark-"))
    try:
        make_corpora(root, options.songs)
        tracks = Store(root / "cache", RATE, 2).tracks(musdb18(root / "mp4"))
        make_many(root)
        parts = {
            "reading": lambda: compare_reading(root, tracks, options.rounds),
            "decoding": lambda: compare_decoding(root / "long", options.rounds),
            "previews": lambda: compare_decoding(root / "short", options.rounds),
            "epochs": lambda: compare_epochs(root, tracks, device, options.steps),
            "waiting": lambda: waiting(tracks, device),
            "memory": lambda: memory(tracks),
        }
        for name, part in parts.items():
            if options.only in (None, name):
                part()
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
