"""Build, save and load separators as plain values, without Hydra."""

import importlib
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.separation import bag, open_unmix
from stemsplit.separation.front_end import VIEWS, FrontEnd
from stemsplit.separation.separator import Description, Separator

TOO_LITTLE_MEMORY = (MemoryError, torch.OutOfMemoryError)


def build(
    front_end: Description,
    network: Description | Sequence[Description],
    targets: Sequence[str],
    residual: str | None,
    channels: int,
    wiener_iterations: int = 1,
    chunk_seconds: float = 20.0,
    overlap_seconds: float = 2.0,
    allow: Sequence[str] = (),
) -> Separator:
    """A separator from plain values: what a checkpoint holds, and what the configuration says.

    `network` has the key ``class``, the dotted name of an architecture, and its arguments; or it is
    the list of the networks of a bag, each of which says besides for how many ``stems`` it is. Only
    classes of stemsplit are built, and those that `allow` names in full: a checkpoint that a
    stranger made must not choose what is run.
    """
    made = FrontEnd(**front_end)
    bands = {view: made.bands(view) for view in VIEWS}

    def built(stems: int, **arguments: Any) -> nn.Module:
        architecture = _allowed_class(arguments.pop("class"), allow)
        return architecture(
            bands=bands, sample_rate=made.sample_rate, channels=channels, stems=stems, **arguments
        )

    if isinstance(network, Mapping):
        whole = built(stems=len(targets), **network)
    else:
        stems = sum(member["stems"] for member in network)
        if stems != len(targets):
            raise InputError(f"networks for {stems} stems do not fit {len(targets)} targets")
        whole = bag.Bag([built(**member) for member in network])
    return Separator(
        made,
        whole,
        targets,
        residual,
        channels,
        wiener_iterations,
        chunk_seconds,
        overlap_seconds,
        network,
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
    with path.open("rb"):  # its error is the system's, not the content's
        pass
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except TOO_LITTLE_MEMORY:
        raise
    # What a damaged or a stranger's file can bring about is open; it means the same to its user.
    except Exception as error:
        # (torch's own text advises to unpickle it after all.)
        raise InputError(
            f"{path}: not a checkpoint, or a damaged one; choose a run's folder, or a checkpoint "
            "of stemsplit or open-unmix"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a checkpoint of stemsplit (a {type(content).__name__})")
    return content


def load(
    run_or_checkpoint: str | Path | Sequence[str | Path],
    allow: Sequence[str] = (),
    device: str = "cpu",
) -> Separator:
    """The separator that a training left, ready to `separate`; `allow` is as in `build`.

    Of several runs or checkpoints it is the one that finds the targets of all of them, in their
    order. Weights that open-unmix's authors published count as checkpoints: see `open_unmix`.
    """
    if isinstance(run_or_checkpoint, str | Path):
        run_or_checkpoint = [run_or_checkpoint]
    if not run_or_checkpoint:
        raise InputError("no checkpoint is given to load a separator from")
    paths = [checkpoint_of(Path(given)) for given in run_or_checkpoint]
    members = [_load(path, allow) for path in paths]
    separator = members[0]
    if len(members) > 1:
        separator = build(**bag.describe(list(zip(paths, members, strict=True))), allow=allow)
        separator.load_state_dict(bag.weights(members))
    try:
        return separator.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used here ({reason(error)})") from None


def _load(path: Path, allow: Sequence[str]) -> Separator:
    content = read(path)
    try:
        if open_unmix.recognised(content):
            content = open_unmix.checkpoint(content, path.name)
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
    except (OSError, *TOO_LITTLE_MEMORY):  # of the machine, not of the checkpoint
        raise
    except Exception as error:  # as open as above
        raise InputError(f"{path}: not a checkpoint of stemsplit ({reason(error)})") from error
    return separator


def save(separator: Separator, path: Path) -> None:
    """Write a separator as a checkpoint that `load` takes: tensors and plain values."""
    weights = {f"separator.{name}": value for name, value in separator.state_dict().items()}
    with replacing(path) as partial:
        torch.save({"separator": separator.description, "state_dict": weights}, partial)


def reason(error: Exception) -> str:
    # torch names the keys that do not fit in the lines after the first; there may be hundreds.
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")
