"""What tests need and the package itself does not: an exchange and a language model's server on this machine."""

from agent_market.testing.fake_binance import FakeBinance, Fault, exchange_options

__all__ = ["FakeBinance", "Fault", "exchange_options"]
