"""A tiny model, a song, and the page's application without a network."""

import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from starlette.testclient import TestClient

import stemsplit
from stemsplit.page.job import Job, State
from stemsplit.page.jobs import JobQueue
from stemsplit.page.models import Models
from stemsplit.page.server import Limits, Page
from stemsplit.page.work import separate_job
from stemsplit.separation.checkpoint import build, save

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained separator with the stems vocals, drums and rest."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    torch.manual_seed(0)
    save(build(FRONT_END, MLP, ("vocals", "drums"), "rest", 2, 1, 0.5, 0.1), path)
    return path


def song_samples(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (round(RATE * seconds), 2))


def song_bytes(seconds: float = 2.5) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, song_samples(seconds), RATE, format="FLAC")
    return file.getvalue()


def write_stems(job: Job) -> None:
    """Work of a queue that takes no time: write silent stems and an empty picture."""
    job.enter(State.SEPARATING)
    job.song.unlink()
    job.stems = {stem: job.folder / f"{stem}.wav" for stem in ("vocals", "rest")}
    for path in job.stems.values():
        soundfile.write(path, np.zeros((RATE, 2)), RATE)


class Visitor:
    """A browser without a window."""

    def __init__(self, client: TestClient, folder: Path, queue: JobQueue) -> None:
        self.client = client
        self.folder = folder  # of the server
        self.queue = queue

    def upload(self, name: str = "song.flac", content: bytes | None = None, **headers: str) -> Any:
        content = song_bytes() if content is None else content
        query = {"name": name, "model": "tiny"}
        return self.client.post("/songs", params=query, content=content, headers=headers)

    def status(self, song: str) -> dict[str, Any]:
        answer = self.client.get(f"/songs/{song}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for(self, song: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while (status := self.status(song))["state"] not in states:
            assert time.monotonic() < deadline, status
            time.sleep(0.01)
        return status

    def separated(self, name: str = "song.flac", content: bytes | None = None) -> dict[str, Any]:
        answer = self.upload(name, content)
        assert answer.status_code == 201, answer.text
        return self.wait_for(answer.json()["id"], "done", "failed")

    def files(self) -> list[str]:
        """Names of all files on the server."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())


Enter = Callable[..., Visitor]


@pytest.fixture
def enter(checkpoint: Path, tmp_path: Path) -> Iterator[Enter]:
    """A function that starts the page with some limits, and returns a visitor."""
    with ExitStack() as stack:

        def start(
            work: Callable[[Job], None] | None = None,
            seconds: float = 60,
            megabytes: float = 10,
            places: int = 3,
            most_songs: int = 10,
            clock: Callable[[], float] = time.monotonic,
        ) -> Visitor:
            models = Models({"tiny": checkpoint}, stemsplit.load)
            work = work or (lambda job: separate_job(job, models))
            queue = JobQueue(work, places, most_songs, keep_seconds=600, clock=clock)
            folder = tmp_path / "server"
            folder.mkdir()
            page = Page(folder, queue, models, Limits(seconds, megabytes, keep_minutes=10))
            client = TestClient(page.application("127.0.0.1"), base_url="http://127.0.0.1:8000")
            return Visitor(stack.enter_context(client), folder, queue)

        yield start
