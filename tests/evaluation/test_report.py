import html.parser
import json
import posixpath
import re
import shutil
import subprocess
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import plotly.offline
import pytest

from agent_market.datasets import ReportDataset
from agent_market.errors import DataError
from agent_market.evaluation import build_feedback, build_leaderboard, monthly_figure, render_report, run_caveats
from agent_market.evaluation.formatting import flatten, format_interval, format_probability, format_value, table_cells
from agent_market.evaluation.sections import Section, Table, page_names

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


def report(small, **changes):
    """All files of the report of a small run."""
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


def render(small, **changes):
    """Its index page."""
    return report(small, **changes)["index.html"]


def test_the_spread_over_seeds_stands_on_the_leaderboard(small_run):
    name = small_run.leaderboard["model"].iloc[0]
    spread = {"rank_ic_seed_mean": 0.034, "rank_ic_seed_std": 0.0042, "n_seeds": 3}
    table = small_run.leaderboard.astype(dict.fromkeys(spread, object))
    table.loc[table["model"] == name, list(spread)] = list(spread.values())
    page = render(small_run, leaderboard=table, figures={})
    assert '0.0340 ± 0.0042<span class="interval">over 3 seeds</span>' in page
    assert "RankIC of seeds" in page
    assert "0.0340 ± 0.0042 over 3 seeds" in report(small_run, leaderboard=table)[f"models/{name}.html"]
    assert "± " not in render(small_run, figures={})


def sections_of(small):
    """A part of a model's page with all of the small run's figures."""
    table = Table(QUALITY, "Pairs <i>of it</i>", "how to read it")
    return {model: [Section("What it did", ["A sentence."], small.figures, [table])] for model in small.verdicts}


@pytest.fixture(scope="module")
def files(small_run):
    return report(small_run, model_sections=sections_of(small_run), model_doubts={"ridge": ["It is a toy."]})


@pytest.fixture(scope="module")
def markup(files):
    return files["index.html"]


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


def test_the_folder_holds_all_it_needs_and_asks_the_network_for_nothing(files):
    assert set(files) == {"index.html", "models/ridge.html", "models/_b_noise_co_b_.html", "plotly.js"}
    assert files["plotly.js"] == plotly.offline.get_plotlyjs()
    assert sum(len(text.encode()) for text in files.values()) < 8_000_000
    for name, page in files.items():
        if name == "plotly.js":
            continue
        assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page, re.IGNORECASE)
        assert "@import" not in page
        assert "url(" not in page
        tags = read(page).tags
        policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
        assert policy.startswith("default-src 'none'")
        assert not {"link", "iframe", "img", "object", "embed"} & {tag for tag, _ in tags}
        folder = PurePosixPath(name).parent
        for tag, attributes in tags:
            place = attributes.get("src") or attributes.get("href", "#")
            if not place.startswith("#"):
                assert posixpath.normpath(folder / place) in files, f"{name}: {tag} leads to {place}"


def test_each_model_has_a_page_that_leads_with_its_claim_and_its_doubts(files, small_run):
    texts = read(files["models/ridge.html"]).texts
    question = texts.index("Does ridge have an edge after costs, and how sure are we?")
    assert texts[question + 1] == small_run.verdicts["ridge"]["sentence"]
    order = [texts.index(text, question) for text in ("✓ yes", "Why it may be wrong", "It is a toy.", "Account")]
    assert order == sorted(order)
    for text in (*small_run.caveats, "What it did", "A sentence.", "Pairs <i>of it</i>", "how to read it", "alpha"):
        assert text in texts
    assert "It is a toy." not in files["models/_b_noise_co_b_.html"]
    assert files["models/ridge.html"].count('type="application/json"') == len(small_run.figures)


def test_models_whose_pages_would_overwrite_each_other_are_refused():
    assert page_names(["a_b", "a-b"]) == {"a_b": "models/a_b.html", "a-b": "models/a-b.html"}
    with pytest.raises(DataError, match="'a b', 'a/b' would have pages of the same name"):
        page_names(["a b", "a/b"])


def test_the_report_leads_with_the_placebo_certificate_or_says_that_it_was_not_run(small_run):
    texts = read(render(small_run, figures={})).texts
    assert texts[texts.index("Placebo certificate:") + 1].startswith("not run:")
    assert texts.index("kedro run --pipelines placebo") < texts.index("Why")
    said = {"sentence": "2 of 40 placebo runs made a claim.", "passed": True}
    files = report(small_run, figures={}, certificate=said)
    for page in (files["index.html"], files["models/ridge.html"]):
        assert said["sentence"] in page
        assert "not run" not in page.replace(small_run.caveats[1], "")
    assert 'class="certificate passed"' in files["index.html"]
    assert 'class="certificate failed"' in render(small_run, figures={}, certificate=said | {"passed": False})


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
    verdicts = {name: small_run.verdicts["ridge"]}
    files = report(
        small_run, leaderboard=table, verdicts=verdicts, figures={name: figure}, title="<img src=x onerror=alert(1)>",
        model_sections={name: [Section(name, [name], {name: figure}, [Table(table, name, name)])]},
        model_doubts={name: [name]}, certificate={"sentence": name, "passed": True},
    )  # fmt: skip
    del files["plotly.js"]
    page = "".join(files.values())
    assert len(files) == 2
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
    files = report(small_run, figures={}, quality=None, engines=None, caveats=[], run={"seed": 1})
    page = files["index.html"]
    assert "plotly.js" not in files
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
    page = render_report(leaderboard=table, verdicts={}, run={}, figures={})["index.html"]
    assert "no model was evaluated" in page


@pytest.mark.parametrize(("page", "theme"), [("index.html", ""), ("models/ridge.html", "?theme=dark")])
def test_the_figures_draw_with_no_network(files, small_run, tmp_path, page, theme):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium to open the report with")
    ReportDataset(filepath=str(tmp_path / "report")).save(files)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000"]
    flags += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    command = [browser, *flags, (tmp_path / "report" / page).as_uri() + theme]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    assert len(re.findall(r'class="[^"]*js-plotly-plot', shown.stdout)) == len(small_run.figures)
    assert 'data-theme="dark"' in shown.stdout or not theme
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


def test_the_numbers_of_a_column_have_the_same_decimals():
    table = pd.DataFrame(
        {"a": [1.5, -2.0, np.nan], "b": [0.0123456789, 1.0, 2.0], "c": [1, 20, 3], "d": [1e-9, 1.0, 2.0]}
    )
    columns = [[row[at]["text"] for row in table_cells(table)["rows"]] for at in range(4)]
    assert columns == [["1.5", "−2.0", "–"], ["0.0123457", "1", "2"], ["1", "20", "3"], ["1e−09", "1", "2"]]


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
