"""Downloads of published weights from a local server that misbehaves."""

import errno
import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from full_disk import no_file_larger_than
from weights_server import HDEMUCS, Server, published, write_catalogue

from stemsplit.errors import InputError
from stemsplit.separation.published import catalogue, download, transfer
from stemsplit.separation.published.download import paths_of, pull

NAME = "hdemucs_musdb_plus"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with published(tmp_path, monkeypatch) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache/models" / NAME / HDEMUCS


def pulled() -> bytes:
    [path] = pull(catalogue.model(NAME))
    return path.read_bytes()


def refused() -> str:
    with pytest.raises(InputError) as error:
        pull(catalogue.model(NAME))
    assert "\n" not in str(error.value)
    return str(error.value)


def ranges(server: Server) -> list[str | None]:
    return [asked for _, asked in server.requests]


def half_of(server: Server, target: Path) -> int:
    """Leave the first half of the file, as an interrupted process does."""
    content = server.files[HDEMUCS]
    target.parent.mkdir(parents=True)
    target.with_name(f"{HDEMUCS}.part").write_bytes(content[: len(content) // 2])
    return len(content) // 2


def test_files_are_downloaded_once(
    server: Server, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pulled() == server.files[HDEMUCS]
    assert [path.name for path in target.parent.iterdir() if path.name != ".lock"] == [HDEMUCS]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{NAME}: downloading ")
    for text in ("licence: not stated", "include MUSDB18's test songs", "kB", str(target.parent)):
        assert line.count(text) == 1
    assert pulled() == server.files[HDEMUCS]
    assert len(server.requests) == 1
    assert not capsys.readouterr().err


def test_all_files_of_a_model_are_downloaded(server: Server) -> None:
    paths = pull(catalogue.model("umxhq"))
    assert [path.read_bytes() for path in paths] == [server.files[path.name] for path in paths]
    assert len(paths) == 4


def test_interrupted_download_is_continued(server: Server, target: Path) -> None:
    half = half_of(server, target)
    assert pulled() == server.files[HDEMUCS]
    assert ranges(server) == [f"bytes={half}-"]


def test_dropped_connection_is_continued(server: Server) -> None:
    server.faults[HDEMUCS] = ["short", "short", 503]
    assert pulled() == server.files[HDEMUCS]
    assert ranges(server)[0] is None
    assert all(asked is not None for asked in ranges(server)[1:])
    assert len(server.requests) == 4


def test_dropped_connection_is_continued_without_a_digest(
    server: Server, target: Path, tmp_path: Path
) -> None:
    files = [server.entry(HDEMUCS, sha256=None, size=None)]
    write_catalogue(tmp_path / "models.toml", {NAME: {"stems": ["vocals"], "files": files}})
    half_of(server, target)
    server.faults[HDEMUCS] = ["short"]
    assert pulled() == server.files[HDEMUCS]
    # Nothing could tell whether the bytes of an earlier process belong to the same file.
    assert ranges(server)[0] is None
    assert ranges(server)[1] is not None


def test_repeated_drops_are_an_error_that_keeps_the_bytes(server: Server, target: Path) -> None:
    server.faults[HDEMUCS] = [500, 502, "short", 503]
    line = refused()
    assert "failed repeatedly (HTTP status 503" in line
    assert f"save it as {target}" in line
    assert f"{server.address}/{HDEMUCS}" in line
    assert target.with_name(f"{HDEMUCS}.part").stat().st_size == len(server.files[HDEMUCS]) // 2
    assert not target.exists()


def test_stalled_connection_is_continued(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 0.2)
    server.pause_seconds = 1.0
    server.faults[HDEMUCS] = ["slow"]
    assert pulled() == server.files[HDEMUCS]
    assert ranges(server)[1] is not None


@pytest.mark.parametrize("fault", ["no ranges", "wrong range"])
def test_server_without_ranges_sends_the_whole_file(
    server: Server, target: Path, fault: str
) -> None:
    half_of(server, target)
    server.faults[HDEMUCS] = [fault]
    assert pulled() == server.files[HDEMUCS]


def test_file_without_length_is_downloaded(server: Server) -> None:
    server.faults[HDEMUCS] = ["no length"]
    assert pulled() == server.files[HDEMUCS]


def test_kept_bytes_of_another_version_are_replaced(server: Server, target: Path) -> None:
    half = half_of(server, target)
    part = target.with_name(f"{HDEMUCS}.part")
    part.write_bytes(b"x" * half)
    assert pulled() == server.files[HDEMUCS]
    assert ranges(server) == [f"bytes={half}-", None]


@pytest.mark.parametrize("difference", [-1, 0, 1], ids=["too short", "complete", "too long"])
def test_kept_bytes_of_any_length_are_used_or_replaced(
    server: Server, target: Path, difference: int
) -> None:
    content = server.files[HDEMUCS] + b"x"
    target.parent.mkdir(parents=True)
    part = target.with_name(f"{HDEMUCS}.part")
    part.write_bytes(content[: len(content) - 1 + difference])
    assert pulled() == server.files[HDEMUCS]
    assert len(server.requests) == {-1: 1, 0: 0, 1: 2}[difference]


def test_wrong_bytes_are_removed(server: Server, target: Path) -> None:
    server.faults[HDEMUCS] = ["wrong"]
    line = refused()
    assert "the server sent another file: its SHA-256 begins with" in line
    assert "it was removed" in line
    assert f"save it as {target}" in line
    assert not list(target.parent.glob("*.p*"))
    assert pulled() == server.files[HDEMUCS]


def test_wrong_size_is_refused_before_the_download(server: Server, target: Path) -> None:
    server.faults[HDEMUCS] = ["longer"]
    size = len(server.files[HDEMUCS])
    assert f"the file on the server has {size + 1} bytes, not {size}" in refused()
    assert not target.exists()


def test_web_page_is_not_taken_for_weights(server: Server, tmp_path: Path) -> None:
    files = [server.entry(HDEMUCS, sha256=None, size=None)]
    write_catalogue(tmp_path / "models.toml", {NAME: {"stems": ["vocals"], "files": files}})
    server.faults[HDEMUCS] = ["page"]
    assert "it is empty or a web page" in refused()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_of_the_server_is_reported_at_once(
    server: Server, target: Path, status: int
) -> None:
    server.faults[HDEMUCS] = [status]
    line = refused()
    assert f"(HTTP status {status} " in line
    assert f"download {server.address}/{HDEMUCS} in another way and save it as {target}" in line
    assert len(server.requests) == 1


@pytest.mark.parametrize("length", ["0", "10", "*"])
def test_refused_range_without_a_partial_file_is_reported(
    server: Server, target: Path, length: str
) -> None:
    server.faults[HDEMUCS] = [f"raw HTTP/1.1 416 No\r\nContent-Range: bytes */{length}"]
    assert "(HTTP status 416 No, but the whole file was requested)" in refused()
    assert len(server.requests) == 1
    assert pulled() == server.files[HDEMUCS]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://no-such-host.invalid/w.pt", "no network, or the host is unknown"),
        ("http://127.0.0.1:9/w.pt", "failed repeatedly (Connection refused)"),
        ("file:///no/such/folder/w.pt", "No such file or directory"),
    ],
)
def test_no_network_is_a_one_line_error(
    server: Server, tmp_path: Path, address: str, message: str
) -> None:
    entry = {"stems": ["vocals"], "files": [{"address": address}]}
    write_catalogue(tmp_path / "models.toml", {NAME: entry})
    line = refused()
    assert message in line
    assert f"save it as {tmp_path / 'cache/models' / NAME / 'w.pt'}" in line


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_redirection_to_another_scheme_is_refused(
    server: Server, target: Path, tmp_path: Path, scheme: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    server.faults[HDEMUCS] = [f"redirect {scheme}://{tmp_path}/secret"]
    assert f"save it as {target}" in refused()
    assert not target.exists()
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://[::1/x.pth", "has an invalid address: Invalid IPv6 URL"),
        ("http://host:abc/x.pth", "has an invalid address: http://host:abc/x.pth: is not an"),
        ("http://user:word@host/x.pth", "user names and passwords"),
        ("http://a..b/x.pth", "host's name is empty or too long"),
    ],
)
def test_redirection_to_an_unusable_address_is_refused(
    server: Server, address: str, message: str
) -> None:
    server.faults[HDEMUCS] = [f"redirect {address}"]
    line = refused()
    assert "cannot be downloaded (a redirection or the proxy has" in line
    assert message in line
    assert len(server.requests) == 1


