"""Build, save and load separators. Their settings are plain values, so Hydra is not needed."""

import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.separation import bag, networks
from stemsplit.separation.description import check_types
from stemsplit.separation.formats import bundle, open_unmix, scnet, torchaudio_hdemucs
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.published import catalogue
from stemsplit.separation.published.catalogue import Model
from stemsplit.separation.separator import Description, Separator
from stemsplit.separation.sources import files_of

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
    network_per_target: bool = False,
) -> Separator:
    """Build a separator from the plain values that a checkpoint or a configuration holds.

    `front_end` holds the arguments of `FrontEnd`. `network` holds the key ``class`` (the dotted
    name of an architecture) and the arguments of the class. For several networks (see `bag.Bag`),
    `network` is a list of mappings. Each mapping then also holds ``stems``, the number of stems of
    its network. With `network_per_target`, each target has its own network, and the mapping
    `network` describes each of these networks. See `Separator` for the other arguments.

    An untrusted checkpoint must not choose the code that runs. So the class must be in
    ``stemsplit.models``, or its full dotted name must be in `allow`. Raises `InputError` for any
    other class, and for settings that do not fit together.
    """
    if network_per_target and isinstance(network, Mapping):
        network = [{**network, "stems": 1} for _ in targets]
    transform = FrontEnd(**front_end)
    module = networks.build(transform, network, len(targets), channels, allow)
    return Separator(
        transform,
        module,
        targets,
        residual,
        channels,
        wiener_iterations,
        chunk_seconds,
        overlap_seconds,
        network,
    )


def read(path: Path) -> dict[str, Any]:
    """Read the content of a checkpoint or of a bundle. Only tensors and plain values are unpickled.

    Raises `InputError` if the file is damaged or is not a checkpoint, and `OSError` if it cannot be
    opened.
    """
    if bundle.is_safetensors(path):
        content = bundle.read(path)
        weights = {f"separator.{name}": value for name, value in content.weights.items()}
        facts = {name: content.document[name] for name in ("separator", "published")}
        return {**facts, "state_dict": weights}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles of other programs
            content = torch.load(path, map_location="cpu", weights_only=True)
    except TOO_LITTLE_MEMORY:
        raise
    # A damaged or unknown file may cause any exception. The message of torch is not shown, because
    # it recommends an unsafe way of loading the file.
    except Exception as error:
        raise InputError(
            f"{path}: not a checkpoint, or a damaged one; choose a run's folder, or a checkpoint "
            "of stemsplit or open-unmix"
        ) from error
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise InputError(f"{path}: not a checkpoint of stemsplit (it holds a {kind})")
    return content


def load(
    source: str | Path | Sequence[str | Path],
    allow: Sequence[str] = (),
    device: str = "cpu",
) -> Separator:
    """Load the separator of a run, a checkpoint or a published model onto a device.

    `source` is the folder of a run, the path of a checkpoint or the name of a published model, as
    in ``load("umxhq")``; the weights of a published model are downloaded at the first use. A name
    takes precedence over a folder of the same name; ``./umxhq`` is the folder. A checkpoint may
    also be a bundle (see `bundle`), or hold weights of open-unmix, torchaudio's Hybrid Demucs or
    SCNet. Several sources are combined into one separator. It estimates the targets of all sources,
    in the order of the sources. The separator is in evaluation mode. `allow` names classes outside
    stemsplit that may be built, as in `build`. Raises `InputError` if a file is not a
    checkpoint, weights cannot be downloaded, the separators cannot be combined, or the device
    cannot be used.
    """
    sources = [source] if isinstance(source, str | Path) else source
    if not sources:
        raise InputError("no checkpoint: name a run's folder, a checkpoint or a published model")
    members = [member for each in sources for member in _members(each, allow)]
    return on_device(combined(members, allow), device)


def combined(members: Sequence[tuple[Path, Separator]], allow: Sequence[str] = ()) -> Separator:
    """Return one separator that estimates the targets of all members.

    The members are pairs of a checkpoint's path and its separator. Raises `InputError` if they
    cannot be combined, see `bag.describe`.
    """
    separators = [separator for _, separator in members]
    if len(separators) == 1:
        return separators[0]
    separator = build(**bag.describe(members), allow=allow)
    separator.load_state_dict(bag.weights(separators))
    return separator


def on_device(separator: Separator, device: str) -> Separator:
    """Move a separator to a device, in evaluation mode; raise `InputError` if that fails."""
    try:
        return separator.eval().to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used ({_one_line(error)})") from None


def _members(source: str | Path, allow: Sequence[str]) -> list[tuple[Path, Separator]]:
    """Return the path and the separator of each weight file of a source."""
    model = catalogue.find(source)
    return [(path, _load(path, allow, model)) for path in files_of(source)]


def _load(path: Path, allow: Sequence[str], model: Model | None) -> Separator:
    content = read(path)
    try:
        if open_unmix.is_state_dict(content):
            content = open_unmix.checkpoint(content, path.name)
        for form in (torchaudio_hdemucs, scnet):
            if form.is_state_dict(content):
                stems, rate = (None, None) if model is None else (model.stems, model.sample_rate)
                content = form.checkpoint(content, stems, rate)
                break
        # A checkpoint of a run also holds other values, such as buffers of the metrics.
        prefix = "separator."
        weights = {
            name.removeprefix(prefix): value
            for name, value in content["state_dict"].items()
            if name.startswith(prefix)
        }
        check_types(content["separator"])
        if not allow:
            check_storage(path, weights)
            networks.check_sizes(content["separator"], weights)
        # `check_sizes` has checked only the networks that the description lists, so
        # `network_per_target` must not add others.
        separator = build(**content["separator"], allow=allow, network_per_target=False)
        separator.load_state_dict(weights)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (OSError, *TOO_LITTLE_MEMORY):  # errors of the machine, not of the checkpoint
        raise
    except Exception as error:  # an unknown file may cause any exception
        raise InputError(f"{path}: not a checkpoint of stemsplit ({_one_line(error)})") from error
    return separator


def check_storage(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise `InputError` if the weights are larger than their file.

    A tensor in a small file may repeat one stored number for all its weights. Loading would copy
    the number into memory for every weight, and could fill the memory.
    """
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if size > path.stat().st_size:
        raise InputError(
            f"its weights need {size} bytes, but the file has only {path.stat().st_size}"
        )


def save(separator: Separator, path: Path, published: Sequence[str] = ()) -> None:
    """Write a checkpoint that `load` can read. It holds only tensors and plain values.

    `published` are the names of the published models whose weights the separator holds.
    """
    weights = {f"separator.{name}": value for name, value in separator.state_dict().items()}
    content = {"separator": separator.description, "state_dict": weights}
    with replacing(path) as partial:
        torch.save({**content, "published": list(published)}, partial)


def _one_line(error: Exception) -> str:
    # The message of torch may list hundreds of keys of a state dict.
    return textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" …")
