"""The rules of an episode."""

from typing import Literal, Self

from pydantic import Field, model_validator

from agent_market.options import Options

FLAT = 0.0


class EnvOptions(Options):
    """What an agent sees, what it may do, what that costs, and when an episode ends."""

    trading_mode: Literal["spot", "futures"] = Field("spot", description="spot: no shorts, no leverage, no funding")
    actions: Literal["discrete", "continuous"] = Field(
        "discrete", description="choose one of `targets`, or any position from -1 to 1"
    )
    targets: tuple[float, ...] = Field(
        (),
        description="discrete: positions to choose from, parts of a full stake, short below 0; empty: 0 and 1, in "
        "futures -1, 0 and 1. As in the backtest the size counts when a position is opened and stays until it is left",
    )
    rebalance_band: float = Field(
        0.1, gt=0, lt=2, description="continuous: a position this close to the wish is left alone, part of a full stake"
    )
    window: int = Field(1, ge=1, description="candles of features that are seen, the present one included")
    observe_profit: bool = Field(False, description="see what the open position has earned so far")
    observe_time: bool = Field(False, description="see how long the position is open")
    episode_length: int | None = Field(
        512, ge=1, description="decisions in an episode, candles; null: to the end of the rows"
    )
    random_start: bool = Field(True, description="start anywhere in the rows; false: at the first row of each stretch")
    fee: float = Field(0.001, ge=0, le=0.05, description="exchange fee per side, fraction of the notional")
    slippage: float = Field(0.0002, ge=0, le=0.05, description="slippage per side, fraction, charged like a fee")
    funding: bool = Field(True, description="futures: pay and receive the funding that the market has")
    leverage: float = Field(1.0, ge=1, le=125, description="futures: notional per stake")
    maintenance_margin: float = Field(
        0.025, ge=0, lt=0.5, description="futures: what the exchange asks of an open position, fraction of its notional"
    )
    liquidation_buffer: float = Field(
        0.05, ge=0, lt=1, description="futures: liquidated before the exchange would, part of the distance"
    )
    bankruptcy: float = Field(
        0.1, ge=0.001, lt=1, description="an episode ends once so little of its equity at the start is left, fraction"
    )
    cost_multiplier: float = Field(
        1.0,
        ge=0,
        le=10,
        description="training only: fee and slippage count so many times; the equity is then no backtest's",
    )
    drawdown_penalty: float = Field(
        0.0, ge=0, description="training only: reward lost per unit by which the drawdown (log equity) grows"
    )
    reward_scale: float = Field(100.0, gt=0, description="reward of a log return of 1")

    @property
    def levels(self) -> tuple[float, ...]:
        """The positions to choose from, in the order of the actions."""
        if self.targets:
            return self.targets
        return (FLAT, 1.0) if self.trading_mode == "spot" else (-1.0, FLAT, 1.0)

    @property
    def cost_per_side(self) -> float:
        """What a trade costs, as a fraction of its notional, the training multiplier included."""
        return round(self.fee + self.slippage, 12) * self.cost_multiplier

    @model_validator(mode="after")
    def _targets_can_be_held(self) -> Self:
        lowest = 0 if self.trading_mode == "spot" else -1
        if not all(lowest <= target <= 1 for target in self.levels):
            raise ValueError(
                f"targets are {list(self.levels)}; in {self.trading_mode} each must lie from {lowest} to 1"
                + (" (set trading_mode to futures for shorts)" if lowest == 0 else "")
            )
        if len(set(self.levels)) < max(len(self.levels), 2) or FLAT not in self.levels:
            raise ValueError(f"targets are {list(self.levels)}; expected two different ones or more, 0 among them")
        return self

    @model_validator(mode="after")
    def _spot_has_no_leverage(self) -> Self:
        if self.trading_mode == "spot" and self.leverage != 1:
            raise ValueError(f"leverage is {self.leverage} but trading_mode is spot; set trading_mode to futures")
        return self
