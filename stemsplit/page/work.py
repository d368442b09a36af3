"""Separate the song of a job: load the model, write the stems, draw their spectrograms."""

from stemsplit.page.job import Job, State
from stemsplit.page.models import Models
from stemsplit.page.spectrograms import draw
from stemsplit.separation.songs.song import separate_file


def separate_job(job: Job, models: Models) -> None:
    """Separate the song of a job. Set its state before each step, and its stems at the end.

    Raises `InputError` if the song cannot be separated, and `Cancelled` if the job is cancelled.
    """
    job.enter(State.LOADING)
    separator = models.separator(job.model)
    job.enter(State.SEPARATING)
    separated = separate_file(
        job.song, job.folder / "stems", separator, name="{stem}", progress=job.progress
    )
    job.song.unlink()
    job.message = "; ".join(separated.notes)
    job.enter(State.DRAWING)
    draw(list(separated.paths.values()), job.folder)
    job.stems = separated.paths
