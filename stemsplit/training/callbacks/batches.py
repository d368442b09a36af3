"""Describe in words where the excerpts of a batch come from."""

from typing import Any, cast

import lightning as L

Key = tuple[int, int]


def named(trainer: L.Trainer, keys: list[Key]) -> str:
    """Songs and positions of the excerpts, or their keys if no data module knows them."""
    data = cast(Any, trainer).datamodule
    chunks = [f"chunk {key}" for key in keys] if data is None else data.describe(keys)
    return " | ".join(chunks)
