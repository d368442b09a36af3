"""Scores computed by museval itself, for comparison."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from stemsplit.evaluation.bss_eval.bss_eval import BssEval


def museval_scores(
    references: Tensor, systems: Sequence[Tensor], window: int, hop: int
) -> list[BssEval]:
    """What `museval.evaluate` finds; arguments and result are those of `bss_eval_systems`."""
    import museval  # its import asks for the program ffmpeg

    found = []
    with names_of_numpy_1():
        for estimates in systems:
            true, estimated = (list(stems.cpu().numpy()) for stems in (references, estimates))
            sdr, isr, sir, sar = museval.evaluate(true, estimated, win=window, hop=hop)
            found.append(BssEval(sdr, isr, sir, sar))
    return found


@contextmanager
def names_of_numpy_1() -> Iterator[None]:
    """museval 0.4.1 names an exception by a path that NumPy 2 no longer has."""
    if hasattr(np.linalg, "linalg"):
        yield
        return
    np.linalg.linalg = np.linalg  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.linalg.linalg  # type: ignore[attr-defined]
