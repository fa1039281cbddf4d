import subprocess
import sys

import optuna
import pytest
from pydantic import ValidationError

from agent_market.adapters import get_adapter, parse_model_options, stage_of
from agent_market.adapters.torch import Options, suggest
from agent_market.adapters.torch.options import DEFAULTS, tcn_layers


@pytest.mark.parametrize("network", DEFAULTS)
def test_each_network_has_defaults_of_its_own_and_survives_being_written_down(network):
    options = parse_model_options({"adapter": "torch", "network": network})
    assert options.training == ("window" if network == "mlp" else "chunked")
    assert options.lookback == (1 if network == "mlp" else 32)
    assert parse_model_options(options.model_dump(mode="json")) == options


def test_the_adapter_is_found_by_name_and_its_options_need_no_torch():
    assert stage_of("torch") == "dl_training"
    assert get_adapter("torch").Options is Options
    code = "import sys; from agent_market.adapters.torch import Options; Options(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_classification_takes_the_likelihood_and_ic_takes_dates():
    assert Options(task="classification").loss == "bce"
    assert Options().loss == "mse"
    assert Options(loss="ic").batch == "dates"


def test_a_tcn_is_as_deep_as_its_look_back_allows():
    assert [tcn_layers(Options(network="tcn", lookback=n)) for n in (3, 31, 32, 62, 63)] == [1, 4, 4, 4, 5]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"network": "lstn"}, "unknown network 'lstn'. Did you mean lstm?"),
        ({"network": "lstm", "heads": 2}, "heads: network lstm takes lookback, hidden, layers, dropout"),
        ({"network": "mine.Net", "hidden": 8}, "hidden: network mine.Net takes lookback and network_options"),
        ({"network": "mlp", "network_options": {"a": 1}}, "network_options are for a network of your own; mlp takes"),
        ({"network": "transformer", "hidden": 30}, "hidden (30) must be a multiple of heads (4)"),
        ({"network": "transformer", "lookback": 4}, "with a kernel of 3 needs a lookback of 5 candles or more, not 4"),
        ({"network": "tcn", "layers": 5}, "5 layers with a kernel of 3 see 63 candles, more than lookback (32)"),
        ({"loss": "bce"}, "loss bce does not fit task regression"),
        ({"loss": "mse", "task": "classification"}, "loss mse does not fit task classification"),
        ({"loss": "quantile", "quantiles": (0.1, 0.9)}, "0.5, the prediction, must be among them"),
        ({"loss": "quantile", "quantiles": (0.5, 0.1)}, "must rise"),
        ({"loss": "ic", "augment": {"mixup": 0.2}}, "choose one"),
        ({"augment": {"nois": 0.2}}, "nois"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, match):
    with pytest.raises(ValidationError) as error:
        Options.model_validate(options)
    assert match in str(error.value)


@pytest.mark.parametrize("network", DEFAULTS)
def test_the_search_space_fits_every_built_in_network(network):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        Options.model_validate({"network": network} | suggest(study.ask()))
