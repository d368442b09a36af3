"""The command ``stemsplit models list|pull|path|remove`` for published models.

The other modules of this folder are architectures. `stemsplit.separation.published` finds and
downloads the weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stemsplit.errors import InputError, one_line_errors

if TYPE_CHECKING:
    from stemsplit.separation.published.catalogue import Model


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="stemsplit models",
        description="List, download and remove published models. Every command that takes a "
        "checkpoint also takes the name of a published model, and downloads it on first use.",
        epilog="To add your own models, list them in ~/.config/stemsplit/models.toml, or in the "
        "file that the environment variable STEMSPLIT_MODELS names (see docs/separating.md). "
        "Weights are stored in the subfolder models of the folder that STEMSPLIT_CACHE names "
        "(default: ~/.cache/stemsplit).",
    )
    commands = parser.add_subparsers(dest="command")
    listing = commands.add_parser("list", help="list all models (the default)")
    for with_json in (parser, listing):
        with_json.add_argument(
            "--json",
            action="store_true",
            default=argparse.SUPPRESS,
            help="print JSON instead of a table",
        )
    for command, text in (
        ("pull", "download models, and check the files that are already there"),
        ("path", "print the paths of a model's files; exit with code 1 if one is missing"),
        ("remove", "remove the downloaded files of models"),
    ):
        chosen = commands.add_parser(command, help=text)
        chosen.add_argument("names", nargs=1 if command == "path" else "+", metavar="NAME")
    with one_line_errors():
        options = parser.parse_args(arguments)
        from stemsplit.separation.published import catalogue  # late, so that --help is fast

        if options.command in (None, "list"):
            show(list(catalogue.catalogue().values()), as_json="json" in options)
            return
        models = [catalogue.model(name) for name in dict.fromkeys(options.names)]
        {"pull": pull, "path": print_paths, "remove": remove}[options.command](models)


def show(models: Sequence[Model], as_json: bool) -> None:
    """Print a table of the models, or a JSON list with all their properties."""
    from stemsplit.separation.published.catalogue import facts
    from stemsplit.separation.published.download import folder_of, is_downloaded

    if as_json:
        entries = [
            {
                **facts(model),
                "size": model.size,
                "downloaded": is_downloaded(model),
                "folder": str(folder_of(model)),
            }
            for model in models
        ]
        print(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from stemsplit.terminal.tables import print_table

    table = Table(caption="SDR: as published, on MUSDB18's test songs; --json has the sources.")
    table.add_column("name")
    table.add_column("stems")
    for column in (
        *("downloaded", "size", "parameters", r"rate \[Hz]", r"SDR \[dB]"),
        *("licence", "trained on"),
    ):
        table.add_column(column, justify="right")
    for model in models:
        about = "" if model.has_exact_size else "about "
        table.add_row(
            Text(model.name, style="bold"),
            Text(", ".join(model.stems)),
            "yes" if is_downloaded(model) else "no",
            "" if model.size is None else f"{about}{decimal(model.size)}",
            "" if model.parameters is None else f"{model.parameters / 1e6:.1f} M",
            str(model.sample_rate),
            ", ".join(f"{stem} {score:.2f}" for stem, score in model.scores.items()),
            Text(model.licence),
            Text(training_of(model)),
        )
    print_table(table)


def training_of(model: Model) -> str:
    """The training data, and whether MUSDB18's test songs are among them."""
    seen = {
        "yes": "; saw MUSDB18's test songs",
        "no": "",
        "not stated": "; whether it saw MUSDB18's test songs is not stated",
    }
    return model.trained_on + seen[model.saw_musdb18_test]


def pull(models: Sequence[Model]) -> None:
    """Download models, and print the paths of their files."""
    from stemsplit.separation.published.download import pull

    for model in models:
        for path in pull(model):
            print(path)


def print_paths(models: Sequence[Model]) -> None:
    """Print the paths of the files. Raises `InputError` if files are missing."""
    from stemsplit.separation.published.download import is_downloaded, paths_of

    for model in models:
        print(*paths_of(model), sep="\n")
        if not is_downloaded(model):
            raise InputError(
                f"{model.name}: not downloaded; run `stemsplit models pull {model.name}`, or put "
                "the files at these paths by hand"
            )


def remove(models: Sequence[Model]) -> None:
    """Remove the files of models. Raises `InputError` if no file of a model was downloaded."""
    from stemsplit.separation.published.download import folder_of, remove

    for model in models:
        folder = folder_of(model)
        is_gone = remove(model)
        print(f"removed {folder}" if is_gone else f"removed the downloaded files in {folder}")


if __name__ == "__main__":
    main()
