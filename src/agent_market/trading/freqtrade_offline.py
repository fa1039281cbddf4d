"""freqtrade without a network: a stored market snapshot in place of the markets that it would fetch.

As a program this is freqtrade's own command line, with the snapshot as its first argument:

    python -m agent_market.trading.freqtrade_offline market_snapshot.json backtesting --config config.json
"""

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freqtrade.exchange import Exchange


def offline_exchange_class(markets: dict[str, dict]) -> type["Exchange"]:
    """freqtrade's class of the exchange, with markets and leverage tiers from a snapshot."""
    from freqtrade import exchange as exchanges
    from freqtrade.util.datetime_helpers import dt_ts

    class Binance(exchanges.Binance):
        """The exchange as it was when the snapshot was taken."""

        def reload_markets(self, force: bool = False, *, load_leverage_tiers: bool = True) -> None:
            """Take the markets of the snapshot, once."""
            if self._last_markets_refresh:
                return
            self._api.set_markets(deepcopy(markets))
            self._api_async.set_markets(deepcopy(markets))
            self._markets = self._api.markets
            self._last_markets_refresh = dt_ts()

        def fill_leverage_tiers(self) -> None:
            """Take the tiers of the snapshot."""
            self._leverage_tiers = {pair: deepcopy(market["leverageTiers"]) for pair, market in markets.items()}

    return Binance


def main(arguments: list[str]) -> None:
    """Run freqtrade's command line; ends the process with freqtrade's exit code."""
    from freqtrade import exchange as exchanges
    from freqtrade.main import main as freqtrade

    snapshot, *command = arguments
    markets: dict[str, Any] = json.loads(Path(snapshot).read_text())
    exchanges.Binance = offline_exchange_class(markets)
    freqtrade(command)


if __name__ == "__main__":
    main(sys.argv[1:])
