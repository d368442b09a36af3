"""Describe the content of a bundle (see `stemsplit.export`) in lines of text."""

from collections.abc import Iterator, Mapping
from typing import Any

from stemsplit.reporting.documents import ABSENT, RESULT, Shape, fits

TEXT: Shape = (ABSENT, None, str)
RESULTS: Shape = (
    ABSENT,
    [{"scores": RESULT["scores"], "protocol": RESULT["protocol"], "row": str}],
)
NETWORK: Shape = {"class": str}
TEXTS = ("run", "model", "commit", "weights")  # keys of a source whose values are texts
DOCUMENT: dict[str, Shape] = {
    "separator": {
        "front_end": {"sample_rate": (int, float)},
        "network": (NETWORK, [NETWORK]),
        "targets": [str],
        "residual": (None, str),
        "channels": int,
    },
    "published": [str],
    "licence": TEXT,
    "note": TEXT,
    "versions": (ABSENT, {...: str}),
    "sources": (
        ABSENT,
        [{"file": str, "results": RESULTS, **dict.fromkeys(TEXTS, TEXT)}],
    ),
}


def summary(document: Mapping[str, Any]) -> list[str]:
    """Return lines about the stems, the network, the licence, the training and the scores.

    Characters that could control a terminal are replaced.
    """
    if not fits(document, DOCUMENT):
        return ["content: not in the format that `stemsplit export` writes"]
    return [
        "".join(character if character.isprintable() else "�" for character in line)
        for line in _lines(document)
    ]


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    separator = document["separator"]
    residual = separator["residual"]
    stems = [*separator["targets"], *([] if residual is None else [residual])]
    yield (
        f"stems: {', '.join(stems)}; {separator['front_end']['sample_rate']} Hz, "
        f"channels: {separator['channels']}"
    )
    networks = separator["network"]
    networks = networks if isinstance(networks, list) else [networks]
    yield f"network: {', '.join(network['class'] for network in networks)}"
    if document["published"]:
        yield f"published weights: {', '.join(document['published'])}"
    yield f"licence: {document.get('licence') or 'not stated'}"
    if document.get("note"):
        yield f"note: {document['note']}"
    for source in document.get("sources", []):
        yield from _source(source)
    versions = document.get("versions", {})
    yield f"written with: {', '.join(f'{name} {number}' for name, number in versions.items())}"


def _source(source: Mapping[str, Any]) -> Iterator[str]:
    facts = [str(source[name]) for name in ("run", "file") if source.get(name)]
    trained_on = source.get("trained_on")
    if isinstance(trained_on, dict):
        fingerprint = str(trained_on.get("fingerprint"))[:8]
        facts.append(f"trained on {trained_on.get('songs')} songs (fingerprint {fingerprint})")
    elif trained_on:
        facts.append(f"trained on {trained_on}")
    if source.get("weights"):
        facts.append(f"started from {source['weights']}")
    facts += [f"{name} {source[name]}" for name in ("steps", "seed", "commit") if name in source]
    yield f"source: {', '.join(facts)}"
    for result in source.get("results", []):
        protocol = result.get("protocol", {})
        tag = protocol if isinstance(protocol, str) else protocol.get("tag", "unknown protocol")
        scores = [
            f"{stem} {_decibels(metrics['SDR'].get('median'))}"
            for stem, metrics in result["scores"].get(result["row"], {}).items()
            if "SDR" in metrics
        ]
        yield f"median SDR: {', '.join(scores)} ({tag})"


def _decibels(value: float | str | None) -> str:
    if value is None:
        return "without a score"
    return f"{value} dB" if isinstance(value, str) else f"{value:.2f} dB"
