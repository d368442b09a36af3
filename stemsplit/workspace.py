"""``stemsplit workspace --entity ENTITY``: make the Weights & Biases dashboard.

The dashboard is a view of the project with sections for scores, losses, excerpts, layers, speed and
sweeps. ``--dry-run`` prints its specification and sends nothing. The command needs the optional
dependencies ``dashboard``.
"""

import argparse
import json
from collections.abc import Sequence

from stemsplit.errors import needs_extra, one_line_errors


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="stemsplit workspace",
        description="Save a Weights & Biases view of stemsplit's training runs.",
    )
    parser.add_argument("--entity", required=True, help="W&B user or team that owns the project")
    parser.add_argument("--project", default="stemsplit", help="W&B project (default: %(default)s)")
    parser.add_argument(
        "--stems", nargs="+", default=["vocals"], help="targets of the runs (default: vocals)"
    )
    parser.add_argument(
        "--excerpts",
        type=int,
        default=2,
        help="number of logged excerpts, callbacks.excerpts.count (default: %(default)s)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the specification, and send nothing"
    )
    with one_line_errors():
        options = parser.parse_args(arguments)
        show(options)


def show(options: argparse.Namespace) -> None:
    """Save the view and print its address, or print its specification only."""
    with needs_extra("dashboard"):
        from stemsplit.reporting.workspace_view import specification, workspace
    view = workspace(options.entity, options.project, options.stems, options.excerpts)
    if options.dry_run:
        print(json.dumps(specification(view), indent=2))
        return
    view.save()
    print(view.url)


if __name__ == "__main__":
    main()
