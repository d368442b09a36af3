"""``stemsplit doctor data=… data.root=…``: examine a corpus before training.

The exit code is 1 if the corpus has a fault. The corpus is not changed.
"""

from stemsplit.settings.help import begin

begin(__name__, "doctor")  # before the imports that take seconds

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from stemsplit import configuration
from stemsplit.command_line.argv import argv
from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.prepared import prepared
from stemsplit.configuration import CONF
from stemsplit.data.doctor.diagnosis import listing_findings
from stemsplit.data.doctor.errata import excused, known_errata
from stemsplit.data.doctor.examination import Examination, duplicates, examine_all
from stemsplit.data.doctor.findings import Finding
from stemsplit.data.doctor.official import STEMS, layout, other_corpus
from stemsplit.data.headers import Header, Headers, headers_of, sources
from stemsplit.data.supplements import added
from stemsplit.data.tracks import (
    Track,
    all_stems,
    check_rest,
    check_targets,
    song_of,
    with_validation,
)
from stemsplit.errors import InputError, one_line_errors
from stemsplit.settings.check import check as check_settings
from stemsplit.terminal.tables import print_table

configuration.register_resolvers()


def main() -> None:
    arguments = ["json=true" if word == "--json" else word for word in sys.argv[1:]]
    with one_line_errors():
        arguments = prepared("doctor", arguments).arguments
    with argv(arguments):
        run()


@hydra.main(config_path=CONF, config_name="doctor")
def run(config: DictConfig) -> None:
    with one_line_errors():
        check_settings(config, "doctor")
        with redirect_stdout(sys.stderr):  # stdout contains only the report
            report = examine_corpus(config)
        if config.json:
            print(json.dumps(report, indent=2, allow_nan=False))
        else:
            print_report(report)
        if report["faults"]:
            sys.exit(1)


def examine_corpus(config: DictConfig) -> dict[str, Any]:
    """Examine a corpus; return findings and statistics as JSON data."""
    data = config.data
    if data.lister is None:
        raise InputError(
            "no corpus to examine; set one, for example data=musdb18 data.root=/path/to/musdb18"
        )
    corpus = make_corpus(data)
    root = corpus.root
    tracks = corpus.listed()
    supplementary: list[Track] = []
    findings: list[Finding] = []
    try:
        supplementary = added(tracks, corpus.also)
    except InputError as error:
        findings.append(Finding("fault", "data.also", "", str(error)))
    kind = layout(root, tracks)
    headers = headers_of([*tracks, *supplementary])
    stems = corpus.declared_stems or all_stems(tracks)
    try:
        check_targets(data.targets, stems)
        if corpus.declared_stems is None:
            check_rest(stems, data.targets, root)
    except InputError as error:
        findings.append(Finding("fault", "targets", "", str(error)))
    names = None if data.validation_tracks is None else list(data.validation_tracks)
    findings += listing_findings(root, tracks, stems, data.channels, names, headers)
    known = {track.name for track in tracks if track.subset != "test"}
    if names is not None:
        tracks = with_validation(tracks, [name for name in names if name in known])
    findings += other_corpus(root, tracks)
    if kind is not None:
        findings += known_errata(tracks)
    parts = STEMS if kind else None
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("examining songs", total=len(tracks) + len(supplementary))
        songs = examine_all(
            [*tracks, *supplementary], headers, parts, lambda: progress.advance(bar)
        )
    for song in songs:
        findings += song.findings if kind is None else excused(song)
    findings += duplicates(songs)
    return {
        "corpus": config.corpus,
        "root": str(root),
        "layout": kind,
        "splits": {
            subset: split_facts([song for song in songs if song.track.subset == subset], headers)
            for subset in ("train", "valid", "test")
        },
        "songs": [
            {"song": song_of(song.track), "seconds": song.seconds, "match_db": song.match_db}
            for song in songs
        ],
        "faults": as_dicts(findings, "fault"),
        "notes": as_dicts(findings, "note"),
    }


def split_facts(songs: Sequence[Examination], headers: Headers) -> dict[str, Any]:
    """Statistics of one split.

    ``rates``, ``channels`` and ``codecs`` count the songs for each sample rate, number of channels
    and codec. If the files of a song differ, the song is counted for each of their values.
    """
    forms: dict[str, Counter[str]] = {
        "rates": Counter(),
        "channels": Counter(),
        "codecs": Counter(),
    }
    for song in songs:
        present = [headers[source] for source in sources(song.track).values()]
        streams = [header for header in present if isinstance(header, Header)]
        forms["rates"].update({str(header.sample_rate) for header in streams})
        forms["channels"].update({str(header.channels) for header in streams})
        forms["codecs"].update({header.codec for header in streams})
    matches = [song.match_db for song in songs if song.match_db is not None]
    return {
        "songs": len(songs),
        "minutes": sum(song.seconds for song in songs) / 60,
        "median_match_db": float(np.median(matches)) if matches else None,
        **{name: dict(counter) for name, counter in forms.items()},
    }


def as_dicts(findings: Sequence[Finding], severity: str) -> list[dict[str, str]]:
    return [
        {"check": finding.check, "song": finding.song, "text": finding.text}
        for finding in findings
        if finding.severity == severity
    ]


def print_report(report: dict[str, Any]) -> None:
    console = Console()
    where = f"{report['corpus']}: {report['root']}"
    kind = f"layout: {report['layout'] or 'custom'}"
    table = Table(
        title=Text(f"{where} ({kind})"),
        caption="match: energy of the mixture / energy of (mixture − sum of stems), median",
    )
    columns = ("songs", "minutes", "rate [Hz]", "channels", "codec", "match [dB]")
    table.add_column()
    for column in columns:
        table.add_column(Text(column), justify="right")
    for subset, facts in report["splits"].items():
        match = facts["median_match_db"]
        table.add_row(
            subset,
            str(facts["songs"]),
            f"{facts['minutes']:.1f}",
            *(", ".join(facts[name]) for name in ("rates", "channels", "codecs")),
            "–" if match is None else f"{match:.1f}",
        )
    print_table(table, console)
    for severity, style in (("faults", "red"), ("notes", "yellow")):
        for (check, text), songs in by_text(report[severity]).items():
            # One line per finding, so that findings can be searched and counted.
            console.print(
                Text.assemble((severity[:-1], style), f" {check}: {text}"), soft_wrap=True
            )
            for song in songs:
                console.print(Text(f"    {song}"), soft_wrap=True)
    verdict = "fix the faults before training" if report["faults"] else "ready for training"
    counts = f"faults: {len(report['faults'])}, notes: {len(report['notes'])}"
    console.print(Text(f"{counts}: {verdict}"))


def by_text(findings: Sequence[dict[str, str]]) -> dict[tuple[str, str], list[str]]:
    """Group findings by check and text; list the songs of each group."""
    songs: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        group = songs.setdefault((finding["check"], finding["text"]), [])
        group += [finding["song"]] if finding["song"] else []
    return songs


if __name__ == "__main__":
    main()
