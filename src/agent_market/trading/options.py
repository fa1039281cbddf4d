"""The options of a backtest: the rule that makes positions of predictions, the account and the costs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from agent_market.errors import ParameterError
from agent_market.options import Options, Span
from agent_market.trading.custom_rules import load_rule


class PositionOptions(Options):
    """What every rule has beside its own options: how long a position is held at least, and its size."""

    hold: int = Field(1, ge=1, description="candles that a position is held at least, whatever the rule says meanwhile")
    target_volatility: float | None = Field(
        None, gt=0, description="annualised volatility, fraction, to which positions are sized; none: full size"
    )
    volatility_window: int = Field(
        168, ge=2, description="candles over whose returns a pair's volatility is measured; flat before"
    )
    min_size: float = Field(0.05, gt=0, le=1, description="size, part of a full stake, that volatility cuts down to")


class SignRule(PositionOptions):
    """Long above the deadband, short below its mirror image, flat inside."""

    rule: Literal["sign"] = "sign"
    deadband: float = Field(0.0, ge=0, description="predictions this close to neutral are flat, in prediction units")


class ThresholdRule(PositionOptions):
    """Long once the prediction exceeds `enter`, held until it falls below `exit`; short mirrored."""

    rule: Literal["threshold"] = "threshold"
    enter: float = Field(0.001, ge=0, description="level that opens a position, in prediction units from neutral")
    exit: float = Field(0.0, description="level that closes it, from -enter to enter")

    @model_validator(mode="after")
    def _levels_in_order(self) -> Self:
        if not -self.enter <= self.exit <= self.enter:
            raise ValueError(
                f"exit must lie between -enter and enter ({-self.enter} to {self.enter}), found {self.exit}"
            )
        return self


class QuantileRule(PositionOptions):
    """Long above a trailing quantile of the model's predictions, held while above another; short mirrored."""

    rule: Literal["quantile"] = "quantile"
    enter: float = Field(0.9, ge=0.5, lt=1, description="quantile that opens a long; 1 - enter opens a short")
    exit: float = Field(0.5, gt=0, lt=1, description="quantile that closes a long; 1 - exit closes a short")
    window: Span = Field("30d", description="how far back the predictions of all pairs are ranked")
    min_history: int = Field(200, ge=2, description="predictions that the window must hold; flat before")

    @model_validator(mode="after")
    def _quantiles_in_order(self) -> Self:
        lowest = round(1 - self.enter, 12)
        if not lowest <= self.exit <= self.enter:
            raise ValueError(f"exit must lie from 1 - enter to enter ({lowest} to {self.enter}), found {self.exit}")
        return self


class TopKRule(PositionOptions):
    """Long the pairs with the highest predictions of a date, held until they leave the best `keep`; short mirrored."""

    rule: Literal["top_k"] = "top_k"
    k: int = Field(2, ge=1, description="pairs to be long, at each date; in futures as many short")
    keep: int | None = Field(None, description="a held pair stays while among so many best, k or more; none: k")
    n_drop: int | None = Field(
        None, ge=1, description="held pairs replaced at one date at most, the worst first; none: no limit"
    )
    min_score: float | None = Field(
        None, description="prediction that a long must have at least, from neutral; shorts mirrored; none: any"
    )

    @model_validator(mode="after")
    def _keeps_what_it_opens(self) -> Self:
        if self.keep is not None and self.keep < self.k:
            raise ValueError(f"keep must be at least k ({self.k}), found {self.keep}")
        return self


class CustomRule(PositionOptions):
    """Positions by a function of your own, named by its dotted path."""

    rule: str = Field(description="module and function: my_package.rules.my_rule")
    options: dict[str, Any] = Field(default_factory=dict, description="the function's own options, by name")

    @model_validator(mode="after")
    def _can_be_called(self) -> Self:
        try:
            load_rule(self.rule, self.options)
        except ParameterError as error:
            raise ValueError(str(error)) from error
        return self


_DOTTED = "package.module.function"


def _rule_named(block: Any) -> Any:
    name = block.get("rule") if isinstance(block, dict) else getattr(block, "rule", None)
    return _DOTTED if isinstance(name, str) and "." in name else name or "(none)"


PositionRule = Annotated[
    Annotated[SignRule, Tag("sign")]
    | Annotated[ThresholdRule, Tag("threshold")]
    | Annotated[QuantileRule, Tag("quantile")]
    | Annotated[TopKRule, Tag("top_k")]
    | Annotated[CustomRule, Tag(_DOTTED)],
    Discriminator(_rule_named),
]


