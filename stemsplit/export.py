"""``stemsplit export SOURCE… --output FILE``: write a bundle, or an ONNX model.

A bundle is one safetensors file with a separator, its licence and its scores. ``--verify FILE``
verifies a bundle.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemsplit.errors import InputError, one_line_errors
from stemsplit.files import exit_at_sigterm, make_writable_folder, removed_if_empty
from stemsplit.terminal.controls import quoted

if TYPE_CHECKING:  # imports torch, which --help does not need
    from stemsplit.separation.separator import Separator

MOST_DIGITS = 12  # largest number of digits of --frames
PACKAGES = ("stemsplit", "torch", "torchaudio")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = export_parser()
    with one_line_errors():
        options = parser.parse_args(arguments)
        if options.verify is not None:
            if options.sources or options.output or options.onnx:
                parser.error("--verify takes one bundle and no other files")
            sys.exit(0 if verified(options.verify, options.allow, options.json) else 1)
        if not options.sources or not (options.output or options.onnx):
            parser.error("give a SOURCE, and --output FILE or --onnx FILE")
        if options.frames is not None and not options.onnx:
            parser.error("--frames needs --onnx FILE")
        export(options)


def export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stemsplit export",
        description="Write a separator as a bundle: one safetensors file with its weights, its "
        "settings, its licence and its scores. `separate`, `evaluate`, `combine` and "
        "`stemsplit.load` take a bundle in place of a checkpoint. Or write the separator's network "
        "as an ONNX model, or verify a bundle.",
        epilog="Examples: stemsplit export RUN --output vocals.safetensors --licence MIT; "
        "stemsplit export --verify vocals.safetensors",
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a run's folder, a checkpoint, a bundle or the name of a published model; several "
        "with different stems are combined",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the bundle to write")
    parser.add_argument(
        "--licence",
        metavar="TEXT",
        help="licence of the weights, for example CC-BY-4.0; default: that of the source, if it is "
        "a bundle or a published model",
    )
    parser.add_argument("--note", metavar="TEXT", help="any text to store in the bundle")
    parser.add_argument(
        "--onnx",
        type=Path,
        metavar="FILE",
        help="the ONNX model to write; it contains the network only, which maps features of the "
        "spectrogram to the mask, and no Fourier transforms",
    )
    parser.add_argument(
        "--frames",
        type=frame_count,
        metavar="N",
        help="fixed number of spectrogram frames in the input of the ONNX model, at most an hour "
        "of audio; default: any number",
    )
    parser.add_argument(
        "--verify",
        type=Path,
        metavar="FILE",
        help="test whether a bundle is whole, loads, and estimates the same stems as when it was "
        "written; print its content; exit code 1 if a check fails",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the result of --verify as one JSON object"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CLASS",
        help="class outside stemsplit that the separator may use; can be repeated",
    )
    return parser


def frame_count(text: str) -> int:
    # Python does not convert texts of thousands of digits.
    if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) < 1:
        highest = "9" * MOST_DIGITS
        raise argparse.ArgumentTypeError(f"{text:.20} is not a whole number from 1 to {highest}")
    return int(text)


def export(options: argparse.Namespace) -> None:
    """Write the files that the options name."""
    from stemsplit.separation.checkpoint import load  # here, since it imports torch
    from stemsplit.separation.formats import bundle
    from stemsplit.separation.origins import origins
    from stemsplit.separation.sources import check_outputs

    check_outputs({"--output": options.output, "--onnx": options.onnx}, options.sources)
    facts = {
        **facts_of(options.sources, options.licence),
        "note": options.note,
        "versions": {package: version(package) for package in PACKAGES},
    }
    separator = load(options.sources, options.allow)
    if options.output:
        models = [name for source in options.sources for name in origins(source)]
        checksum = written(
            options.output, lambda path: bundle.write(path, separator, facts, published=models)
        )
        print(f"{quoted(options.output)}: {', '.join(separator.stems)}; {checksum}")
    if options.onnx:
        export_onnx(options, separator, facts["licence"])


def written(path: Path, write: Callable[[Path], str]) -> str:
    """Write a file with `write`. On an error, no new file or folder remains."""
    with removed_if_empty(path.parent), exit_at_sigterm():
        make_writable_folder(path.parent, "choose another file")
        return write(path)


def export_onnx(options: argparse.Namespace, separator: Separator, licence: str | None) -> None:
    from stemsplit.separation.exporting import onnx_network

    def write(path: Path) -> str:
        facts = {"licence": licence}
        difference = onnx_network.write(path, separator, options.frames, facts)
        return f"differs from the PyTorch network by {difference:.1g} of the mask's peak"

    text = written(options.onnx, write)
    print(f"{quoted(options.onnx)}: {', '.join(separator.network.views)} → mask; {text}")


def facts_of(sources: Sequence[str], licence: str | None) -> dict[str, Any]:
    """The licence of a new bundle, and facts about the checkpoints from which it is made.

    If a source is a bundle, the facts in it are copied. Raises `InputError` if `licence` is None
    and the licences of the sources differ.
    """
    entries: list[Any] = []
    licences: list[str | None] = []
    for source in sources:
        facts, stated = facts_of_source(source)
        entries += facts
        licences += stated
    if licence is None:
        if any(other != licences[0] for other in licences):
            names = ", ".join(str(name or "none") for name in licences)
            raise InputError(f"the sources have different licences ({names}); set --licence")
        licence = licences[0]
    return {"licence": licence, "sources": entries}


def facts_of_source(source: str) -> tuple[list[Any], list[str | None]]:
    """The entries that describe a source in a bundle, and the licences of the source.

    None stands for a licence that is not stated.
    """
    from stemsplit.reporting.run_facts import run_facts
    from stemsplit.separation.formats import bundle
    from stemsplit.separation.origins import origins
    from stemsplit.separation.published import catalogue
    from stemsplit.separation.sources import checkpoint_of

    if (model := catalogue.find(source)) is None:
        path = checkpoint_of(Path(source))
        if bundle.is_safetensors(path):
            document = bundle.read(path).document
            return document.get("sources", []), [document.get("licence")]
        facts = run_facts(path)
    else:
        facts = {"file": model.name, "page": model.page, "trained_on": model.trained_on}
    models = catalogue.catalogue()
    # Another machine's list of models may have made the checkpoint.
    stated = [models[name].licence if name in models else None for name in origins(source)]
    licences = [None if licence == catalogue.NOT_STATED else licence for licence in stated]
    return [facts], licences or [None]


def verified(path: Path, allow: Sequence[str], as_json: bool) -> bool:
    """Verify a bundle, and print the checks and the content of the bundle."""
    from stemsplit.reporting.bundle_summary import summary
    from stemsplit.separation.exporting.verification import verify

    verification = verify(path, allow)
    if as_json:
        checks = [check._asdict() for check in verification.checks]
        content = {"passed": verification.passed, "checks": checks}
        print(json.dumps({"file": str(path), **content, "bundle": verification.document}))
        return verification.passed
    for check in verification.checks:
        print(f"{check.name}: {'yes' if check.passed else 'no'} ({check.detail})")
    for line in [] if verification.document is None else summary(verification.document):
        print(line)
    return verification.passed


if __name__ == "__main__":
    main()
