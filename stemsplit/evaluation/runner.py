"""Systems scored on songs: in parallel, and gone on with where an evaluation was broken off."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from rich.progress import Progress

from stemsplit import processes
from stemsplit.allocator import keep_freed_memory
from stemsplit.data.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.scores import SongScores, read, score, write
from stemsplit.evaluation.systems import Folder, System, references_of

FORMAT = "1"  # Part of every identity: change it when scores change.
WORKER_PAYS = 60.0  # seconds of songs that take a process longer than being started


def evaluate(
    systems: Sequence[System],
    tracks: Sequence[StoredTrack],
    protocol: Protocol,
    folder: Path,
    workers: int | None = None,
    device: str = "cpu",
) -> dict[str, list[SongScores]]:
    """Every system's scores of every track, by the systems' names.

    Each song goes through a process of its own with one thread (`workers` at a time, None: one a
    core), which separates and scores it; with an accelerator, one song after the other is separated
    and scored there. Files lie in ``FOLDER/SYSTEM/SUBSET/TRACK.json`` as
    `museval.EvalStore.add_eval_dir` reads them, and are taken up again where system, track and
    protocol are the same. Several processes (see `stemsplit.processes`) share the tracks.
    """
    names = [system.name for system in systems]
    if len(set(names)) < len(names):
        raise InputError(f"the systems {names} need different names")
    for system in systems:  # before hours are spent
        if isinstance(system, Folder):
            for track in tracks:
                system.check(track, protocol.stems, protocol.channels)
    shared = processes.share(tracks)
    work = [Song(list(systems), track, protocol, folder, device) for track in shared]
    seconds = sum(song.seconds_missing for song in work)
    cores = workers or max(1, (os.cpu_count() or 1) // processes.count())
    jobs = 1 if device != "cpu" else max(1, min(cores, len(work), int(seconds / WORKER_PAYS)))
    found: list[dict[str, SongScores]] = []
    quiet = processes.rank() > 0
    with Progress(disable=quiet) as progress, parallel_config("loky", inner_max_num_threads=1):
        bar = progress.add_task("scoring songs", total=len(work))
        pool = Parallel(n_jobs=jobs, return_as="generator")
        try:
            for scores in pool(delayed(song.scores)() for song in work):
                found.append(scores)
                progress.advance(bar)
        finally:
            if jobs > 1:
                get_reusable_executor().shutdown()
    everywhere = processes.gather(found)
    return {name: [song[name] for song in everywhere] for name in names}


class Song:
    """The work that one song is."""

    def __init__(
        self,
        systems: list[System],
        track: StoredTrack,
        protocol: Protocol,
        folder: Path,
        device: str,
    ) -> None:
        self.systems = systems
        self.track = track
        self.protocol = protocol
        self.folder = folder
        self.device = device

    def path(self, system: System) -> Path:
        return self.folder / system.name / self.track.subset / f"{self.track.name}.json"

    def identity(self, system: System) -> str:
        """Where it is that of a file, the file holds what would be found anew."""
        parts = [FORMAT, str(self.protocol), self.protocol.backend, self.track.key]
        parts += [*self.protocol.stems, system.name, system.identity(self.track)]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    @property
    def seconds_missing(self) -> float:
        """What there is to do, at the least: files may hold scores of something else."""
        missing = not all(self.path(system).is_file() for system in self.systems)
        return missing * self.track.time / self.track.sample_rate

    def scores(self) -> dict[str, SongScores]:
        """By system: read where they are, else found and written."""
        keep_freed_memory()
        identities = {system.name: self.identity(system) for system in self.systems}
        found = {
            system.name: read(self.path(system), identities[system.name]) for system in self.systems
        }
        missing = [system for system in self.systems if found[system.name] is None]
        if missing:
            references = references_of(self.track, self.protocol.stems)
            estimates = {system.name: system.separate(self.track, references) for system in missing}
            mixture = self.track.mixture()
            new = score(self.track.name, references, estimates, mixture, self.protocol, self.device)
            for system in missing:
                identity = identities[system.name]
                write(self.path(system), new[system.name], self.protocol, identity)
                # Read again, so that an evaluation that was broken off has the same figures.
                found[system.name] = read(self.path(system), identity)
        return {name: scores for name, scores in found.items() if scores is not None}
