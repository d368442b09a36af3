"""The page's server: uploads, limits, downloads, and requests that it refuses."""

import io
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import numpy as np
import pytest
import soundfile
from conftest import RATE, Enter, song_bytes, write_stems
from starlette.requests import Request

from stemsplit.page import uploads
from stemsplit.page.job import Job, State
from stemsplit.page.jobs import ABSENT_SECONDS, OPEN_SECONDS

STEMS = ["vocals", "drums", "rest"]


def gated(gate: threading.Event) -> Callable[[Job], None]:
    """Work that waits for the gate."""

    def work(job: Job) -> None:
        assert gate.wait(30)
        write_stems(job)

    return work


def test_song_is_separated_and_downloaded(enter: Enter) -> None:
    visitor = enter()
    song = visitor.separated("Night Ferry.flac")
    assert song["state"] == "done", song
    assert (song["title"], song["stems"], song["frames"]) == ("Night Ferry", STEMS, int(2.5 * RATE))
    address = f"/songs/{song['id']}"
    mixture, _ = soundfile.read(io.BytesIO(song_bytes()), dtype="float32")
    stems = []
    for number, stem in enumerate(STEMS):
        answer = visitor.client.get(f"{address}/stems/{number}")
        name = f"Night%20Ferry%20-%20{stem}.wav"
        assert answer.headers["content-disposition"] == f"attachment; filename*=utf-8''{name}"
        samples, rate = soundfile.read(io.BytesIO(answer.content))
        assert rate == RATE
        stems.append(samples)
    np.testing.assert_allclose(sum(stems), mixture, atol=1e-4)
    first = visitor.client.get(f"{address}/pieces/0").content
    pieces = np.frombuffer(first, "<f4").reshape(3, 2, song["piece_frames"])
    np.testing.assert_allclose(pieces[1], stems[1][: song["piece_frames"]].T, atol=1e-6)
    archived = visitor.client.get(f"{address}/archive")
    with zipfile.ZipFile(io.BytesIO(archived.content)) as archive:
        assert archive.namelist() == [f"Night Ferry/{stem}.wav" for stem in STEMS]
    for number in range(4):
        picture = visitor.client.get(f"{address}/spectrograms/{number}")
        assert picture.headers["content-type"] == "image/png"
    # The upload itself is no longer needed.
    pictures = [f"{number}.png" for number in range(4)]
    assert visitor.files() == sorted([*pictures, *(f"{stem}.wav" for stem in STEMS)])


def test_cancelled_song_is_removed(enter: Enter) -> None:
    visitor = enter(write_stems)
    song = visitor.separated()
    assert visitor.client.delete(f"/songs/{song['id']}").status_code == 204
    assert visitor.files() == []
    assert visitor.status(song["id"])["state"] == "cancelled"
    assert visitor.client.get(f"/songs/{song['id']}/pieces/0").status_code == 404


def test_running_separation_is_cancelled(enter: Enter) -> None:
    ended = threading.Event()

    def work(job: Job) -> None:
        job.enter(State.SEPARATING)
        try:
            while job.progress(0.5):
                ended.wait(0.005)
            job.enter(State.DRAWING)
        finally:
            ended.set()

    visitor = enter(work)
    song = visitor.upload().json()["id"]
    assert visitor.wait_for(song, "separating")["songs_ahead"] == 0
    waiting = visitor.upload().json()
    assert (waiting["state"], waiting["songs_ahead"]) == ("waiting", 1)
    visitor.client.delete(f"/songs/{song}")
    assert ended.wait(10)
    visitor.wait_for(waiting["id"], "separating")


