"""Choose a floating-point precision that this machine supports for training."""

import torch
from torch import nn

from stemsplit.errors import InputError
from stemsplit.machine.bfloat16 import cpu_is_fast_in_bfloat16, cpu_runs_lstm_in_bfloat16

HALF = {"bf16-mixed", "bf16", "16-mixed", "16"}  # on a CPU, Lightning uses bfloat16 for all four


def default_precision(on_gpu: bool, on_cpu: bool) -> str:
    """``bf16-mixed`` on hardware with instructions for bfloat16, else ``32-true``."""
    if on_gpu:
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = on_cpu and cpu_is_fast_in_bfloat16()
    return "bf16-mixed" if fast else "32-true"


def check_precision(precision: str, network: nn.Module, on_cpu: bool) -> None:
    """Raise `InputError` if this machine cannot train `network` in `precision`."""
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in network.modules())
    if on_cpu and precision in HALF and recurrent and not cpu_runs_lstm_in_bfloat16():
        raise InputError(
            f"trainer.precision={precision}: this CPU cannot train an LSTM in bfloat16, because "
            "oneDNN needs AVX-512 for it; set trainer.precision=32-true"
        )
