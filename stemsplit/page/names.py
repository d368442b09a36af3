"""Make titles and file names from the name of an uploaded file, which is untrusted."""

import re
import unicodedata

from stemsplit.files import file_name

# These characters reverse the order of the text that follows, which can disguise a suffix.
REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
INVISIBLE = {"Cc", "Cs", "Co", "Cn"}  # control characters, surrogates, private use, unassigned
FORBIDDEN_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*]')  # on Windows, and "/" everywhere
# Names of devices on Windows, also with a suffix.
RESERVED = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9¹²³]|con(in|out)\$) *(\.|$)", re.IGNORECASE)
LONGEST_TITLE = 120  # characters


def title(upload_name: str) -> str:
    """Return the name of an uploaded song without folders, suffix and invisible characters."""
    name = re.split(r"[/\\]", upload_name)[-1]
    visible = "".join(
        character
        for character in name
        if unicodedata.category(character) not in INVISIBLE
        and unicodedata.bidirectional(character) not in REORDERING
    )
    stem = re.sub(r"(\.stem)?\.[A-Za-z0-9]{1,4}$", "", visible).strip()
    return stem[:LONGEST_TITLE].strip() or "song"


def download_name(song_title: str, suffix: str = "") -> str:
    """Return a file name that is valid on every system, at most 255 bytes long.

    It starts with neither a dot nor a dash, so that the file is not hidden, and no command takes
    its name for an option.
    """
    name = FORBIDDEN_IN_FILE_NAMES.sub("_", song_title).lstrip(" .-").rstrip(" .")
    name = name or "song"
    return file_name(f"_{name}" if RESERVED.match(name + suffix) else name, suffix)
