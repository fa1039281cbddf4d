"""Flow files of the older tool become task files, and what is not carried on is told."""

import copy
import json
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from agent_market.configured import check_parameters
from agent_market.errors import ParameterError
from agent_market.flow.older import SECTIONS, import_older, read_older
from agent_market.flow.task import parse_task
from agent_market.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[2] / "conf"

DATA = {
    "feature_file": "user_data/features.json",
    "data_dir": "user_data/data",
    "exchange": "kraken",
    "pairs": ["BTC/EUR", "ETH/EUR"],
    "timeframe": "4h",
    "label_period": 18,
}
WHOLE = {
    "feature": {
        "script": "scripts/freqai_feature_agent.py",
        "cwd": "freqtrade",
        "args": ["--config", "c.json", "--output", "user_data/features.json", "--timeframe", "4h"],
    },
    "expression": {
        "script": "scripts/freqai_expression_agent.py",
        "args": [
            "--llm-enabled", "--llm-base-url", "https://llm.example/v1", "--llm-model", "small", "--llm-count", "10",
            "--llm-loops", "3", "--llm-retries", "2", "--llm-timeout", "45", "--llm-temperature", "0.5",
            "--llm-api-key", "sk-123", "--top-n", "30", "--feedback", "user_data/latest_backtest_summary.json",
        ],
        "feedback_top": 8,
    },
    "ml_training": {
        "configs": [
            {
                "data": DATA,
                "model": {
                    "name": "lightgbm",
                    "params": {"objective": "regression", "metric": "rmse", "num_leaves": 63, "subsample": 0.85,
                               "num_boost_round": 220, "min_child_samples": 20, "lambda_l1": 0.5, "model_dir": "m"},
                },
                "training": {"validation_ratio": 0.2, "scaler": "standard", "purge": 12},
                "output": {"model_dir": "m"},
            },
            {
                "data": DATA,
                "model": {"name": "xgboost", "params": {"objective": "binary", "eta": 0.1, "max_depth": 5}},
            },
            {"data": DATA, "model": {"name": "catboost", "params": {"iterations": 50, "loss_function": "RMSE"}}},
            {"data": DATA, "model": {"name": "ridge", "params": {"alpha": 10.0}}},
            {"data": DATA, "model": {"name": "lightgbm", "params": {"learning_rate": 0.1}}},
            {
                "data": DATA,
                "model": {
                    "name": "pytorch_mlp",
                    "params": {"hidden_dims": [64, 64], "dropout": 0.1, "epochs": 3, "use_cuda": False},
                },
            },
        ]
    },
    "rl_training": {
        "config": {
            "data": DATA | {"pairs": ["SOL/EUR"]},
            "policy": "MlpPolicy",
            "algo": {"learning_rate": 0.0003, "gamma": 0.99, "ent_coef": 0.01},
            "training": {"total_timesteps": 10000},
            "reward": {"fee_bps": 10.0},
            "output": {"model_dir": "m"},
        }
    },
    "backtest": {
        "command": [
            "freqtrade", "backtesting", "--config", "c.json", "--strategy", "ExpressionLongStrategy", "--timerange",
            "20210101-20211231", "--fee", "0.0026", "--max-open-trades", "3", "--stake-amount", "100",
        ],
        "results_dir": "user_data/backtest_results",
    },
    "tca": {"html": True},
}  # fmt: skip


def merged(parameters):
    """The project's parameters with those of a task, as a run has them."""
    return check_parameters(OmegaConfigLoader(str(CONF), env="base", runtime_params=parameters, **(CONFIG_LOADER_ARGS)))


def reasons(imported, path: str) -> str:
    found = [line for line in imported.unmatched if line.startswith(path)]
    assert len(found) == 1, imported.unmatched
    return found[0]


