"""Kedro datasets of this project's own."""

from agent_market.datasets.freqtrade_archive import FreqtradeArchiveDataset
from agent_market.datasets.optional_json import OptionalJSONDataset
from agent_market.datasets.panel import PanelDataset
from agent_market.datasets.report import ReportDataset
from agent_market.datasets.text import HTMLReportDataset
from agent_market.datasets.trained_model import TrainedModelDataset

__all__ = [
    "FreqtradeArchiveDataset",
    "HTMLReportDataset",
    "OptionalJSONDataset",
    "PanelDataset",
    "ReportDataset",
    "TrainedModelDataset",
]
