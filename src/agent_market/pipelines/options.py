"""A model's options as its nodes get them: from the parameters, or chosen by trial."""

from typing import Any

from pydantic import RootModel, model_validator

from agent_market.adapters import ModelOptions, parse_model_options
from agent_market.market.options import MarketOptions
from agent_market.trading.options import BacktestOptions

AS_TRADED = ("fee", "slippage", "leverage", "liquidation_buffer")
"""What an environment takes from the backtest where its own block says nothing."""


class AnyModelOptions(RootModel[Any]):
    """Options of one model: the adapter that the block names says which keys there are."""

    @model_validator(mode="after")
    def _parsed(self) -> "AnyModelOptions":
        if not isinstance(self.root, ModelOptions):
            self.root = parse_model_options(self.root)
        return self


def options_of(options: AnyModelOptions | dict[str, Any]) -> ModelOptions:
    """The options, of the parameters or of the dataset `<model>.tuned`."""
    return options.root if isinstance(options, AnyModelOptions) else parse_model_options(options["options"])


def trials_of(options: AnyModelOptions | dict[str, Any]) -> int:
    """How many configurations were tried for the options: one, unless they were chosen."""
    return 1 if isinstance(options, AnyModelOptions) else options["trials"]


def as_traded(options: ModelOptions, market: MarketOptions, backtest: BacktestOptions) -> ModelOptions:
    """The options of a policy, trained at the backtest's costs in the market's mode unless they say otherwise."""
    env, same = options.env, {name: getattr(backtest, name) for name in AS_TRADED}
    same["trading_mode"] = market.trading_mode
    if market.trading_mode == "spot":
        del same["leverage"]
    taken = {name: value for name, value in same.items() if name not in env.model_fields_set}
    told = env.model_dump(include=env.model_fields_set) | taken
    return options.model_copy(update={"env": type(env).model_validate(told)})
