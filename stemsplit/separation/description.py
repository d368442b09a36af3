"""Check the types in the description of a separator: the arguments of `checkpoint.build`.

The description may come from an untrusted file.
"""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from stemsplit.errors import InputError


class _Strict(BaseModel):
    # Unknown keys are ignored here. They cause an error later, when they are passed as arguments.
    model_config = ConfigDict(strict=True, extra="ignore")


class _FrontEnd(_Strict):
    sample_rate: int = 1
    window: int = 1
    hop: int = 1
    mel_bands: int = 1
    mel_hertz: FiniteFloat = 1.0
    mfccs: int = 1
    floor: FiniteFloat = 1.0
    window_shape: str = ""


class _Separator(_Strict):
    """The arguments of `checkpoint.build` in a checkpoint. Those with a default are optional."""

    front_end: _FrontEnd
    network: dict[str, Any] | list[dict[str, Any]]
    targets: list[str] | tuple[str, ...]
    residual: str | None
    channels: int
    wiener_iterations: int = 1
    chunk_seconds: FiniteFloat = 1.0
    overlap_seconds: FiniteFloat = 1.0


def check_types(description: Any) -> None:
    """Raise `InputError` if an argument of `checkpoint.build` is missing or has a wrong type.

    A floating-point argument of a network must also be finite. The functions that use the
    arguments check their ranges.
    """
    try:
        _Separator.model_validate(description)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, ("separator", *first["loc"])))
        raise InputError(f"not a checkpoint of stemsplit ({place}: {first['msg']})") from None
    networks = description["network"]
    for network in [networks] if isinstance(networks, dict) else networks:
        for name, value in network.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"not a checkpoint of stemsplit (network.{name} is {value})")


def check_published(published: Any) -> None:
    """Raise `InputError` unless `published` is a list of names of published models."""
    if not isinstance(published, list) or not all(isinstance(name, str) for name in published):
        raise InputError("`published` in its description is not a list of names")
