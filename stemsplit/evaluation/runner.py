"""Score systems on songs in parallel, and resume an interrupted evaluation."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from rich.progress import Progress

from stemsplit import processes
from stemsplit.data.store.stored import StoredTrack, corpus_fingerprint
from stemsplit.errors import InputError
from stemsplit.evaluation import score_files
from stemsplit.evaluation.protocol import BACKENDS, Protocol
from stemsplit.evaluation.scores import SongScores, score
from stemsplit.evaluation.systems import System, references_of
from stemsplit.files import file_name
from stemsplit.machine.allocator import keep_freed_memory

FORMAT = "3"  # Part of every identity: change it when scores change.
WORKER_PAYS = 60.0  # seconds of songs that take a process longer than being started
IDLE_SECONDS = 10  # after which a process without work ends, as when the evaluation was killed
MEMORY = 1.5e9  # bytes of estimates that a process holds at a time, each some three times


def evaluate(
    systems: Sequence[System],
    tracks: Sequence[StoredTrack],
    protocol: Protocol,
    folder: Path,
    workers: int | None = None,
    device: str = "cpu",
    spectral: bool = False,
) -> dict[str, list[SongScores]]:
    """Score every system on every track; return the scores by the name of the system.

    Each song goes through a process of its own with one thread (`workers` at a time, None: one a
    core), which separates and scores it; with an accelerator, one song after the other is separated
    and scored there. Files lie in ``FOLDER/SCENARIO-CORPUS/SYSTEM/SUBSET/TRACK.json``: what lies in
    one of these was scored together on the same songs, as `museval.EvalStore.add_eval_dir` must
    have it. They are taken up again where system, track and protocol are the same; those of a
    system that has changed since are removed. Several processes (see `stemsplit.processes`) share
    the tracks. For `spectral` see `whole_song`.
    """
    names = [system.name for system in systems]
    check_names(names)
    for system in systems:  # before hours are spent
        for track in tracks:
            system.check(track, protocol.stems, protocol.channels)
    by = "" if protocol.backend == BACKENDS[0] else f"-{protocol.backend}"
    place = folder / file_name("-".join(protocol.stems), f"-{corpus_fingerprint(tracks)[:8]}{by}")
    work = [
        SongScoring(list(systems), track, protocol, place, device, spectral)
        for track in processes.share(tracks)
    ]
    seconds = sum(song.prepare() for song in work)
    cores = workers or max(1, (os.cpu_count() or 1) // processes.count())
    jobs = 1 if device != "cpu" else max(1, min(cores, len(work), int(seconds / WORKER_PAYS)))
    found: list[dict[str, SongScores]] = []
    quiet = processes.rank() > 0
    with Progress(disable=quiet) as progress, parallel_config("loky", inner_max_num_threads=1):
        bar = progress.add_task("scoring songs", total=len(work))
        pool = Parallel(n_jobs=jobs, return_as="generator", idle_worker_timeout=IDLE_SECONDS)
        try:
            for scores in pool(delayed(song.scores)() for song in work):
                found.append(scores)
                progress.advance(bar)
        finally:
            if jobs > 1:
                get_reusable_executor().shutdown()
    everywhere = processes.gather(found)
    return {name: [song[name] for song in everywhere] for name in names}


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` for names that cannot be rows of a table and folders."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"several systems are called {', '.join(twice)}: name them, "
            "checkpoint={NAME: RUN} or estimates={NAME: DIR}"
        )
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise InputError(
                f"a system cannot be called {name!r}: the folder of its scores has its name; "
                "choose a name without slashes and line breaks"
            )


@dataclass
class SongScoring:
    """The scoring of one song. An identity is a cache key of a system's scores of the song."""

    systems: list[System]
    track: StoredTrack
    protocol: Protocol
    folder: Path
    device: str
    spectral: bool
    identities: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> float:
        """Remove outdated scores; return the song's seconds if there is work left, else 0."""
        for system in self.systems:
            parts = [FORMAT, str(self.protocol), str(self.spectral), self.track.key]
            parts += [*self.protocol.stems, system.name, system.identity(self.track)]
            digest = hashlib.blake2b(
                "\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16
            )
            self.identities[system.name] = digest.hexdigest()
        missing = [system for system in self.systems if self.there(system) is None]
        for system in missing:
            self.path(system).unlink(missing_ok=True)
        return self.track.time / self.track.sample_rate if missing else 0.0

    def path(self, system: System) -> Path:
        folder = self.folder / file_name(system.name) / self.track.subset
        return folder / file_name(self.track.name, ".json")

    def there(self, system: System) -> SongScores | None:
        """Read the scores of an earlier evaluation."""
        identity = self.identities[system.name]
        return score_files.read(self.path(system), identity, self.protocol.stems)

    def scores(self) -> dict[str, SongScores]:
        """The scores by system, read from files or computed and written."""
        keep_freed_memory()
        found = {system.name: self.there(system) for system in self.systems}
        missing = [system for system in self.systems if found[system.name] is None]
        references = references_of(self.track, self.protocol.stems) if missing else {}
        # All at once share most of the work, but estimates of a long song fill the memory.
        several = max(1, int(MEMORY / max(1, 3 * sum(x.nbytes for x in references.values()))))
        for first in range(0, len(missing), several):
            some = missing[first : first + several]
            estimates = {system.name: system.separate(self.track, references) for system in some}
            new = score(
                self.track.name,
                references,
                estimates,
                self.track.mixture(),
                self.protocol,
                self.device,
                self.spectral,
            )
            for system in some:
                identity = self.identities[system.name]
                score_files.write(self.path(system), new[system.name], self.protocol, identity)
                # Read again, so that an evaluation that was broken off has the same figures.
                found[system.name] = self.there(system)
        return {name: scores for name, scores in found.items() if scores is not None}
