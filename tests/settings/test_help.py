"""The help texts are correct, and printed without slow imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from stemsplit import configuration
from stemsplit.settings import help as usage

CONFIGURED = ["train", "evaluate", "doctor"]
PARSED = ["separate", "app", "combine", "export", "models", "report", "data", "workspace"]
COMMANDS = [*CONFIGURED, "demo", *PARSED]
HELP_WITHOUT_TORCH = """
import runpy, sys
sys.argv = ["command", *{words!r}]
try:
    runpy.run_module("stemsplit.{command}", run_name="__main__", alter_sys=True)
except SystemExit as end:
    assert not end.code, end.code
slow = {{"torch", "lightning", "hydra", "matplotlib", "librosa"}} & set(sys.modules)
assert not slow, slow
"""


@pytest.mark.parametrize("words", [["--help"], ["epochs=3", "-h"]])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_slow(command: str, words: list[str]) -> None:
    if command not in CONFIGURED and words != ["--help"]:
        words = ["-h"]
    program = HELP_WITHOUT_TORCH.format(command=command, words=words)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert re.search(rf"\bstemsplit {command}\b", ended.stdout)
    assert "python -m stemsplit" not in ended.stdout


def test_help_succeeds_if_its_output_is_closed() -> None:
    program = HELP_WITHOUT_TORCH.format(command="train", words=["--help"])
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()  # as `| head -0` does
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("command", sorted(usage.TEXTS))
def test_help_fits_eighty_columns(command: str) -> None:
    assert max(map(len, usage.help_text(command).splitlines())) <= 80


@pytest.mark.parametrize("command", CONFIGURED)
def test_help_names_existing_settings_and_options(command: str) -> None:
    configuration.register_resolvers()
    with initialize_config_dir(config_dir=usage.CONF):
        config = compose(command)
    settings = re.findall(r"(?:^| )([a-z][a-z_.]*)=", usage.TEXTS[command], re.MULTILINE)
    assert settings
    for setting in settings:
        if setting in {"experiments", "sweep", "hydra.run.dir"} | set(usage.defaults_of(command)):
            continue
        holder, _, name = setting.rpartition(".")
        assert name in (OmegaConf.select(config, holder) if holder else config), setting
    for group, option in usage.defaults_of(command).items():
        assert option is None or (Path(usage.CONF) / group / f"{option}.yaml").is_file()
        assert f"  {group}=" in usage.help_text(command)


def test_interrupt_during_imports_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    usage.shown_in_one_line(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == "interrupted\n"
    usage.shown_in_one_line(ValueError, ValueError("no number"), None)
    assert "ValueError: no number" in capsys.readouterr().err
