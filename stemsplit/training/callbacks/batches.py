"""Describe the songs and positions of the excerpts in a batch, for error messages."""

from typing import Any, cast

import lightning as L

Key = tuple[int, int]


def describe(trainer: L.Trainer, keys: list[Key]) -> str:
    """Songs and positions of excerpts, or their keys if the trainer has no data module."""
    data = cast(Any, trainer).datamodule
    chunks = [f"chunk {key}" for key in keys] if data is None else data.describe(keys)
    return " | ".join(chunks)
