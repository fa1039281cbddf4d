"""What trading the predictions would have brought: `<model>.predictions` in; `positions`, `trades`, `equity` out.

The real freqtrade runs beside the embedded engine, `engine_comparison` says whether they agree, and
`freqtrade_archive` keeps its results as it writes them.
"""

from agent_market.pipelines.backtest.pipeline import create_pipeline

__all__ = ["create_pipeline"]
