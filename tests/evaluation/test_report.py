import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import plotly.offline
import pytest

from agent_market.evaluation import build_feedback, build_leaderboard, monthly_figure, render_report, run_caveats
from agent_market.evaluation.formatting import flatten, format_interval, format_probability, format_value

RUN = {
    "market_source": "simulated",
    "pairs": ["P0/USDT", "P1/USDT"],
    "seed": 42,
    "costs": {"fee": 0.001, "slippage": 0.0},
    "folds": pd.DataFrame({"fold": [0], "test_start": [pd.Timestamp("2024-01-01", tz="UTC")]}),
    "parameters": {"models": {"ridge": {"alpha": 1.0}}},
    "versions": {"numpy": np.__version__},
}
QUALITY = pd.DataFrame({"pair": ["P0/USDT"], "gaps": [3], "share_filled": [0.0123456789]})
ENGINES = pd.DataFrame({"model": ["ridge"], "trades_embedded": [10], "trades_freqtrade": [11], "agree": [False]})


def render(small, **changes):
    parts = {
        "leaderboard": small.leaderboard,
        "verdicts": small.verdicts,
        "figures": small.figures,
        "caveats": small.caveats,
        "run": RUN,
        "quality": QUALITY,
        "engines": ENGINES,
    }
    return render_report(**(parts | changes))


def test_the_spread_over_seeds_stands_on_the_leaderboard(small_run):
    name = small_run.leaderboard["model"].iloc[0]
    spread = {"rank_ic_seed_mean": 0.034, "rank_ic_seed_std": 0.0042, "n_seeds": 3}
    table = small_run.leaderboard.astype(dict.fromkeys(spread, object))
    table.loc[table["model"] == name, list(spread)] = list(spread.values())
    page = render(small_run, leaderboard=table, figures={})
    assert '0.0340 ± 0.0042<span class="interval">over 3 seeds</span>' in page
    assert "RankIC of seeds" in page
    assert "± " not in render(small_run, figures={}).replace(plotly.offline.get_plotlyjs(), "")


@pytest.fixture(scope="module")
def page(small_run):
    return render(small_run)


@pytest.fixture(scope="module")
def markup(page):
    """The page without Plotly's own source text."""
    return page.replace(plotly.offline.get_plotlyjs(), "")


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style") and data.strip():
            self.texts.append(data.strip())


def read(markup):
    reader = Reader()
    reader.feed(markup)
    return reader