def test_every_section_has_its_steps_models_and_parameters():
    task = import_older(WHOLE).task
    parameters = task.pop("parameters")
    models = parameters.pop("models")
    assert task == {
        "name": "older",
        "steps": ["data_engineering", "factor_mining", "feature_store", "ml_training", "dl_training", "rl_training",
                  "backtest", "attribution", "reporting"],
        "models": ["older_lightgbm", "older_xgboost", "older_catboost", "older_ridge", "older_lightgbm_2",
                   "older_pytorch_mlp", "older_ppo"],
        "rounds": 1,
        "feedback": "latest",
        "on_error": {"policy": "stop", "retries": 0},
    }  # fmt: skip
    assert parameters == {
        "market": {
            "source": "freqtrade_datadir", "datadir": "user_data/data/kraken", "exchange": "kraken",
            "pairs": ["BTC/EUR", "ETH/EUR", "SOL/EUR"], "timeframe": "4h",
        },
        "features": {"factor_set": "user_data/features.json", "mined": True, "on_rejected": "warn"},
        "training": {"horizon": 18},
        "labels": {"horizons": [1, 4, 12, 18, 24]},
        "mining": {
            "horizon": 18, "arms": {"llm": 30}, "feedback": "user_data/latest_backtest_summary.json",
            "llm": {"base_url": "https://llm.example/v1", "model": "small", "temperature": 0.5, "timeout": 45,
                    "attempts": 3},
        },
        "backtest": {"fee": 0.0026, "max_open_trades": 3, "stake_amount": 100},
    }  # fmt: skip
    assert models["older_lightgbm"] == {
        "adapter": "lightgbm", "task": "regression", "num_leaves": 63, "bagging_fraction": 0.85, "n_estimators": 220,
        "min_data_in_leaf": 20, "params": {"lambda_l1": 0.5}, "preprocessing": ["impute", "clip", "standardize"],
    }  # fmt: skip
    assert models["older_xgboost"] == {
        "adapter": "xgboost", "task": "classification", "learning_rate": 0.1, "max_depth": 5
    }  # fmt: skip
    assert models["older_catboost"] == {"adapter": "catboost", "task": "regression", "n_estimators": 50}
    assert models["older_ridge"] == {"adapter": "sklearn", "alpha": 10.0}
    assert models["older_lightgbm_2"] == {"adapter": "lightgbm", "learning_rate": 0.1}
    assert models["older_pytorch_mlp"] == {
        "adapter": "torch", "network": "mlp", "hidden": 64, "layers": 2, "dropout": 0.1, "epochs": 3, "device": "cpu"
    }  # fmt: skip
    assert models["older_ppo"] == {
        "adapter": "stable_baselines3", "algorithm": "ppo", "profile": "default", "n_envs": 1, "n_steps": 2048,
        "batch_size": 64, "total_timesteps": 10000, "learning_rate": 0.0003, "gamma": 0.99,
        "algorithm_options": {"ent_coef": 0.01},
    }  # fmt: skip


def test_the_parameters_are_parameters_of_this_project():
    parameters = merged(import_older(WHOLE).task["parameters"])
    assert parameters.market.pairs == ("BTC/EUR", "ETH/EUR", "SOL/EUR")
    assert parameters.models["older_ppo"].n_envs == 1
    assert parameters.models["older_lightgbm"].num_leaves == 63
    assert parameters.models["lightgbm"].num_leaves != 63, "the configured models stay what they are"
    with pytest.raises(ParameterError, match="unknown key"):
        merged({"market": {"pair": ["BTC/EUR"]}})


def test_the_task_is_one_of_this_project():
    imported = import_older(WHOLE)
    task = parse_task(imported.task, "older")
    assert task.steps == tuple(imported.task["steps"])
    assert task.models == tuple(imported.task["models"])
    assert task.feedback == "latest"


def test_what_has_no_counterpart_is_told_with_its_path_and_the_reason():
    imported = import_older(WHOLE)
    for path, reason in {
        "ml_training.configs[0].training.validation_ratio = 0.2": "folds.valid",
        "ml_training.configs[0].model.params.metric = 'rmse'": "report",
        "expression.args --top-n 30": "gate",
        "expression.feedback_top = 8": "feedback: latest",
        "rl_training.config.reward.fee_bps = 10.0": "backtest.fee",
        "backtest.command --timerange 20210101-20211231": "folds.test",
        "backtest.command --strategy ExpressionLongStrategy": "backtest.positions",
        "backtest.results_dir": "catalog",
        "tca": "no pipeline",
    }.items():
        assert reason in reasons(imported, path)


def _leaves(tree, path=()):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_no_setting_is_passed_over_in_silence():
    before = import_older(WHOLE)
    silent = []
    for path, value in _leaves(WHOLE):
        changed = copy.deepcopy(WHOLE)
        here = changed
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else "x"
        try:
            same = import_older(changed) == before
        except ParameterError:
            same = False
        silent += [value] if same else []
    # Other --llm- options say the same as --llm-enabled; a key is not shown; unknown sections are told as a whole.
    assert silent == ["--llm-enabled", "sk-123", "freqtrade", "backtesting", True]


def test_no_secret_is_written_anywhere():
    content = copy.deepcopy(WHOLE)
    content["ml_training"]["configs"][0]["data"] = DATA | {"external_data": {"lunar": {"api_key": "hidden-1"}}}
    imported = import_older(content)
    assert "sk-123" not in str(imported)
    assert "hidden-1" not in str(imported)
    assert "AGENT_MARKET_LLM_KEY" in reasons(imported, "expression.args --llm-api-key")


