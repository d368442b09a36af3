"""Types and ranges of the settings of a corpus, which all commands share."""

from typing import Any

from stemsplit.settings.kinds import (
    COUNT,
    END,
    FLAG,
    MAPPINGS,
    NAMES,
    PATH,
    POSITIVE,
    PROBABILITY,
    SAMPLE_RATE,
    SEED,
    SHARE,
    TEXT,
    Kind,
    distinct,
    integer,
    interval,
    optional,
)

LISTER = Kind(dict[str, Any], "a corpus with data=NAME")
# null is accepted here, and is an error only when songs are listed. Messages do not suggest it.
ROOT = Kind(optional(PATH).type, PATH.allowed)
SHARED = {
    "corpus": optional(TEXT),
    "seed": SEED,
    "sample_rate": SAMPLE_RATE,
    "channels": COUNT,
    "window": integer(3),
    "hop": COUNT,
    "bandwidth_hertz": POSITIVE,
    "chunk_seconds": POSITIVE,
    "stems": optional(NAMES),
    "targets": NAMES,
    "epochs": END,
    "patience": integer(0),
    "scheduler_patience": integer(0),
    "chunks_per_track": COUNT,
}
DATA = {
    "lister": optional(LISTER),
    "root": ROOT,
    "also": MAPPINGS,
    "stems": optional(NAMES),
    "targets": NAMES,
    "sample_rate": SAMPLE_RATE,
    "channels": COUNT,
    "seed": SEED,
    "chunk_seconds": POSITIVE,
    "chunks_per_track": COUNT,
    "validation_chunks": optional(COUNT),
    "validation_tracks": optional(distinct(TEXT, "a list of distinct songs, as in ['A - B']")),
    "batch_size": COUNT,
    "workers": integer(0),
    "sounding": PROBABILITY,
    "downsample.chunks": SHARE,
    "downsample.songs": SHARE,
    "downsample.rate": SHARE,
    "augment.seed": SEED,
    "augment.sample_rate": SAMPLE_RATE,
    "augment.remix": FLAG,
    "augment.gain": interval(0, 10),
    "augment.polarity": PROBABILITY,
    "augment.mono": PROBABILITY,
    "augment.tempo": PROBABILITY,
    "augment.tempo_percent": interval(-50, 100),
    "augment.pitch": PROBABILITY,
    "augment.pitch_semitones": interval(-12, 12),
    "augment.equaliser": PROBABILITY,
    "augment.equaliser_decibels": interval(-60, 60),
    "augment.equaliser_hertz": interval(1),
    "augment.snr_decibels": optional(interval(-100, 100)),
    "cache": PATH,
}
CORPUS = SHARED | {f"data.{name}": kind for name, kind in DATA.items()}
