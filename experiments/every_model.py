"""Train several models on the demo songs; print the scores and the time per step of each.

    python experiments/every_model.py [MODEL…] [--runs runs/every_model]

Each model trains like `stemsplit train model=MODEL data=demo chunk_seconds=3
data.batch_size=4`: 8 epochs, 320 steps, seed 0. `band_split` has the loss of `band_split_small`.
The best checkpoint is scored on the four test songs, and separates one of them. The table is
Markdown. Interrupted runs are resumed, and complete runs are not repeated.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from omegaconf import OmegaConf

import stemsplit
from stemsplit import audio

MODELS = [
    *("mlp", "lstm", "open_unmix", "mel_only", "mfcc_only", "mel_blstm", "mfcc_blstm"),
    *("band_split_small", "hdemucs_small", "band_split"),
]
SETTINGS = [
    "data=demo",
    "chunk_seconds=3",
    "data.batch_size=4",
    "evaluate_test=true",
    "logger=csv",
    "+callbacks.timer._target_=lightning.pytorch.callbacks.Timer",
]
# Without a GPU, the default loss of band_split takes longer than the network.
OTHERWISE = {"band_split": ["loss=complex_l1"]}


def python(module: str, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", f"stemsplit.{module}", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def train(model: str, run: Path) -> None:
    if (run / "test" / "result.json").is_file():
        return
    if (run / "last.ckpt").is_file():
        python("train", f"resume={run}")
    else:
        settings = [*SETTINGS, *OTHERWISE.get(model, [])]
        python("train", f"model={model}", *settings, f"hydra.run.dir={run}")


def largest_error(run: Path) -> float:
    """Separate a test song. Return the largest error of the sum of stems, relative to the peak."""
    corpus = Path(str(OmegaConf.load(run / "config.yaml").data.root))
    song = sorted((corpus / "test").glob("*.stem.mp4"))[0]
    python("separate", song, "--checkpoint", run, "--output", run / "separated")
    mixture = audio.read(song).samples
    stems = [audio.read(path).samples for path in (run / "separated").rglob("*.wav")]
    return float(abs(sum(stems) - mixture).max() / abs(mixture).max())


def row(model: str, run: Path) -> str:
    result = json.loads((run / "test" / "result.json").read_text())
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    size = sum(weight.numel() for weight in stemsplit.load(run).parameters())
    timer = checkpoint["callbacks"]["Timer"]["time_elapsed"]
    seconds = (timer["train"] - timer["validate"]) / checkpoint["global_step"]
    cells = [f"`{model}`", f"{size / 1e6:.1f} M", f"{seconds:.2f}"]
    for system in ("mixture", model):
        interval = result["scores"][system]["vocals"]["SDR"]
        cells.append(f"{interval['median']:.2f} [{interval['low']:.1f}, {interval['high']:.1f}]")
    return f"| {' | '.join([*cells, f'{largest_error(run):.0e}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--runs", type=Path, default=Path("runs/every_model"))
    options = parser.parse_args()
    print(
        "| `model=` | parameters | seconds per step | SDR of the mixture | SDR of the vocals "
        "| error of the sum |"
    )
    print("|---|---|---|---|---|---|")
    for model in options.models:
        run = options.runs.absolute() / model
        train(model, run)
        print(row(model, run), flush=True)


if __name__ == "__main__":
    main()
