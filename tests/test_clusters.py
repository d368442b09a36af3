"""Sweeps, a distributed training and folders of songs on SLURM, on Ray and with torchrun.

`slurm_cluster.py` starts SLURM, and Ray starts two node processes, all on this machine.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import slurm_cluster
from commands import TINY, epochs
from optuna.trial import TrialState
from slurm_cluster import output_of
from tiny_separator import checkpoint_for, files_in, song_at

from stemsplit.sweeps.study import open_study

pytestmark = pytest.mark.slow
CLUSTERS = Path(__file__).resolve().parent.parent / "docs" / "clusters.md"
SECONDS = 600  # far more than any command needs
SONGS = "abcdef"

Environment = dict[str, str]


def require_launcher(name: str) -> None:
    if importlib.util.find_spec(f"hydra_plugins.hydra_{name}_launcher") is None:
        pytest.skip("needs the launchers of clusters: pip install --editable '.[cluster]'")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Environment]:
    if missing := slurm_cluster.missing():
        pytest.skip(f"needs {', '.join(missing)}: apt-get install slurm-wlm")
    with slurm_cluster.slurm() as environment:
        yield environment


@pytest.fixture(scope="module")
def ray_address() -> Iterator[str]:
    cluster_utils = pytest.importorskip(
        "ray.cluster_utils", reason="needs Ray: pip install --editable '.[cluster]'"
    )
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


class Command:
    """A running command. Its output goes to a file, which a surviving child may keep open."""

    def __init__(self, place: Path, environment: Environment, *words: str) -> None:
        common = {"STEMSPLIT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
        self.log = place / f"{time.monotonic_ns()}.log"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                words, cwd=place, env=os.environ | common | environment, stdout=file, stderr=file
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def ended(self) -> int:
        return self.process.wait(SECONDS)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not reached():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)


def python(module: str, *words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *words)


def has_an_epoch(trial: Path) -> bool:
    return (trial / "metrics.csv").is_file() and bool(epochs(trial))


class Sweep:
    """A sweep of three trials. The third learning rate is too small, so that trial is pruned."""

    def __init__(
        self, place: Path, corpus: list[str], environment: Environment, *launcher: str
    ) -> None:
        name = launcher[0].rpartition("=")[2]
        self.folder = place / "runs/sweeps" / name
        self.place, self.environment = place, environment
        self.command = [
            *("-m", "+sweep=lr_decay", "model=mlp", f"sweep.name={name}", "epochs=6"),
            *("optimizer.lr=1e-3,1e-2,1e-9", "scheduler.factor=0.5", "optimizer.weight_decay=1e-5"),
            *("callbacks.trial.pruner=halving", *corpus, *TINY, *launcher),
        ]

    def start(self, jobs: int) -> Command:
        words = python("stemsplit.train", *self.command, f"hydra.sweeper.jobs={jobs}")
        return Command(self.place, self.environment, *words)

    def start_and_kill(self) -> None:
        """Kill the sweep while its first two trials run at the same time."""
        sweep = self.start(jobs=2)
        sweep.wait_until(lambda: all(has_an_epoch(self.folder / trial) for trial in "01"))
        sweep.process.send_signal(signal.SIGKILL)
        sweep.ended()

    def resume_and_check(self) -> None:
        """Resume with one trial at a time, so that the pruner can compare them."""
        assert not list(self.folder.glob("*/result.json"))
        sweep = self.start(jobs=1)
        assert sweep.ended() == 0, sweep.output()
        states = [trial.state for trial in open_study(self.folder).trials]
        assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED]
        for trial in "01":
            assert epochs(self.folder / trial) == list("012345")
            assert (self.folder / trial / "result.json").is_file()
        assert epochs(self.folder / "2") == list("01")
        assert "best: trial 1" in sweep.output()


def test_sweep_on_slurm_is_killed_resumed_and_pruned(
    place: Path, corpus: list[str], slurm: Environment
) -> None:
    require_launcher("submitit")
    sweep = Sweep(place, corpus, slurm, "hydra/launcher=submitit_slurm")
    sweep.start_and_kill()
    # The jobs outlive the sweep, and are cancelled too.
    assert len(output_of(["squeue", "--noheader", "--array"], slurm).splitlines()) == 2
    output_of(["scancel", "--name=train"], slurm)
    while output_of(["squeue", "--noheader"], slurm):
        time.sleep(0.2)
    sweep.resume_and_check()


def test_sweep_on_ray_is_killed_resumed_and_pruned(
    place: Path, corpus: list[str], ray_address: str
) -> None:
    require_launcher("ray")
    address = f"hydra.launcher.ray.init.address={ray_address}"
    sweep = Sweep(place, corpus, {}, "hydra/launcher=ray", address)
    sweep.start_and_kill()  # Ray ends the trials as well
    sweep.resume_and_check()


def test_srun_starts_the_processes_of_a_training(
    place: Path, corpus: list[str], slurm: Environment
) -> None:
    folder = place / "distributed"
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    train = python("stemsplit.train", *corpus, *TINY, "model=mlp", "epochs=2", *processes)
    command = ["srun", "--ntasks-per-node=2", *train, f"hydra.run.dir={folder}"]
    training = Command(place, slurm, *command)
    assert training.ended() == 0, training.output()
    assert epochs(folder) == ["0", "1"]
    assert (folder / "result.json").is_file()
    assert " ".join(training.output().split()).count("on the valid songs of musdb18") == 1


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Arguments that separate six songs and a file that is no song."""
    for name in SONGS:
        song_at(tmp_path / f"music/{name}.wav", seconds=20)
    (tmp_path / "music/x.wav").write_bytes(b"no song")
    checkpoint = checkpoint_for(tmp_path / "voice.ckpt", "vocals")
    slow = ["--shifts", "8", "--batch", "1"]
    return [str(tmp_path / "music"), "--checkpoint", str(checkpoint), *slow]


