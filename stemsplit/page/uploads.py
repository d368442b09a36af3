"""Receive an uploaded song, and measure it before it is separated."""

from pathlib import Path

import anyio
from starlette.requests import Request

from stemsplit import audio
from stemsplit.errors import InputError

STALLED_SECONDS = 30.0


class TooLargeError(Exception):
    """The upload has more bytes than allowed."""


async def receive(request: Request, path: Path, most_bytes: int) -> None:
    """Write the body of a request to a file while it arrives.

    Raises `TooLargeError` as soon as the upload exceeds `most_bytes`, `TimeoutError` if nothing arrives
    for `STALLED_SECONDS`, and `ClientDisconnect` if the browser gives up.
    """
    size = 0
    blocks = request.stream()
    async with await anyio.open_file(path, "wb") as file:
        while True:
            with anyio.fail_after(STALLED_SECONDS):
                block = await anext(blocks, None)
            if block is None:
                return
            size += len(block)
            if size > most_bytes:
                raise TooLargeError
            await file.write(block)


def check_length(song: Path, most_seconds: float) -> None:
    """Decode a song; raise `InputError` if it is not audio, or longer than `most_seconds`.

    The length in a header is not reliable, so the song is decoded.
    """
    mixture, _ = audio.read_song(song)
    if mixture.samples.shape[1] > most_seconds * mixture.sample_rate:
        raise InputError(
            f"{song}: is longer than {most_seconds / 60:g} minutes, which this server allows"
        )
