"""Run a command: ``stemsplit COMMAND …`` is the same as ``python -m stemsplit.COMMAND …``."""

import runpy
import sys

from stemsplit.command_line.argv import argv
from stemsplit.errors import InputError, one_line_errors
from stemsplit.settings.suggestions import near

COMMANDS = {
    "train": "train and score a separator; write all results to a run folder",
    "evaluate": "score separators, or stems from other tools",
    "separate": "separate songs into stems",
    "app": "open a page in the browser that separates and plays songs",
    "combine": "combine separators for different stems into one",
    "export": "write a separator as one safetensors file, or as an ONNX model",
    "models": "list, download and remove published models",
    "report": "write an HTML report of runs or of a sweep",
    "doctor": "examine a corpus before training",
    "data": "list, verify and clean decoded songs",
    "workspace": "create the Weights & Biases dashboard",
    "demo": "train, score and separate synthesised songs in a few minutes",
}


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        with one_line_errors():
            print(help_text(), end="")
        return
    command = arguments[0]
    if command not in COMMANDS:
        with one_line_errors():
            raise InputError(
                f"{command}: unknown command{near(command, COMMANDS)}; "
                f"choose one of {', '.join(COMMANDS)}"
            )
    with argv(arguments[1:]):
        runpy.run_module(f"stemsplit.{command}", run_name="__main__", alter_sys=True)


def help_text() -> str:
    lines = [f"  {command:<11}{summary}" for command, summary in COMMANDS.items()]
    return "\n".join(
        ["stemsplit COMMAND …", "", *lines, "", "Help for a command: stemsplit COMMAND --help", ""]
    )


if __name__ == "__main__":
    main()
