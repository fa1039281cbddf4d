"""Factor sets: the packaged ones, files, and further factors."""

import json

import pytest

from agent_market.errors import FactorError, ParameterError
from agent_market.factors import FeatureOptions, factor_sets, load_factors


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_packaged_set_is_loaded_by_name():
    factors = load_factors("basic")
    assert 35 <= len(factors) <= 60
    assert factors["momentum_24"] == "log_ret(close, 24)"
    assert {"basic", "single_pair"} <= set(factor_sets())


def test_yaml_and_json_files_hold_the_same_and_come_out_canonical_in_their_order(tmp_path):
    content = {"b": "Ref($close, 1) / $close - 1", "a": "open + close"}
    expected = {"b": "delay(close, 1) / close - 1", "a": "close + open"}
    as_yaml = write(tmp_path, "set.yml", "".join(f"{k}: {v}\n" for k, v in content.items()))
    as_json = write(tmp_path, "set.json", json.dumps(content))
    assert list(load_factors(as_yaml).items()) == list(load_factors(as_json).items()) == list(expected.items())


def test_further_factors_come_after_those_of_the_set():
    factors = load_factors("single_pair", {"mine": "high / low"})
    assert list(factors)[-1] == "mine"
    assert len(factors) == len(load_factors("single_pair")) + 1


def test_a_file_may_include_sets_and_files_beside_it(tmp_path):
    write(tmp_path, "more.yml", "inner: returns\n")
    path = write(tmp_path, "set.yml", "include: [single_pair, more.yml]\nouter: high / low\n")
    assert list(load_factors(path))[-2:] == ["inner", "outer"]


@pytest.mark.parametrize("name", ["set.yml", "set.json"])
def test_a_name_that_stands_twice_is_an_error_and_not_an_overwrite(tmp_path, name):
    text = "a: open\na: close\n" if name.endswith("yml") else '{"a": "open", "a": "close"}'
    with pytest.raises(ParameterError, match="'a' twice"):
        load_factors(write(tmp_path, name, text))


def test_a_further_factor_cannot_take_the_name_of_one_of_the_set():
    with pytest.raises(FactorError, match=r"features\.factors names factors that are there already: momentum_1"):
        load_factors("basic", {"momentum_1": "returns"})


@pytest.mark.parametrize(
    ("factor_set", "message"),
    [
        ("basik", "features.factor_set: unknown set 'basik', did you mean 'basic'.*known sets: .*basic, .*single_pair"),
        ("missing.yml", "features.factor_set: cannot read the file missing.yml"),
        ("factors.txt", "unknown set 'factors.txt'.*a file must end in .yml, .yaml, .json"),
    ],
)
def test_an_unknown_set_or_file_is_an_error_of_its_parameter(factor_set, message):
    with pytest.raises(ParameterError, match=message):
        load_factors(factor_set)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("a: clse\n", FactorError, r"factor 'a' of .*set.yml: unknown field 'clse', did you mean 'close'"),
        ("a: 5\n", FactorError, "factor 'a' of .*set.yml: a factor expression is a text, found int"),
        ("a: [close]\n", FactorError, "a factor expression is a text, found list"),
        ("A b: close\n", FactorError, "'A b' in .*set.yml cannot name a factor"),
        ("date: close\n", FactorError, "'date' in .*set.yml cannot name a factor"),
        ("1: close\n", FactorError, "1 in .*set.yml cannot name a factor"),
        ("- close\n", ParameterError, "must hold {name: expression}, found list"),
        ("a: {", ParameterError, "set.yml cannot be read"),
        ("a: !!python/object:os.system x\n", ParameterError, "set.yml cannot be read"),
        ("", ParameterError, "must hold {name: expression}, found NoneType"),
        ("{}", ParameterError, "hold no factor"),
        ("include: single_pair\n", ParameterError, "'include' in .*set.yml must be a list of sets"),
        ("include: [set.yml]\na: close\n", ParameterError, "includes itself"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error_that_names_it(tmp_path, text, error, message):
    with pytest.raises(error, match=message):
        load_factors(write(tmp_path, "set.yml", text))


def test_a_name_has_64_characters_at_most():
    assert load_factors("single_pair", {"a" * 64: "high / low"})
    with pytest.raises(FactorError, match="cannot name a factor: use 1 to 64 small letters"):
        load_factors("single_pair", {"a" * 65: "high / low"})


def test_a_factor_of_the_library_is_written_out(tmp_path):
    path = write(tmp_path, "set.yml", "a: ts_mean(@mined, 5)\n")
    assert load_factors(path, library={"mined": "high / low"}) == {"a": "ts_mean(high / low, 5)"}
    with pytest.raises(FactorError, match=r"factor 'a' of .*set.yml: unknown factor '@mined'"):
        load_factors(path)


def test_the_options_hold_a_set_further_factors_and_the_longest_gap():
    options = FeatureOptions()
    assert (options.factor_set, options.factors, options.on_rejected) == ("basic", {}, "error")
    with pytest.raises(ValueError, match="max_gap"):
        FeatureOptions(max_gap=-1)