def test_the_page_holds_all_it_needs_and_asks_the_network_for_nothing(page, markup):
    assert page.count(plotly.offline.get_plotlyjs()) == 1
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", markup, re.IGNORECASE)
    assert "@import" not in markup
    assert "url(" not in markup
    policy = next(a["content"] for t, a in read(markup).tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert not {"link", "iframe", "img", "object", "embed"} & {tag for tag, _ in read(markup).tags}
    assert len(page.encode()) < 8_000_000


def test_the_answer_comes_first_and_its_reasons_next(markup, small_run):
    texts = read(markup).texts
    assert small_run.verdicts["ridge"]["claim"]
    question = texts.index("Is there an edge after costs, and how sure are we?")
    assert texts[question + 1].startswith("An edge after costs: ridge, of 2 models compared.")
    order = [texts.index(name, question) for name in ("Why", "Leaderboard", "What was run", "Data quality", "Glossary")]
    assert order == sorted(order)
    assert texts.index(small_run.verdicts["ridge"]["sentence"]) < order[1]


def test_names_are_escaped_in_text_and_in_figures(markup):
    assert "<b>noise" not in markup
    assert "<b>noise & co</b>" in read(markup).texts


def test_figures_come_back_from_the_page_whole(markup, small_run):
    blocks = re.findall(r'<script type="application/json" id="figure-\d+">(.*?)</script>', markup, re.DOTALL)
    figures = [json.loads(block) for block in blocks]
    assert [f["layout"]["title"]["text"] for f in figures] == [
        figure.layout.title.text for figure in small_run.figures.values()
    ]
    assert figures[0]["data"][2]["name"] == "<b>noise & co</b>"


def test_a_script_in_a_name_cannot_run(small_run):
    name = "</script><script>alert(1)</script>"
    table = small_run.leaderboard.assign(model=[name, "b", "c", "d"])
    figure = monthly_figure(small_run.equity.assign(model=name).iloc[:50], starting_balance=1000.0)
    page = render(small_run, leaderboard=table, figures={name: figure}, title="<img src=x onerror=alert(1)>")
    page = page.replace(plotly.offline.get_plotlyjs(), "")
    assert "<script>alert" not in page
    assert "<img" not in page


def test_facts_quality_engines_and_caveats_are_told(markup, small_run):
    texts = read(markup).texts
    for text in (
        "market source",
        "P0/USDT, P1/USDT",
        "models.ridge.alpha",
        "share filled",
        "0.0123457",
        *small_run.caveats,
    ):
        assert text in texts


def test_a_report_without_figures_and_optional_tables_is_still_one(small_run):
    page = render(small_run, figures={}, quality=None, engines=None, caveats=[], run={"seed": 1})
    assert len(page) < 100_000
    assert "Data quality" not in page


def test_a_run_without_an_edge_says_so_first(evaluated):
    run = evaluated(weights={"noise": 0.0}, seed=3)
    texts = read(render(run, figures={})).texts
    assert texts[texts.index("Is there an edge after costs, and how sure are we?") + 1].startswith(
        "No edge after costs: none of 1 model shows one"
    )


@pytest.mark.parametrize("shape", [{"n_pairs": 1, "weights": {"ridge": 0.5}}, {"n_dates": 30}, {"n_dates": 24 * 8}])
def test_one_pair_one_model_and_very_short_runs_are_reported(evaluated, shape):
    run = evaluated(**shape)
    assert "No edge after costs" in render(run) or run.verdicts["ridge"]["claim"]
    json.dumps(build_feedback(run=RUN, verdicts=run.verdicts, leaderboard=run.leaderboard), allow_nan=False)


def test_a_run_without_models_reports_its_benchmarks():
    table = build_leaderboard({}, {"always_flat": {"total_return": 0.0}})
    page = render_report(leaderboard=table, verdicts={}, run={}, figures={})
    assert "no model was evaluated" in page


def test_the_figures_draw_with_no_network(page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the report with")
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000"]
    flags += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [browser, *flags, path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    assert shown.stdout.count('class="main-svg"') >= 6
    assert "Content Security Policy" not in shown.stderr
    assert "Uncaught" not in shown.stderr


def test_feedback_holds_facts_as_json(small_run):
    feedback = build_feedback(
        run=RUN,
        verdicts=small_run.verdicts,
        leaderboard=small_run.leaderboard,
        importance=small_run.importance,
        caveats=small_run.caveats,
    )
    assert json.loads(json.dumps(feedback, allow_nan=False)) == feedback
    assert feedback["schema_version"] == 1
    assert feedback["verdict"]["models"] == ["ridge"]
    assert set(feedback["benchmarks"]) == {"buy_and_hold", "always_flat"}
    ridge = feedback["models"]["ridge"]
    assert ridge["verdict"]["claim"] is True
    assert ridge["metrics"]["sharpe"] == small_run.leaderboard.set_index("model").loc["ridge", "sharpe"]
    assert [item["feature"] for item in ridge["top_features"][:2]] == ["momentum_29", "momentum_28"]
    assert feedback["run"]["folds"] == [{"fold": 0, "test_start": "2024-01-01T00:00:00+00:00"}]


def test_caveats_depend_on_what_was_run(small_run):
    common = {"verdicts": small_run.verdicts, "n_pairs": 5, "days": 800}
    real = " ".join(run_caveats(**common, slippage=0.0, engines_agree={"ridge": False, "ppo": None}))
    assert "Survivorship" in real
    assert "No slippage" in real
    assert "different trades for ridge;" in real
    placebo = " ".join(run_caveats(**common, signal_strength=0.0))
    assert "placebo market" in placebo
    assert "not run" not in placebo
    planted = run_caveats(**common, signal_strength=0.05, placebo_certified=True)
    assert planted[0].startswith("A simulated market with a signal planted at strength 0.05")
    assert len(planted) == 2
    short = " ".join(run_caveats(verdicts={}, n_pairs=1, days=90))
    assert "90 daily returns" in short
    assert "With 1 pair " in short


def test_numbers_are_written_for_people():
    assert format_value(0.1234, "percent") == "12.3 %"
    assert format_value(-0.00056, "percent") == "−0.056 %"
    assert format_value(-0.0001, "ratio") == "0.00"
    assert format_value(0.0, "percent") == "0.0 %"
    assert format_value(np.nan, "ratio") == format_value(None) == format_value(pd.NA) == "–"
    assert format_value(np.bool_(True)) == "yes"
    assert format_value(12_345) == "12,345"
    assert format_value(pd.Timestamp("2024-01-02 03:00", tz="UTC")) == "2024-01-02 03:00"
    assert format_interval(-0.5, 1.25, "ratio") == "[−0.50, 1.25]"
    assert format_interval(np.nan, 1.0, "ratio") == ""
    assert [format_probability(p) for p in (1.0, 0.0, 0.953, None)] == ["> 99.9 %", "< 0.1 %", "95.3 %", "–"]
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": "1", "d": "1, 2"}
