"""Other tools' languages: what is read as what, which conflicts are told, and what cannot be written."""

import pytest

from agent_market.errors import FactorError
from agent_market.factors import ExpressionOptions, canonical, look_back
from agent_market.factors.dialects import UNSUPPORTED
from agent_market.factors.expression import parse, read
from agent_market.factors.macros import FEATURES, MACROS, feature
from agent_market.factors.operators import ALIASES, OPERATORS

QLIB = {
    "Abs($close)": "abs(close)",
    "Sign($close - $open)": "sign(close - open)",
    "Log($close)": "log(close)",
    "Power($close, 2)": "pow(close, 2)",
    "Add($close, $open)": "close + open",
    "Sub($close, $open)": "close - open",
    "Mul($close, $open)": "close * open",
    "Div($close, $open)": "close / open",
    "Greater($close, $open)": "maximum(close, open)",
    "Less($close, $open)": "minimum(close, open)",
    "And($close > $open, $high > $low)": "close > open & high > low",
    "Or($close > $open, $high > $low)": "close > open | high > low",
    "Not($close > $open)": "!(close > open)",
    "Gt($close, $open)": "close > open",
    "Ge($close, $open)": "close >= open",
    "Lt($close, $open)": "close < open",
    "Le($close, $open)": "close <= open",
    "Eq($close, $open)": "close == open",
    "Ne($close, $open)": "close != open",
    "If($close > $open, $close, $open)": "where(close > open, close, open)",
    "Ref($close, 3)": "delay(close, 3)",
    "Ref($close, 0)": "close",
    "Mean($close, 5)": "ts_mean(close, 5)",
    "Sum($volume, 5)": "ts_sum(volume, 5)",
    "Std($close, 5)": "ts_std(close, 5)",
    "Var($close, 5)": "ts_var(close, 5)",
    "Skew($close, 5)": "ts_skew(close, 5)",
    "Kurt($close, 5)": "ts_kurt(close, 5)",
    "Max($high, 5)": "ts_max(high, 5)",
    "Min($low, 5)": "ts_min(low, 5)",
    "IdxMax($high, 5)": "ts_argmax(high, 5)",
    "IdxMin($low, 5)": "ts_argmin(low, 5)",
    "Med($close, 5)": "ts_median(close, 5)",
    "Mad($close, 5)": "ts_mad(close, 5)",
    "Quantile($close, 5, 0.8)": "ts_quantile(close, 5, 0.8)",
    "Rank($close, 5)": "ts_rank(close, 5)",
    "Count($close, 5)": "ts_known(close, 5)",
    "Delta($close, 5)": "delta(close, 5)",
    "EMA($close, 5)": "ema(close, 5)",
    "WMA($close, 5)": "decay_linear(close, 5)",
    "Slope($close, 5)": "slope(close, 5)",
    "Rsquare($close, 5)": "rsquare(close, 5)",
    "Resi($close, 5)": "resi(close, 5)",
    "Corr($close, $volume, 5)": "ts_corr(close, volume, 5)",
    "Cov($close, $volume, 5)": "ts_cov(close, volume, 5)",
    "$vwap/$close": "vwap / close",
    "-1*$close": "-1 * close",
    "$change": "pct_change(close, 1)",
}
QLIB_REFUSED = ["ChangeInstrument('SH000300', $close)", "Mask($close, 'SH000300')", "TResample($close, 'W', 'last')"]
QLIB_REFUSED += ["P($$roewa_q)", "PRef($$roewa_q, 201902)", "$$roewa_q"]

WORLDQUANT = {
    "-1 * correlation(open, volume, 10)": "-1 * ts_corr(open, volume, 10)",
    "rank(Ts_ArgMax(SignedPower(((returns < 0) ? stddev(returns, 20) : close), 2.), 5)) - 0.5": (
        "cs_rank(ts_argmax(signedpower(where(pct_change(close, 1) < 0, ts_std(pct_change(close, 1), 20), close), 2), 5"
        ")) - 0.5"
    ),
    "scale(close, 2)": "2 * cs_scale(close)",
    "Ts_Rank(decay_linear(correlation(vwap, volume, 8.93345), 3.9), 12.4158)": (
        "ts_rank(decay_linear(ts_corr(volume, vwap, 8), 3), 12)"
    ),
    "(adv20 < volume) ? ts_max(close, 5.5) : min(close, 7)": (
        "where(ts_mean(volume, 20) < volume, ts_max(close, 5), ts_min(close, 7))"
    ),
    "((high * low)^0.5) - vwap": "pow(high * low, 0.5) - vwap",
    "(close - open) / ((high - low) + .001)": "(close - open) / (high - low + 0.001)",
    "(close > open || high > low) && volume > 0": "(close > open | high > low) & volume > 0",
    "covariance(rank(close), delay(returns, 6), 5)": "ts_cov(cs_rank(close), delay(pct_change(close, 1), 6), 5)",
    "product(close, 3) + sum(returns, 250)": "ts_product(close, 3) + ts_sum(pct_change(close, 1), 250)",
}

