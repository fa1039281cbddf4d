"""Keys: equal for the same factor in other words, and never equal for factors whose values differ."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_market.errors import FactorError
from agent_market.factors import canonical, compute_factors, key, rank_key, shape_key
from agent_market.factors.expression import parse
from agent_market.factors.files import read_expressions_file
from agent_market.factors.identity import normal_form
from agent_market.factors.tree import Number, to_text
from panels import random_candles


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return random_candles(4, 80, seed=5)


def values(candles: pd.DataFrame, *texts: str) -> np.ndarray:
    factors = {f"f{i}": text for i, text in enumerate(texts)}
    return compute_factors(candles, factors, timeframe="1h", check=False)[list(factors)].to_numpy(float)


# Each group says one thing in several ways.
SAME = [
    ["close / open - 1", "(close - open) / open", "-(open - close) / open", "-1 + close / open", "-(1 - close / open)"],
    ["returns", "close / delay(close, 1) - 1", "delta(close, 1) / delay(close, 1)", "pct_change(close, 1)"],
    ["log_ret(close, 3)", "log(close / Ref($close, 3))", "delta(log(close), 3)", "log(close) - log(delay(close, 3))"],
    ["delay(delay(close, 1), 2)", "delay(close, 3)", "Ref(Ref(Ref($close, 1), 1), 1)"],
    ["delay(close / open, 2)", "delay(close, 2) / delay(open, 2)"],
    ["delay(ts_mean(returns, 5), 2)", "ts_mean(delay(returns, 2), 5)"],
    ["abs(open - close)", "abs(close - open)", "|open - close|", "abs(abs(close - open))"],
    ["sign(returns) * abs(returns)", "returns", "abs(returns) * sign(returns)"],
    ["sign(returns) * abs(returns) + 1", "close / delay(close, 1)"],
    ["(close - low) / (high - low)", "(close - low) / (high - low + 1e-12)", "(low - close) / (low - high)"],
    ["close > open", "open < close", "!(close <= open)", "not(open >= close)"],
    ["ts_zscore(close, 9)", "(close - ts_mean(close, 9)) / ts_std(close, 9)", "ts_zscore(2 * close + 3, 9)"],
    ["ts_sum(volume, 5) / 5", "ts_mean(volume, 5)", "0.5 * ts_mean(2 * volume, 5)"],
    ["ts_var(close, 5)", "ts_std(close, 5) ^ 2", "ts_std(close, 5) * ts_std(-close, 5)"],
    ["ts_max(-close, 5)", "-ts_min(close, 5)"],
    ["ts_rank(3 * close - 2, 5)", "ts_rank(close, 5)"],
    ["ts_corr(close, -volume, 5)", "-ts_corr(volume, close, 5)", "-ts_corr(2 * close + 1, volume, 5)"],
    ["ts_beta(3 * close, volume, 5)", "3 * ts_beta(close, volume + 1, 5)"],
    ["slope(2 * close, 5) / close", "2 * slope(close + 1, 5) / close"],
    ["close * open * 2", "2 * open * close", "(close + close) * open", "close * open + open * close"],
    ["close ^ 2 / close", "close", "open * close / open"],
    ["(close - open) ^ 2", "(open - close) * (open - close)"],
    ["maximum(close, open)", "max(open, close)", "Greater($open, $close)"],
    ["tanh(-returns)", "-tanh(returns)"],
    ["where(close > open, high, high)", "high"],
    ["cs_rank(cs_rank(close))", "cs_rank(close)", "cs_rank(5 * close)"],
    ["cs_demean(close + open)", "cs_demean(open + close + 3)"],
    ["sqrt(close * open)", "(open * close) ^ 0.5"],
    ["ema(-returns, 4)", "-ema(returns, 4)", "1 - ema(close / delay(close, 1), 4)"],
]
FIRST = [group[0] for group in SAME]


@pytest.mark.parametrize("group", SAME, ids=FIRST)
def test_the_same_factor_in_other_words_has_the_same_key_and_the_same_values(candles, group):
    assert len({key(text) for text in group}) == 1, [to_text(normal_form(parse(text))) for text in group]
    computed = values(candles, *group)
    known = ~np.isnan(computed).any(axis=1)
    assert known.mean() > 0.5
    scale = np.abs(computed[known]).max()
    for column in computed[known].T[1:]:
        np.testing.assert_allclose(column, computed[known][:, 0], rtol=2e-5, atol=2e-6 * scale)


def test_factors_whose_values_differ_have_different_keys(candles):
    keys = [key(text) for text in FIRST]
    computed = values(candles, *FIRST)
    for i, j in itertools.combinations(range(len(FIRST)), 2):
        a, b = computed[:, i], computed[:, j]
        known = ~np.isnan(a) & ~np.isnan(b)
        if not np.allclose(a[known], b[known], rtol=1e-4):
            assert keys[i] != keys[j], (FIRST[i], FIRST[j])


@pytest.mark.parametrize("group", SAME, ids=FIRST)
def test_a_key_is_that_of_the_canonical_text_too(group):
    for text in group:
        assert key(canonical(text)) == key(text)
        assert rank_key(canonical(text)) == rank_key(text)
        assert shape_key(canonical(text)) == shape_key(text)


CONSTANT = [
    "close / close",
    "close - close",
    "sign(abs(returns))",
    "sign(close)",
    "close > close",
    "ts_corr(close, 2 * close, 5)",
]
CONSTANT += ["where(close > open, 1, 1)", "ts_std(close - close, 5)", "sign(ts_std(close, 5))", "close / close * 3 - 1"]


@pytest.mark.parametrize("text", [text for text in CONSTANT if text != "close > close"])
def test_a_constant_result_is_found(text):
    assert isinstance(normal_form(parse(text)), Number)


@pytest.mark.parametrize(
    "text", ["sign(volume)", "sign(returns)", "close / (open + 1)", "ts_count(volume > 0, 5)", "returns"]
)
def test_what_is_not_constant_is_not_called_so(text):
    assert not isinstance(normal_form(parse(text)), Number)


# ---- rank and shape


@pytest.mark.parametrize(
    "group",
    [
        [
            "returns",
            "-returns",
            "tanh(returns)",
            "5 - 3 * returns",
            "slog1p(2 * returns)",
            "exp(returns)",
            "returns ^ 3",
        ],
        ["close / open", "open / close", "close / open - 1", "log(open) - log(close)", "sqrt(close / open)"],
        ["ts_std(returns, 9)", "ts_var(returns, 9)", "log(ts_std(returns, 9))", "sigmoid(ts_std(-returns, 9))"],
    ],
)
def test_monotone_transforms_have_the_same_rank_key_and_the_same_rank_correlation(candles, group):
    assert len({rank_key(text) for text in group}) == 1
    table = pd.DataFrame(values(candles, *group)).dropna()
    correlation = table.rank().corr().abs().to_numpy()
    np.testing.assert_allclose(correlation, 1.0, atol=1e-3)  # float32 makes a few ties


@pytest.mark.parametrize(
    "text", ["returns ^ 2", "abs(returns)", "cs_rank(returns)", "1 / returns", "sin(returns)", "returns * volume"]
)
def test_what_changes_the_order_changes_the_rank_key(text):
    assert rank_key(text) != rank_key("returns")


def test_shape_keys_forget_windows_and_constants_and_nothing_else():
    assert shape_key("close / ts_mean(close, 5) - 1") == shape_key("2 * close / ts_mean(close, 20)")
    assert shape_key("close / ts_mean(close, 5)") != shape_key("close / ts_mean(open, 5)")
    assert shape_key("close / ts_mean(close, 5)") != shape_key("close / ts_max(close, 5)")


def test_the_sets_that_exist_collapse_as_counted_by_hand(shared_dir):
    def counts(texts):
        return [len({function(text) for text in texts}) for function in (key, rank_key)]

    lines = (shared_dir / "reference" / "alpha158.txt").read_text().splitlines()
    alpha158 = dict(line.split("\t") for line in lines)
    assert counts(alpha158.values()) == [158, 157]  # KMID is close / open - 1, OPEN0 is open / close
    assert rank_key(alpha158["KMID"]) == rank_key(alpha158["OPEN0"])
    folder = shared_dir / "market" / "older_tool"
    shipped = read_expressions_file(folder / "freqai_expressions.json").factors
    assert len(shipped) == 9
    assert counts(shipped.values())[0] == 8
    assert key(shipped["composite_2"]) == key(shipped["momentum_1"])  # sign(x) * abs(x) is x


# ---- any expression

_FIELDS = st.sampled_from(["open", "high", "low", "close", "volume", "returns"])
_NUMBERS = st.sampled_from(["2", "0.5", "3", "1"])
_UNARY = st.sampled_from(
    [
        *("-({})", "abs({})", "sign({})", "tanh({})", "log({})", "ts_mean({}, 3)", "ts_std({}, 4)", "ts_sum({}, 3)"),
        *("delay({}, 1)", "delta({}, 2)", "pct_change({}, 1)", "ts_max({}, 3)", "ts_rank({}, 4)", "ema({}, 2)"),
        "cs_rank({})",
    ]
)
_TEXTS = st.recursive(
    _FIELDS,
    lambda inner: st.one_of(
        st.tuples(_UNARY, inner).map(lambda t: t[0].format(t[1])),
        st.tuples(inner, st.sampled_from("+-*/"), st.one_of(inner, _NUMBERS)).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
    ),
    max_leaves=5,
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(_TEXTS)
def test_the_normal_form_is_its_own_normal_form(text):
    try:
        tree = parse(text)
    except FactorError:
        return
    once = normal_form(tree)
    assert to_text(normal_form(once)) == to_text(once)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(_TEXTS)
def test_the_normal_form_has_the_values_of_the_expression_where_both_are_defined(text):
    candles = random_candles(3, 40, seed=8)
    try:
        tree = parse(text)
        form = normal_form(tree)
        if isinstance(form, Number):
            return
        written, normal = values(candles, text, to_text(form)).T
    except FactorError:
        return  # the normal form of a long expression can be over the limits of the language
    known = ~np.isnan(written) & ~np.isnan(normal)
    size = np.nanmax(np.abs(written), initial=0)
    close = np.isclose(written[known], normal[known], rtol=1e-3, atol=1e-4 * size)
    # A rank, sign or comparison of what is 0 but for rounding can go either way.
    assert close.mean() > 0.95 if known.any() else True


def test_keys_of_extreme_expressions_end_soon_and_without_overflow():
    nested = "pct_change(" * 10 + "close" + ", 1)" * 10
    for text in (
        "(1e300 * close) ^ 4",
        "close / (close - close)",
        nested,
        "1e-300 * close * 1e-300",
        "(close / 1e300) ^ -4",
    ):
        assert len(key(text)) == len(rank_key(text)) == len(shape_key(text)) == 32
