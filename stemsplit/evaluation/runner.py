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

FORMAT = "3"  # part of every cache key; change it when scores change
SECONDS_PER_WORKER = 60.0  # seconds of music that make the start of a worker worthwhile
IDLE_SECONDS = 10  # idle workers end after this time, even if the evaluation was killed
MEMORY = 1.5e9  # bytes that estimates may occupy in a process, with about three copies of each


def evaluate(
    systems: Sequence[System],
    tracks: Sequence[StoredTrack],
    protocol: Protocol,
    folder: Path,
    workers: int | None = None,
    device: str = "cpu",
    spectral: bool = False,
) -> dict[str, list[SongScores]]:
    """Score every system on every track; return the scores of each system by its name.

    The tracks are divided among the processes of `stemsplit.processes`. On an accelerator, each of
    these processes separates and scores its songs one after the other. On a CPU, each of these
    processes starts at most `workers` worker processes, and fewer if there is little music to
    score. If `workers` is None, the maximum is the process's share of the cores. Each worker
    separates and scores one song at a time, on one thread. If one worker is enough, the process
    does the work itself, on all its threads.

    Scores are written to ``FOLDER/SCENARIO-CORPUS/SYSTEM/SUBSET/TRACK.json``. All files in one
    SCENARIO-CORPUS folder belong to the same songs and stems, as `museval.EvalStore.add_eval_dir`
    requires, and to the same backend. A file is reused if system, track, protocol and `spectral`
    are unchanged; outdated files are removed.

    For `spectral` see `whole_song`. Raises `InputError` before the scoring starts if names are
    unusable or repeated, or if estimates are missing or do not fit. Raises it during the scoring if
    estimates contain NaN or infinity.
    """
    names = [system.name for system in systems]
    check_names(names)
    for system in systems:  # all checks come before the scoring, which may take hours
        for track in tracks:
            system.check(track, protocol.stems, protocol.channels)
    backend = "" if protocol.backend == BACKENDS[0] else f"-{protocol.backend}"
    suffix = f"-{corpus_fingerprint(tracks)[:8]}{backend}"
    scenario_folder = folder / file_name("-".join(protocol.stems), suffix)
    work = [
        SongScoring(list(systems), track, protocol, scenario_folder, device, spectral)
        for track in processes.share(tracks)
    ]
    seconds = sum(song.prepare() for song in work)
    cores = workers or max(1, (os.cpu_count() or 1) // processes.count())
    worthwhile = int(seconds / SECONDS_PER_WORKER)
    jobs = 1 if device != "cpu" else max(1, min(cores, len(work), worthwhile))
    songs: list[dict[str, SongScores]] = []
    quiet = processes.rank() > 0
    with Progress(disable=quiet) as progress, parallel_config("loky", inner_max_num_threads=1):
        bar = progress.add_task("scoring songs", total=len(work))
        pool = Parallel(n_jobs=jobs, return_as="generator", idle_worker_timeout=IDLE_SECONDS)
        try:
            for scores in pool(delayed(song.scores)() for song in work):
                songs.append(scores)
                progress.advance(bar)
        finally:
            if jobs > 1:
                get_reusable_executor().shutdown()
    all_songs = processes.gather(songs)
    return {name: [song[name] for song in all_songs] for name in names}


def check_names(names: Sequence[str]) -> None:
    """Raise `InputError` for names that are not unique or cannot be names of folders."""
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"several systems are called {', '.join(repeated)}: give each its own name, "
            "with checkpoint={NAME: RUN} or estimates={NAME: DIR}"
        )
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise InputError(
                f"a system cannot be called {name!r}, because its name is also the name of "
                "a folder: choose a name without slashes and line breaks"
            )


@dataclass
class SongScoring:
    """Score all systems on one song, or read their scores from an earlier evaluation.

    `identities` maps the name of each system to its cache key. The scores in a file are valid if
    the file holds the same key.
    """

    systems: list[System]
    track: StoredTrack
    protocol: Protocol
    folder: Path
    device: str
    spectral: bool
    identities: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> float:
        """Remove outdated files; return the song's length in seconds, or 0 if all scores exist."""
        for system in self.systems:
            parts = [FORMAT, str(self.protocol), str(self.spectral), self.track.key]
            parts += [*self.protocol.stems, system.name, system.identity(self.track)]
            digest = hashlib.blake2b(
                "\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16
            )
            self.identities[system.name] = digest.hexdigest()
        missing = [system for system in self.systems if self.read(system) is None]
        for system in missing:
            self.path(system).unlink(missing_ok=True)
        return self.track.time / self.track.sample_rate if missing else 0.0

    def path(self, system: System) -> Path:
        folder = self.folder / file_name(system.name) / self.track.subset
        return folder / file_name(self.track.name, ".json")

    def read(self, system: System) -> SongScores | None:
        """Read the scores of an earlier evaluation; None if there are no valid scores."""
        identity = self.identities[system.name]
        return score_files.read(self.path(system), identity, self.protocol.stems)

    def scores(self) -> dict[str, SongScores]:
        """Scores by system: read from files, or computed and written to files."""
        keep_freed_memory()
        scores = {system.name: self.read(system) for system in self.systems}
        missing = [system for system in self.systems if scores[system.name] is None]
        references = references_of(self.track, self.protocol.stems) if missing else {}
        # Systems that are scored together share most of the work, but their estimates of a long
        # song may not fit into memory together.
        batch_size = max(1, int(MEMORY / max(1, 3 * sum(x.nbytes for x in references.values()))))
        for first in range(0, len(missing), batch_size):
            batch = missing[first : first + batch_size]
            estimates = {system.name: system.separate(self.track, references) for system in batch}
            new = score(
                self.track.name,
                references,
                estimates,
                self.track.mixture(),
                self.protocol,
                self.device,
                self.spectral,
            )
            for system in batch:
                identity = self.identities[system.name]
                score_files.write(self.path(system), new[system.name], self.protocol, identity)
                # Files hold rounded scores. Reading them back makes a resumed evaluation return
                # the same scores as an uninterrupted one.
                scores[system.name] = self.read(system)
        return {name: song for name, song in scores.items() if song is not None}
