"""Routes that send the stems of a separated song: pieces, spectrograms and downloads."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stemsplit.page.job import Job, State
from stemsplit.page.jobs import JobQueue
from stemsplit.page.names import download_name
from stemsplit.page.playback import archive, piece


class Number(IntegerConvertor):
    """A number of at most nine digits, because Python cannot convert thousands of digits."""

    regex = "[0-9]{1,9}"


register_url_convertor("number", Number())


class Reading:
    """Middleware: keep a song's files until the response is sent; 404 for an unseparated song."""

    def __init__(self, app: ASGIApp, queue: JobQueue) -> None:
        self.app = app
        self.queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with requested_job(Request(scope), self.queue.get).reading() as state:
            if state is not State.DONE:
                raise HTTPException(404, "this song is not separated")
            await self.app(scope, receive, send)


class Stems:
    """The routes below ``/songs/{id}``. A path contains the number of a stem, never its name."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def mounted(self, path: str) -> Mount:
        routes = [
            Route("/pieces/{number:number}", self.piece),
            Route("/spectrograms/{number:number}", self.spectrogram),
            Route("/stems/{number:number}", self.stem),
            Route("/archive", self.archive),
        ]
        return Mount(path, routes=routes, middleware=[Middleware(Reading, queue=self.queue)])

    def piece(self, request: Request) -> Response:
        _, stems = self.separated(request)
        samples = piece(stems, request.path_params["number"])
        return Response(samples, media_type="application/octet-stream")

    def spectrogram(self, request: Request) -> Response:
        job, stems = self.separated(request)
        number = request.path_params["number"]
        if number > len(stems):  # picture 0 is the mixture
            raise HTTPException(404, "this song has no such spectrogram")
        return FileResponse(job.folder / f"{number}.png")

    def stem(self, request: Request) -> Response:
        job, stems = self.separated(request)
        number = request.path_params["number"]
        if number >= len(stems):
            raise HTTPException(404, "this song has no such stem")
        path = stems[number]
        return FileResponse(path, filename=download_name(job.title, f" - {path.name}"))

    def archive(self, request: Request) -> Response:
        job, stems = self.separated(request)
        folder = download_name(job.title)
        name = quote(download_name(job.title, ".zip"), safe="")
        return StreamingResponse(
            archive({f"{folder}/{download_name(path.stem, path.suffix)}": path for path in stems}),
            media_type="application/zip",
            headers={"Content-Disposition": f"attachment; filename*=utf-8''{name}"},
        )

    def separated(self, request: Request) -> tuple[Job, list[Path]]:
        """The job of a request, and its stems."""
        job = requested_job(request, self.queue.get)
        return job, list(job.stems.values())


def requested_job(request: Request, find: Callable[[str], Job | None]) -> Job:
    """The job with the id in the path of a request; 404 if `find` returns None."""
    job = find(request.path_params["id"])
    if job is None:
        raise HTTPException(404, "this song is no longer on the server")
    return job
