"""The picture of the layers is drawn at the end of every training, however it ends."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from matplotlib import image, pyplot

from stemsplit.training.layer_norms import LayerNorms
from stemsplit.training.layer_plot import NAMED, PANELS, draw
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


class Failing(L.Callback):
    def on_train_batch_end(self, *args: Any) -> None:
        raise KeyError("planted")


def test_also_of_a_training_that_fails(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    with pytest.raises(KeyError, match="planted"):
        trainer(LayerNorms(str(tmp_path)), Failing()).fit(module, songs(2))
    picture = image.imread(tmp_path / "layers.png")
    assert picture[..., :3].std() > 0.05


@pytest.fixture
def figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of many layers, with figures that a logarithm has no place for."""
    values = [1.0, 0.0, math.nan, math.inf, 2.0]
    history = {
        quantity: {f"layer{number}": list(enumerate(values)) for number in range(100)}
        for quantity in PANELS
    }
    monkeypatch.setattr(pyplot, "close", lambda figure: None)
    draw(history, {"layer3": (2, "gradient")}, tmp_path / "layers.png")
    figure = pyplot.gcf()
    monkeypatch.undo()
    yield figure
    pyplot.close(figure)


def test_every_quantity_has_a_panel_and_every_layer_a_line(figure: Any) -> None:
    assert [axis.get_title() for axis in figure.axes] == list(PANELS.values())
    for axis in figure.axes:
        marked = axis.get_title() == PANELS["gradient"]
        assert len(axis.lines) == 100 + marked
        assert axis.get_yscale() == "log"
        assert axis.get_yticklabels()
        for line in axis.lines[:100]:
            assert line.get_ydata() == pytest.approx([1, *[math.nan] * 3, 2], nan_ok=True)


def test_a_legend_of_many_layers_can_be_read(figure: Any) -> None:
    (legend,) = figure.legends
    assert 10 <= len(legend.get_texts()) <= NAMED
    assert legend.get_window_extent().height < figure.bbox.height
