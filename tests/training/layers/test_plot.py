"""The layer norms are plotted at the end of every training, even if it fails."""

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from matplotlib import image

from stemsplit.training.layers import norms as layer_norms
from stemsplit.training.layers.norms import LayerNorms
from stemsplit.training.layers.plot import MAX_LEGEND, PANELS, draw, layers_figure
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


class Failing(L.Callback):
    def on_train_batch_end(self, *args: Any) -> None:
        raise KeyError("planted")


def test_failed_training_is_plotted(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path
) -> None:
    with pytest.raises(KeyError, match="planted"):
        trainer(LayerNorms(str(tmp_path)), Failing()).fit(module, songs(2))
    picture = image.imread(tmp_path / "layers.png")
    assert picture[..., :3].std() > 0.05


def test_plotting_error_does_not_hide_training_error(
    module: SeparationModule,
    songs: Any,
    trainer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(*args: Any) -> None:
        raise ValueError("cannot be log-scaled")

    monkeypatch.setattr(layer_norms, "draw", failing)
    with pytest.raises(KeyError, match="planted"):
        trainer(LayerNorms(str(tmp_path)), Failing()).fit(module, songs(2))
    assert "layers.png could not be drawn (ValueError: cannot be log-scaled)" in caplog.text


@pytest.mark.parametrize("value", [0.0, math.inf])
def test_zero_and_infinity_can_be_plotted(value: float, tmp_path: Path) -> None:
    history = {quantity: {"norm": [(0, value)]} for quantity in PANELS}
    draw(history, {"norm": (0, "activation/in")}, tmp_path / "layers.png")
    assert image.imread(tmp_path / "layers.png")[..., :3].std() > 0.02


@pytest.fixture
def figure() -> Any:
    """A plot of many layers, with values that a logarithmic axis cannot show."""
    values = [1.0, 0.0, math.nan, math.inf, 2.0]
    history = {
        quantity: {f"layer{number}": list(enumerate(values)) for number in range(100)}
        for quantity in PANELS
    }
    figure = layers_figure(history, {"layer3": (2, "gradient")})
    figure.draw_without_rendering()
    return figure


def test_each_quantity_has_a_panel_with_a_line_per_layer(figure: Any) -> None:
    assert [axis.get_title() for axis in figure.axes] == list(PANELS.values())
    for axis in figure.axes:
        marked = axis.get_title() == PANELS["gradient"]
        assert len(axis.lines) == 100 + marked
        assert axis.get_yscale() == "log"
        assert axis.get_yticklabels()
        for line in axis.lines[:100]:
            assert line.get_ydata() == pytest.approx([1, *[math.nan] * 3, 2], nan_ok=True)


def test_legend_fits_the_figure(figure: Any) -> None:
    (legend,) = figure.legends
    assert 10 <= len(legend.get_texts()) <= MAX_LEGEND
    assert legend.get_window_extent().height < figure.bbox.height
