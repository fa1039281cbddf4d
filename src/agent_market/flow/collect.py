"""What the archive keeps of a finished round."""

import shutil
from typing import Any

from kedro.io import CatalogProtocol

from agent_market.configured import configuration
from agent_market.flow.archive import Round, Run
from agent_market.flow.content import is_parameter, path_of
from agent_market.flow.records import link, write_json
from agent_market.flow.runner import CachedRunner

KEPT = ("mining_feedback", "latest_backtest_summary", "feedback", "verdicts", "llm_dialogue", "proposed_candidates")
"""Datasets that the archive has a copy of, so that it can be read when `gc` has removed their versions."""

FOLDERS = ("report", "mining_report")


def collect(run: Run, current: Round, runner: CachedRunner) -> None:
    """Keep what a round read and made, and of its results what a person looks at."""
    catalog = runner.catalog
    current.versions = dict(sorted(runner.versions.items()))
    current.contents = {
        name: content
        for name, content in sorted(runner.contents.items())
        if content is not None and name in runner.versions and not is_parameter(name)
    }
    current.ran, current.unchanged = len(runner.ran), len(runner.unchanged)
    folder = run.round_folder(current.number)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    write_json(draft / "parameters.json", configuration()["parameters"])
    for name in KEPT:
        if name in runner.versions:
            write_json(draft / f"{name}.json", catalog.load(name))
    for name in FOLDERS:
        if name in runner.versions and (path := path_of(catalog.get(name))):
            shutil.copytree(path, draft / name, copy_function=link)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    _count(current, catalog, runner.versions)


def _count(current: Round, catalog: CatalogProtocol, made: dict[str, Any]) -> None:
    if "gate_results" in made:
        results, trials = catalog.load("gate_results"), catalog.load("factor_trials")
        current.accepted, current.trials = int(results["passed"].astype(bool).sum()), len(trials)
    if "llm_dialogue" in made:
        spent = catalog.load("llm_dialogue")["spent"]
        current.llm_tokens = int(spent.get("tokens_in", 0) + spent.get("tokens_out", 0))
    if "run_facts" in made:
        facts = catalog.load("run_facts")
        current.dates = {
            "candles": [facts["market"]["first_candle"], facts["market"]["last_candle"]],
            "tested": [facts["learning"]["tested_from"], facts["learning"]["tested_until"]],
        }
