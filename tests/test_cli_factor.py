"""`kedro factor`: check, show and convert, as a user types them."""

import json

import pytest
import yaml
from click.testing import CliRunner, Result

from agent_market.cli import cli
from projects import kedro


def factor(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["factor", *map(str, arguments)])


def test_kedro_knows_the_commands(tmp_path):
    done = kedro("factor", "check", "single_pair", data=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "42 of 42 accepted" in done.stdout
    assert kedro("factor", "show", "clse", data=tmp_path).returncode == 1


# ---- check


def test_check_lists_each_factor_with_its_look_back_and_canonical_form(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("include: [single_pair]\ntrend: Ref($close, 5) / $close\nrange: max(high, 20) / close\n")
    done = factor("check", path)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0].startswith("ok  single_pair")
    assert "42 factors" in lines[0]
    assert lines[1].split() == ["ok", "trend", "6", "delay(close,", "5)", "/", "close"]
    assert "is read as ts_max" in lines[2]
    assert lines[-1].startswith("3 of 3 accepted")


def test_check_ends_with_1_and_the_reason_of_each_rejected_row(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(
        "good: returns\nbad: clse\nahead: Ref($close, -1)\nsame: sign(abs(returns))\nnumber: 5\nA b: close\n"
    )
    done = factor("check", path)
    assert done.exit_code == 1
    rows = {line.split()[1]: line for line in done.output.splitlines()}
    assert "unknown field 'clse', did you mean 'close'?" in rows["bad"]
    assert "looks into the future" in rows["ahead"]
    assert "the result is constant" in rows["same"]
    assert "is a text, found int" in rows["number"]
    assert "cannot name a factor" in rows["A"]
    assert rows["good"].startswith("ok")
    assert "1 of 6 accepted" in done.output


def test_check_reads_the_files_of_the_older_tool(tmp_path):
    path = tmp_path / "freqai_features.json"
    rows = [{"name": "feat_rsi_14", "type": "rsi", "period": 14}, {"name": "x", "type": "rsj", "period": 1}]
    path.write_text(json.dumps({"features": rows}))
    done = factor("check", path)
    assert done.exit_code == 1
    assert "unknown type 'rsj'" in done.output


@pytest.mark.parametrize("suffix", ["yml", "json"])
def test_a_strict_check_rejects_what_depends_on_the_unit(tmp_path, suffix):
    path = tmp_path / f"mine.{suffix}"
    if suffix == "yml":
        path.write_text("gap: close - open\n")
    else:
        path.write_text(json.dumps({"expressions": [{"name": "gap", "expression": "close - open"}]}))
    plain, strict = factor("check", path), factor("check", path, "--strict")
    assert plain.exit_code == 0
    assert "in units of price" in plain.output
    assert strict.exit_code == 1
    assert "in units of price" in strict.output


def test_the_real_files_of_the_older_tool_are_checked(shared_dir):
    folder = shared_dir / "market" / "older_tool"
    for path in sorted(folder.glob("freqai_*.json")):
        done = factor("check", path)
        n_rejected = sum(line.startswith("NO") for line in done.output.splitlines())
        assert done.exit_code == (1 if n_rejected else 0)
        assert n_rejected == (1 if "augmented" in path.name or "positive" in path.name else 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "missing.yml"], "Error: features.factor_set: cannot read the file missing.yml"),
        (["check", "basik"], "Error: features.factor_set: unknown set 'basik', did you mean 'basic'?"),
        (["show", "ts_men(close, 5)"], "Error: unknown function 'ts_men', did you mean 'ts_mean'?"),
        (["show", "close / close"], "Error: the result is constant (1)"),
        (
            ["convert", "rank(close)", "--to", "qlib"],
            "Error: Qlib cannot compute cs_rank(x): it works on one instrument",
        ),
        (["convert", "clse", "--to", "native"], "Error: unknown field 'clse'"),
    ],
)
def test_a_mistake_ends_in_one_plain_message(arguments, message):
    done = factor(*arguments)
    assert done.exit_code == 1
    assert message in done.output
    assert "Traceback" not in done.output


# ---- show


def test_show_says_what_is_known_and_writes_a_plot(tmp_path):
    output = tmp_path / "plots" / "factor.html"
    done = factor("show", "Ref($close, 5) / ema(close, 10)", "--output", output)
    assert done.exit_code == 0, done.output
    said = dict(line.split(maxsplit=1) for line in done.output.splitlines())
    assert said["canonical"] == "delay(close, 5) / ema(close, 10)"
    assert said["look-back"].startswith("80 candles")
    assert "compares among pairs" in said["unit"]
    assert said["plot"] == str(output)
    page = output.read_text(encoding="utf-8")
    assert "delay(close, 5)" in page
    assert "ETH" in page


def test_show_warns_of_units(tmp_path):
    done = factor("show", "cs_demean(close - open)", "--output", tmp_path / "f.html")
    assert done.exit_code == 0
    assert "warning    the result is in units of price" in done.output


# ---- convert


def test_convert_writes_an_expression_in_either_language():
    assert factor("convert", "-Ref($close, 5)", "--to", "native").output == "-delay(close, 5)\n"
    assert factor("convert", "-delay(close, 5)", "--to", "qlib").output == "(-1*Ref($close,5))\n"


def test_convert_writes_a_file_as_yaml_and_names_what_it_cannot(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("a: close / open\nb: cs_rank(close)\nc: ts_zscore(close, 9)\n")
    native = factor("convert", path, "--to", "native")
    assert yaml.safe_load(native.output) == {"a": "close / open", "b": "cs_rank(close)", "c": "ts_zscore(close, 9)"}
    qlib = factor("convert", path, "--to", "qlib")
    assert qlib.exit_code == 1
    assert yaml.safe_load(qlib.stdout) == {"a": "($close/$open)", "c": "(($close-Mean($close,9))/Std($close,9))"}
    assert "b: Qlib cannot compute cs_rank(x)" in qlib.stderr