ALPHAGEN = {
    "Abs(Sub(EMA(open,30d),30.))": "abs(ema(open, 30) - 30)",
    "Max(WMA(open,10d),20d)": "ts_max(decay_linear(open, 10), 20)",
    "Cov(Ref(volume,10d),open,50d)": "ts_cov(delay(volume, 10), open, 50)",
    "Mul(TsMean($close,20d),-1.0)": "-1 * ts_mean(close, 20)",
    "Div(TsDelta($high,5d),TsMinMaxDiff($close,10d))": "delta(high, 5) / (ts_max(close, 10) - ts_min(close, 10))",
    "TsIr($close,10d)": "ts_mean(close, 10) / ts_std(close, 10)",
    "SLog1p(CSRank($volume))": "slog1p(cs_rank(volume))",
}

ALPHAAGENT = {
    "ABS($close - $open) / (TS_STD($close, 10) + 1e-8)": "abs(close - open) / (ts_std(close, 10) + 1e-08)",
    "RANK(DELTA($close,5)) * -1": "-1 * cs_rank(delta(close, 5))",
    "($close>$open)?(TS_MEAN($volume,5)):(TS_MEAN($volume,20))": (
        "where(close > open, ts_mean(volume, 5), ts_mean(volume, 20))"
    ),
    "REGBETA($close,$volume,20)": "ts_beta(close, volume, 20)",
    "REGRESI($close,$volume,20)": "ts_resid(close, volume, 20)",
    "COUNT($close>$open,10)/10": "ts_count(close > open, 10) / 10",
    "SMA($close,14,1)/$close": "ema(close, 27) / close",
    "MACD($close,12,26)/$close": "(ema(close, 12) - ema(close, 26)) / close",
    "ADD(SUBTRACT($close,$open),MULTIPLY($high,INV($low)))": "1 / low * high + (close - open)",
    "PERCENTILE($close, 0.5, 10)": "ts_quantile(close, 10, 0.5)",
    "SUMIF($volume, 10, $close > $open)": "ts_sum(where(close > open, volume, 0), 10)",
    "TS_PCTCHANGE($close,1)": "pct_change(close, 1)",
    "MEAN($close) + ZSCORE($volume)": "cs_mean(close) + cs_zscore(volume)",
}

OLDER_TOOL = {
    "roll_std(feat_bb_width_10, 10)": "ts_std(3.794733192202055 * ts_std(close, 10) / ts_mean(close, 10), 10)",
    "shift(abs(feat_roc_5), 2)": "delay(abs(100 * pct_change(close, 5)), 2)",
    "rolling_max(tanh(returns), 5) - rolling_min(sign(returns), 5)": (
        "ts_max(tanh(pct_change(close, 1)), 5) - ts_min(sign(pct_change(close, 1)), 5)"
    ),
    "clip(pct_change(close, 3), -1, 1)": "clip(pct_change(close, 3), -1, 1)",
    "log1p(volume)": "log(volume + 1)",
    "z(close)": "ts_zscore(close, 200)",
    "ts_z(close, 20)": "ts_zscore(close, 20)",
    "feat_momentum_24 / (|feat_roc_5| + 1e-06)": "delta(close, 24) / (abs(100 * pct_change(close, 5)) + 1e-06)",
    "ifelse(close > open, ema(close, 5), roll_mean(close, 5))": "where(close > open, ema(close, 5), ts_mean(close, 5))",
}

ALL = QLIB | WORLDQUANT | ALPHAGEN | ALPHAAGENT | OLDER_TOOL


@pytest.mark.parametrize("text", ALL)
def test_a_text_of_another_tool_is_read_as_the_native_one(text):
    assert canonical(text) == ALL[text]
    assert canonical(ALL[text]) == ALL[text]


@pytest.mark.parametrize("text", QLIB_REFUSED)
def test_what_qlib_reads_from_other_instruments_frequencies_or_reports_is_refused(text):
    with pytest.raises(FactorError):
        parse(text)


@pytest.mark.parametrize("name", ["alpha158", "alpha360"])
def test_every_expression_of_qlibs_own_sets_is_read(shared_dir, name):
    lines = (shared_dir / "reference" / f"{name}.txt").read_text().splitlines()
    texts = dict(line.split("\t") for line in lines)
    assert len(texts) == int(name[-3:])
    for text in texts.values():
        assert canonical(canonical(text)) == canonical(text)


