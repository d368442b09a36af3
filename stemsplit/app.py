"""``stemsplit app``: a page in the browser that separates and plays songs."""

import argparse
import math
import os
import threading
from collections.abc import Sequence

from stemsplit.errors import InputError, needs_extra, one_line_errors
from stemsplit.files import exit_at_sigterm


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="stemsplit app",
        description="Open a page in the browser: drop a song, choose a model, hear the stems in "
        "sync with the mixture, and download them. The songs stay on this machine.",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="MODEL",
        help="a published model (`stemsplit models` lists them), a run's folder or a checkpoint; "
        "repeat it to offer several; default: umxhq and all published models that are downloaded",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1 …; default: a GPU, if available"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; default: %(default)s, which only this machine can reach; "
        "0.0.0.0: all addresses of this machine",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="default: %(default)s; 0: any free port"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="do not open the page in the browser"
    )
    parser.add_argument(
        "--max-seconds",
        type=float,
        default=1800,
        metavar="N",
        help="length of the longest song that is accepted; default: %(default)s",
    )
    parser.add_argument(
        "--max-megabytes",
        type=float,
        default=500,
        metavar="N",
        help="size of the largest file that is accepted; default: %(default)s",
    )
    parser.add_argument(
        "--queue",
        type=int,
        default=8,
        metavar="N",
        help="largest number of songs that may wait; default: %(default)s",
    )
    parser.add_argument(
        "--max-songs",
        type=int,
        default=24,
        metavar="N",
        help="largest number of songs that the server stores; after that, a new song replaces the "
        "least recently used separated song whose page has been closed for 90 seconds; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--keep-minutes",
        type=float,
        default=60,
        metavar="N",
        help="remove the files of a song when nobody has used them for this many minutes; "
        "default: %(default)s",
    )
    try:
        with one_line_errors(), exit_at_sigterm():
            options = parser.parse_args(arguments)
            check_numbers(options)
            serve_page(options)
    except SystemExit as ended:
        if threading.active_count() > 1 and isinstance(ended.code, int):
            # The thread that separates songs may be inside torch, where it cannot be stopped. Then
            # a normal exit of the interpreter would abort the process, so skip the normal exit.
            os._exit(ended.code)
        raise


def check_numbers(options: argparse.Namespace) -> None:
    for option in ("max_seconds", "max_megabytes", "queue", "max_songs", "keep_minutes"):
        value = getattr(options, option)
        if not 0 < value < math.inf:
            raise InputError(f"--{option.replace('_', '-')} {value} must be a number above 0")
    if not 0 <= options.port <= 65535:
        raise InputError(f"--port {options.port} must be from 0 to 65535")


def serve_page(options: argparse.Namespace) -> None:
    # Imported here, since --help does not need torch and matplotlib, which take seconds to import.
    with needs_extra("app"):
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401

    import stemsplit
    from stemsplit import processes
    from stemsplit.page.models import Models, default_models, named
    from stemsplit.page.server import Limits
    from stemsplit.page.serving import serve

    device = processes.device(options.device)
    serve(
        options.host,
        options.port,
        Models(
            named(options.model or default_models()),
            lambda source: stemsplit.load(source, device=device),
        ),
        Limits(options.max_seconds, options.max_megabytes, options.keep_minutes),
        places=options.queue,
        most_songs=options.max_songs,
        open_browser=not options.no_browser,
    )


if __name__ == "__main__":
    main()
