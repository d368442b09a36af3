"""Describe the damage of an audio file in words."""

from pathlib import Path

import av

from stemsplit.audio.lengths import lacks_its_last_page
from stemsplit.audio.timeline import Timeline
from stemsplit.terminal.counts import counted

MOST_PLACES = 3  # number of gaps whose positions are listed


def damage_of(
    path: Path, container: av.container.InputContainer, timeline: Timeline
) -> tuple[list[str], list[str]]:
    """Return losses and oddities of a stream, one line each.

    A loss is audio that is missing, was converted, or comes from several joined files. An oddity
    loses no audio, but a corpus must not contain a file with an oddity.
    """
    losses: list[str] = []
    oddities: list[str] = []
    if timeline.gaps:
        losses.append(_gaps_text(timeline))
    is_cut = container.format.name == "ogg" and lacks_its_last_page(path)
    if (missing := timeline.missing_seconds()) and not is_cut:
        end, declared = timeline.seconds, timeline.seconds + missing
        losses.append(
            f"it is truncated: it ends after {end:.2f} s of the {declared:.2f} s that it declares"
        )
    elif is_cut:
        losses.append(f"it is cut off after {timeline.seconds:.2f} s: its last page is missing")
    elif timeline.ends_early:
        losses.append(f"it cannot be read beyond {timeline.seconds:.2f} s")
    if failed := timeline.failed:
        text = f"{counted(len(failed), 'packet')} cannot be decoded, the first at {failed[0]:.2f} s"
        is_oddity = losses or timeline.declared_seconds is not None
        (oddities if is_oddity else losses).append(text)
    first, *later = [f"{rate} Hz {layout}" for rate, layout in timeline.forms()]
    if later:
        losses.append(f"it changes from {first} to {', '.join(later)}: it is converted to {first}")
    if timeline.joints:
        end = timeline.joints[0]
        losses.append(f"it consists of several joined files; the first ends at {end:.2f} s")
    if timeline.ends_in_padding:
        oddities.append("a tag or padding follows its last frame")
    return losses, oddities


def _gaps_text(timeline: Timeline) -> str:
    gaps = timeline.gaps
    total = sum(gap.seconds for gap in gaps)
    samples = sum(round(gap.seconds * timeline.parts[0].rate) for gap in gaps)
    places = ", ".join(f"{gap.at_seconds:.2f} s" for gap in gaps[:MOST_PLACES])
    more = f" and {len(gaps) - MOST_PLACES} more" if len(gaps) > MOST_PLACES else ""
    return f"{total:.3f} s ({counted(samples, 'sample')}) are missing at {places}{more}"