def test_without_a_language_model_none_is_asked():
    content = {"expression": {"args": ["--no-llm", "--llm-model", "small"], "feedback_top": 0}}
    imported = import_older(content)
    assert "mining" not in imported.task["parameters"]
    assert imported.task["feedback"] == "none"
    assert "--no-llm" in reasons(imported, "expression.args --llm-model small")


def test_a_second_value_of_what_the_project_has_once_is_told():
    trainings = [{"data": DATA}, {"data": DATA | {"timeframe": "1h"}}]
    imported = import_older({"ml_training": {"configs": trainings}})
    assert imported.task["parameters"]["market"]["timeframe"] == "4h"
    assert "'4h' already" in reasons(imported, "ml_training.configs[1].data.timeframe = '1h'")


def test_a_value_that_is_not_allowed_here_is_left_out_and_told():
    data, params = DATA | {"label_period": 0}, {"feature_fraction": 1.5, "num_leaves": 7}
    imported = import_older({"ml_training": {"config": {"data": data, "model": {"params": params}}}})
    model = imported.task["parameters"]["models"]["older_lightgbm"]
    assert model == {"adapter": "lightgbm", "num_leaves": 7}
    assert "less than or equal to 1" in reasons(imported, "ml_training.config.model.params.feature_fraction = 1.5")
    assert "training.horizon" in reasons(imported, "ml_training.config.data.label_period = 0")
    merged(imported.task["parameters"])


def test_a_model_of_an_unknown_kind_is_told_and_the_rest_goes_on():
    trainings = [{"data": DATA, "model": {"name": "stacked", "params": {"depth": 3}}}, {"data": DATA}]
    imported = import_older({"ml_training": {"configs": trainings}})
    assert imported.task["models"] == ["older_lightgbm"]
    assert "no adapter" in reasons(imported, "ml_training.configs[0].model.name = 'stacked'")


def test_candles_without_a_folder_leave_the_market_as_it_is():
    imported = import_older({"feature": {"args": ["--timeframe", "5m", "--pairs", "BTC/USDT"]}})
    assert imported.task["parameters"] == {}
    assert "no folder of candles" in reasons(imported, "feature.args --timeframe = '5m'")


def test_a_backtest_without_models_has_nothing_to_trade():
    imported = import_older({"backtest": {"binary": "freqtrade", "extra_args": ["--fee", "0.002"]}})
    assert imported.task["steps"] == ["data_engineering", "feature_store"]
    assert imported.task["models"] is None
    assert "the file has none" in reasons(imported, "backtest:")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, f"none of the sections {', '.join(SECTIONS)}, but nothing"),
        ({"steps": ["x"]}, "but steps"),
        ([], "but list"),
        ({"feature": []}, "feature: a section of settings is expected, found list"),
        ({"feature": {"args": "--config"}}, "feature.args: a list of arguments is expected, found str"),
        ({"ml_training": {}}, "one of config and configs is expected, found neither"),
        ({"ml_training": {"config": {}, "configs": []}}, "found both"),
        ({"ml_training": {"configs": [3]}}, "configs[0]: a section of settings is expected, found int"),
        ({"expression": {"args": ["--llm-count", "many"]}}, "expression.args --llm-count: a number is expected"),
        ({"backtest": {"command": ["freqtrade", "--fee"]}}, "--fee: one value is expected, found none"),
    ],
)
def test_what_is_no_flow_file_is_an_error_that_names_the_place(content, message):
    with pytest.raises(ParameterError) as error:
        import_older(content)
    assert message in str(error.value)


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        path = tmp_path / f"Agent-Flow {encoding}.json"
        path.write_text(json.dumps(WHOLE), encoding=encoding)
        assert read_older(path).task == import_older(WHOLE).task | {"name": f"agent_flow_{encoding.replace('-', '_')}"}
    path.write_text("{")
    with pytest.raises(ParameterError, match="cannot be read as a flow file"):
        read_older(path)


@pytest.mark.parametrize("name", ["agent_flow_all", "agent_flow_example"])
def test_real_files_are_read_and_their_parameters_are_valid(shared_dir, name):
    imported = read_older(shared_dir / "market" / "older_tool" / f"{name}.json")
    assert imported.task["name"] == name
    assert imported.task["steps"][:3] == ["data_engineering", "factor_mining", "feature_store"]
    parameters = merged(imported.task["parameters"])
    assert parameters.market.datadir == "freqtrade/user_data/data/binanceus"
    assert set(imported.task["models"]) <= set(parameters.models)
    assert reasons(imported, "backtest.command --timerange")
