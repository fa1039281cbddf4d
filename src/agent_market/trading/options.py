"""The options of a backtest: the rule that makes positions of predictions, the account and the costs."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent_market.options import Options, Span


class SignRule(Options):
    """Long above the deadband, short below its mirror image, flat inside."""

    rule: Literal["sign"] = "sign"
    deadband: float = Field(0.0, ge=0, description="predictions this close to neutral are flat, in prediction units")


class ThresholdRule(Options):
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


class QuantileRule(Options):
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


PositionRule = Annotated[SignRule | ThresholdRule | QuantileRule, Field(discriminator="rule")]


class BacktestOptions(Options):
    """What both engines must agree on: the rule, the account and the costs."""

    positions: PositionRule = Field(default_factory=QuantileRule, description="how predictions become positions")
    starting_balance: float = Field(10_000, gt=0, description="balance at the start, in stake currency")
    stake_currency: str = Field("USDT", min_length=1, description="currency of the account: the pairs' quote currency")
    fee: float = Field(0.001, ge=0, le=0.05, description="exchange fee per side, fraction of the notional")
    slippage: float = Field(0.0002, ge=0, le=0.05, description="slippage per side, fraction, charged like a fee")
    max_open_trades: int = Field(4, ge=1, description="positions open at one time, over all pairs")
    tradable_balance_ratio: float = Field(0.99, gt=0, le=1, description="part of the balance that may be at stake")
    freqtrade: bool = Field(True, description="run the real freqtrade beside the embedded engine")

    @property
    def cost_per_side(self) -> float:
        """Fee plus slippage, as a fraction of the notional of one entry or one exit."""
        return round(self.fee + self.slippage, 12)
