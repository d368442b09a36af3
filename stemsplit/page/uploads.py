"""Receive an uploaded song, and check its length and sample rate before it is separated."""

import time
from pathlib import Path

import anyio
from starlette.requests import Request

from stemsplit.audio.song_stream import open_song
from stemsplit.errors import InputError

STALLED_SECONDS = 30.0
LEAST_RATE = 10_000  # bytes per second on average; a slower upload would occupy its place too long
HIGHEST_RATE = 192_000  # Hz


class TooLargeError(Exception):
    """The upload has more bytes than allowed."""


async def receive(request: Request, path: Path, most_bytes: int) -> None:
    """Write the body of a request to a file while it arrives.

    Raises `TooLargeError` as soon as the upload exceeds `most_bytes`, and `ClientDisconnect` if the
    browser disconnects. Raises `TimeoutError` if nothing arrives for `STALLED_SECONDS`, or if the
    upload is slower than `LEAST_RATE`; the first `STALLED_SECONDS` do not count for this average.
    """
    size = 0
    started = time.monotonic()
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
            if size < LEAST_RATE * (time.monotonic() - started - STALLED_SECONDS):
                raise TimeoutError
            await file.write(block)


def check(song: Path, most_seconds: float) -> None:
    """Decode a song; raise `InputError` if it is not audio, or exceeds a limit.

    The limits `most_seconds` and `HIGHEST_RATE` keep the files of the stems small. The length in
    the header of a song may be wrong, so the song is decoded to measure its length.
    """
    samples = 0
    with open_song(song) as stream:
        if stream.sample_rate > HIGHEST_RATE:
            raise InputError(
                f"{song}: has a sample rate of {stream.sample_rate} Hz, above {HIGHEST_RATE} Hz, "
                "the limit of this server"
            )
        for block in stream:
            samples += block.shape[1]
            if samples > most_seconds * stream.sample_rate:
                limit = f"{int(most_seconds) // 60}:{int(most_seconds) % 60:02} minutes"
                raise InputError(f"{song}: is longer than {limit}, the limit of this server")
