"""Chromium takes a song through the whole page: upload, separation, playback and downloads."""

import io
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import RATE, song_samples
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SECONDS = 60.0
PATIENCE_SECONDS = 120.0  # other tests may use all processors
TITLE = "<b>Night & Ferry"
TRACKS = ["mixture", "vocals", "drums", "rest"]
SILENT = -60  # what a meter shows, in dB

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def address(checkpoint: Path) -> Iterator[str]:
    """The address of a running server, which must end at Ctrl-C without leaving files."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "stemsplit.app", "--model", str(checkpoint)),
            *("--port", "0", "--no-browser"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    match = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert match, server.communicate()
    yield match[0]
    server.send_signal(signal.SIGINT)
    output, errors = server.communicate(timeout=PATIENCE_SECONDS)
    assert (server.returncode, output, errors) == (130, "", "interrupted\n")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / f"{TITLE}.flac"
    soundfile.write(path, song_samples(SECONDS), RATE)
    return path


def until(page: Page, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def sounding(page: Page) -> list[str]:
    """The names of the tracks that are heard within half a second."""
    seen = []
    for _ in range(10):
        page.wait_for_timeout(50)
        seen.append(page.eval_on_selector_all("meter", "meters => meters.map(m => m.value)"))
    heard = np.max(seen, axis=0) > SILENT
    return [name for name, is_heard in zip(TRACKS, heard, strict=True) if is_heard]


def position(page: Page) -> float:
    return float(page.locator("#seek").input_value())


def downloaded(page: Page, click: Callable[[], None]) -> tuple[str, bytes]:
    with page.expect_download() as download:
        click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def check_layout(page: Page, width: int, dark: bool) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    colours = [int(part) for part in re.findall(r"\d+", background)][:3]
    assert (max(colours) < 60) if dark else (min(colours) > 200)
    narrow = """() => [...document.querySelectorAll("button, .button")]
        .filter(b => b.offsetParent && (b.offsetHeight < 36 || b.offsetWidth < 36))
        .map(b => b.outerHTML)"""
    assert page.evaluate(narrow) == []  # buttons are large enough for a finger


@pytest.mark.parametrize(
    ("width", "dark"), [pytest.param(1280, False, marks=pytest.mark.slow), (375, True)]
)
def test_upload_play_and_download(
    address: str, browser: Browser, song: Path, width: int, dark: bool
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))

    page.goto(address)
    page.locator("#drop").wait_for()
    page.set_input_files("#file", song)
    check_layout(page, width, dark)
    page.keyboard.press("Tab")  # to the model
    page.get_by_role("button", name="Separate", exact=True).click()
    page.locator("#result").wait_for()
    check_layout(page, width, dark)
    assert page.locator("#title").inner_text() == TITLE  # not markup
    assert page.locator(".track .name").all_inner_texts() == TRACKS
    loaded = "() => [...document.images].every(image => image.naturalWidth > 0)"
    until(page, lambda: page.evaluate(loaded))

    assert position(page) == 0
    assert sounding(page) == []
    page.keyboard.press("Space")  # the focus is on the play button
    page.get_by_role("button", name="Pause").wait_for()
    until(page, lambda: position(page) > 0.5)
    before = position(page)
    until(page, lambda: sounding(page) == ["vocals", "drums", "rest"])
    page.get_by_role("button", name="Mute vocals").click()
    until(page, lambda: sounding(page) == ["drums", "rest"])
    page.get_by_role("button", name="Solo rest").click()
    until(page, lambda: sounding(page) == ["rest"])
    page.get_by_role("slider", name="Level of rest").fill("0")
    until(page, lambda: sounding(page) == [])
    page.get_by_role("button", name="Solo mixture").click()
    until(page, lambda: sounding(page) == ["mixture"])
    assert position(page) > before + 1

    page.locator("#seek").fill(f"{SECONDS - 1}")
    until(page, lambda: page.locator("#play").get_attribute("aria-label") == "Play")
    assert position(page) == 0  # after the end of the song
    page.locator(".spectrogram").nth(1).click()  # in its middle
    until(page, lambda: abs(position(page) - SECONDS / 2) < 1)

    name, content = downloaded(page, page.get_by_role("link", name="Download drums").click)
    assert name == "_b_Night & Ferry - drums.wav"
    samples, rate = soundfile.read(io.BytesIO(content))
    assert (samples.shape, rate) == ((SECONDS * RATE, 2), RATE)
    name, content = downloaded(page, page.get_by_role("link", name="Download all (ZIP)").click)
    assert name == "_b_Night & Ferry.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 3

    if not dark:  # takes 20 seconds
        until(page, lambda: any(url.endswith("/open") for url in outside))
    page.reload()  # the page returns to its song
    page.get_by_role("button", name="Separate another song").click()
    page.get_by_role("button", name="Separate", exact=True).wait_for()
    assert complaints == []
    assert all(url.startswith((f"{address}/", f"blob:{address}/")) for url in outside)
    context.close()


def test_errors_are_shown_in_the_page(address: str, browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_default_timeout(1000 * PATIENCE_SECONDS)
    page.goto(address)
    bad = tmp_path / "letter.mp3"
    bad.write_text("not audio")
    page.locator("#drop").wait_for()
    page.set_input_files("#file", bad)
    page.get_by_role("button", name="Separate", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("letter: cannot be decoded")
    page.close()
