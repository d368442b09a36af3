"""The catalogue of published weights: ``catalogue.toml`` and the user's own entries."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from stemsplit.errors import InputError
from stemsplit.separation.published.addresses import encoded
from stemsplit.settings.suggestions import near
from stemsplit.terminal.controls import harmless

BUILT_IN = Path(__file__).with_name("catalogue.toml")
OWN = "STEMSPLIT_MODELS"  # environment variable with the path of the user's own entries
# Names of models and files become parts of paths, so they must not start with '.' or contain '/'.
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
PARTIAL = ".part"  # ending of the file that keeps the bytes of an interrupted download
NAME_RULE = "a name has letters, digits, '.', '_', '+' and '-' only"
# Names of stems become parts of file names. They may have spaces and letters of any language.
STEM = re.compile(r"\w[\w .+-]{0,99}")
LARGEST = 10**15  # bytes, parameters or Hz
SHA256 = re.compile(r"[0-9a-f]{8,64}")
SCHEMES = ("http", "https", "file")
NOT_STATED: Literal["not stated"] = "not stated"
BYTES_PER_PARAMETER = 4


class File(NamedTuple):
    """A file of weights. `sha256` is its digest, or the start of it. `size` is in bytes."""

    address: str
    sha256: str | None = None
    size: int | None = None
    name: str = ""  # the last part of the address, unless the entry sets it


class Model(NamedTuple):
    """An entry of the catalogue.

    `scores` maps stems to published SDRs in dB. `scores_of` says who measured them, and how.
    """

    name: str
    files: list[File]
    stems: list[str]
    title: str = ""
    sample_rate: int = 44100
    parameters: int | None = None
    licence: str = NOT_STATED
    trained_on: str = NOT_STATED
    saw_musdb18_test: Literal["yes", "no", "not stated"] = NOT_STATED
    scores: dict[str, float] = {}  # noqa: RUF012 (it is never changed)
    scores_of: str = ""
    page: str = ""

    @property
    def size(self) -> int | None:
        """The total size of the files in bytes.

        If the size of a file is unknown, the total is estimated from `parameters`, or is None.
        """
        sizes = [file.size for file in self.files if file.size is not None]
        if len(sizes) == len(self.files):
            return sum(sizes)
        return None if self.parameters is None else BYTES_PER_PARAMETER * self.parameters

    @property
    def has_exact_size(self) -> bool:
        return all(file.size is not None for file in self.files)


def own_file() -> Path:
    """The file with the user's own entries; it need not exist."""
    if chosen := os.environ.get(OWN):
        return Path(os.path.expanduser(chosen))
    # Unlike Path.expanduser, this raises no error for a user without a home folder.
    configuration = os.path.expanduser(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    return Path(configuration) / "stemsplit" / "models.toml"


def sources() -> list[Path]:
    """Return the files with entries. A later entry replaces an earlier one with the same name.

    Raises `InputError` if the path of the user's own file is not a regular file, or if the
    environment variable names a file that does not exist.
    """
    own = own_file()
    if own.is_file():
        return [BUILT_IN, own]
    if own.exists():
        kind = "is a folder" if own.is_dir() else "is not a regular file"
        raise InputError(f"{own}: {kind}; name a TOML file with the variable {OWN}")
    if os.environ.get(OWN):
        raise InputError(f"{own}: does not exist; correct or unset the variable {OWN}")
    return [BUILT_IN]


def catalogue() -> dict[str, Model]:
    """All models by name. An entry of the user replaces the built-in entry with the same name.

    Raises `InputError` for a file or an entry that is not valid.
    """
    return {name: model for path in sources() for name, model in read(path).items()}


def find(source: str | Path) -> Model | None:
    """The model with the name `source`, or None if there is no such model.

    A name takes precedence over a file or folder of the same name in the current folder;
    ``./umxhq`` and a `Path` always mean the file or folder.
    """
    if isinstance(source, Path) or not PLAIN_NAME.fullmatch(source):
        return None
    for path in reversed(sources()):
        if source in content_of(path):  # other files are not checked
            return read(path)[source]
    return None


def model(name: str) -> Model:
    """The model with this name. Raises `InputError` for an unknown name."""
    models = catalogue()
    if name not in models:
        raise InputError(
            f"{name}: unknown model{near(name, models)}; `stemsplit models` lists all models"
        )
    return models[name]


def content_of(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises `InputError` if the file is not valid TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a TOML file: {error}") from None


def read(path: Path) -> dict[str, Model]:
    """Read the entries of a file. The `InputError` for an invalid entry names file and entry."""
    # Imported here, because the import takes 0.1 s.
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    content = content_of(path)
    for name, entry in content.items():
        if not isinstance(entry, dict):
            raise InputError(f"{path}: {name}: is not an entry; write [{name}] and its keys")
        if "name" in entry:
            raise InputError(f"{path}: {name}: remove the key name; the name is in [{name}]")
    # The types are not strict, so that 6 may stand for 6.0, and a table for a `File`.
    types = TypeAdapter(dict[str, Model], config=ConfigDict(extra="forbid", allow_inf_nan=False))
    named = {name: {"name": name, **entry} for name, entry in content.items()}
    try:
        models: dict[str, Model] = types.validate_python(named)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {place}: {first['msg']}") from None
    try:
        return {name: checked(entry) for name, entry in models.items()}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def checked(entry: Model) -> Model:
    """Give every file its name, encode the addresses, and escape control characters in texts.

    Raises `InputError` for a value that cannot be used.
    """
    if not PLAIN_NAME.fullmatch(entry.name):
        raise InputError(f"{entry.name!r}: {NAME_RULE}")
    if not entry.files or not entry.stems:
        raise InputError(f"{entry.name}: needs at least one file and one stem")
    if len(set(entry.stems)) < len(entry.stems):
        raise InputError(f"{entry.name}: two stems have the same name")
    for stem in (*entry.stems, *entry.scores):
        if not STEM.fullmatch(stem):
            raise InputError(
                f"{entry.name}: {stem!r}: a stem's name has letters, digits, spaces, '.', '_', '+' "
                "and '-' only"
            )
    check_number(f"{entry.name}: sample_rate", entry.sample_rate)
    check_number(f"{entry.name}: parameters", entry.parameters)
    try:
        files = [checked_file(file) for file in entry.files]
    except InputError as error:
        raise InputError(f"{entry.name}: {error}") from None
    if len({file.name for file in files}) < len(files):
        raise InputError(f"{entry.name}: two files have the same name; set the key name")
    return entry._replace(
        files=files,
        # These texts are printed, and may be untrusted, so control characters are escaped.
        title=harmless(entry.title or entry.name),
        licence=harmless(entry.licence),
        trained_on=harmless(entry.trained_on),
        scores_of=harmless(entry.scores_of),
        page=harmless(entry.page),
    )


def checked_file(file: File) -> File:
    """Give a file its name, and encode its address. Raises `InputError` for an invalid value."""
    address = encoded(file.address, SCHEMES)
    if file.sha256 is not None and not SHA256.fullmatch(file.sha256):
        raise InputError(f"sha256 = {file.sha256!r}: write 8 to 64 digits from 0-9 and a-f")
    check_number("size", file.size)
    if file.name and not PLAIN_NAME.fullmatch(file.name):
        raise InputError(f"name = {file.name!r}: {NAME_RULE}")
    name = file.name or unquote(urlsplit(address).path).rpartition("/")[2]
    if not PLAIN_NAME.fullmatch(name):
        raise InputError(
            f"{file.address}: does not end in a name for the file ({NAME_RULE}); set the key name"
        )
    # Some file systems ignore case, so PARTIAL is refused in upper case, too.
    if name.lower().endswith(PARTIAL):
        raise InputError(
            f"{name}: a name that ends in {PARTIAL} is for partial downloads; set another one with "
            "the key name"
        )
    return file._replace(address=address, name=name)


def check_number(key: str, value: int | None) -> None:
    """Raise `InputError` if a number is not positive, or is absurdly large."""
    if value is not None and not 0 < value <= LARGEST:
        raise InputError(f"{key} = {value}: write a number from 1 to {LARGEST}")


def facts(entry: Model) -> Mapping[str, Any]:
    """The entry as plain values, for JSON."""
    return {**entry._asdict(), "files": [file._asdict() for file in entry.files]}
