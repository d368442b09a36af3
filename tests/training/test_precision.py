"""The precision of a training fits the machine."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from stemsplit.errors import InputError
from stemsplit.machine import bfloat16
from stemsplit.training import precision
from stemsplit.training.precision import check_precision, default_precision

PRINT_DEFAULT = (
    "from stemsplit.machine.bfloat16 import cpu_runs_lstm_in_bfloat16 as runs;"
    "from stemsplit.training.precision import default_precision;"
    "print(default_precision(on_gpu=False, on_cpu=True), runs())"
)


def lacks_bfloat16(monkeypatch: pytest.MonkeyPatch, lacks: bool = True) -> None:
    for module in (bfloat16, precision):
        monkeypatch.setattr(module, "cpu_runs_lstm_in_bfloat16", lambda: not lacks)


def test_float32_is_default_without_avx512() -> None:
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    command = [sys.executable, "-c", PRINT_DEFAULT]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert printed.stdout.split()[0] == "32-true", printed.stderr
    if torch.backends.mkldnn.is_available() and os.uname().machine == "x86_64":
        assert printed.stdout.split()[1] == "False"


@pytest.mark.parametrize("lacks", [True, False])
@pytest.mark.parametrize("instructions", [True, False])
def test_bfloat16_is_default_if_fast_and_supported(
    lacks: bool, instructions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities = {**torch.cpu.get_capabilities(), "avx512_bf16": instructions}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    lacks_bfloat16(monkeypatch, lacks)
    expected = "bf16-mixed" if instructions and not lacks else "32-true"
    assert default_precision(on_gpu=False, on_cpu=True) == expected
    assert default_precision(on_gpu=False, on_cpu=False) == "32-true"  # Apple's GPUs


@pytest.mark.parametrize("name", ["bf16-mixed", "bf16", "16-mixed", "16"])
def test_half_precision_is_rejected_if_lstm_is_unsupported(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks_bfloat16(monkeypatch)
    for recurrent in (nn.LSTM(2, 2), nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2))):
        with pytest.raises(InputError, match=rf"trainer\.precision={name}: .*32-true"):
            check_precision(name, recurrent, on_cpu=True)
        check_precision(name, recurrent, on_cpu=False)
        check_precision("32-true", recurrent, on_cpu=True)
    check_precision(name, nn.Linear(2, 2), on_cpu=True)
    lacks_bfloat16(monkeypatch, lacks=False)
    check_precision(name, nn.LSTM(2, 2), on_cpu=True)


def test_check_draws_no_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    bfloat16.cpu_runs_lstm_in_bfloat16.__wrapped__()
    assert torch.equal(torch.rand(3), expected)
