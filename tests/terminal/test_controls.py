"""Text of strangers as it is printed."""

from stemsplit.terminal.controls import harmless


def test_control_characters_of_a_message_are_escaped() -> None:
    assert harmless("a\x1b[2J\nb\x85\udcff") == "a\\x1b[2J\\nb\\xc2\\x85\\xff"
    assert harmless("a\nb", keep="\n") == "a\nb"