def test_events_tell_the_progress(enter: Enter) -> None:
    def work(job: Job) -> None:
        job.enter(State.SEPARATING)
        threading.Event().wait(0.6)
        raise MemoryError

    visitor = enter(work)
    song = visitor.upload().json()["id"]
    events = visitor.client.get(f"/songs/{song}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in events.text.splitlines() if line]
    states = [json.loads(line.removeprefix("data: "))["state"] for line in lines]
    assert states[-2:] == ["separating", "failed"]


def test_song_of_a_closed_page_is_cancelled(enter: Enter) -> None:
    now = [0.0]
    visitor = enter(gated(gate := threading.Event()), clock=lambda: now[0])
    song = visitor.upload().json()["id"]
    now[0] = ABSENT_SECONDS + 1
    visitor.queue.sweep()
    gate.set()
    assert visitor.status(song)["state"] == "cancelled"


@pytest.mark.parametrize(
    "name",
    ["../../../song.flac", "/etc/song.flac", "a\r\nX-Evil: 1.flac", "<script>.flac", "-rf.flac",
     '"; id; ".flac', "夜のフェリー.flac", "ü" * 300, ".", "$(id).flac"],
)  # fmt: skip
def test_hostile_name_stays_in_the_headers(enter: Enter, name: str) -> None:
    visitor = enter(write_stems)
    song = visitor.separated(name)
    assert song["state"] == "done", song
    assert set(visitor.folder.parent.iterdir()) == {visitor.folder}
    assert visitor.files() == ["rest.wav", "vocals.wav"]
    for route in ("stems/0", "archive"):
        headers = visitor.client.get(f"/songs/{song['id']}/{route}").headers
        assert "x-evil" not in headers
        download = unquote(headers["content-disposition"].partition("''")[2])
        assert not set(download) & set('<>:"/\\|?*\r\n')
        assert not download.startswith((".", "-"))
        assert len(download.encode()) <= 255


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "song: is an empty file"),
        (b"not audio", "song: cannot be decoded"),
        (b"RIFF and no more", "song: cannot be decoded"),
        (b"ffconcat version 1.0\nfile song\n", "song: cannot be decoded"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "song: cannot be decoded"),
        (song_bytes(61), "song: is longer than 1:00 minutes, the limit of this server"),
    ],
)
def test_bad_song_is_one_line(enter: Enter, content: bytes, line: str) -> None:
    visitor = enter()
    answer = visitor.upload(content=content)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(line)
    assert visitor.files() == []
    assert visitor.queue.uploads == 0


def test_large_upload_is_refused(enter: Enter) -> None:
    visitor = enter(megabytes=0.01)
    answer = visitor.upload(content=bytes(10_001))
    assert (answer.status_code, answer.json()) == (413, {"error": "song: is larger than 0.01 MB"})
    assert visitor.files() == []


def request_of(*messages: dict[str, object]) -> Request:
    """A request whose body arrives in these messages, and then stalls."""
    waiting = list(messages)

    async def receive() -> dict[str, object]:
        if not waiting:
            await anyio.sleep(10)
        return waiting.pop(0)

    return Request({"type": "http", "method": "POST"}, receive)


def test_upload_stops_at_the_limit(tmp_path: Path) -> None:
    messages = [{"type": "http.request", "body": bytes(60), "more_body": True}] * 100
    request = request_of(*messages)
    with pytest.raises(uploads.TooLargeError):
        anyio.run(uploads.receive, request, tmp_path / "song", 100)
    assert (tmp_path / "song").stat().st_size <= 100


def test_stalled_upload_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "STALLED_SECONDS", 0.05)
    request = request_of({"type": "http.request", "body": b"song", "more_body": True})
    with pytest.raises(TimeoutError):
        anyio.run(uploads.receive, request, tmp_path / "song", 100)


def test_full_queue_is_503(enter: Enter) -> None:
    visitor = enter(gated(gate := threading.Event()), places=1)
    song = visitor.upload().json()["id"]
    while visitor.queue.running is None:
        gate.wait(0.005)
    assert visitor.upload().status_code == 201
    answer = visitor.upload()
    assert (answer.status_code, answer.json()["error"][:22]) == (503, "too many songs are wai")
    gate.set()
    visitor.wait_for(song, "done", "failed")


