"""Types of settings, each with a description of the allowed values."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field


class Kind(NamedTuple):
    """A type for pydantic, and a description of the allowed values for error messages."""

    type: Any
    allowed: str


def integer(least: int, most: int | None = None) -> Kind:
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    return Kind(Annotated[int, Field(ge=least, le=most)], f"an integer {bounds}")


def number(allowed: str, **bounds: Any) -> Kind:
    """A finite number; `bounds` are pydantic's ``gt``, ``ge``, ``lt`` and ``le``."""
    return Kind(Annotated[float, Field(**bounds)], allowed)


def choice(*names: str) -> Kind:
    return Kind(Literal[names], " or ".join([", ".join(names[:-1]), names[-1]]))


def checkpoint_name(name: str) -> Kind:
    """The fixed name of a checkpoint in a run folder."""
    return Kind(Literal[name], f"{name}, because other commands look for this name")


def interval(least: float, most: float | None = None) -> Kind:
    """A list of two numbers, [low, high], both from `least` to `most`."""

    def ordered(pair: list[float]) -> list[float]:
        if pair[0] > pair[1]:
            raise ValueError
        return pair

    limits = f"from {least:g} to {most:g}" if most is not None else f"of at least {least:g}"
    bound = Annotated[float, Field(ge=least, le=most)]
    pair = Annotated[list[bound], Field(min_length=2, max_length=2), AfterValidator(ordered)]
    return Kind(pair, f"[low, high] with low ≤ high, both {limits}")


def optional(kind: Kind) -> Kind:
    return Kind(kind.type | None, f"{kind.allowed}, or null")


def either(first: Kind, second: Kind) -> Kind:
    return Kind(first.type | second.type, f"{first.allowed}, or {second.allowed}")


def list_of(item: Kind) -> Kind:
    return Kind(list[item.type], f"a list whose items are each {item.allowed}")  # type: ignore


def distinct(item: Kind, allowed: str) -> Kind:
    """A non-empty list without duplicates."""

    def without_duplicates(items: list[Any]) -> list[Any]:
        if len({*items}) < len(items):
            raise ValueError
        return items

    bounds = Field(min_length=1), AfterValidator(without_duplicates)
    return Kind(Annotated[list[item.type], *bounds], allowed)  # type: ignore[name-defined]


def registered(registry: str) -> Any:
    """A name in a registry of Lightning: ``accelerators`` or ``strategies``."""

    def known(name: str) -> str:
        if name not in names_in(registry):
            raise ValueError
        return name

    return Annotated[str, AfterValidator(known)]


def names_in(registry: str) -> list[str]:
    from lightning.pytorch import accelerators, strategies  # here, since the import takes seconds

    if registry == "strategies":
        return ["auto", *strategies.StrategyRegistry.available_strategies()]
    return ["auto", "gpu", *accelerators.AcceleratorRegistry.available_accelerators()]


def torch_device(device: str) -> str:
    import torch  # here, since the import takes seconds

    try:
        torch.device("cpu" if device == "auto" else device)
    except RuntimeError as error:
        raise ValueError from error
    return device


ANYTHING = Kind(Any, "anything")
FLAG = Kind(bool, "true or false")
INTEGER = Kind(int, "an integer")
NUMBER = Kind(float, "a number")
POSITIVE = number("a number above 0", gt=0)
NOT_NEGATIVE = number("a number of at least 0", ge=0)
PROBABILITY = number("a probability from 0 to 1", ge=0, le=1)
SHARE = number("a fraction above 0 and at most 1", gt=0, le=1)
DROPOUT = number("a number of at least 0 and below 1", ge=0, lt=1)
COUNT = integer(1)
SAMPLE_RATE = integer(1000)
END = Kind(COUNT.type | Literal[-1], f"{COUNT.allowed}, or -1 for no limit")
SEED = integer(0, 2**32 - 1)
NotEmpty = Annotated[str, Field(min_length=1)]
TEXT = Kind(NotEmpty, "a name (quote it if it has only digits)")
PATH = Kind(NotEmpty, "a path (quote it if it has only digits)")
NAMES = distinct(TEXT, "a list of distinct names, as in [vocals,drums]")
PATHS = Kind(NotEmpty | list[NotEmpty] | dict[str, NotEmpty], "a path, [PATH,PATH] or {NAME: PATH}")
TEXTS = Kind(list[NotEmpty], "a list of names")
PATTERNS = Kind(list[NotEmpty], "a list of patterns, as in [lstm,'decoder.*']")
MAPPINGS = Kind(list[dict[str, Any]], "a list of mappings")
DEVICE = Kind(Annotated[str, AfterValidator(torch_device)], "auto, cpu, cuda or cuda:NUMBER")
DEVICES = Kind(
    Annotated[int, Field(ge=1)]
    | Literal[-1]
    | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    | Annotated[str, Field(pattern=r"^(auto|-1|\d+(,\d+)*,?)$")],
    "a number of devices, -1 or auto for all, or a list of device indices",
)
# "16-true" and "bf16-true" are missing, because a network with half-precision weights cannot read
# the spectra, which are float32.
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "64-true")
PRECISION = Kind(
    Literal[(*PRECISIONS, "16", "32", "64", "bf16", 16, 32, 64)], f"one of {', '.join(PRECISIONS)}"
)
