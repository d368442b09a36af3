"""The models that the page offers, loaded when the first song needs them."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import checkpoint_of
from stemsplit.separation.separator import Separator

MOST_LOADED = 2  # models that stay in memory


class Models:
    """Models by the name that the page shows. Only one thread may load them.

    `sources` maps a name to what `stemsplit.load` accepts.
    """

    def __init__(
        self, sources: Mapping[str, str | Path], load: Callable[[str | Path], Separator]
    ) -> None:
        self.sources = sources
        self.load = lru_cache(MOST_LOADED)(load)

    @property
    def names(self) -> list[str]:
        return list(self.sources)

    def separator(self, name: str) -> Separator:
        """Load a model, or return it if it is still loaded."""
        return self.load(self.sources[name])


def named(models: Sequence[str]) -> dict[str, str | Path]:
    """Map the name of each model on the page to the model: the last part of its path.

    Raises `InputError` if a model does not exist, or if two models have the same name.
    """
    sources: dict[str, str | Path] = {}
    for model in models:
        checkpoint_of(Path(model))
        name = Path(model).resolve().name
        if name in sources:
            raise InputError(f"{sources[name]} and {model} have the same name; rename one of them")
        sources[name] = model
    return sources
