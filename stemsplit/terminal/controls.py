"""Escape control characters, so that untrusted text cannot control the terminal."""

import re
import shlex
from pathlib import Path

# Control characters, and bytes of a file name that are not UTF-8.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\udc80-\udcff]")


def harmless(text: str, keep: str = "") -> str:
    """Escape control characters, except those in `keep`."""
    return CONTROL.sub(lambda match: match[0] if match[0] in keep else bytes_text(match), text)


def quoted(path: Path) -> str:
    """Quote a path for a shell.

    Control characters and bytes that are not UTF-8 are escaped in bash's notation ``$'…'``.
    """
    text = str(path)
    if not CONTROL.search(text):
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{CONTROL.sub(bytes_text, escaped)}'"


def bytes_text(match: re.Match[str]) -> str:
    """Write the characters of a match as bash and Python do, for example ``\\x1b`` or ``\\n``."""
    if match[0].isascii():
        return repr(match[0])[1:-1]
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode("utf-8", "surrogateescape"))
