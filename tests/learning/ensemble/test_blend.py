import numpy as np
import pytest
from scipy.optimize import lsq_linear

from agent_market.learning.ensemble import Evidence, Options, fit_blend

RNG = np.random.default_rng(0)
CAME = RNG.normal(size=4000)
SAID = np.column_stack(
    [
        0.3 * CAME + RNG.normal(size=4000),
        0.1 * CAME + RNG.normal(size=4000),
        -0.3 * CAME + RNG.normal(size=4000),
        np.zeros(4000),
    ]
) * [1.0, 50.0, 1.0, 1.0]
IC = np.array([0.28, 0.1, -0.28, np.nan])


def _fit(method, *, said=SAID, ic=IC, clip=None):
    options = Options(members=[f"m{i}" for i in range(said.shape[1])], method=method)
    return fit_blend(Evidence(said, CAME, ic), options, clip=clip)


def test_a_mean_counts_each_member_in_deviations_of_its_own_and_leaves_out_what_never_varies():
    blend = _fit("mean")
    np.testing.assert_allclose(blend.weights, [1 / 3, 1 / 3, 1 / 3, 0])
    expected = (SAID[:, :3] / SAID[:, :3].std(axis=0)).mean(axis=1)
    np.testing.assert_allclose(blend.combine(SAID), expected)


def test_weights_are_in_proportion_to_the_coefficients_that_are_positive():
    np.testing.assert_allclose(_fit("ic_weights").weights, np.array([0.28, 0.1, 0, 0]) / 0.38)


def test_stacked_weights_are_those_of_the_bounded_least_squares_fit():
    standard = SAID[:, :3] / SAID[:, :3].std(axis=0)
    expected = lsq_linear(standard, CAME, bounds=(0, np.inf)).x
    found = _fit("stacking").weights
    np.testing.assert_allclose(found, np.append(expected, 0) / expected.sum(), atol=1e-6)
    assert found[2] == 0
    clipped = _fit("stacking", clip=0.5).weights
    assert not np.allclose(clipped, found, atol=1e-4)


def test_a_rank_is_the_share_of_known_predictions_below():
    blend = _fit("rank_mean", said=SAID[:, :2], ic=IC[:2])
    said = np.array([[SAID[:, 0].min(), SAID[:, 1].max()], [np.median(SAID[:, 0]), np.median(SAID[:, 1])]])
    np.testing.assert_allclose(blend.combine(said), [0.0, 0.0], atol=1e-12)
    far = np.array([[1e9, 1e9], [-1e9, -1e9]])
    np.testing.assert_allclose(blend.combine(far), [0.5, -0.5])


def test_diversity_prefers_a_weak_member_that_disagrees_to_a_strong_one_that_repeats():
    signal, noise = RNG.normal(size=(2, 4000))
    strong = signal + noise
    twin = strong + 0.05 * RNG.normal(size=4000)
    other = RNG.normal(size=4000)
    blend = _fit("diverse", said=np.column_stack([strong, twin, other]), ic=np.array([0.10, 0.08, 0.06]))
    assert blend.weights.tolist() == [0.5, 0, 0.5]
    assert blend.choices == 3 + 2 + 1
    # By hand: 0.10 alone; with its twin 0.18 / 2; with the other 0.16 / sqrt(2) = 0.113; all three 0.24 / sqrt(5).


@pytest.mark.parametrize("method", ["ic_weights", "stacking", "diverse"])
def test_where_no_member_gives_reason_all_that_vary_weigh_the_same(method):
    said = np.column_stack([-CAME + RNG.normal(size=4000), -CAME + RNG.normal(size=4000), np.ones(4000)])
    blend = _fit(method, said=said, ic=np.array([-0.5, -0.5, np.nan]))
    assert blend.fell_back
    assert blend.weights.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("method", ["mean", "rank_mean", "ic_weights", "stacking", "diverse"])
def test_what_a_row_gets_depends_on_that_row_alone(method):
    blend = _fit(method)
    whole = blend.combine(SAID)
    for rows in ([5], [7, 3], np.arange(0, 4000, 13)):
        np.testing.assert_array_equal(blend.combine(SAID[rows]), whole[rows])


def test_a_member_is_named_once():
    with pytest.raises(ValueError, match="name each model once"):
        Options(members=["a", "b", "a"])
