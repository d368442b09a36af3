"""The web application: the routes of the page and their responses."""

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stemsplit.errors import InputError, one_line
from stemsplit.page.job import Job, State
from stemsplit.page.jobs import JobQueue, QueueFullError, without_paths
from stemsplit.page.models import Models
from stemsplit.page.names import title
from stemsplit.page.playback import playback
from stemsplit.page.protection import Protection
from stemsplit.page.spectrograms import hertz_range
from stemsplit.page.stems import Stems, requested_job
from stemsplit.page.uploads import TooLargeError, check, receive

STATIC = Path(__file__).parent / "static"
STATUS_SECONDS = 0.25  # time between two checks of a job's status
PING_SECONDS = 10.0  # after this time without an event, an SSE comment keeps the connection open
STOPPING_SECONDS = 1.0  # time for the running separation to stop when the server ends


class Limits(NamedTuple):
    """Limits of one song, and the time for which its files are kept after their last use."""

    seconds: float
    megabytes: float
    keep_minutes: float


class Page:
    """The routes of the page. `folder` holds the files of all jobs."""

    def __init__(self, folder: Path, queue: JobQueue, models: Models, limits: Limits) -> None:
        self.folder = folder
        self.queue = queue
        self.models = models
        self.limits = limits

    def application(self, host: str) -> Starlette:
        song = "/songs/{id}"
        return Starlette(
            routes=[
                Route("/", self.index),
                Mount("/static", StaticFiles(directory=STATIC)),
                Route("/settings", self.settings),
                Route("/songs", self.upload, methods=["POST"]),
                Route(song, self.status, methods=["GET"]),
                Route(song, self.cancel, methods=["DELETE"]),
                Route(f"{song}/events", self.events),
                Route(f"{song}/open", self.keep_open),
                Stems(self.queue).mounted(song),
            ],
            middleware=[Middleware(Protection, host=host)],
            exception_handlers={HTTPException: error_line},
            lifespan=self.lifespan,
        )

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Work on the queue while the server runs."""
        # The thread is a daemon, so that the program can end while a separation is still stopping.
        worker = threading.Thread(target=self.queue.run, name="separation", daemon=True)
        worker.start()
        sweeping = asyncio.create_task(self.sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            self.queue.close()
            worker.join(STOPPING_SECONDS)

    async def sweep(self) -> None:
        while True:
            await asyncio.sleep(1)
            await run_in_threadpool(self.queue.sweep)

    async def index(self, _: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    def settings(self, _: Request) -> Response:
        return JSONResponse({"models": self.models.notes(), **self.limits._asdict()})

    async def upload(self, request: Request) -> Response:
        """Receive, check and queue a song.

        The body of the request is the file. The query is ``?name=…&model=…``.
        """
        model = request.query_params.get("model", "")
        if model not in self.models.sources:
            raise HTTPException(400, f"choose one of the models {', '.join(self.models.sources)}")
        try:
            with self.queue.reserve_place():
                folder = Path(tempfile.mkdtemp(prefix="song-", dir=self.folder))
                job = Job(folder, title(request.query_params.get("name", "")), model)
                try:
                    await self.receive(request, job)
                    self.queue.submit(job)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
        except QueueFullError as error:
            raise HTTPException(503, str(error)) from None
        return JSONResponse(self.description(job), 201)

    async def receive(self, request: Request, job: Job) -> None:
        try:
            await receive(request, job.song, round(self.limits.megabytes * 1e6))
            await run_in_threadpool(check, job.song, self.limits.seconds)
        except TooLargeError:
            most = f"{self.limits.megabytes:g} MB"
            raise HTTPException(413, f"{job.title}: is larger than {most}") from None
        except (TimeoutError, ClientDisconnect):
            raise HTTPException(408, f"{job.title}: the upload was interrupted") from None
        except (InputError, OSError) as error:
            line = one_line(error)
            if line is None:
                raise
            code = 422 if isinstance(error, InputError) else 507
            raise HTTPException(code, without_paths(line, job)) from None

    def description(self, job: Job) -> dict[str, Any]:
        with job.reading() as state:
            described = {
                "id": job.id,
                "title": job.title,
                "state": state,
                "fraction": round(job.fraction, 3),
                "songs_ahead": self.queue.songs_ahead(job),
                "message": job.message,
            }
            if state is State.DONE:
                form = playback(next(iter(job.stems.values())))
                hertz = hertz_range(form.sample_rate)
                described |= {"stems": list(job.stems), **form._asdict(), "hertz": hertz}
            return described

    async def status(self, request: Request) -> Response:
        return JSONResponse(self.description(requested_job(request, self.queue.get)))

    async def events(self, request: Request) -> Response:
        """Send the status of a song whenever it changes, as server-sent events.

        The last event has a final state: done, failed or cancelled. While the connection is open,
        the page counts as open.
        """
        job = requested_job(request, self.queue.get)

        async def changes() -> AsyncIterator[str]:
            before, silent_seconds = "", 0.0
            while self.queue.get(job.id) is not None:
                final = job.state.is_final
                text = json.dumps(self.description(job))
                if text != before:
                    before, silent_seconds = text, 0.0
                    yield f"data: {text}\n\n"
                if final:
                    return
                await asyncio.sleep(STATUS_SECONDS)
                silent_seconds += STATUS_SECONDS
                if silent_seconds >= PING_SECONDS:
                    silent_seconds = 0.0
                    yield ":\n\n"

        return StreamingResponse(changes(), media_type="text/event-stream")

    async def keep_open(self, request: Request) -> Response:
        """Note that the page of a separated song is open, so that no new song replaces the song."""
        requested_job(request, self.queue.see)
        return Response(status_code=204)

    async def cancel(self, request: Request) -> Response:
        await run_in_threadpool(self.queue.cancel, requested_job(request, self.queue.get))
        return Response(status_code=204)


async def error_line(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)