NOT_MODELLED = {
    "protections": "protections and the locks of pairs that they set",
    "enable_protections": "protections and the locks of pairs that they set",
    "timeframe_detail": "exits looked for in shorter candles",
    "position_adjustment_enable": "adding to and reducing an open position",
    "max_entry_position_adjustment": "adding to and reducing an open position",
    "use_custom_stoploss": "a stop-loss by a function of the strategy",
    "order_types": "limit orders, and stops kept by the exchange: every order is filled as docs/backtest.md says",
    "order_time_in_force": "orders that are not filled at once",
    "unfilledtimeout": "orders that are not filled at once",
    "entry_pricing": "prices from an order book",
    "exit_pricing": "prices from an order book",
    "custom_price_max_distance_ratio": "prices by a function of the strategy",
    "amount_reserve_percent": "another reserve on the exchange's minimum than freqtrade's default of 5 %",
    "amend_last_stake_amount": "a last stake of what is left of the balance",
    "last_stake_amount_min_ratio": "a last stake of what is left of the balance",
    "available_capital": "an account with capital besides starting_balance",
    "margin_mode": "another margin than isolated",
}
"""Settings of freqtrade, and of strategies, that would change trades and that the embedded engine has no rule for."""


class BacktestOptions(Options):
    """What both engines must agree on: the rule, the account, the costs and the exits, under freqtrade's names."""

    positions: PositionRule = Field(default_factory=QuantileRule, description="how predictions become positions")
    starting_balance: float = Field(10_000, gt=0, description="balance at the start, in stake currency")
    stake_currency: str = Field("USDT", min_length=1, description="currency of the account: the pairs' quote currency")
    stake_amount: Literal["unlimited"] | Annotated[float, Field(gt=0)] = Field(
        "unlimited", description="stake of a trade, in stake currency; unlimited: an equal share of the balance"
    )
    tradable_balance_ratio: float = Field(0.99, gt=0, le=1, description="part of the balance that may be at stake")
    max_open_trades: int = Field(4, ge=1, description="positions open at one time, over all pairs")
    fee: float = Field(0.001, ge=0, le=0.05, description="exchange fee per side, fraction of the notional")
    slippage: float = Field(0.0002, ge=0, le=0.05, description="slippage per side, fraction, charged like a fee")
    leverage: float = Field(1.0, ge=1, le=125, description="futures: notional per stake, where the market allows it")
    liquidation_buffer: float = Field(
        0.05, ge=0, lt=1, description="futures: liquidated before the exchange would, part of the distance"
    )
    stoploss: float = Field(-0.99, lt=0, ge=-0.99, description="loss that closes a position, part of its stake")
    trailing_stop: bool = Field(False, description="the stop follows the price")
    trailing_stop_positive: float | None = Field(
        None, gt=0, lt=1, description="distance of the trailing stop once the profit exceeds the offset"
    )
    trailing_stop_positive_offset: float = Field(0.0, ge=0, lt=1, description="profit that switches to that distance")
    trailing_only_offset_is_reached: bool = Field(False, description="trail only once the offset is reached")
    minimal_roi: dict[int, float] = Field(
        default_factory=dict, description="minutes in the trade: profit that closes it from then on; -1 closes always"
    )
    use_exit_signal: bool = Field(True, description="exit signals close positions")
    exit_profit_only: bool = Field(False, description="exit signals count only above exit_profit_offset")
    exit_profit_offset: float = Field(0.0, description="profit that an exit signal needs with exit_profit_only")
    ignore_roi_if_entry_signal: bool = Field(False, description="minimal_roi waits while the entry signal stands")
    freqtrade: bool = Field(True, description="run the real freqtrade beside the embedded engine")
    freqtrade_runner: Literal["in_process", "command_line"] = Field(
        "in_process", description="command_line: `freqtrade backtesting` in a process of its own, as a user runs it"
    )

    @property
    def cost_per_side(self) -> float:
        """Fee plus slippage, as a fraction of the notional of one entry or one exit."""
        return round(self.fee + self.slippage, 12)

    @model_validator(mode="before")
    @classmethod
    def _asks_for_nothing_else(cls, block: Any) -> Any:
        name = next((name for name in NOT_MODELLED if isinstance(block, dict) and name in block), None)
        if name:
            raise ValueError(
                f"{name} is {block[name]!r}, but the embedded engine does not know {NOT_MODELLED[name]}; take it out, "
                "or export the model with `kedro freqtrade export` and backtest it in freqtrade with that setting"
            )
        return block

    @model_validator(mode="after")
    def _trailing_stop_fits(self) -> Self:
        offset, distance = self.trailing_stop_positive_offset, self.trailing_stop_positive
        if self.trailing_only_offset_is_reached and offset == 0:
            raise ValueError("trailing_only_offset_is_reached needs trailing_stop_positive_offset above 0")
        if self.trailing_only_offset_is_reached and distance is None:
            raise ValueError("trailing_only_offset_is_reached needs trailing_stop_positive, the distance from there on")
        if distance is not None and 0 < offset <= distance:
            raise ValueError(
                f"trailing_stop_positive_offset must be above trailing_stop_positive ({distance}), found {offset}"
            )
        return self

    @model_validator(mode="after")
    def _has_room_for_the_best(self) -> Self:
        if isinstance(self.positions, TopKRule) and self.positions.k > self.max_open_trades:
            raise ValueError(
                f"positions.k is {self.positions.k}, but max_open_trades is {self.max_open_trades}, which would be "
                "given out in alphabetical order; set max_open_trades to k, in futures to 2 k"
            )
        return self
