"""Kedro datasets of this project's own."""

from agent_market.datasets.credential import CredentialDataset
from agent_market.datasets.freqtrade_archive import FreqtradeArchiveDataset
from agent_market.datasets.history import JSONHistoryDataset
from agent_market.datasets.ledger import LedgerDataset
from agent_market.datasets.optional_json import OptionalJSONDataset
from agent_market.datasets.panel import PanelDataset
from agent_market.datasets.report import ReportDataset
from agent_market.datasets.text import HTMLReportDataset
from agent_market.datasets.trained_model import TrainedModelDataset

__all__ = [
    "CredentialDataset",
    "FreqtradeArchiveDataset",
    "HTMLReportDataset",
    "JSONHistoryDataset",
    "LedgerDataset",
    "OptionalJSONDataset",
    "PanelDataset",
    "ReportDataset",
    "TrainedModelDataset",
]