def test_redirection_is_followed(server: Server) -> None:
    server.faults[HDEMUCS] = [f"redirect {server.address}/é d/{HDEMUCS}"]
    assert pulled() == server.files[HDEMUCS]


def test_endless_redirection_is_a_one_line_error(server: Server) -> None:
    server.faults[HDEMUCS] = 20 * [f"redirect {server.address}/{HDEMUCS}"]
    assert "(HTTP status 302 too many redirections: Found)" in refused()


def test_unusable_proxy_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http://host:abc")
    assert "a redirection or the proxy has an invalid address: nonnumeric port" in refused()


def test_address_outside_ascii_is_downloaded(server: Server, tmp_path: Path) -> None:
    files = [server.entry(HDEMUCS, address=f"{server.address}/é d/{HDEMUCS}")]
    write_catalogue(tmp_path / "models.toml", {NAME: {"stems": ["vocals"], "files": files}})
    assert pulled() == server.files[HDEMUCS]


@pytest.mark.parametrize("length", ["abc", "-5", "1_0", "10, 20", 5000 * "1"])
def test_invalid_length_is_refused(server: Server, length: str) -> None:
    server.faults[HDEMUCS] = [f"raw HTTP/1.1 200 OK\r\nContent-Length: {length}"]
    line = refused()
    assert f"the server states the invalid Content-Length '{length[:100]}" in line
    assert len(line) < 1000


