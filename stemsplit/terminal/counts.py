"""Numbers with nouns."""


def counted(number: int, noun: str) -> str:
    """Join a number and a regular noun, as in "1 song" and "1,200 songs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
