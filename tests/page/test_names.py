"""Names of uploads: what a stranger chose never leaves the name of a file."""

import pytest

from stemsplit.page.names import download_name, title

HOSTILE = [
    "../../etc/passwd",
    "..\\..\\windows\\system32",
    "/etc/passwd",
    "song\r\nSet-Cookie: a=b.mp3",
    '"; rm -rf ~; ".mp3',
    "<img src=x onerror=alert(1)>.mp3",
    "$(reboot)`reboot`.mp3",
    "-rf.mp3",
    ".bashrc",
    "...",
    "",
    "\0\x1b[2J.wav",
    "song\u202e3pm.exe",
    "ü" * 300 + ".mp3",
    "夜のフェリー.flac",
    "CON:|?*.mp3",
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Night Ferry.mp3", "Night Ferry"),
        ("Orla - Night.stem.mp4", "Orla - Night"),
        ("Mr. Brightside.flac", "Mr. Brightside"),
        ("Symphony No. 5", "Symphony No. 5"),
        ("folder/夜のフェリー.flac", "夜のフェリー"),
        ("a\u202eb\0c.wav", "abc"),
        ("...", "..."),
        ("", "song"),
        (".mp3", "song"),
    ],
)
def test_title(name: str, expected: str) -> None:
    assert title(name) == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_download_name_is_a_harmless_file_name(name: str) -> None:
    shown = title(name)
    assert 1 <= len(shown) <= 120
    download = download_name(shown, ".zip")
    assert download.endswith(".zip")
    assert len(download.encode()) <= 255
    assert download.removesuffix(".zip").strip(" .")
    assert not set(download) & set('<>:"/\\|?*\r\n\0\x1b\u202e')
    assert not download.startswith((".", "-", " "))


@pytest.mark.parametrize("title", ["CON", "con.live", "Aux", "nul .x", "COM1", "lpt³", "CONIN$"])
def test_download_name_is_no_device_of_windows(title: str) -> None:
    assert download_name(title, ".zip") == f"_{title}.zip"
    assert download_name(title) == f"_{title}"
    assert download_name(f"{title}cert", ".zip") == f"{title}cert.zip" or "." in title
    assert download_name(title, " - vocals.wav").endswith(f"{title} - vocals.wav")
