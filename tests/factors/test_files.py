"""Files of the older tool: every row is accepted or rejected with its reason, and nothing is lost on the way back."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import FactorError, ParameterError
from agent_market.factors import (
    canonical,
    compute_factors,
    load_factors,
    read_expressions_file,
    read_features_file,
    write_expressions_file,
    write_features_file,
)
from panels import random_candles

EXPRESSIONS = {"": 9, "_augmented": 50, "_positive": 50}
COMBOS = {"": 135, "_augmented": 30, "_positive": 30}


def write(folder, content, name="factors.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


# ---- the real files


@pytest.mark.parametrize("name", ["features", "features_multi"])
def test_the_real_feature_files_load_whole(shared_dir, name):
    path = shared_dir / "market" / "older_tool" / f"freqai_{name}.json"
    file = read_features_file(path)
    assert len(file.rows) == len(file.factors) == 97
    assert file.rejected.empty
    assert file.header["label_period_candles"] in (12, 18)
    assert file.factors["feat_rsi_14"] == canonical("rsi(close, 14)")
    assert list(load_factors(str(path))) == list(file.factors)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_the_real_expression_files_load_and_the_rejected_row_names_its_reason(shared_dir, name):
    file = read_expressions_file(shared_dir / "market" / "older_tool" / f"freqai_expressions{name}.json")
    rejected = dict(zip(file.rejected["name"], file.rejected["reason"], strict=True))
    if name:
        assert rejected == {
            f"composite_2_sign{'_pos' * (name == '_positive')}": "the result is constant (1) wherever it is defined"
        }
    else:
        assert not rejected
    assert len(file.factors) == EXPRESSIONS[name] - len(rejected)
    assert (file.rows["kind"] == "combo").sum() == COMBOS[name]
    assert file.rows["accepted"].sum() + len(rejected) == len(file.rows) == EXPRESSIONS[name] + COMBOS[name]


@pytest.mark.parametrize("name", ["features", "features_multi", *(f"expressions{name}" for name in EXPRESSIONS)])
def test_a_real_file_is_written_back_as_it_was(shared_dir, tmp_path, name):
    path = shared_dir / "market" / "older_tool" / f"freqai_{name}.json"
    read, write_back = (
        (read_features_file, write_features_file)
        if "features" in name
        else (read_expressions_file, write_expressions_file)
    )
    file = read(path)
    write_back(tmp_path / "copy.json", file.rows, header=file.header)
    assert json.loads((tmp_path / "copy.json").read_text()) == json.loads(path.read_text(encoding="utf-8-sig"))


def test_the_factors_of_the_real_files_can_be_computed(shared_dir):
    folder = shared_dir / "market" / "older_tool"
    factors = load_factors(str(folder / "freqai_expressions_positive.json"), on_rejected="warn")
    factors |= load_factors(str(folder / "freqai_features.json"))
    values = compute_factors(random_candles(2, 900), factors, timeframe="1h")[list(factors)]
    assert values.notna().any().all()
    assert len(factors) == 49 + 97


def test_notes_tell_how_a_row_was_read(shared_dir):
    file = read_expressions_file(shared_dir / "market" / "older_tool" / "freqai_expressions_augmented.json")
    notes = file.rows.set_index("name")["note"]
    assert "z(x) saw the whole sample" in notes["composite_2_zscore"]
    assert "says the same as composite_2" in notes["composite_2_absolute"]
    assert "in units of price" in notes["feat_combo_product_momentum_24_atr_norm_7"]


# ---- rows that do not fit


def test_each_row_that_cannot_be_read_names_its_reason(tmp_path):
    rows = [
        {"name": "good", "type": "rsi", "period": 14, "score": 0.5},
        {"name": "no_such_type", "type": "rsj", "period": 14},
        {"name": "no_period", "type": "rsi"},
        {"name": "bad_period", "type": "rsi", "period": -3},
        {"name": "long_period", "type": "rsi", "period": 90000},
        {"name": "good", "type": "roc", "period": 3},
        {"name": "Upper Case", "type": "roc", "period": 3},
        {"name": "no_type"},
        "a text",
        {"type": "roc", "period": "5"},
        {"name": "native", "type": "expression", "expression": "close / Ref($close, 3)"},
        {"name": "ahead", "type": "expression", "expression": "Ref($close, -3)"},
        {"name": "empty", "type": "expression"},
    ]
    file = read_features_file(write(tmp_path, {"features": rows, "timeframe": "1h"}))
    assert list(file.factors) == ["good", "feat_roc_5", "native"]
    reasons = dict(zip(map(str, file.rejected["name"]), file.rejected["reason"], strict=True))
    expected = {
        "no_such_type": "unknown type 'rsj'; the types are adx",
        "no_period": "the period of rsi must be a whole number of 2 or more, found None",
        "bad_period": "the period of rsi must be a whole number of 2 or more, found -3",
        "long_period": "the span of ema must be from 1 to 50000",
        "good": "the name 'good' stands twice, first in row 1",
        "Upper Case": "'Upper Case' cannot name a factor",
        "no_type": "unknown type 'none'",
        "None": "a row must be an object, found str",
        "ahead": "looks into the future",
        "empty": "the row has no expression",
    }
    assert reasons.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in reasons[name]
    assert file.header == {"timeframe": "1h"}
    write_features_file(tmp_path / "copy.json", file.rows, header=file.header)
    again = read_features_file(tmp_path / "copy.json")
    assert list(again.rejected["reason"]) == list(file.rejected["reason"])
    assert again.factors == file.factors


def test_combinations_and_expressions_may_name_the_rows_before_them(tmp_path):
    content = {
        "feature_combos": [
            {"name": "c", "type": "combo_ratio", "formula": "feat_roc_5 / (|feat_rsi_14| + 1e-06)"},
            {"name": "d", "type": "combo_diff", "formula": "c - feat_none_3"},
        ],
        "expressions": [{"name": "e", "expression": "roll_mean(c, 5)"}, {"name": "f", "expression": "d + 1"}],
    }
    file = read_expressions_file(write(tmp_path, content))
    assert file.factors == {"e": canonical("ts_mean(feat_roc_5 / (abs(feat_rsi_14) + 1e-06), 5)")}
    reasons = dict(zip(file.rejected["name"], file.rejected["reason"], strict=True))
    assert "unknown field 'feat_none_3'" in reasons["d"]
    assert "unknown field 'd'" in reasons["f"]


def test_a_key_of_the_file_that_is_called_like_one_of_the_report_is_kept(tmp_path):
    row = {"name": "e", "expression": "returns", "note": "mine", "reason": "because", "score": None}
    file = read_expressions_file(write(tmp_path, {"expressions": [row]}))
    assert file.rows.loc[0, "file.note"] == "mine"
    write_expressions_file(tmp_path / "copy.json", file.rows, header={"generated_at": "now"})
    assert json.loads((tmp_path / "copy.json").read_text()) == {"generated_at": "now", "expressions": [row]}


def test_a_factor_of_the_library_may_be_named(tmp_path):
    path = write(tmp_path, {"expressions": [{"name": "e", "expression": "ts_mean(@mined, 5)"}]})
    assert read_expressions_file(path, library={"mined": "returns"}).factors["e"] == "ts_mean(pct_change(close, 1), 5)"
    assert load_factors(str(path), library={"mined": "high / low"}) == {"e": "ts_mean(high / low, 5)"}
    assert "unknown factor '@mined'" in read_expressions_file(path).rejected["reason"].iloc[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "must hold {name: expression}, found list"),
        ("{", "cannot be read"),
        ('{"expressions": []}', "is no file of features: it has no list 'features', but \\['expressions'\\]"),
        ('{"features": {}}', "is no file of features"),
        ("[" * 100_000, "cannot be read"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be read"),
    ],
)
def test_a_file_of_another_form_is_an_error(tmp_path, content, message):
    with pytest.raises(ParameterError, match=message):
        read_features_file(write(tmp_path, content))


# ---- writing scores


def test_scores_are_written_with_the_type_and_period_that_the_names_tell(tmp_path):
    table = pd.DataFrame(
        {
            "name": ["feat_rsi_14", "feat_macd_diff", "my_trend"],
            "expression": ["rsi(close, 14)", "feat_macd_diff", "close / ema(close, 20) - 1"],
            "score": [0.1, np.float32(0.25), np.nan],
            "importance": [1, 2, 3],
        }
    )
    header = {"timeframe": "4h", "label_period_candles": 12, "pairs": ["BTC/USDT"]}
    write_features_file(tmp_path / "out.json", table, header=header)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["label_period_candles"] == 12
    assert "generated_at" in content
    first, second, third = content["features"]
    assert (first["type"], first["period"], first["score"], first["importance"]) == ("rsi", 14, 0.1, 1)
    assert (second["type"], second["period"], second["score"]) == ("macd_diff", None, 0.25)
    assert (third["type"], third["expression"], third["score"]) == ("expression", "close / ema(close, 20) - 1", None)
    factors = read_features_file(tmp_path / "out.json").factors
    assert factors["my_trend"] == "close / ema(close, 20) - 1"
    assert factors["feat_rsi_14"] == canonical("rsi(close, 14)")


def test_a_feature_without_type_and_expression_cannot_be_written(tmp_path):
    with pytest.raises(ParameterError, match="'mine' has neither a type nor an expression"):
        write_features_file(tmp_path / "out.json", pd.DataFrame({"name": ["mine"], "score": [1.0]}))


# ---- as a factor set


@pytest.fixture
def half_bad(tmp_path) -> str:
    rows = [{"name": f"bad_{i}", "expression": "clse"} for i in range(7)]
    return str(write(tmp_path, {"expressions": [{"name": "good", "expression": "returns"}, *rows]}))


def test_rejected_rows_are_an_error_that_names_them(half_bad):
    with pytest.raises(FactorError, match=r"7 of 8 rows .*features.on_rejected=warn") as caught:
        load_factors(half_bad)
    assert "expression 'bad_0': unknown field 'clse', did you mean 'close'?" in str(caught.value)
    assert "… and 2 more" in str(caught.value)


def test_with_warn_each_rejected_row_is_logged_and_the_rest_is_loaded(half_bad, caplog):
    with caplog.at_level(logging.WARNING):
        assert load_factors(half_bad, on_rejected="warn") == {"good": "pct_change(close, 1)"}
    assert sum("left out expression 'bad_" in message for message in caplog.messages) == 7


def test_a_set_may_include_such_a_file(tmp_path):
    write(tmp_path, {"features": [{"name": "feat_rsi_14", "type": "rsi", "period": 14}]}, "old.json")
    (tmp_path / "set.yml").write_text("include: [old.json]\nmine: returns\n")
    assert list(load_factors(str(tmp_path / "set.yml"))) == ["feat_rsi_14", "mine"]
