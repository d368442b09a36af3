"""Update the README's picture of a report: ``make screenshot OF=path/to/a/run``.

Opens the report of the run in a headless browser, and saves its upper part as a small PNG.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from stemsplit.errors import InputError, one_line_errors
from stemsplit.files import replacing
from stemsplit.report import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1120, 1570)
PICTURE = Path(__file__).parent / "report.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", type=Path, nargs="+", help="folder of a run; several runs are compared"
    )
    parser.add_argument("--output", type=Path, default=PICTURE)
    options = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as place:
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise InputError(f"found no browser ({', '.join(BROWSERS)}); run make browser")
        report = page(options.run, Path(place) / "report.html")
        shot = Path(place) / "shot.png"
        subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *("--blink-settings=preferredColorScheme=1", f"--user-data-dir={place}/profile"),
                *(f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={shot}"),
                *("--virtual-time-budget=3000", report.as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(shot) as image, replacing(options.output) as partial:
            image.convert("RGB").quantize(128).save(partial, format="PNG", optimize=True)
    print(f"{options.output}: {options.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
