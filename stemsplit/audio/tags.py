"""Tags of a song, such as title, artist and album."""

from collections.abc import Mapping

import av

# The tags that are kept, by FFmpeg's names. All other tags describe the file (its encoder, its
# loudness), not the song.
KEPT = (
    *("title", "artist", "album", "album_artist", "composer", "performer", "publisher"),
    *("date", "genre", "track", "disc", "comment", "copyright", "isrc"),
)


def tags_of(container: av.container.InputContainer, stream: av.AudioStream) -> dict[str, str]:
    """Return the tags of a file and of its stream, by FFmpeg's names.

    Ogg files have their tags in the stream. If both have a tag, the tag of the file is returned.
    """
    present = {
        name.lower(): value
        for name, value in [*stream.metadata.items(), *container.metadata.items()]
    }
    return kept_tags(present)


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags named in `KEPT` that are not empty, as text that every format can hold."""
    kept = {name: _storable(tags[name]) for name in KEPT if name in tags}
    return {name: text for name, text in kept.items() if text}


def _storable(text: str) -> str:
    """Replace characters that UTF-8 cannot encode; remove null characters, which end C strings."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
