"""The models that the page offers, loaded when the first song needs them."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from rich.filesize import decimal

from stemsplit.errors import InputError
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.published.catalogue import Model, catalogue, find
from stemsplit.separation.published.download import is_downloaded
from stemsplit.separation.separator import Separator
from stemsplit.separation.sources import checkpoint_of

DEFAULT = "umxhq"
MOST_LOADED = 2  # models that stay in memory


class Models:
    """The models that the page offers, by the names that it shows.

    `sources` maps each name to the argument of `load`: the name of a published model, or a path.
    Only one thread may call `separator`, because two threads could load the same model twice.
    """

    def __init__(
        self, sources: Mapping[str, str | Path], load: Callable[[str | Path], Separator | Ensemble]
    ) -> None:
        self.sources = sources
        self.load = lru_cache(MOST_LOADED)(load)

    def notes(self) -> dict[str, str]:
        """A line about each model, by its name; "" if nothing is known about it."""
        published = {name: find(source) for name, source in self.sources.items()}
        return {name: "" if model is None else note(model) for name, model in published.items()}

    def separator(self, name: str) -> Separator | Ensemble:
        """Load a model, or return it if it is still loaded."""
        return self.load(self.sources[name])


def note(model: Model) -> str:
    """Describe a published model in one line."""
    parts = [model.title, ", ".join(model.stems), f"licence: {model.licence}"]
    if not is_downloaded(model):
        size = "weights" if model.size is None else f"about {decimal(model.size)}"
        parts.append(f"{size} will be downloaded at the first use")
    return "; ".join(part for part in parts if part)


def named(models: Sequence[str]) -> dict[str, str | Path]:
    """Map names on the page to models.

    A published model keeps its name. For a path, the name is the last part of the path. Raises
    `InputError` if a model does not exist, or if two models have the same name.
    """
    sources: dict[str, str | Path] = {}
    for model in models:
        is_published = find(model) is not None
        if not is_published:
            checkpoint_of(Path(model))
        name = model if is_published else Path(model).resolve().name
        if name in sources:
            raise InputError(f"{sources[name]} and {model} have the same name; rename one of them")
        sources[name] = model if is_published else Path(model)
    return sources


def default_models() -> list[str]:
    """The default model, and all published models that are downloaded."""
    others = [model.name for model in catalogue().values() if is_downloaded(model)]
    return list(dict.fromkeys([DEFAULT, *others]))
