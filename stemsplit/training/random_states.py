"""Save and restore the states of random number generators as tensors and plain values."""

import random
from typing import Any

import numpy as np
import torch

from stemsplit import processes

States = dict[str, Any]


def random_states() -> list[States]:
    """Return the random states of all processes. Every process must call this function."""
    # Dropout uses torch's global generator. Other packages may use all of these generators.
    kind, words, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    states: States = {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(words).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return processes.gather([states])


def restore(all_states: list[States]) -> None:
    """Restore the state of this process. Processes without a saved state keep their own."""
    if processes.rank() >= len(all_states):
        return
    states = all_states[processes.rank()]
    random.setstate(states["python"])
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())
