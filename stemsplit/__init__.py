"""Music source separation: train, score and apply separators.

>>> separator = stemsplit.load("umxhq")          # doctest: +SKIP
>>> stems = separator.separate(waveform, 44100)  # doctest: +SKIP
>>> stemsplit.separate_file("song.mp3", "stems")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from stemsplit.machine.caches import use_temporary_caches_without_home

if TYPE_CHECKING:
    from stemsplit.separation.loading import load as load
    from stemsplit.separation.songs.song import separate_file as separate_file

__all__ = ["load", "separate_file"]

# Call this before other imports, because it sets environment variables that torch, numba and
# matplotlib read when they are imported.
use_temporary_caches_without_home()


def __getattr__(name: str) -> Any:
    # Import torch only on demand, because worker processes that compute scores do not need it.
    if name == "load":
        from stemsplit.separation.loading import load

        return load
    if name == "separate_file":
        from stemsplit.separation.songs.song import separate_file

        return separate_file
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