# ---- conflicts


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("max(close, 20)", "max(x, window) is read as ts_max; write maximum"),
        ("z(close)", "z(x) saw the whole sample, its future too; it is read as ts_zscore(x, 200)"),
        ("stddev(close, 8.9)", "the window 8.9 of stddev is rounded down"),
        ("WMA($close, 5)", "Qlib divides by the window once more"),
    ],
)
def test_a_reading_that_may_surprise_is_noted(text, note):
    assert any(note in found for found in read(text).notes)


def test_a_plain_reading_has_no_notes():
    assert read("max(close, open) / ts_mean(close, 5)").notes == ()


def test_the_window_of_z_is_an_option():
    assert canonical("z(close)", limits=ExpressionOptions(z_window=50)) == "ts_zscore(close, 50)"


@pytest.mark.parametrize(
    "text", ["ts_mean(close, 5.5)", "Ref($close, 1.5)", "rsi(close, 14.5)", "decay_linear(close, 1e1)"]
)
def test_only_worldquants_own_functions_round_a_window_down(text):
    with pytest.raises(FactorError, match="must be a whole number, written out"):
        parse(text)


def test_a_fraction_below_one_is_no_window():
    with pytest.raises(FactorError, match="must be from 1 to 50000 candles, found 0"):
        parse("delta(close, 0.9)")


# ---- small grammar


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ema(close, window=20)", "ema(close, 20)"),
        ("ema(close, timeperiod=20)", "ema(close, 20)"),
        ("shift(close, periods=3)", "delay(close, 3)"),
        ("shift(x=close, n=3)", "delay(close, 3)"),
        ("clip(close, upper=3, lower=1)", "clip(close, 1, 3)"),
        ("ts_quantile(close, q=0.3, window=9)", "ts_quantile(close, 9, 0.3)"),
        ("rsi(close, window=14)", canonical("rsi(close, 14)")),
    ],
)
def test_arguments_may_be_given_by_name(text, expected):
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ema(window=20, close)", "an argument without a name cannot follow one with a name"),
        ("ema(close, windoe=20)", "'windoe' is unknown; write ema.x, span."),
        ("ema(close, x=20)", "'x' is given twice"),
        ("shift(close, n=-3)", "looks into the future"),
        ("ema(close, window==20)", "unknown field 'window'"),
        ("close = open", "expected an operator or the end"),
    ],
)
def test_a_wrong_argument_by_name_is_an_error(text, message):
    with pytest.raises(FactorError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("|close - open|", "abs(close - open)"),
        ("||close - open| - 1|", "abs(abs(close - open) - 1)"),
        ("|close - |open - high||", "abs(close - abs(open - high))"),
        ("-|close|", "-abs(close)"),
        ("2 * |(close > open | high > low) - 1| + 1", "2 * abs((close > open | high > low) - 1) + 1"),
        ("|max(close, |open|)|", "abs(maximum(abs(open), close))"),
        ("close > open | |open| > high", "abs(open) > high | close > open"),
        ("close > open || high > low", "close > open | high > low"),
    ],
)
def test_bars_are_the_absolute_value_where_an_operand_is_expected(text, expected):
    assert canonical(text) == expected


@pytest.mark.parametrize("text", ["|close", "close|", "|close||", "||close|", "|", "(|close)|"])
def test_bars_that_do_not_close_are_an_error(text):
    with pytest.raises(FactorError):
        parse(text)


def test_a_number_of_days_is_a_window_and_nothing_else():
    with pytest.raises(FactorError, match="20d is a window"):
        parse("close + 20d")
    with pytest.raises(FactorError, match="expected an operator"):
        parse("ts_mean(close, 20) 20d")


# ---- the library


def test_a_factor_of_the_library_is_put_in_where_its_name_stands():
    library = {"trend": "close / ema(close, 20) - 1", "twice": "2 * @trend"}
    assert canonical("delay(@trend, 3)", library=library) == "delay(close / ema(close, 20) - 1, 3)"
    assert canonical("@twice", library=library) == "2 * (close / ema(close, 20) - 1)"
    assert look_back(canonical("@twice", library=library)) == 160


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@trand", "unknown factor '@trand', did you mean 'trend'"),
        ("@a", "@a stands for '@b': @a stands for itself"),
        ("@bad", "@bad stands for 'clse': unknown field 'clse'"),
        ("@ahead", "looks into the future"),
    ],
)
def test_a_factor_that_is_missing_circular_or_wrong_is_an_error(text, message):
    library = {"trend": "close", "a": "@b", "b": "@a", "bad": "clse", "ahead": "Ref($close, -1)"}
    with pytest.raises(FactorError, match=message):
        parse(text, library=library)


