import itertools
from dataclasses import replace

import numpy as np
import pytest

from agent_market.errors import ParameterError
from agent_market.market.execution import CLOSE, OPEN
from agent_market.trading.env import EnvOptions, TradingCore, build_market
from agent_market.trading.env.hindsight import best_actions
from policies import make_panel, some

FUTURES = {"trading_mode": "futures", "fee": 0.002}


def short_market(seed, n=9, funding=0.0):
    """The first candles of one pair; `funding` is what a unit of the pair is charged at every third candle."""
    panel = make_panel(seed)
    execution, paid = panel.tensor.execution, np.zeros((len(panel), 2))
    paid[::3] = funding
    tensor = replace(panel.tensor, execution=replace(execution, funding=paid))
    return build_market(replace(panel, tensor=tensor, rows=np.arange(n)))


def totals_of(market, options, paths):
    """Log of the equity after each path of actions (n, decisions), by the account of the environment."""
    rules = options.model_copy(update={"episode_length": None})
    core = TradingCore(market, rules, len(paths))
    core.reset(start=0)
    for actions in np.array(paths).T:
        core.step(actions)
    return np.log(core.accounts["equity"])


def followed(table, levels):
    held, path = levels.index(0.0), []
    for row in table.tolist():
        held = row[held]
        path.append(held)
    return path


@pytest.mark.parametrize("funding", [0.0, 0.4])
@pytest.mark.parametrize("rules", [{"fee": 0.002}, FUTURES, FUTURES | {"leverage": 2.0}])
def test_no_other_sequence_of_positions_earns_more(rules, funding):
    options = EnvOptions(**rules)
    levels = list(options.levels)
    for seed in range(3):
        market = short_market(seed, funding=funding)
        rows, table = best_actions(market, options)
        assert rows.tolist() == list(range(7)), "decided before the last two of nine rows"
        every = totals_of(market, options, list(itertools.product(range(len(levels)), repeat=7)))
        (ours,) = totals_of(market, options, [followed(table, levels)])
        assert ours > every.max() - 3e-4, "but for the sizes of positions, which drift with the price"
        assert ours > np.quantile(every, 0.99)


def test_costs_keep_it_from_turning():
    market = short_market(0, n=300)
    free, dear = (
        followed(best_actions(market, EnvOptions(trading_mode="futures", fee=fee, slippage=0.0))[1], [-1.0, 0.0, 1.0])
        for fee in (0.0, 0.01)
    )
    moves = np.diff(market.prices[1:300, OPEN])
    assert (np.array(free) == np.where(moves > 0, 2, 0)).all(), "with nothing to pay it follows every move"
    assert 0 < np.count_nonzero(np.diff(dear)) < np.count_nonzero(np.diff(free)) / 2


def test_it_reads_no_price_beyond_the_rows():
    panel = make_panel(1)
    options = EnvOptions(**FUTURES)
    inside = some(panel, 0, 80)
    table = best_actions(build_market(inside), options)[1]
    for candle, matters in ((80, False), (79, True)):  # of the first pair; its rows end with candle 79
        tables = []
        for factor in (0.5, 2.0):
            prices = inside.tensor.execution.prices.copy()
            prices[candle:320] *= factor
            execution = replace(inside.tensor.execution, prices=prices)
            changed = replace(inside, tensor=replace(inside.tensor, execution=execution))
            tables.append(best_actions(build_market(changed), options)[1])
        assert all((changed == table).all() for changed in tables) != matters
    closes = inside.tensor.execution.prices.copy()
    closes[:, CLOSE] *= 1.5
    execution = replace(inside.tensor.execution, prices=closes)
    other = replace(inside, tensor=replace(inside.tensor, execution=execution))
    assert (best_actions(build_market(other), options)[1] == table).all(), "positions are filled and valued at opens"


def test_a_position_of_any_size_has_no_table():
    with pytest.raises(ParameterError, match="among `targets`, and actions are continuous"):
        best_actions(short_market(0), EnvOptions(actions="continuous"))
