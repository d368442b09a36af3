"""Separators from plain values: from a configuration, and from the checkpoint of a training."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stemsplit.errors import InputError
from stemsplit.features import VIEWS, FrontEnd
from stemsplit.separator import Description, Separator


def build(
    front_end: Description,
    network: Description,
    targets: Sequence[str],
    residual: str | None,
    channels: int,
    wiener_iterations: int = 1,
    chunk_seconds: float = 20.0,
    overlap_seconds: float = 2.0,
    allow: Sequence[str] = (),
) -> Separator:
    """A separator from plain values: what a checkpoint holds, and what the configuration says.

    `network` has the key ``class``, the dotted name of an architecture, and its arguments. Only
    classes of stemsplit are built, and those that `allow` names in full: a checkpoint that a
    stranger made must not choose what is run.
    """
    description = {name: value for name, value in locals().items() if name != "allow"}
    made = FrontEnd(**front_end)
    arguments = dict(network)
    architecture = _allowed_class(arguments.pop("class"), allow)
    bands = {view: made.bands(view) for view in VIEWS}
    return Separator(
        made,
        architecture(
            bands=bands,
            sample_rate=made.sample_rate,
            channels=channels,
            stems=len(targets),
            **arguments,
        ),
        targets,
        residual,
        channels,
        wiener_iterations,
        chunk_seconds,
        overlap_seconds,
        description,
    )


def _allowed_class(name: str, allow: Sequence[str]) -> type[nn.Module]:
    module, _, attribute = name.rpartition(".")
    if not name.startswith("stemsplit.models.") and name not in allow:
        raise InputError(
            f"{name} is not an architecture of stemsplit; if you trust it, allow it by name: "
            f"allow=[{name!r}]"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        raise InputError(f"{name}: there is no such architecture in this version") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"{name} is not an architecture")
    return found


def checkpoint_of(run_or_checkpoint: Path) -> Path:
    """The checkpoint file itself, or the best one of a run's folder (else its last)."""
    candidates = [
        run_or_checkpoint,
        run_or_checkpoint / "best.ckpt",
        run_or_checkpoint / "last.ckpt",
    ]
    for path in candidates:
        if path.is_file():
            return path
    raise InputError(
        f"{run_or_checkpoint}: neither a checkpoint nor a run's folder with best.ckpt or last.ckpt"
    )


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values, nothing else is unpickled."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # What a damaged or a stranger's file can bring about is open; it means the same to its user.
    except Exception as error:
        # (torch's own text advises to unpickle it after all.)
        raise InputError(
            f"{path}: not a whole checkpoint of tensors and plain values ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a checkpoint of stemsplit (a {type(content).__name__})")
    return content


def load(
    run_or_checkpoint: str | Path, allow: Sequence[str] = (), device: str = "cpu"
) -> Separator:
    """The separator that a training left, ready to `separate`; `allow` is as in `build`."""
    path = checkpoint_of(Path(run_or_checkpoint))
    content = read(path)
    try:
        separator = build(**content["separator"], allow=allow)
        # A training may keep more: a loss with buffers, metrics.
        prefix = "separator."
        weights = {
            name.removeprefix(prefix): value
            for name, value in content["state_dict"].items()
            if name.startswith(prefix)
        }
        separator.load_state_dict(weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # as open as above
        raise InputError(f"{path}: not a checkpoint of stemsplit ({reason(error)})") from error
    try:
        return separator.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used here ({reason(error)})") from None


def reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
