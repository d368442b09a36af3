"""Update the README's picture of `stemsplit app`: ``make screenshot OF=path/to/a/run``.

Separates a song on the page with the separator of the run, in a headless browser, plays it, and
saves a small PNG.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from stemsplit import configuration
from stemsplit.errors import InputError, one_line_errors
from stemsplit.files import replacing

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WINDOW = 1020  # width of the browser window in pixels
WIDTH = 860  # width of the picture in pixels
PICTURE = Path(__file__).parent / "app.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument(
        "--song", type=Path, help="song to separate; default: a test song of the run's corpus"
    )
    parser.add_argument("--output", type=Path, default=PICTURE)
    options = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as place:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise InputError(f"found no browser ({', '.join(BROWSERS)}); run make browser")
        shot = Path(place) / "shot.png"
        take(browser, options.run, options.song or test_song(options.run), shot)
        with Image.open(shot) as image, replacing(options.output) as partial:
            smaller = image.convert("RGB").resize((WIDTH, image.height * WIDTH // image.width))
            # This method keeps colours of small areas, for instance of the meters.
            reduced = smaller.quantize(96, method=Image.Quantize.MAXCOVERAGE)
            reduced.save(partial, format="PNG", optimize=True)
    print(f"{options.output}: {options.output.stat().st_size / 1000:.0f} kB")


def test_song(run: Path) -> Path:
    songs = Path(os.path.expanduser(configuration.saved(run).data.root)) / "test"
    return min(songs.glob("*.stem.mp4"))


def take(browser: str, run: Path, song: Path, shot: Path) -> None:
    """Separate a song on the page, and take a picture while it plays."""
    command = [sys.executable, "-m", "stemsplit.app", "--port", "0", "--no-browser"]
    with (
        subprocess.Popen(
            [*command, "--model", str(run)], stdout=subprocess.PIPE, text=True
        ) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout is not None
        line = server.stdout.readline()
        match = re.search(r"http://\S+:\d+", line)
        if match is None:
            raise InputError(f"stemsplit app did not start: {line}")
        opened = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(viewport={"width": WINDOW, "height": 600}, color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(match[0])
        page.locator("#drop").wait_for()
        page.set_input_files("#file", song)
        page.get_by_role("button", name="Separate", exact=True).click()
        page.get_by_role("button", name="Play").click()
        page.locator("#seek").fill("8")
        page.wait_for_selector(".play.playing:not(.waiting)")
        page.wait_for_timeout(2000)
        page.screenshot(path=shot, full_page=True)
        opened.close()
        server.terminate()


if __name__ == "__main__":
    main()
