"""The part of the work that a process takes, as SLURM's variables define it."""

import pytest

from stemsplit.errors import InputError
from stemsplit.processes import Part, own_part, share


def test_processes_of_srun_take_every_nth_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    parts = []
    for rank in range(3):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        parts.append(own_part().of("abcdefg"))
    assert parts == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


def test_batch_script_takes_all_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "3")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert own_part() == Part(0, 1)
    assert share("abc") == ["a", "b", "c"]


def test_srun_cannot_start_processes_that_must_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(InputError, match=r"srun started 3 processes .* --nproc-per-node=3"):
        share("abc")