def stems_of(names: str) -> list[str]:
    return [f"{name}/{stem}.wav" for name in names for stem in ("rest", "vocals")]


def moments(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in files_in(folder) if name[2] != "."}


def check_restart(command: list[str], place: Path, environment: Environment, output: Path) -> None:
    """Restart a separation with ``--skip-existing``; only the file that is no song fails."""
    before = moments(output)
    again = Command(place, environment, *command, "--skip-existing")
    assert again.ended() == 1
    assert again.output().count("x.wav: ") == 1
    after = moments(output)
    assert sorted(after) == stems_of(SONGS)
    assert before.items() <= after.items()


def test_processes_of_srun_share_songs(
    place: Path, arguments: list[str], tmp_path: Path, slurm: Environment
) -> None:
    output = tmp_path / "stems"
    separate = python("stemsplit.separate", *arguments, "--output", str(output))
    command = ["srun", "--ntasks=2", *separate]
    separation = Command(place, slurm, *command)
    separation.wait_until((output / "b/vocals.wav").is_file)
    [job] = output_of(["squeue", "--noheader", "--format=%i"], slurm).splitlines()
    lines = output_of(["scontrol", "listpids", job], slurm).splitlines()[1:]
    [second] = [line.split()[0] for line in lines if line.split()[4] == "1"]
    os.kill(int(second), signal.SIGKILL)  # it separates every second song: b, d and f
    assert separation.ended() == 128 + signal.SIGKILL
    assert set(stems_of("ace")) <= set(moments(output))
    assert "f/vocals.wav" not in moments(output)
    check_restart(command, place, slurm, output)


def test_job_array_shares_songs(
    place: Path, arguments: list[str], tmp_path: Path, slurm: Environment
) -> None:
    output = tmp_path / "stems"
    separate = python("stemsplit.separate", *arguments, "--output", str(output))
    part = "--part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
    log = "--output=array-%a.log"
    script = f"--wrap={' '.join(separate)} {part}"
    array = Command(place, slurm, "sbatch", "--wait", "--array=1-2", log, script)
    assert array.ended() == 1  # of the first task, which has a, c, e and x
    assert sorted(moments(output)) == stems_of(SONGS)
    first, second = ((place / f"array-{task}.log").read_text() for task in (1, 2))
    assert "x.wav" in first
    assert "x.wav" not in second
    for name in SONGS:
        assert (f"{name}/vocals.wav" in first) != (f"{name}/vocals.wav" in second)


def test_torchrun_restarts_after_a_killed_worker(
    place: Path, arguments: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "stems"
    torchrun = python("torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1")
    separate = ["-m", "stemsplit.separate", *arguments, "--output", str(output), "--skip-existing"]
    separation = Command(place, {}, *torchrun, *separate)
    separation.wait_until((output / "b/vocals.wav").is_file)
    before = moments(output)
    pid = separation.process.pid
    worker = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[-1]
    os.kill(int(worker), signal.SIGKILL)
    assert separation.ended() == 1
    assert "1 of 7 songs could not be separated" in separation.output()
    after = moments(output)
    assert sorted(after) == stems_of(SONGS)
    assert before.items() <= after.items()


def test_ray_script_of_the_documentation_separates_songs(
    place: Path, arguments: list[str], tmp_path: Path, ray_address: str
) -> None:
    [script] = re.findall(r"```python\n(.*?import ray.*?)```", CLUSTERS.read_text(), re.DOTALL)
    (tmp_path / "separate_on_ray.py").write_text(script)
    command = [sys.executable, str(tmp_path / "separate_on_ray.py"), arguments[0], arguments[2]]
    separation = Command(tmp_path, {"RAY_ADDRESS": ray_address}, *command)
    output = tmp_path / "stems"
    separation.wait_until(lambda: any(output.glob("*/vocals.wav")))
    worker = next(pid for pid, name in named_processes() if name.startswith("ray::Worker.separate"))
    os.kill(worker, signal.SIGKILL)
    assert separation.ended() == 1, separation.output()
    assert separation.output().count("x.wav: ") == 1
    assert sorted(moments(output)) == stems_of(SONGS)


def named_processes() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "cmdline").read_text(errors="replace")
        except FileNotFoundError:  # it has ended
            continue
