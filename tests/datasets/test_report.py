import pytest
from kedro.io import DatasetError, Version

from agent_market.datasets import ReportDataset

PAGES = {"index.html": "<p>π</p>", "models/ridge.html": "b", "plotly.js": "c"}


def test_a_report_comes_back_whole_and_lies_in_its_version(tmp_path):
    version = "2026-01-01T00.00.00.000Z"
    ReportDataset(filepath=str(tmp_path / "report"), version=Version(None, version)).save(PAGES)
    assert ReportDataset(filepath=str(tmp_path / "report"), version=Version(None, None)).load() == PAGES
    assert (tmp_path / "report" / version / "report" / "models" / "ridge.html").read_text() == "b"


def test_a_report_replaces_an_older_one_and_leaves_no_draft(tmp_path):
    dataset = ReportDataset(filepath=str(tmp_path / "report"))
    assert not dataset.exists()
    dataset.save(PAGES)
    dataset.save({"index.html": "new"})
    assert dataset.load() == {"index.html": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("name", ["../elsewhere.html", "/tmp/elsewhere.html", "models/../../elsewhere.html"])
def test_a_file_outside_the_folder_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match=r"elsewhere\.html would not"):
        ReportDataset(filepath=str(tmp_path / "report")).save({"index.html": "", name: ""})


def test_a_report_without_its_first_page_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"needs the page index.html; it has models/a.html"):
        ReportDataset(filepath=str(tmp_path / "report")).save({"models/a.html": ""})