def test_song_with_an_open_page_is_not_replaced(enter: Enter) -> None:
    now = [0.0]
    visitor = enter(write_stems, most_songs=2, clock=lambda: now[0])
    songs = [visitor.separated()["id"] for _ in range(2)]
    now[0] = OPEN_SECONDS + 1
    for song in songs:
        assert visitor.client.get(f"/songs/{song}/open").status_code == 204
    answer = visitor.upload()
    assert (answer.status_code, answer.json()["error"][:18]) == (503, "the server is full")
    now[0] += OPEN_SECONDS + 1
    assert visitor.client.get(f"/songs/{songs[0]}/open").status_code == 204
    assert visitor.upload(content=b"not audio").status_code == 422  # replaces no song
    assert visitor.separated()["state"] == "done"
    for song, code in zip(songs, (200, 404), strict=True):
        for route in ("", "/archive", "/open"):
            expected = 204 if (route, code) == ("/open", 200) else code
            assert visitor.client.get(f"/songs/{song}{route}").status_code == expected


@pytest.mark.parametrize("route", ["archive", "stems/0"])
def test_download_of_a_removed_song_is_completed(enter: Enter, route: str) -> None:
    visitor = enter(write_stems)
    path = f"/songs/{visitor.separated()['id']}/{route}"
    expected = visitor.client.get(path).content
    parts: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            for job in visitor.queue.jobs.values():
                visitor.queue.cancel(job)
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
    }
    anyio.run(visitor.client.app, scope, None, send)
    assert b"".join(parts) == expected
    assert visitor.files() == []


@pytest.mark.parametrize("number", ["3", "9" * 9, "9" * 10, "9" * 5000, "-1", "1e3", "٣", "0x0"])
@pytest.mark.parametrize("route", ["stems", "spectrograms", "pieces"])
def test_unsuitable_number_is_404(enter: Enter, route: str, number: str) -> None:
    visitor = enter(write_stems)
    path = f"/songs/{visitor.separated()['id']}/{route}/{number}"
    answer = visitor.client.get(path)
    if route == "pieces" and number in ("3", "9" * 9):  # after the end of the song
        assert (answer.status_code, answer.content) == (200, b"")
    else:
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.mark.parametrize(
    "requested",
    ["bytes=0-9", "bytes=-" + "9" * 5000, "bytes=" + "9" * 4000 + "-", "bytes=9-1", "bytes=-0",
     "bytes=" + "0-0," * 200, "lines=1-2", "bytes", "bytes=٣-٤"],
)  # fmt: skip
def test_byte_ranges_are_sent_or_refused(enter: Enter, requested: str) -> None:
    visitor = enter(write_stems)
    path = f"/songs/{visitor.separated()['id']}/stems/0"
    answer = visitor.client.get(path, headers={"Range": requested.encode()})
    assert answer.status_code in (200, 206, 400, 416)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 201),
        ({"Origin": "http://127.0.0.1:8000"}, 201),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Host": "localhost:8000"}, 201),
        ({"Host": "[::1]:8000"}, 201),
        ({"Host": "192.168.0.7"}, 201),
        ({"Host": "evil.example:8000"}, 421),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": ""}, 421),
    ],
)
def test_requests_of_other_sites_are_refused(
    enter: Enter, headers: dict[str, str], code: int
) -> None:
    visitor = enter(write_stems)
    assert visitor.upload(**headers).status_code == code
    if code == 421:
        assert visitor.client.get("/", headers=headers).status_code == 421


def test_unknown_model_and_song(enter: Enter) -> None:
    visitor = enter()
    answer = visitor.client.post("/songs?name=a&model=../../x", content=b"")
    assert (answer.status_code, answer.json()["error"]) == (400, "choose one of the models tiny")
    for route in ("", "/events", "/pieces/0", "/stems/0", "/archive", "/spectrograms/0"):
        answer = visitor.client.get(f"/songs/guess{route}")
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_songs_have_unguessable_addresses(enter: Enter) -> None:
    visitor = enter(write_stems)
    songs = {visitor.upload().json()["id"] for _ in range(3)}
    assert len(songs) == 3
    assert min(map(len, songs)) >= 32


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/settings", "/songs/x", "/nothing"])
def test_every_answer_has_security_headers(enter: Enter, path: str) -> None:
    headers = enter().client.get(path).headers
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    ["/static", "/static/", "/static/../server.py", "/static/%2e%2e/server.py", "/songs",
     "/static/%00", "/static/" + "a" * 5000],
)  # fmt: skip
def test_nothing_is_listed(enter: Enter, path: str) -> None:
    assert enter().client.get(path).status_code in (404, 405)
