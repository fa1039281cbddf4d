import pytest
from pydantic import ValidationError

from agent_market.market import MarketOptions


def test_pairs_given_as_text_are_separated_by_spaces():
    assert MarketOptions(pairs="BTC/USDT ETH/USDT").pairs == ("BTC/USDT", "ETH/USDT")
    assert MarketOptions(pairs="BTC/USDT").pairs == ("BTC/USDT",)
    assert MarketOptions(pairs=["BTC/USDT", "BTC/USDT"]).pairs == ("BTC/USDT",)
    assert MarketOptions().pairs is None


def test_a_date_that_yaml_made_of_the_start_is_taken():
    import datetime as dt

    assert MarketOptions(start=dt.date(2023, 5, 1)).start == "2023-05-01"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "freqtrade_datadir"}, "needs market.datadir"),
        ({"timeframe": "5m"}, "market.timeframe=1h"),
        ({"timeframe": "1 hour"}, "timeframe\\n.*'1 hour'"),
        ({"pairs": []}, "list of pairs is empty"),
        ({"pairs": " "}, "list of pairs is empty"),
        ({"start": "2023-01-01 00:30"}, "not a full hour"),
        ({"start": "yesteryear"}, "start"),
        ({"signal_strength": -0.1}, "signal_strength"),
        ({"signal_strength": 1.0}, "signal_strength"),
        ({"trading_days": 0}, "trading_days"),
        ({"signal_strenght": 0.1}, "signal_strenght"),
    ],
)
def test_wrong_values_are_refused_by_name(values, message):
    with pytest.raises(ValidationError, match=message):
        MarketOptions(**values)
