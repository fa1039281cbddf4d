"""What blocks of parameters say of models, checked against the models that there are."""

import pytest
import yaml
from pydantic import ValidationError

from agent_market.parameters import Parameters, known_keys, restricted, with_members
from projects import PROJECT

MODELS = {
    "ridge": {"adapter": "sklearn"},
    "trees": {"adapter": "lightgbm"},
    "up": {"adapter": "lightgbm", "task": "classification"},
    "both": {"adapter": "ensemble", "members": ["ridge", "trees"]},
}


def tree(**blocks):
    found = {"market": {}, "features": {}, "labels": {}, "folds": {}, "training": {}, "models": MODELS, "backtest": {}}
    return found | blocks


def parsed(**blocks):
    return Parameters.model_validate(tree(**blocks))


@pytest.mark.parametrize(
    ("blocks", "where", "said"),
    [
        ({"tuning": {"models": ["tres"]}}, "tuning", "models: 'tres' is none of .*did you mean trees"),
        ({"tuning": {"models": "ridge both"}}, "tuning", "models: 'both' is none of the models that are not made of"),
        ({"tuning": {"space": {"tree": {"alpha": [1]}}}}, "tuning", "space: 'tree' is none of .* mean trees"),
        (
            {"tuning": {"space": {"trees": {"num_leafs": [3]}}}},
            "tuning",
            r"space\.trees\.num_leafs is no option .*did you mean num_leaves",
        ),
        ({"tuning": {"space": {"trees": {"task": ["regression"]}}}}, "tuning", r"space\.trees\.task is no option"),
        ({"tuning": {"enabled": True, "objective": "logloss"}}, "tuning", "ridge is no model of task classification"),
        ({"cross_validation": {"models": ["x"]}}, "cross_validation", "models: 'x' is none of"),
        (
            {"models": MODELS | {"both": {"adapter": "ensemble", "members": ["ridge", "treez"]}}},
            "models",
            r"both\.members: 'treez' is none .*did you mean trees",
        ),
        (
            {"models": MODELS | {"all": {"adapter": "ensemble", "members": ["ridge", "both"]}}},
            "models",
            r"all\.members: 'both' is none of the models that are not made of others",
        ),
    ],
)
def test_a_model_that_is_not_there_is_named_where_it_is_asked_for(blocks, where, said):
    with pytest.raises(ValidationError, match=said) as caught:
        parsed(**blocks)
    assert caught.value.errors()[0]["loc"][0] == where


def test_names_may_stand_in_a_row():
    assert parsed(tuning={"models": "ridge up"}).tuning.models == ("ridge", "up")
    assert parsed(cross_validation={"models": "ridge up"}).cross_validation.models == ("ridge", "up")


def test_parameters_of_some_models_forget_the_others():
    blocks = {
        "tuning": {"models": "ridge up", "space": {"up": {"seed": [1, 2]}, "ridge": {"seed": [1, 2]}}},
        "cross_validation": {"models": ["up"]},
    }
    few = Parameters.model_validate(restricted(tree(**blocks), ["ridge", "trees"]))
    assert list(few.models) == ["ridge", "trees"]
    assert few.tuning.models == ("ridge",)
    assert list(few.tuning.space) == ["ridge"]
    assert few.cross_validation.models == ()


def test_an_ensemble_comes_with_its_members():
    assert with_members(["both"], parsed()) == ["ridge", "trees", "both"]
    assert with_members(["up"], parsed()) == ["up"]


def test_the_files_name_every_option_of_tuning_with_its_default():
    block = yaml.safe_load((PROJECT / "conf" / "base" / "parameters" / "tuning.yml").read_text())["tuning"]
    defaults = parsed().tuning
    for name, value in block.items():
        if name != "storage":
            assert value == getattr(defaults, name), name


def test_a_misspelt_option_of_an_ensemble_is_answered_with_those_that_there_are():
    assert {"members", "method", "evidence"} <= set(known_keys(("models", "both"), tree()))
