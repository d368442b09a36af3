"""Which trials a ranking compares, and by which figures."""

from pathlib import Path

import pytest
import torch
from commands import start

from stemsplit.errors import InputError
from stemsplit.sweeps.ranking import monitored_in
from stemsplit.sweeps.study import create_study


def test_figure_of_the_best_checkpoint_is_used(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,sdr\n3,0,1.0\n7,0,3.0\n11,1,2.0\n")
    for steps, figure in ((4, 1.0), (8, 3.0), (12, 2.0)):
        torch.save({"global_step": steps}, tmp_path / "best.ckpt")
        assert monitored_in(tmp_path, "sdr") == figure
    with pytest.raises(InputError, match="no gain for best"):
        monitored_in(tmp_path, "gain")


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nowhere"], "no study.journal"), (["empty", "--trials", "2"], "at least 3")],
)
def test_ranking_needs_finished_trials(place: Path, words: list[str], says: str) -> None:
    (place / "empty").mkdir(exist_ok=True)
    create_study(place / "empty")
    process = start(place, "report", "ranking", *words)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert says in errors
