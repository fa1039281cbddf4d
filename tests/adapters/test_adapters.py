import numpy as np
import optuna
import pytest

from agent_market.adapters import BUILT_IN, get_adapter, kind_of, parse_model_options, resumes, stage_of, warm_starts
from agent_market.errors import ParameterError
from agent_market.learning.samples import build_samples
from agent_market.parameters import Parameters
from panels import random_candles, random_features

FEATURES = random_features(random_candles(2, 300))


def _samples(y):
    samples = build_samples(FEATURES, None, np.arange(len(FEATURES)))
    object.__setattr__(samples, "y", y[:, None])
    return samples


def _fit(name, task="regression"):
    adapter = get_adapter(name)
    signal = FEATURES["f1"].to_numpy(float)
    y = signal + np.random.default_rng(0).normal(size=len(signal))
    options = parse_model_options({"adapter": name, "task": task})
    samples = _samples((y > 0).astype(float) if task == "classification" else y)
    return adapter, adapter.fit(samples, samples, options, report=lambda progress: None), samples


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("name", [name for name in BUILT_IN if kind_of(get_adapter(name)) is None])
def test_a_stored_model_predicts_the_same(name, task, tmp_path):
    adapter, model, samples = _fit(name, task)
    adapter.save(model, tmp_path)
    files = [path.suffix for path in tmp_path.iterdir()]
    assert files
    assert not set(files) & {".pkl", ".pickle", ".joblib"}
    np.testing.assert_array_equal(adapter.predict(adapter.load(tmp_path), samples), adapter.predict(model, samples))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_search_space_gives_valid_options(name):
    adapter = get_adapter(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        parse_model_options({"adapter": name} | adapter.suggest(study.ask()))


@pytest.mark.parametrize("name", BUILT_IN)
def test_an_unknown_option_is_an_error(name):
    with pytest.raises(ValueError, match="no_such_option"):
        parse_model_options({"adapter": name, "no_such_option": 1})


def test_an_unknown_adapter_lists_the_known_ones():
    with pytest.raises(ParameterError, match=r"'lightgmb'. Did you mean lightgbm\? Known: catboost, lightgbm"):
        get_adapter("lightgmb")
    with pytest.raises(ParameterError, match=r"no\.such\.module.*cannot be imported"):
        get_adapter("no.such.module")
    with pytest.raises(ParameterError, match=r"json\.decoder is no adapter: it lacks Options"):
        get_adapter("json.decoder")


def test_which_adapters_go_on_from_an_earlier_model():
    can = {name for name in BUILT_IN if warm_starts(get_adapter(name))}
    assert can == {"catboost", "lightgbm", "stable_baselines3", "torch", "xgboost"}
    assert resumes(get_adapter("toys.descent"))
    assert not resumes(get_adapter("lightgbm"))
    blocks = ("market", "features", "labels", "folds", "training", "backtest")
    ridge = {"ridge": {"adapter": "sklearn", "warm_start": True}}
    with pytest.raises(
        ValueError, match=r"models\.ridge\n.*warm_start is true, but models of adapter 'sklearn' cannot"
    ):
        Parameters.model_validate({"models": ridge, **{block: {} for block in blocks}})


def test_an_adapter_may_be_any_module_by_its_dotted_path(tmp_path, monkeypatch):
    source = (
        "import numpy as np\n"
        "from agent_market.adapters import ModelOptions\n"
        "STAGE = 'ml_training'\n"
        "class Options(ModelOptions):\n    column: int = 0\n"
        "def fit(train, valid, options, *, report):\n    return options.column\n"
        "def predict(model, samples):\n    return samples.X[:, model].astype(float)\n"
        "def save(model, folder):\n    (folder / 'model.txt').write_text(str(model))\n"
        "def load(folder):\n    return int((folder / 'model.txt').read_text())\n"
        "def suggest(trial):\n    return {}\n"
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "echo.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    options = parse_model_options({"adapter": "mine.echo", "column": 2})
    assert options.column == 2
    assert stage_of("mine.echo") == "ml_training"
    samples = build_samples(FEATURES, None, np.arange(5))
    np.testing.assert_array_equal(get_adapter("mine.echo").predict(2, samples), samples.X[:, 2])
