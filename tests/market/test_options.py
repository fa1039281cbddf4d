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
        ({"source": "exchange"}, "needs market.pairs"),
        ({"end": "2023-01-01 00:30"}, "not a full hour"),
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


@pytest.mark.parametrize(
    ("exchange_options", "where"),
    [
        ({"apiKey": "x"}, "exchange_options.apiKey"),
        ({"api_key": "x"}, "exchange_options.api_key"),
        ({"ccxt_config": {"secret": "x"}}, "exchange_options.ccxt_config.secret"),
        ({"ccxt_async_config": {"a": [{"password": "x"}]}}, "exchange_options.ccxt_async_config.a.password"),
        ({"ccxt_config": {"httpsProxy": "http://me:word@proxy:80"}}, "exchange_options.ccxt_config.httpsProxy"),
    ],
)
def test_a_secret_in_the_exchange_options_is_refused_and_not_repeated(exchange_options, where):
    with pytest.raises(ValidationError, match=rf"{where} looks like a secret.*conf/local") as caught:
        MarketOptions(exchange_options=exchange_options)
    assert "me:word" not in caught.value.errors()[0]["msg"]


def test_other_exchange_options_are_taken():
    taken = {"ccxt_config": {"httpsProxy": "http://proxy:80", "options": {"fetchMarkets": {"types": ["spot"]}}}}
    assert MarketOptions(exchange_options=taken).exchange_options == taken
    assert MarketOptions(exchange_options=None).exchange_options == {}


def test_the_folder_is_named_by_the_exchange_unless_one_is_given():
    assert MarketOptions(exchange="kraken", download_folder="raw").folder.as_posix() == "raw/kraken"
    assert MarketOptions(datadir="mine", download_folder="raw").folder.as_posix() == "mine"
