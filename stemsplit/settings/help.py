"""Help texts of the commands, printed without importing Hydra or torch."""

import sys
from pathlib import Path
from typing import Any

import yaml

from stemsplit.errors import one_line_errors

PACKAGE = Path(__file__).resolve().parent.parent
# conf/ is inside the package in a wheel, and beside the package in a checkout.
CONF = str(next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir()))

WIDTH = 80
TEXTS = {
    "train": """\
Train a separator and score its best checkpoint. All results are written to the
run folder runs/DATE/TIME-MODEL.

stemsplit train [GROUP=OPTION] [SETTING=VALUE] …

Examples:
  stemsplit train                      # train mel_blstm on the demo songs
  stemsplit train model=open_unmix data=musdb18 data.root=/path
  stemsplit train 'targets=[vocals,drums,bass,other]'
  stemsplit train resume=RUN           # continue from RUN/last.ckpt
  stemsplit train weights=RUN          # new run with these weights
  stemsplit train -m +sweep=lr_decay   # tune lr and weight decay
  stemsplit train experiments=NAME     # experiments/NAME.yaml

Most used settings:
  data.root=PATH              folder of the corpus
  targets=[STEM,…]            stems to estimate
  epochs=N                    maximum number of epochs
  patience=N                  epochs without improvement before training stops
  chunk_seconds=S             length of a training excerpt
  chunks_per_track=N          training excerpts per song and epoch
  data.batch_size=N           excerpts per batch
  optimizer.lr=X              learning rate
  optimizer.weight_decay=X    weight decay
  weights=RUN_OR_CKPT         start with the weights of a run, a checkpoint or a
                              published model
  freeze=[PATTERN,…]          parameters that are not trained
  seed=N                      random seed
  trainer.devices=N           number of GPUs or processes, with trainer=ddp
  trainer.precision=NAME      32-true or bf16-mixed
  evaluate_test=true          also score the test songs at the end
  data.downsample.chunks=X    fraction of the excerpts to use, for tuning
  hydra.run.dir=PATH          run folder to use instead of runs/DATE/TIME-MODEL
""",
    "evaluate": """\
Score separators, or stems from other tools, with BSS Eval v4. The mixture and
ideal masks are scored as references. Writes result.json, scores.csv, scores.tex
and files in museval's format.

stemsplit evaluate checkpoint=RUN_OR_CKPT [SETTING=VALUE] …

Examples:
  stemsplit evaluate checkpoint=RUN    # on its training corpus
  stemsplit evaluate checkpoint=RUN data=musdb18 data.root=/path
  stemsplit evaluate 'checkpoint=[A,B]' estimates=DIR    # compare
  stemsplit evaluate 'estimates={NAME: DIR}' data=musdb7

Most used settings:
  checkpoint=RUN_OR_CKPT      run folder, checkpoint or name of a published
                              model, or a list of them
  estimates=DIR               separated stems: DIR/SUBSET/TRACK/STEM.wav
  data.root=PATH              folder of the corpus
  subset=test                 test or valid
  targets=[STEM,…]            stems to score
  workers=N                   number of processes; default: one per core
  device=NAME                 cpu, cuda or cuda:1; default: the GPU, if any
  output=DIR                  folder for the scores
  evaluation.oracles=false    do not score the ideal masks
  evaluation.stages=true      also score without the Wiener filter
""",
    "doctor": """\
Examine a corpus before training. Reports damaged, missing, silent, clipped and
mismatched stems, a wrong number of songs, and songs that are in two splits.
Does not change the corpus. The exit code is 1 if a problem must be fixed.

stemsplit doctor data=CORPUS [data.root=PATH] [--json]

Examples:
  stemsplit doctor data=musdb18 data.root=/path
  stemsplit doctor data=folder data.root=/path --json

Most used settings:
  data.root=PATH              folder of the corpus
  --json                      print one JSON object instead of tables
""",
    "demo": """\
Train a small mel_blstm on synthesised songs, score it on test songs, separate
one song, plot it, and write the report of the run. Takes a few minutes.

stemsplit demo
""",
}
ENDING = """\
All settings and their values:  stemsplit {command} --cfg job
Options of Hydra:               stemsplit {command} --hydra-help
"""


def begin(module: str, command: str) -> None:
    """Prepare a command before its slow imports.

    `module` is the ``__name__`` of the command's module. If the module is only imported, this
    function does nothing.

    With ``--help``, prints the help and exits. Otherwise, Ctrl-C prints one line from now on,
    instead of a traceback.
    """
    if module != "__main__":
        return
    sys.excepthook = shown_in_one_line
    if {"-h", "--help"} & set(sys.argv[1:]):
        with one_line_errors():
            print(help_text(command), end="")
            sys.exit()


def shown_in_one_line(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Exception hook that prints "interrupted" for Ctrl-C. Python sets the exit code, 130."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def help_text(command: str) -> str:
    """The help of a command, with the configuration groups and options found in conf/."""
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
    """The configuration groups of a command, with the default option of each."""
    content = yaml.safe_load((Path(CONF) / f"{command}.yaml").read_text(encoding="utf-8"))
    return {
        group: option
        for entry in content["defaults"]
        if isinstance(entry, dict)
        for group, option in entry.items()
        if (Path(CONF) / group).is_dir()
    }


def wrapped(start: str, words: list[str]) -> str:
    """Join words after `start`, in lines of at most `WIDTH` characters.

    All lines after the first are indented by the length of `start`.
    """
    lines = [start]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH:
            lines.append(" " * len(start))
        lines[-1] += f" {word}"
    return "\n".join(lines)
