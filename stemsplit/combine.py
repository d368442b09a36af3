"""``stemsplit combine RUN_OR_CKPT… --output CKPT``: combine separators of different stems."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from stemsplit.errors import one_line_errors
from stemsplit.files import exit_at_sigterm, make_writable_folder, removed_if_empty
from stemsplit.terminal.controls import quoted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="stemsplit combine",
        description="Combine separators of different stems into one checkpoint that estimates "
        "all of these stems.",
        epilog="Example: stemsplit combine VOCALS_RUN DRUMS_RUN --output both.ckpt",
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="RUN_OR_CKPT",
        help="a run's folder, a checkpoint, or the name of a published model",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="CKPT", help="the checkpoint to write"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="CLASS",
        help="class outside stemsplit that the checkpoint may load; can be repeated",
    )
    with one_line_errors():
        options = parser.parse_args(arguments)
        from stemsplit.separation.checkpoint import load, save  # here, since it imports torch
        from stemsplit.separation.origins import origins
        from stemsplit.separation.sources import check_outputs

        folder = options.output.parent
        with removed_if_empty(folder), exit_at_sigterm():
            make_writable_folder(folder, "choose another file with --output")
            check_outputs({"--output": options.output}, options.checkpoints)
            separator = load(options.checkpoints, options.allow)
            models = [name for source in options.checkpoints for name in origins(source)]
            save(separator, options.output, published=models)
        print(f"{quoted(options.output)}: {', '.join(separator.stems)}")


if __name__ == "__main__":
    main()
