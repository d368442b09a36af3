"""``make demo``: train, score and separate in a few minutes, with the commands of the README.

The demo trains a small `mel_blstm` on synthesised songs, scores it and the unprocessed mixture on
the test songs, separates one test song, draws spectrograms and writes the report of the run. The
command ``stemsplit train model=mel_blstm`` trains the published network, which is four times as
wide, on excerpts of six seconds.
"""

import os

from stemsplit.settings.help import begin

begin(__name__, "demo")  # before the imports that take seconds

import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from stemsplit import audio, configuration
from stemsplit.evaluation.spectrograms import spectrogram_comparison
from stemsplit.report import page

SMALL = ["model.separator.network.hidden=128", "chunk_seconds=3.0"]
VOCALS = 4  # audio stream of the vocals in a *.stem.mp4 file
PICTURE_SECONDS = 10

console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    run = Path("runs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S}-demo"
    console.print("[bold]A small mel_blstm (a quarter of the published width) on demo songs[/bold]")
    step("stemsplit.train", "model=mel_blstm", "data=demo", *SMALL, f"hydra.run.dir={run}")
    step("stemsplit.evaluate", f"checkpoint={run}")
    root = Path(os.path.expanduser(configuration.saved(run).data.root))
    song = min((root / "test").glob("*.stem.mp4"))
    output = run / "separated"
    step("stemsplit.separate", str(song), "--checkpoint", str(run), "--output", str(output))
    name = song.name.removesuffix(".stem.mp4")
    picture = draw(song, output / name / "vocals.wav", run / "spectrograms.png", name)
    print(f"\nstems:    {output / name}/*.wav\npicture:  {picture}")
    print(f"scores:   {run / 'evaluations/demo-test/result.json'}")
    print(f"report:   {page([run])}")


def step(module: str, *arguments: str) -> None:
    """Print and run a command; exit if it fails."""
    command = ["python", "-m", module, *arguments]
    console.print(f"\n[bold green]$[/bold green] {escape(shlex.join(command))}")
    code = subprocess.run([sys.executable, *command[1:]], check=False).returncode
    if code:
        sys.exit(code)


def draw(song: Path, estimate: Path, picture: Path, title: str) -> Path:
    """Draw spectrograms of the mixture, the true vocals and the separated vocals.

    They start one second before the vocals, and show `PICTURE_SECONDS`.
    """
    mixture, vocals = audio.read_streams(song, [0, VOCALS])
    onset = int(np.argmax(np.abs(vocals.samples).max(axis=0) > 0.01))
    start = max(0, onset - mixture.sample_rate)
    span = slice(start, start + PICTURE_SECONDS * mixture.sample_rate)
    signals = {
        "mixture": mixture.samples[:, span],
        "vocals (reference)": vocals.samples[:, span],
        "vocals (separated)": audio.read(estimate).samples[:, span],
    }
    spectrogram_comparison(signals, mixture.sample_rate, picture, title)
    return picture


if __name__ == "__main__":
    main()
