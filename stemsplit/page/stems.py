"""Routes that send the stems of a separated song: pieces, spectrograms and downloads."""

from pathlib import Path
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from stemsplit.page.jobs import Job, JobQueue, State
from stemsplit.page.names import download_name
from stemsplit.page.playback import archive, piece


class Stems:
    """The routes below ``/songs/{id}``. Stems have numbers, so that no name is part of a path."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def routes(self) -> list[Route]:
        return [
            Route("/pieces/{number:int}", self.piece),
            Route("/spectrograms/{number:int}", self.spectrogram),
            Route("/stems/{number:int}", self.stem),
            Route("/archive", self.archive),
        ]

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
            archive({f"{folder}/{path.name}": path for path in stems}),
            media_type="application/zip",
            headers={"Content-Disposition": f"attachment; filename*=utf-8''{name}"},
        )

    def separated(self, request: Request) -> tuple[Job, list[Path]]:
        """The job of a request and its stems; 404 if it has none."""
        job = requested_job(request, self.queue)
        if job.state is not State.DONE:
            raise HTTPException(404, "this song is not separated")
        return job, list(job.stems.values())


def requested_job(request: Request, queue: JobQueue) -> Job:
    """The job that the path of a request names; 404 if its files are removed."""
    job = queue.get(request.path_params["id"])
    if job is None:
        raise HTTPException(404, "this song is no longer on the server")
    return job
