"""Bundles: safetensors files that hold a separator and the facts about its origin.

The tensors are the separator's state dict and a probe: a short mixture, and the stems that the
separator gave for it when the bundle was written. The metadata of the file has one entry, a JSON
document with these keys:

- ``version``: version of this layout;
- ``separator``: the arguments of `checkpoint.build`;
- ``published``: names of the published models whose weights the separator holds;
- ``sha256``: digest of all tensors and of the other keys of the document;
- the facts that the writer adds, for example the licence.

Reading a bundle unpickles nothing.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, cast

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.separation.description import check_published
from stemsplit.separation.formats.probe import probe_mixture, probe_stems
from stemsplit.separation.separator import Separator

VERSION = 1
ENTRY = "stemsplit"  # the key of the document in the metadata
MIXTURE, STEMS = "probe.mixture", "probe.stems"
LENGTH_BYTES = 8  # a safetensors file starts with the length of its header
LARGEST_HEADER = 4 * 2**20  # bytes; the header of a bundle with 1000 weights has about 100 kB
LARGEST_DOCUMENT = LARGEST_HEADER // 4  # bytes; escaped quotes make it longer in the header


class Bundle(NamedTuple):
    """The content of a bundle. `weights` is the separator's state dict."""

    document: dict[str, Any]
    weights: dict[str, Tensor]
    mixture: Float[Tensor, "channel time"]
    stems: Float[Tensor, "stem channel time"]


def is_safetensors(path: Path) -> bool:
    """Whether a file starts like a safetensors file: the length of the header, then ``{``."""
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES + 1)
    # The length must be below 2^48, so its two highest bytes are zero. A text with ``{`` at this
    # position is therefore not taken for a header.
    return start[LENGTH_BYTES - 2 :] == b"\0\0{"


def write(
    path: Path, separator: Separator, facts: Mapping[str, Any], published: Sequence[str] = ()
) -> str:
    """Write a bundle, and return its SHA-256. `facts` are added to the document.

    `published` are the names of the published models whose weights the separator holds.

    Raises `InputError` if the separator has no description, or if the facts are too long.
    """
    mixture = probe_mixture(separator.channels, separator.sample_rate)
    # safetensors refuses tensors that share memory, such as tied weights.
    tensors = {name: value.cpu().clone() for name, value in separator.state_dict().items()}
    tensors |= {MIXTURE: mixture, STEMS: probe_stems(separator, mixture)}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    content = {
        "version": VERSION,
        "separator": separator.description,
        "published": list(published),
        **facts,
    }
    document = {**content, "sha256": digest(content, tensors)}
    text = json.dumps(document)
    if len(text) > LARGEST_DOCUMENT:
        raise InputError(
            f"{path}: note, licence and scores have {len(text)} bytes, but a bundle can hold "
            f"{LARGEST_DOCUMENT}; shorten the note"
        )
    with replacing(path) as partial:
        # safetensors itself would write a file that only its owner can read.
        partial.write_bytes(save(tensors, {ENTRY: text}))
    return document["sha256"]


def read(path: Path) -> Bundle:
    """Read a bundle and check its digest.

    Raises `InputError` if the file is damaged, is not a bundle, or has a newer layout.
    """
    length, size = _header_length(path), path.stat().st_size
    if length > min(LARGEST_HEADER, size - LENGTH_BYTES):
        raise InputError(
            f"{path}: damaged, or not a bundle of stemsplit: its header would have {length} bytes, "
            f"but the file has {size}, and the header of a bundle at most {LARGEST_HEADER}"
        )
    try:
        # With pread, another process that truncates the file causes an error, not a crash.
        with safe_open(path, framework="pt", backend="pread") as file:
            document = _document(path, file.metadata())
            tensors = file.get_tensors()
    except SafetensorError as error:
        raise InputError(f"{path}: damaged safetensors file ({error}); copy it again") from None
    stated = document.pop("sha256", None)
    if stated != digest(document, tensors):
        raise InputError(f"{path}: damaged: its content does not match its SHA-256; copy it again")
    mixture, stems = tensors.pop(MIXTURE, None), tensors.pop(STEMS, None)
    if not (_is_samples(mixture, 2) and _is_samples(stems, 3)):
        raise InputError(
            f"{path}: not a bundle of stemsplit: it lacks the probe (a mixture and its stems)"
        )
    return Bundle({**document, "sha256": stated}, tensors, mixture, stems)


def digest(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a document, and of the names, types, shapes and values of tensors."""
    total = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        total.update(tensor.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _is_samples(tensor: Tensor | None, dimensions: int) -> TypeGuard[Tensor]:
    return tensor is not None and tensor.dtype == torch.float32 and tensor.ndim == dimensions


def _header_length(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(LENGTH_BYTES), "little")


def _document(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    """Return the document in a bundle's metadata. Its keys are checked, except the digest."""
    text = (metadata or {}).get(ENTRY)
    if text is None:
        raise InputError(
            f"{path}: a safetensors file, but not a bundle of stemsplit: it has no description of "
            "a separator; bundles are written by `stemsplit export`"
        )
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged: its description is malformed ({error})") from None
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:  # True is an int
        raise InputError(f"{path}: damaged: its description has no version")
    if version > VERSION:
        raise InputError(
            f"{path}: a bundle of layout {version}, but this version of stemsplit reads layouts "
            f"up to {VERSION}; update stemsplit"
        )
    if not isinstance(document.get("separator"), dict):
        raise InputError(f"{path}: damaged: `separator` in its description is not a mapping")
    try:
        check_published(document.get("published"))
    except InputError as error:
        raise InputError(f"{path}: damaged: {error}") from None
    return cast(dict[str, Any], document)
