"""Whether the CPU computes in bfloat16."""

from functools import cache

import torch
from torch import nn


def cpu_is_fast_in_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16, which torch can use for every layer.

    Without such instructions, bfloat16 is emulated and slower than float32.
    """
    instructions = torch.cpu.get_capabilities().get("avx512_bf16", False)
    return instructions and cpu_runs_lstm_in_bfloat16()


@cache
def cpu_runs_lstm_in_bfloat16() -> bool:
    """Whether an LSTM runs forward and backward in bfloat16. Only a test run shows it reliably."""
    with torch.random.fork_rng(devices=[]):  # initialising the layer draws random numbers
        lstm = nn.LSTM(8, 8)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        try:
            output, _ = lstm(torch.zeros(2, 1, 8))
            output.float().sum().backward()
        except RuntimeError:  # "could not create a primitive descriptor …"
            return False
    return True
