import json
import re
import shutil
import subprocess

import pytest

from agent_market.datasets import JSONHistoryDataset
from agent_market.evaluation import build_feedback, render_run_index

RUN = {
    "market": {
        "source": "binance <b>",
        "timeframe": "1h",
        "pairs": ["A/USDT", "B/USDT"],
        "first_candle": "2024-01-01T00:00:00+00:00",
        "last_candle": "2024-12-31T23:00:00+00:00",
    },
    "folds": [],
}


@pytest.fixture(scope="module")
def feedback(small_run):
    return build_feedback(run=RUN, verdicts=small_run.verdicts, leaderboard=small_run.leaderboard)


def version(day, hour=0):
    return f"2026-{day // 28 + 1:02d}-{day % 28 + 1:02d}T{hour:02d}.00.00.000Z"


def stored(folder, feedback, days, *, reports=True):
    for day in days:
        own = json.loads(json.dumps(feedback))
        own["models"]["ridge"]["metrics"]["sharpe"] = float(day)
        file = folder / "feedback.json" / version(day) / "feedback.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(own))
        if reports:
            page = folder / "report" / version(day) / "report" / "index.html"
            page.parent.mkdir(parents=True)
            page.write_text("")
    return JSONHistoryDataset(
        filepath=str(folder / "feedback.json"), beside=str(folder / "report"), contents="index.html"
    )


def rows_of(page):
    return re.findall(r'<tr data-model="([^"]*)" data-date="([^"]*)"[^>]*?( data-best)?>', page)


def test_every_run_is_there_newest_first_with_its_best_model_and_its_report(tmp_path, feedback):
    history = stored(tmp_path, feedback, [3, 1, 2])
    page = render_run_index(history.load())
    assert [row[:2] for row in rows_of(page)] == [
        (model, version(day)[:10]) for day in (3, 2, 1) for model in ("ridge", "&lt;b&gt;noise &amp; co&lt;/b&gt;")
    ]
    assert [bool(row[2]) for row in rows_of(page)] == [True, False] * 3
    links = re.findall(r'<a href="([^"]*\.html)" data-page', page)
    assert len(links) == 6
    assert all((tmp_path / link).is_file() for link in links)
    assert page.count("<b>") == 0
    assert "3 runs, 3 with a claim" in page


def test_a_run_whose_report_is_gone_and_one_that_cannot_be_read_are_still_told(tmp_path, feedback):
    history = stored(tmp_path, feedback, [1], reports=False)
    broken = tmp_path / "feedback.json" / version(2) / "feedback.json"
    broken.parent.mkdir()
    broken.write_text('{"cut off')
    (tmp_path / "feedback.json" / version(3)).mkdir()  # a run that never came so far
    page = render_run_index(history.load())
    assert "data-page>2026" not in page
    assert re.search(rf"{version(2)}: Unterminated string", page)
    assert "1 run, 1 with a claim" in page


def test_figures_that_older_runs_do_not_have_are_left_empty(tmp_path, feedback):
    older = json.loads(json.dumps(feedback))
    for found in older["models"].values():
        del found["metrics"]["dsr"]
    page = render_run_index(stored(tmp_path, older, [1]).load())
    assert page.count('data-v="">–</td>') == len(older["models"])
    assert 'data-v="nan"' not in page


def test_no_runs_make_an_empty_page(tmp_path):
    assert "0 runs" in render_run_index(JSONHistoryDataset(filepath=str(tmp_path / "none.json")).load())


def test_a_history_is_read_only(tmp_path):
    with pytest.raises(Exception, match="a history is read only"):
        JSONHistoryDataset(filepath=str(tmp_path / "a.json")).save([])


def test_hundreds_of_runs_are_light_and_filtered_in_the_browser(tmp_path, feedback):
    page = render_run_index(stored(tmp_path, feedback, range(300)).load())
    assert len(page.encode()) < 2_000_000
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the page with")
    path = tmp_path / "runs.html"
    path.write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=4000"]
    flags += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    question = "?model=ridge&from=2026-01-05&to=2026-01-09"
    command = [browser, *flags, path.as_uri() + question]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    seen = [tag for tag in re.findall(r"<tr data-model[^>]*>", shown.stdout) if " hidden" not in tag]
    assert len(seen) == 5
    assert all('data-model="ridge"' in tag for tag in seen)
    assert len(re.findall(r'<circle cx="\d', shown.stdout)) == 5
    assert "Uncaught" not in shown.stderr
    assert "Content Security Policy" not in shown.stderr
