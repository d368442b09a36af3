"""Run commands in separate processes without importing torch and Lightning each time.

These imports take more CPU time than most commands. A template process imports the modules once
and forks for each command. Like a new interpreter, the fork has its own memory, working directory
and environment, and can be killed.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

from filelock import FileLock

COMMANDS = ("train", "evaluate", "separate", "report", "doctor")


class Command:
    """A running command with the methods of `subprocess.Popen` that the tests use."""

    def __init__(
        self, module: str, arguments: list[str], folder: Path, environment: dict[str, str]
    ) -> None:
        output, errors, status = os.pipe(), os.pipe(), os.pipe()
        request = {
            "module": f"stemsplit.{module}",
            "arguments": arguments,
            "folder": str(folder),
            "environment": os.environ | environment,
        }
        with connected() as channel:
            ends = [output[1], errors[1], status[1]]
            socket.send_fds(channel, [b"."], ends)
            channel.sendall(json.dumps(request).encode())
        for end in ends:
            os.close(end)
        self._status = os.fdopen(status[0])
        self.pid = int(self._status.readline())
        self.returncode: int | None = None
        self._texts = {"output": "", "errors": ""}
        self._readers = [
            threading.Thread(target=self._read, args=(name, end), daemon=True)
            for name, end in (("output", output[0]), ("errors", errors[0]))
        ]
        for reader in self._readers:
            reader.start()
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()

    def _read(self, name: str, end: int) -> None:
        with os.fdopen(end, errors="replace") as file:
            for line in file:
                self._texts[name] += line

    @property
    def errors(self) -> str:
        """The lines on stderr so far."""
        return self._texts["errors"]

    def _wait(self) -> None:
        with self._status:
            self.returncode = int(self._status.readline())

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        for thread in (self._waiter, *self._readers):
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self._texts["output"], self._texts["errors"]


def connected() -> socket.socket:
    """Connect to the template process, which all workers of a test run share.

    Starts the process if it is not running; the worker that started it may have ended.
    """
    name = f"stemsplit-tests-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    with FileLock(Path(tempfile.gettempdir()) / f"{name}.lock"):
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(f"\0{name}")  # an abstract address of Linux, without a file
        except ConnectionRefusedError:
            start_template(name)
            channel.connect(f"\0{name}")
        return channel


def start_template(name: str) -> None:
    """Start the template process. It ends when its input closes."""
    # Imports must not initialise CUDA, because it cannot be used after a fork.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    process = subprocess.Popen(
        [sys.executable, __file__, name],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    atexit.register(process.communicate)  # closes its input


def serve(name: str) -> None:
    # torchmetrics imports onnxruntime, after which the forks would hang when they end.
    stand_in = module_from_spec(ModuleSpec("onnxruntime", loader=None))
    vars(stand_in)["InferenceSession"] = None
    sys.modules["onnxruntime"] = stand_in
    for command in COMMANDS:
        importlib.import_module(f"stemsplit.{command}")
    del sys.modules["onnxruntime"]
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        print("ready", flush=True)
        while True:
            readable, _, _ = select.select([0, server], [], [])
            reap()
            if 0 in readable:  # the tests have ended
                return
            channel, _ = server.accept()
            with channel, channel.makefile("rb") as stream:
                _, ends, _, _ = socket.recv_fds(channel, 1, 3)
                request = json.loads(stream.read())
            if os.fork() == 0:
                break
            for end in ends:
                os.close(end)
    output, errors, status = ends
    child = os.fork()
    if child == 0:
        for end, standard in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
            os.dup2(end, standard)
            os.close(end)
        os.close(status)
        execute(**request)
        return
    for end in (output, errors, 0, 1, 2):
        os.close(end)
    os.write(status, f"{child}\n".encode())
    _, ended = os.waitpid(child, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def reap() -> None:
    """Reap the processes that have waited for commands and ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def execute(module: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Do what ``python -m MODULE`` does in a new process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder
    sys.argv[1:] = arguments
    del sys.modules[module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
