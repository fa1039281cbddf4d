import numpy as np
import pytest

from agent_market.adapters.torch import predict
from agent_market.adapters.torch.windows import PanelWindows
from agent_market.learning.samples import Samples

NETWORKS = ["mlp", "lstm", "gru", "tcn", "transformer"]


@pytest.fixture(scope="module", params=NETWORKS)
def model(request, fit_tiny):
    return fit_tiny(request.param, epochs=1)


def _scrambled(panel, cut):
    """The panel with other features after `cut`, at every pair."""
    later = panel.tensor.date > cut
    values = panel.tensor.values.copy()
    values[later] = np.random.default_rng(9).normal(size=values[later].shape) * 100
    return panel.with_values(values), ~later


def test_scrambled_later_candles_move_no_earlier_prediction(model, panel):
    other, earlier = _scrambled(panel, panel.tensor.date[200])
    before, after = predict(model, panel), predict(model, other)
    assert np.array_equal(before[earlier], after[earlier])
    assert not np.array_equal(before[~earlier], after[~earlier])


def test_the_check_above_finds_windows_that_end_a_candle_too_late(model, panel, monkeypatch):
    chunks = PanelWindows.chunks

    def late(self, first, stop, length, room=None):
        return chunks(self, first, stop, length) | {"x": self._gather(first, stop + 1, length + 1)[:, 1:]}

    monkeypatch.setattr(PanelWindows, "chunks", late)
    rows = np.flatnonzero(panel.tensor.date < panel.tensor.date[300])
    rows = Samples(panel.tensor, rows)
    other, earlier = _scrambled(rows, panel.tensor.date[200])
    before, after = predict(model, rows), predict(model, other)
    assert not np.array_equal(before[earlier[rows.rows]], after[earlier[rows.rows]])


def test_a_prediction_does_not_depend_on_the_rows_asked_for_with_it(model, panel):
    together = predict(model, panel)
    rows = [0, 3, 200, 400, 560, len(panel) - 1]
    alone = [predict(model, Samples(panel.tensor, np.array([row])))[0] for row in rows]
    np.testing.assert_allclose(alone, together[rows], atol=1e-6)
    np.testing.assert_allclose(predict(model, Samples(panel.tensor, np.array(rows))), together[rows], atol=1e-6)
    backwards = Samples(panel.tensor, panel.rows[::-1])
    np.testing.assert_allclose(predict(model, backwards), together[::-1], atol=1e-6)


def test_a_prediction_needs_no_more_than_look_back_candles(model, panel):
    lookback = model.options.lookback
    row = 390
    tensor = panel.tensor
    cut = slice(row - lookback + 1, row + 1)
    short = type(tensor)(
        np.ascontiguousarray(tensor.values[cut]), tensor.names, tensor.pair[cut], tensor.date[cut],
        np.zeros(lookback, int),
    )  # fmt: skip
    alone = predict(model, Samples(short, np.array([lookback - 1])))
    np.testing.assert_allclose(alone, predict(model, Samples(tensor, np.array([row]))), atol=1e-6)


def test_no_rows_give_no_predictions(model, panel):
    assert predict(model, Samples(panel.tensor, np.array([], int))).shape == (0,)
