"""Types of settings, each with words that say what is allowed."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field


class Kind(NamedTuple):
    """A type that pydantic checks, and the words that tell a person what is allowed."""

    type: Any
    allowed: str


def whole(least: int, most: int | None = None) -> Kind:
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(Annotated[int, Field(ge=least, le=most)], f"a whole number {bounds}")


def number(allowed: str, **bounds: Any) -> Kind:
    """A finite number; `bounds` are pydantic's ``gt``, ``ge``, ``lt`` and ``le``."""
    return Kind(Annotated[float, Field(**bounds)], allowed)


def choice(*names: str) -> Kind:
    return Kind(Literal[names], " or ".join([", ".join(names[:-1]), names[-1]]))


def only(name: str) -> Kind:
    return Kind(Literal[name], f"{name}, the name by which a run's checkpoint is found")


def interval(least: float, most: float | None = None) -> Kind:
    def ordered(pair: list[float]) -> list[float]:
        if pair[0] > pair[1]:
            raise ValueError
        return pair

    limits = f"both from {least:g} to {most:g}" if most is not None else f"from {least:g} on"
    bound = Annotated[float, Field(ge=least, le=most)]
    pair = Annotated[list[bound], Field(min_length=2, max_length=2), AfterValidator(ordered)]
    return Kind(pair, f"[low, high], the lower first, {limits}")


def optional(kind: Kind) -> Kind:
    return Kind(kind.type | None, f"{kind.allowed}, or null")


def either(one: Kind, other: Kind) -> Kind:
    return Kind(one.type | other.type, f"{one.allowed}, or {other.allowed}")


def several(item: Kind, allowed: str) -> Kind:
    """A list of one item or more, each once."""

    def distinct(items: list[Any]) -> list[Any]:
        if len({*items}) < len(items):
            raise ValueError
        return items

    items = Annotated[list[item.type], Field(min_length=1), AfterValidator(distinct)]  # type: ignore
    return Kind(items, allowed)


def registered(registry: str) -> Any:
    """A name that a registry of Lightning knows; other objects it takes are left to it."""

    def known(name: str) -> str:
        if name not in names_in(registry):
            raise ValueError
        return name

    return Annotated[str, AfterValidator(known)]


def names_in(registry: str) -> list[str]:
    from lightning.pytorch import accelerators, strategies  # takes seconds to import

    if registry == "strategies":
        return ["auto", *strategies.StrategyRegistry.available_strategies()]
    return ["auto", "gpu", *accelerators.AcceleratorRegistry.available_accelerators()]


def of_torch(device: str) -> str:
    import torch  # takes seconds

    try:
        torch.device("cpu" if device == "auto" else device)
    except RuntimeError as error:
        raise ValueError from error
    return device


FLAG = Kind(bool, "true or false")
POSITIVE = number("a number above 0", gt=0)
NOT_NEGATIVE = number("a number of at least 0", ge=0)
PROBABILITY = number("a probability from 0 to 1", ge=0, le=1)
SHARE = number("a share above 0, at most 1", gt=0, le=1)
DROPOUT = number("a number from 0 to below 1", ge=0, lt=1)
COUNT = whole(1)
SAMPLE_RATE = whole(1000)
END = Kind(COUNT.type | Literal[-1], f"{COUNT.allowed}, or -1 for no end")
SEED = whole(0, 2**32 - 1)
NotEmpty = Annotated[str, Field(min_length=1)]
TEXT = Kind(NotEmpty, "a name (digits alone go in quotes)")
PATH = Kind(NotEmpty, "a path (digits alone go in quotes)")
NAMES = several(TEXT, "a list of names, each once, as in [vocals,drums]")
PATHS = Kind(NotEmpty | list[NotEmpty] | dict[str, NotEmpty], "a path, [PATH,PATH] or {NAME: PATH}")
TEXTS = Kind(list[NotEmpty], "a list of names")
MAPPINGS = Kind(list[dict[str, Any]], "a list of mappings")
DEVICE = Kind(Annotated[str, AfterValidator(of_torch)], "auto, cpu, cuda or cuda:NUMBER")
DEVICES = Kind(
    Annotated[int, Field(ge=1)]
    | Literal[-1]
    | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    | Annotated[str, Field(pattern=r"^(auto|-1|\d+(,\d+)*,?)$")],
    "a number of devices, -1 or auto for all, or a list of their numbers",
)
# A network of half precision throughout ("16-true") cannot take spectra, which are float32.
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")
PRECISION = Kind(
    Literal[(*PRECISIONS, "16", "32", "64", "bf16", 16, 32, 64)], f"one of {', '.join(PRECISIONS)}"
)
