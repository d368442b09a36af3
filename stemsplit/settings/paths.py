"""Quote paths on the command line, so that Hydra's grammar accepts every file name."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from hydra.errors import HydraException

from stemsplit.errors import InputError

PATHS = {
    "data.cache",
    "data.root",
    "hydra.run.dir",
    "hydra.sweep.dir",
    "output",
    "resume",
    "run_dir",
    "trainer.default_root_dir",
    "tuned",
    "weights",
}
COLLECTIONS = {"checkpoint", "estimates"}  # a path, [PATH,PATH] or {NAME: PATH}
# An item of a comma-separated list: quoted text, which may contain commas, or text without commas.
QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\""""
ITEM = re.compile(rf"\s*(?:({QUOTED})\s*(?=,|$)|[^,]+)")
PAIR = re.compile(rf"\s*([^:,]+?)\s*:\s*({QUOTED}(?=\s*(?:,|$))|[^,]+)(?:,|$)")


def quote_paths(arguments: Sequence[str], sweeping: bool = False) -> list[str]:
    """Quote every path in the arguments of a command.

    If the complete value is the path of an existing file or folder, it is quoted as one path.
    Otherwise, the value is read in Hydra's grammar. ``null`` and quoted values keep their meaning
    for every setting; lists and mappings keep it for `COLLECTIONS` only; commas keep it only if
    `sweeping` is true.
    """
    return [quote_argument(word, sweeping) for word in arguments]


def quote_argument(word: str, sweeping: bool) -> str:
    setting, equals, value = word.partition("=")
    name = setting.lstrip("+")
    group = name.partition(".")[0]
    if not equals or not value or not (name in PATHS or group in COLLECTIONS):
        return word
    if not exists(value):
        if name in COLLECTIONS and (collection := quote_collection(value)) is not None:
            return f"{setting}={collection}"
        if sweeping and "," in value:
            if is_function(value):
                return word
            return f"{setting}={','.join(map(quote_path, items_of(value)))}"
    return f"{setting}={quote_path(value)}"


def without_quotes(word: str) -> str:
    """The argument as a user types it, without the quotes that `quote_argument` adds."""
    setting, equals, value = word.partition("=")
    typed = f"{setting}{equals}{unquoted(value)}"
    return typed if quote_argument(typed, sweeping=False) == word else word


def quote_path(text: str) -> str:
    """Quote one path and expand ``~``.

    If the path exists, ``${`` in it is text. Otherwise, ``${…}`` is a reference to a setting.
    """
    if exists(text):
        return quote(literal(str(Path(text).absolute()) if text.startswith("~") else text))
    if text == "null":
        return text
    return quote(os.path.expanduser(unquoted(text)))


def quote_collection(text: str) -> str | None:
    """Quote every path of a list or mapping; return None if the text is neither."""
    inside = text[1:-1]
    if text[0] == "[" and text[-1] == "]":
        return f"[{','.join(map(quote_path, items_of(inside)))}]"
    if text[0] == "{" and text[-1] == "}":
        pairs = PAIR.findall(inside)
        names = [name for name, _ in pairs]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{text}: duplicate name {', '.join(repeated)}; use distinct names")
        if pairs or not inside.strip():
            return f"{{{','.join(f'{name}: {quote_path(path.strip())}' for name, path in pairs)}}}"
    return None


def items_of(text: str) -> list[str]:
    return [match.group().strip() for match in ITEM.finditer(text)]


def exists(text: str) -> bool:
    try:
        return os.path.lexists(text)
    except ValueError:  # a NUL byte
        return False


def quote(text: str) -> str:
    return str(Transformer.str(QuotedString(text, Quote.single)))


def literal(text: str) -> str:
    """Escape ``${``, so that OmegaConf does not read the text as a reference."""
    return text.replace("${", r"\${")


def unquoted(text: str) -> str:
    """Remove the quotes around a string in Hydra's grammar; return other text unchanged."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        # Unquoted text cannot begin with a quotation mark in Hydra's grammar.
        value = value_of(text)
        if isinstance(value, str):
            return value
    return text


def is_function(text: str) -> bool:
    """Whether the text is a sweep function of Hydra, as in ``choice(a,b)``."""
    return re.fullmatch(r"\w+\(.*\)", text) is not None and value_of(text) is not None


def value_of(text: str) -> object:
    """Parse a value with Hydra's grammar; return None if it is not valid."""
    try:
        [override] = OverridesParser.create().parse_overrides([f"x={text}"])
    except HydraException:
        return None
    return override.value()
