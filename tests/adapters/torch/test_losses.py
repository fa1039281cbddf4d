import numpy as np
import pytest
import torch

from agent_market.adapters.torch.losses import build_loss

RNG = np.random.default_rng(0)
N = 40
P, Y = RNG.normal(size=(2, N, 2))
W = RNG.uniform(0.5, 2, N)
GROUP = np.repeat(np.arange(8), 5)
Y[3, 0] = np.nan


def _value(options, outputs=P, y=Y, weight=W, group=GROUP):
    parts = (torch.tensor(part, dtype=torch.float64) for part in (outputs, y, weight))
    return float(build_loss(options)(*parts, torch.from_numpy(group)))


def _weighted_mean(values, y=Y):
    weight = np.where(np.isfinite(y), W[:, None], 0)
    return (np.nan_to_num(values) * weight).sum() / weight.sum()


def test_mse_and_huber_are_their_weighted_means_over_known_labels(tiny):
    error = np.abs(P - Y)
    assert _value(tiny(loss="mse")) == pytest.approx(_weighted_mean(error**2))
    huber = np.where(error < 0.7, 0.5 * error**2, 0.7 * (error - 0.35))
    assert _value(tiny(loss="huber", huber_delta=0.7)) == pytest.approx(_weighted_mean(huber))


def test_bce_is_the_log_likelihood_of_the_probability(tiny):
    up = np.where(np.isnan(Y), np.nan, Y > 0)
    probability = 1 / (1 + np.exp(-P))
    expected = _weighted_mean(-(up * np.log(probability) + (1 - up) * np.log(1 - probability)), up)
    assert _value(tiny(task="classification"), y=up) == pytest.approx(expected)


def test_quantile_is_the_pinball_loss_of_each_level(tiny):
    outputs = RNG.normal(size=(N, 6))  # two labels, three levels each
    pinball = np.zeros((N, 2))
    for label in range(2):
        for place, level in enumerate((0.2, 0.5, 0.9)):
            error = Y[:, label] - outputs[:, 3 * label + place]
            pinball[:, label] += np.where(error > 0, level * error, (level - 1) * error) / 3
    options = tiny(loss="quantile", quantiles=(0.2, 0.5, 0.9))
    assert _value(options, outputs=outputs) == pytest.approx(_weighted_mean(pinball), rel=1e-6)


def test_ic_is_one_less_the_mean_correlation_by_date(tiny):
    y = np.nan_to_num(Y)
    by_date = [
        [np.corrcoef(P[5 * g : 5 * g + 5, label], y[5 * g : 5 * g + 5, label])[0, 1] for g in range(8)]
        for label in range(2)
    ]
    assert _value(tiny(loss="ic"), y=y, weight=np.ones(N)) == pytest.approx(1 - np.mean(by_date))


def test_ic_weighs_rows_and_leaves_out_those_without_a_label(tiny):
    group = np.zeros(N, int)
    known = np.arange(N) != 3
    p, y, w = P[known, 0], Y[known, 0], W[known]
    cov = np.cov(np.stack([p, y]), aweights=w)
    expected = 1 - cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
    assert _value(tiny(loss="ic"), outputs=P[:, :1], y=Y[:, :1], group=group) == pytest.approx(expected)


def test_ic_does_not_see_scale_and_level_and_can_be_differentiated_where_all_outputs_are_equal(tiny):
    options = tiny(loss="ic")
    assert _value(options, outputs=5 * P + 3) == pytest.approx(_value(options))
    outputs = torch.zeros(N, 2, requires_grad=True)
    y, weight = torch.tensor(Y, dtype=torch.float32), torch.tensor(W, dtype=torch.float32)
    build_loss(options)(outputs, y, weight, torch.from_numpy(GROUP)).backward()
    assert outputs.grad.isfinite().all()


def test_rows_of_no_weight_have_no_say(tiny):
    weight, other = W.copy(), P.copy()
    weight[10:15], other[10:15] = 0, 1e3
    for loss in ("mse", "huber", "ic"):
        options = tiny(loss=loss)
        assert _value(options, weight=weight) == pytest.approx(_value(options, outputs=other, weight=weight))
