"""The help of the commands, printed before Hydra and torch are imported."""

import sys
from pathlib import Path
from typing import Any

import yaml

from stemsplit.errors import one_line_errors

PACKAGE = Path(__file__).resolve().parent.parent
# In a wheel conf/ lies inside the package, in a checkout beside it.
CONF = str(next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir()))

WIDTH = 80
TEXTS = {
    "train": """\
Train a separator and score its best checkpoint on the validation songs. All
files are written to the folder of the run, runs/DATE/TIME-MODEL.

python -m stemsplit.train [GROUP=OPTION] [SETTING=VALUE] …

Examples:
  python -m stemsplit.train                      # mel_blstm on the demo songs
  python -m stemsplit.train model=open_unmix data=musdb18 data.root=/path
  python -m stemsplit.train 'targets=[vocals,drums,bass,other]'
  python -m stemsplit.train resume=RUN           # continue from RUN/last.ckpt
  python -m stemsplit.train -m +sweep=lr_decay   # tune learning rate and decay
  python -m stemsplit.train experiments=NAME     # experiments/NAME.yaml

Most used settings:
  data.root=PATH              the folder of the corpus
  targets=[STEM,…]            the stems to estimate
  epochs=N patience=N         the length of the training
  chunk_seconds=S             the length of a training excerpt
  chunks_per_track=N          training excerpts per song and epoch
  data.batch_size=N           excerpts per step
  optimizer.lr=X              learning rate
  optimizer.weight_decay=X    weight decay
  seed=N                      seed of all random numbers
  trainer.devices=N           processes or GPUs, with trainer=ddp
  trainer.precision=NAME      32-true or bf16-mixed
  evaluate_test=true          also score the test songs at the end
  data.downsample.chunks=X    fraction of the excerpts, for tuning
  hydra.run.dir=PATH          the folder of the run
""",
    "evaluate": """\
Score separators, and stems that other tools separated, with BSS Eval v4. The
mixture and ideal masks are scored too, as lower and upper bound. Writes
result.json, scores.csv, scores.tex and museval's JSON files.

python -m stemsplit.evaluate checkpoint=RUN_OR_CKPT [SETTING=VALUE] …

Examples:
  python -m stemsplit.evaluate checkpoint=RUN    # on the corpus of its training
  python -m stemsplit.evaluate checkpoint=RUN data=musdb18 data.root=/path
  python -m stemsplit.evaluate 'checkpoint=[A,B]' estimates=DIR    # compare
  python -m stemsplit.evaluate 'estimates={NAME: DIR}' data=musdb7

Most used settings:
  checkpoint=RUN_OR_CKPT      a run's folder or a checkpoint, or a list
  estimates=DIR               estimates: DIR/SUBSET/TRACK/STEM.wav
  data.root=PATH              the folder of the corpus
  subset=test                 test or valid
  targets=[STEM,…]            the stems to score
  workers=N                   processes; default: one per core
  device=NAME                 cpu, cuda or cuda:1; default: a GPU, if available
  output=DIR                  the folder for the scores
  evaluation.oracles=false    do not score the ideal masks
  evaluation.stages=true      also score without the Wiener filter
""",
    "doctor": """\
Examine a corpus before training. Reports damaged, missing, silent, clipped and
mismatched stems, a wrong number of songs, and songs in more than one split.
Changes no file. The exit code is 1 if something must be fixed.

python -m stemsplit.doctor data=CORPUS [data.root=PATH] [--json]

Examples:
  python -m stemsplit.doctor data=musdb18 data.root=/path
  python -m stemsplit.doctor data=folder data.root=/path --json

Most used settings:
  data.root=PATH              the folder of the corpus
  --json                      print one JSON object instead of tables
""",
    "demo": """\
Train a small mel_blstm on synthesised songs, score it on their test songs,
separate one of them, plot the result, and write the report of the run. Takes
some minutes.

python -m stemsplit.demo
""",
}
ENDING = """\
Every setting with its value:  python -m stemsplit.{command} --cfg job
Hydra's own options:           python -m stemsplit.{command} --hydra-help
"""


def begin(module: str, command: str) -> None:
    """Start a command before its slow imports, if its module runs as the program.

    Prints the help and exits if it is asked for; from then on, Ctrl-C ends in one line.
    """
    if module != "__main__":
        return
    sys.excepthook = shown_in_one_line
    if {"-h", "--help"} & set(sys.argv[1:]):
        with one_line_errors():
            print(help_text(command), end="")
            sys.exit()


def shown_in_one_line(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """An exception hook. Python itself ends with exit code 130 after a Ctrl-C."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def help_text(command: str) -> str:
    """The help of a command; the groups of its configuration are those of conf/."""
    if not (Path(CONF) / f"{command}.yaml").is_file():
        return TEXTS[command]
    groups = []
    for group, default in defaults_of(command).items():
        options = sorted(path.stem for path in (Path(CONF) / group).glob("*.yaml"))
        groups.append(wrapped(f"  {group + '=':<12}", options + ["null"] * (default is None)))
    return "\n".join([TEXTS[command], "Groups and their options:", *groups, "", ""]) + (
        ENDING.format(command=command)
    )


def defaults_of(command: str) -> dict[str, str | None]:
    """The groups of a command's configuration, with the option that each has by default."""
    content = yaml.safe_load((Path(CONF) / f"{command}.yaml").read_text(encoding="utf-8"))
    return {
        group: option
        for entry in content["defaults"]
        if isinstance(entry, dict)
        for group, option in entry.items()
        if (Path(CONF) / group).is_dir()
    }


def wrapped(start: str, words: list[str]) -> str:
    """Words in lines of at most `WIDTH` characters, below each other behind `start`."""
    lines = [start]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" " * len(start))
        lines[-1] += f" {word}"
    return "\n".join(lines)
