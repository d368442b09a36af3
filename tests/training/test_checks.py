"""Settings that cannot be trained are rejected; all others pass."""

from contextlib import nullcontext

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import build
from stemsplit.training.checks import check_clipping, check_mel_bands, check_residual, check_srun


@pytest.mark.parametrize("views", [["mel"], ["magnitude", "mfcc"], ["magnitude"]])
def test_too_many_mel_bands_are_rejected_if_read(views: list[str]) -> None:
    network = {"class": "stemsplit.models.blstm.Blstm", "hidden": 4, "layers": 1, "views": views}
    for bands, fits in ((17, True), (18, False)):
        front_end = {"sample_rate": 8000, "window": 32, "hop": 8, "mel_bands": bands, "mfccs": 4}
        separator = build(front_end, network, ["vocals"], "rest", channels=1)
        if fits or views == ["magnitude"]:
            check_mel_bands(separator)
        else:
            with pytest.raises(InputError, match="18 mel bands need more than the 17 frequency"):
                check_mel_bands(separator)


def test_songs_with_more_stems_need_a_residual() -> None:
    network = {"class": "stemsplit.models.blstm.Blstm", "hidden": 4, "layers": 1}
    network |= {"views": ["magnitude"]}
    front_end = {"sample_rate": 8000, "window": 32, "hop": 8, "mel_bands": 4, "mfccs": 4}
    for residual, stems, fits in (
        ("rest", ["drums", "vocals"], True),
        (None, ["vocals"], True),
        (None, ["drums", "vocals"], False),
    ):
        separator = build(front_end, network, ["vocals"], residual, channels=1)
        if fits:
            check_residual(separator, stems)
        else:
            with pytest.raises(InputError, match="the songs also contain drums, which"):
                check_residual(separator, stems)


@pytest.mark.parametrize(
    ("fused", "clip", "scaled", "fits"),
    [
        (True, 5.0, True, False),
        (False, 5.0, True, True),
        (True, None, True, True),
        (True, 5.0, False, True),
    ],
)
def test_fused_optimiser_cannot_clip_scaled_gradients(
    fused: bool, clip: float | None, scaled: bool, fits: bool
) -> None:
    # A CPU with a gradient scaler stands in for a GPU with 16-mixed.
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    plugins = [precision] if scaled else []
    trainer = L.Trainer(accelerator="cpu", gradient_clip_val=clip, plugins=plugins, logger=False)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], fused=fused)
    expected = nullcontext() if fits else pytest.raises(InputError, match=r"optimizer\.fused=false")
    with expected:
        check_clipping(optimizer, trainer)


def test_batch_script_without_srun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NTASKS", "NTASKS_PER_NODE"):
        monkeypatch.setenv(f"SLURM_{name}", "2")
    for name in ("PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False)
    with pytest.raises(InputError, match="2 processes must train, but 1 was started; write srun"):
        check_srun(trainer)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")  # srun sets it
    check_srun(trainer)


@pytest.mark.parametrize(("nodes", "devices"), [("1", 4), ("2", 2)])
def test_more_processes_of_srun_than_the_trainer_uses_are_refused(
    nodes: str, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", nodes)
    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False)
    with pytest.raises(
        InputError,
        match=f"srun started 4 processes, but the trainer uses 1; .*=ddp trainer.num_nodes={nodes} "
        f"trainer.devices={devices}, or train in one process with srun --ntasks=1",
    ):
        check_srun(trainer)