def test_a_library_cannot_blow_an_expression_up():
    library = {"f0": "close + open"} | {f"f{i}": f"@f{i - 1} / @f{i - 1} + high" for i in range(1, 12)}
    with pytest.raises(FactorError, match=r"at most|characters, over 600"):
        parse("@f11", library=library)


def test_a_long_chain_of_names_ends_in_an_error():
    library = {"f0": "close"} | {f"f{i}": "(" * 5 + f"@f{i - 1}" + ")" * 5 for i in range(1, 3000)}
    with pytest.raises(FactorError, match="nest at most 40 deep") as caught:
        parse("@f2999", library=library)
    assert len(str(caught.value)) < 500


def test_without_a_library_names_with_an_at_are_refused():
    with pytest.raises(FactorError, match="unknown factor '@f001', the library holds 0"):
        parse("@f001")


# ---- what cannot be written


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_known_but_cannot_be_written_says_why(name):
    for text in (f"{name}(close, 5)", name):
        with pytest.raises(FactorError) as caught:
            parse(text)
        assert UNSUPPORTED[name] in str(caught.value)


def test_industry_neutralisation_says_what_to_use_instead():
    with pytest.raises(
        FactorError, match=r"indneutralize cannot be written|IndClass.sector cannot be written: candles have"
    ):
        parse("indneutralize(close, IndClass.sector)")


FUTURE = [
    "shift(close, -1)",
    "delay(close, -(1))",
    "delay(close, 1 - 2)",
    "delay(close, lag=-1)",
    "TsDelta($close, -5)",
]
FUTURE += [
    "roc(close, -3)",
    "rsi(close, -14)",
    "SMA($close, -5, 1)",
    "macd(close, -12, 26)",
    "kama(close, -3)",
    "atr(-5)",
]
FUTURE += ["ts_mean(shift(close, -3) + 0, 5)", "Ref(Ref($close, 2), -3)", "correlation(open, volume, -10)", "adx(-14)"]
FUTURE += ["max(close, window=-20)", "percentile(close, 0.5, -10)", "delay(close, -0.5)", "ema(close, -1e3)"]


@pytest.mark.parametrize("text", FUTURE)
def test_the_future_is_refused_in_any_disguise(text):
    with pytest.raises(FactorError) as caught:
        parse(text)
    assert "looks into the future" in str(caught.value) or "must be a number" in str(caught.value)


@pytest.mark.parametrize("text", ["max(close, -20)", "lead(close, 3)", "bfill(close)", "adv-5", "feat_rsi_-14"])
def test_no_other_name_reaches_the_future(text):
    try:
        assert look_back(text) >= 1  # an element-wise maximum, or a difference of fields
    except FactorError:
        return
    assert text == "max(close, -20)"


# ---- macros


def test_every_macro_is_read_and_hides_no_operator_and_no_alias():
    numbers = {"window": "14", "lag": "3", "fast": "5", "slow": "10", "signal": "4", "n": "9", "m": "1", "level": "0.4"}
    for (name, arity), macro in MACROS.items():
        assert (name, arity) not in ALIASES
        assert name not in OPERATORS or OPERATORS[name].arity != arity
        arguments = ", ".join(numbers.get(parameter, "returns") for parameter in macro.parameters)
        assert canonical(f"{name}({arguments})" if arity else name)


def test_the_least_window_of_a_macro_is_checked():
    with pytest.raises(FactorError, match="the window of rsi must be from 2 to 50000 candles, found 1"):
        parse("rsi(close, 1)")
    with pytest.raises(
        FactorError, match=r"rsi stands for .*the span of ema must be from 1 to 50000 candles, found 59999"
    ):
        parse("rsi(close, 30000)")


def test_a_macro_needs_a_series():
    with pytest.raises(FactorError, match="rsi needs a series for x, found a constant"):
        parse("rsi(5, 14)")


def test_chinese_sma_needs_a_whole_span():
    with pytest.raises(FactorError, match="has no whole span"):
        parse("SMA($close, 5, 3)")


def test_nested_macros_stay_within_the_limits():
    with pytest.raises(FactorError, match="at most"):
        parse("rsi(" * 12 + "close" + ", 14)" * 12)


@pytest.mark.parametrize("kind", FEATURES)
def test_each_of_the_31_types_is_read_as_a_column_of_the_older_tool(kind):
    assert len(FEATURES) == 31
    name = f"feat_{kind}_24" if FEATURES[kind].arity else f"feat_{kind}"
    assert canonical(name) == canonical(feature(kind, 24))


@pytest.mark.parametrize(
    "name", ["feat_rsi", "feat_psar_ratio_14", "feat_nothing_14", "feat_rsi_0", "feat_rsi_60000", "feat_"]
)
def test_a_column_that_the_older_tool_has_not_is_an_error(name):
    with pytest.raises(FactorError):
        parse(name)
