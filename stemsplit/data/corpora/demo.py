"""The corpus of synthesised demo songs."""

from pathlib import Path

from rich.progress import Progress

from stemsplit.data.corpora.musdb import musdb18
from stemsplit.data.tracks import Track, with_validation


def demo(root: Path) -> list[Track]:
    """List the demo songs. Missing songs are synthesised and written first."""
    # The synthesis takes longer to import than all other data modules, so it is imported only here.
    from stemsplit.data.corpora.demo_songs import VALIDATION_TRACKS, write_demo_corpus

    with Progress() as progress:
        bar = progress.add_task("writing the demo songs", visible=False)

        def report(done: int, songs: int) -> None:
            progress.update(bar, completed=done, total=songs)
            if done < songs:
                progress.update(bar, visible=True)

        write_demo_corpus(root, report=report)
    return with_validation(musdb18(root), VALIDATION_TRACKS)
