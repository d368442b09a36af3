"""Choose a floating-point precision that this machine supports for training."""

from functools import cache

import torch
from torch import nn

from stemsplit.errors import InputError

HALF = {"bf16-mixed", "bf16", "16-mixed", "16"}  # on a CPU, Lightning uses bfloat16 for all four


def default_precision(on_gpu: bool, on_cpu: bool) -> str:
    """``bf16-mixed`` on hardware with instructions for bfloat16, else ``32-true``.

    Without such instructions, bfloat16 is emulated and slower than float32.
    """
    if on_gpu:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        instructions = torch.cpu.get_capabilities().get("avx512_bf16", False)
        fast = on_cpu and instructions and cpu_runs_lstm_in_bfloat16()
    return "bf16-mixed" if fast else "32-true"


def check_precision(precision: str, network: nn.Module, on_cpu: bool) -> None:
    """Raise `InputError` if this machine cannot train `network` in `precision`."""
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())
    if on_cpu and precision in HALF and recurrent and not cpu_runs_lstm_in_bfloat16():
        raise InputError(
            f"trainer.precision={precision}: this CPU cannot train an LSTM in bfloat16, because "
            "oneDNN needs AVX-512 for it; set trainer.precision=32-true"
        )


@cache
def cpu_runs_lstm_in_bfloat16() -> bool:
    """Whether an LSTM runs forward and backward in bfloat16. Only a test run shows it reliably."""
    with torch.random.fork_rng(devices=[]):  # initialising the layer draws random numbers
        lstm = nn.LSTM(8, 8)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        try:
            output, _ = lstm(torch.zeros(2, 1, 8))
            output.float().sum().backward()
        except RuntimeError:  # "could not create a primitive descriptor …"
            return False
    return True
