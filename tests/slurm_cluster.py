"""A SLURM cluster of one node on this machine: munged, slurmctld and slurmd in a temporary folder.

The daemons need neither systemd nor cgroups, and run as the user of the tests.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"  # Debian's daemons are in /usr/sbin
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun")
CORES = 2  # that SLURM may allocate, on any machine

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores}
PartitionName=tests Nodes=ALL Default=YES
"""


def missing() -> list[str]:
    """The programs of SLURM that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """Start a cluster; yield the variables that its commands, such as srun, need."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, because paths of sockets are limited
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": PATH}
    host = socket.gethostname().partition(".")[0]
    control_port, node_port = free_ports(2)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(
            folder=folder,
            host=host,
            user=getpass.getuser(),
            cores=CORES,
            control_port=control_port,
            node_port=node_port,
        )
    )
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    munge = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munge += [f"--socket={folder}/munge.socket", f"--pid-file={folder}/munge.pid"]
    munge += [f"--seed-file={folder}/munge.seed", f"--log-file={folder}/munge.log"]
    with ExitStack() as daemons:
        daemons.callback(shutil.rmtree, folder, ignore_errors=True)
        for command in (munge, ["slurmctld", "-D"], ["slurmd", "-D", "-N", host]):
            daemons.enter_context(daemon(command, environment, folder))
        wait_until_idle(environment, folder)
        yield environment


@contextmanager
def daemon(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as output:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    """Wait until the node accepts jobs."""
    deadline = time.monotonic() + 60
    while (state := output_of(["sinfo", "--noheader", "--format=%t"], environment)) != "idle":
        if time.monotonic() > deadline:
            logs = [path.read_text(errors="replace")[-2000:] for path in folder.glob("slurm*.log")]
            raise RuntimeError("\n".join([f"the node is {state or 'not there'}", *logs]))
        time.sleep(0.2)


def output_of(command: list[str], environment: dict[str, str]) -> str:
    ended = subprocess.run(
        command, env=os.environ | environment, text=True, capture_output=True, check=False
    )
    return ended.stdout.strip()


def free_ports(count: int) -> list[int]:
    with ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]
