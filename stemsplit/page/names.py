"""Make titles and file names from the name of an uploaded file, which is untrusted."""

import re
import unicodedata

from stemsplit.files import file_name

# Unicode classes of characters that can reverse the displayed order of the text after them. With
# these characters, a harmful suffix can look harmless.
REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
# Unicode categories: control characters, surrogates, private use, unassigned.
INVISIBLE = {"Cc", "Cs", "Co", "Cn"}
FORBIDDEN_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*]')  # Windows forbids all, other systems "/"
# Windows reserves these names for devices. A suffix does not make them valid.
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

    The name does not start with a dot, which would hide the file. It does not start with a dash
    either, because commands would read the name as an option.
    """
    name = FORBIDDEN_IN_FILE_NAMES.sub("_", song_title).lstrip(" .-").rstrip(" .")
    name = name or "song"
    return file_name(f"_{name}" if RESERVED.match(name + suffix) else name, suffix)
