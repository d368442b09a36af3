"""The command `app`: its options and the errors before the page is served."""

import socket
import sys
from pathlib import Path

import pytest

from stemsplit import app
from stemsplit.page.serving import address_of, is_public, listening_socket


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        app.main(["--no-browser", *arguments])
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "option", ["--max-seconds", "--max-megabytes", "--queue", "--max-songs", "--keep-minutes"]
)
def test_limits_are_above_zero(capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert refused(capsys, option, "0").endswith("must be a number above 0")
    assert refused(capsys, option, "-1").startswith(f"error: {option} -1")


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_limits_are_finite(capsys: pytest.CaptureFixture[str], value: str) -> None:
    line = f"error: --max-seconds {value} must be a number above 0"
    assert refused(capsys, "--max-seconds", value) == line


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_port_has_sixteen_bits(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert refused(capsys, "--port", port) == f"error: --port {port} must be from 0 to 65535"


def test_missing_model_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    assert refused(capsys, "--model", absent).startswith(f"error: {absent}: ")


def test_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "uvicorn is not installed; run pip install --editable '.[app]'" in refused(capsys)


def test_used_port_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert refused(capsys, "--port", port) == (
            f"error: port {port} is in use; choose another with --port (0: any free port)"
        )


def test_foreign_host_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--host", "192.0.2.1", "--port", "0")  # reserved for documentation
    assert line.startswith("error: cannot listen on 192.0.2.1, port 0: ")


@pytest.mark.parametrize(("host", "public"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_address_is_one_that_the_browser_can_open(host: str, public: bool) -> None:
    assert is_public(host) == public
    with listening_socket(host, 0) as listening:
        port = listening.getsockname()[1]
        expected = "localhost" if public else host
        assert address_of(listening) == f"http://{expected}:{port}"
