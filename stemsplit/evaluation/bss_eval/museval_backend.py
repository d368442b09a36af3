"""Scores computed by museval, for comparison."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from stemsplit.evaluation.bss_eval.bss_eval import BssEval


def museval_scores(
    references: Tensor, systems: Sequence[Tensor], window: int, hop: int
) -> list[BssEval]:
    """Scores of `museval.evaluate`, with the arguments and results of `bss_eval_systems`."""
    import museval  # only here, because its import fails without the program ffmpeg

    scores = []
    with numpy_1_names():
        for estimates in systems:
            true, estimated = (list(stems.cpu().numpy()) for stems in (references, estimates))
            sdr, isr, sir, sar = museval.evaluate(true, estimated, win=window, hop=hop)
            scores.append(BssEval(sdr, isr, sir, sar))
    return scores


@contextmanager
def numpy_1_names() -> Iterator[None]:
    """Provide `numpy.linalg.linalg`, which museval 0.4.1 uses and NumPy 2 removed."""
    if hasattr(np.linalg, "linalg"):
        yield
        return
    np.linalg.linalg = np.linalg  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.linalg.linalg  # type: ignore[attr-defined]