def test_repeated_length_is_read(server: Server) -> None:
    size = len(server.files[HDEMUCS])
    server.faults[HDEMUCS] = [f"raw HTTP/1.1 200 OK\r\nContent-Length: {size}, {size}"]
    assert pulled() == server.files[HDEMUCS]


@pytest.mark.parametrize(
    "part", ["0-9/SIZE", "0-9/*", "5-14/SIZE", "0-9/9", "9-0/SIZE", "x", f"0-{5000 * '9'}/*"]
)
def test_unrequested_part_is_not_taken_for_the_file(
    server: Server, target: Path, tmp_path: Path, part: str
) -> None:
    files = [server.entry(HDEMUCS, sha256=None, size=None)]
    write_catalogue(tmp_path / "models.toml", {NAME: {"stems": ["vocals"], "files": files}})
    stated = part.replace("SIZE", str(len(server.files[HDEMUCS])))
    answer = f"raw HTTP/1.1 206 Partial\r\nContent-Range: bytes {stated}\r\nContent-Length: 10"
    server.faults[HDEMUCS] = [answer]
    assert pulled() == server.files[HDEMUCS]
    target.unlink()
    server.faults[HDEMUCS] = 4 * [answer]
    assert "failed repeatedly" in refused()
    assert not target.exists()


def test_file_of_a_local_mirror_is_copied(server: Server, tmp_path: Path) -> None:
    (tmp_path / "mirror.pt").write_bytes(server.files[HDEMUCS])
    files = [server.entry(HDEMUCS, address=(tmp_path / "mirror.pt").as_uri())]
    write_catalogue(tmp_path / "models.toml", {NAME: {"stems": ["vocals"], "files": files}})
    assert pulled() == server.files[HDEMUCS]


def test_file_put_there_by_hand_is_checked(server: Server, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(server.files[HDEMUCS])
    assert pulled() == server.files[HDEMUCS]
    target.write_bytes(b"x" * len(server.files[HDEMUCS]))
    line = refused()
    assert line.startswith(f"{target}: is not the published file: its SHA-256 begins with")
    assert f"stemsplit models remove {NAME}" in line
    target.write_bytes(server.files[HDEMUCS][:-1])
    assert "bytes, not" in refused()
    assert not server.requests


def test_full_disk_is_a_one_line_error(server: Server, target: Path) -> None:
    with no_file_larger_than(10_000):
        line = refused()
    assert f"{target}.part cannot be written (File too large)" in line
    assert f"save it as {target}" in line
    assert pulled() == server.files[HDEMUCS]
    assert ranges(server)[1] == "bytes=10000-"


def test_lack_of_space_is_reported_before_the_download(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "the disk is full: " in refused()
    assert not server.requests


def test_error_of_a_full_disk_says_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "cannot be written (the disk is full: free some space)" in refused()


def test_unusable_folder_is_a_one_line_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEMSPLIT_CACHE", str(tmp_path / "file"))
    assert "choose another folder with the variable STEMSPLIT_CACHE" in refused()


def digest_of_pulled(start: object) -> str:
    start.wait()  # type: ignore[attr-defined]
    return hashlib.sha256(pull(catalogue.model(NAME))[0].read_bytes()).hexdigest()


def test_two_processes_share_one_download(server: Server, target: Path) -> None:
    server.pause_seconds = 0.5
    server.faults[HDEMUCS] = ["slow"]
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager, context.Pool(2) as pool:
        start = manager.Barrier(2)
        digests = pool.map(digest_of_pulled, [start, start], chunksize=1)
    assert set(digests) == {hashlib.sha256(server.files[HDEMUCS]).hexdigest()}
    assert len(server.requests) == 1


def test_plain_lines_show_the_progress_without_a_terminal(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stemsplit.separation.published.progress.PRINTED_SECONDS", 0.0)
    pulled()
    _, *lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith(f"{HDEMUCS}: ") for line in lines)
    assert paths_of(catalogue.model(NAME))[0].is_file()
