"""Model settings of the older tool's flow files, as blocks of `models`."""

from typing import Any

from agent_market.flow.older_reading import Reader

Block = dict[str, tuple[Any, str]]
"""Options with their values, and where in the older file each stands."""

STORED = "models are datasets, which lie where conf/base/catalog/models.yml says"

RENAMED = {
    "lightgbm": {
        "n_estimators": ("num_boost_round", "n_estimators", "num_iterations"),
        "learning_rate": ("learning_rate", "eta"),
        "num_leaves": ("num_leaves",),
        "min_data_in_leaf": ("min_data_in_leaf", "min_child_samples"),
        "feature_fraction": ("feature_fraction", "colsample_bytree"),
        "bagging_fraction": ("bagging_fraction", "subsample"),
        "lambda_l2": ("lambda_l2", "reg_lambda"),
        "max_bin": ("max_bin",),
        "early_stopping": ("early_stopping_rounds",),
        "threads": ("num_threads",),
        "seed": ("seed", "random_state"),
    },
    "xgboost": {
        "n_estimators": ("num_boost_round", "n_estimators"),
        "learning_rate": ("learning_rate", "eta"),
        "max_depth": ("max_depth",),
        "min_child_weight": ("min_child_weight",),
        "colsample_bytree": ("colsample_bytree",),
        "subsample": ("subsample",),
        "reg_lambda": ("reg_lambda", "lambda"),
        "max_bin": ("max_bin",),
        "early_stopping": ("early_stopping_rounds",),
        "threads": ("nthread", "num_threads"),
        "seed": ("seed", "random_state"),
    },
    "catboost": {
        "n_estimators": ("iterations", "n_estimators"),
        "learning_rate": ("learning_rate",),
        "depth": ("depth",),
        "l2_leaf_reg": ("l2_leaf_reg",),
        "rsm": ("rsm",),
        "subsample": ("subsample",),
        "border_count": ("border_count",),
        "early_stopping": ("early_stopping_rounds",),
        "threads": ("thread_count", "num_threads"),
        "seed": ("random_seed", "seed"),
    },
    "sklearn": {"alpha": ("alpha",), "seed": ("seed", "random_state")},
    "torch": {
        "dropout": ("dropout",),
        "epochs": ("epochs",),
        "batch_size": ("batch_size",),
        "learning_rate": ("learning_rate",),
        "seed": ("seed",),
    },
}
"""This project's option, and the names that the older tool knows it by, for each adapter."""

ADAPTERS = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "catboost": "catboost",
    "ridge": "sklearn",
    "pytorch_mlp": "torch",
}
"""The older tool's name of a model, and its adapter here."""

BOOSTED = ("lightgbm", "xgboost", "catboost")

OBJECTIVES = {
    "regression": "regression",
    "reg:squarederror": "regression",
    "RMSE": "regression",
    "binary": "classification",
    "binary:logistic": "classification",
    "Logloss": "classification",
}

POLICY = ("learning_rate", "gamma", "gae_lambda", "n_steps", "batch_size", "n_epochs", "net_arch")
"""Settings of an algorithm that have the same name here."""


def model_block(training: Reader) -> tuple[str, Block | None]:
    """Name and block of the model that one training of the older file makes; no block for a kind that is not known."""
    model = training.section("model")
    name = model.take("name", "lightgbm")
    training.section("output").drop(STORED, "model_dir")
    settings = training.section("training")
    settings.drop("the validation window is folds.valid long, before each test window", "validation_ratio")
    settings.drop("each model is walked forward over all folds", "rolling_splits")
    settings.drop("labels that reach over a boundary are purged, whatever their length", "purge")
    settings.drop("candles left out after each boundary are folds.embargo, for all models alike", "embargo")
    if (adapter := ADAPTERS.get(name)) is None:
        model.say("name", name, f"no adapter corresponds to it; known are {', '.join(ADAPTERS)}")
        model.rest("the model has no counterpart")
        settings.rest("the model has no counterpart")
        return name, None
    block: Block = {"adapter": (adapter, model.path("name"))}
    params = model.section("params")
    params.drop(STORED, "model_dir")
    if adapter == "torch":
        block["network"] = ("mlp", model.path("name"))
        _layers(params, block)
    for option, names in RENAMED[adapter].items():
        for older in names:
            if older in params and option not in block:
                block[option] = (params.take(older), params.path(older))
    if adapter in BOOSTED:
        _objective(params, block)
        params.drop("fits stop early by the loss of the objective; the report measures everything else", "metric")
        params.drop("messages of the library are not shown", "verbose", "verbosity")
        _further(params, block)
    scaler = settings.take("scaler")
    if scaler == "standard":
        block["preprocessing"] = (["impute", "clip", "standardize"], settings.path("scaler"))
    elif scaler not in (None, "none"):
        settings.say("scaler", scaler, "preprocessing knows impute, clip and standardize")
    settings.rest("nothing here corresponds to it")
    params.rest(f"the adapter {adapter} has no such option")
    model.rest("nothing here corresponds to it")
    return name, block


def policy_block(training: Reader) -> Block:
    """The block of the policy (PPO) that the older file trains.

    Its tool traded one episode at a time with the library's own settings, so these stand where it says nothing.
    """
    origin = training.path("algo")
    block: Block = {"adapter": ("stable_baselines3", origin), "algorithm": ("ppo", origin)}
    block |= {"profile": ("default", origin), "n_envs": (1, origin)}
    block |= {"n_steps": (2048, origin), "batch_size": (64, origin)}
    training.section("output").drop(STORED, "model_dir")
    policy = training.take("policy", "MlpPolicy")
    if policy != "MlpPolicy":
        training.say("policy", policy, "policies are networks of layers (net_arch)")
    steps = training.section("training")
    steps.pass_on("total_timesteps", "total_timesteps", lambda name, *found: block.__setitem__(name, found))
    steps.rest("nothing here corresponds to it")
    algo = training.section("algo")
    for key in POLICY:
        algo.pass_on(key, key, lambda name, *found: block.__setitem__(name, found))
    algo.pass_on("activation_fn", "activation", lambda name, *found: block.__setitem__(name, found))
    algo.pass_on("seed", "seed", lambda name, *found: block.__setitem__(name, found))
    algo.drop("messages of the library are not shown", "verbose")
    _further(algo, block, option="algorithm_options")
    training.section("reward").rest("the environment pays what the backtest pays: backtest.fee and slippage")
    return block


def _layers(params: Reader, block: Block) -> None:
    widths = params.take("hidden_dims")
    if widths:
        block["hidden"] = (widths[0], params.path("hidden_dims"))
        block["layers"] = (len(widths), params.path("hidden_dims"))
        if len(set(widths)) > 1:
            params.say("hidden_dims", widths, f"all layers are as wide as the first: {len(widths)} of {widths[0]}")
    cuda = params.take("use_cuda")
    if cuda is not None:
        block["device"] = ("auto" if cuda else "cpu", params.path("use_cuda"))


def _objective(params: Reader, block: Block) -> None:
    for key in ("objective", "loss_function"):
        objective = params.take(key)
        if objective in OBJECTIVES:
            block["task"] = (OBJECTIVES[objective], params.path(key))
        elif objective is not None:
            params.say(key, objective, "models foretell a return (task: regression) or a rise (classification)")


def _further(params: Reader, block: Block, *, option: str = "params") -> None:
    """What the older tool handed to the library as it is, and this one does, too."""
    further = params.remaining()
    if further:
        block[option] = (further, params.path(next(iter(further))))
