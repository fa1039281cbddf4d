"""How often the report is wrong where there is nothing to find, and how often it finds what is there.

    python benchmarks/evidence.py markets --minutes 5    # simulate, train, trade: one folder per market
    python benchmarks/evidence.py truth --minutes 5      # what the fitted models are worth on other markets of that law
    python benchmarks/evidence.py coverage --minutes 5   # intervals of the best forecast there is, on many markets
    python benchmarks/evidence.py table                  # the tables of docs/evidence.md

Every market is the configured one (`conf/base`) with another seed and another strength of the planted signal, and runs
through the project's own nodes, from candles to verdict. Each step stores what it has and goes on where it stopped.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kedro.config import OmegaConfigLoader
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project

from agent_market import evaluation
from agent_market.evaluation.placebo import CLAIMS, binomial_interval
from agent_market.learning.labels import build_labels
from agent_market.learning.model_folder import load_model, save_model
from agent_market.market import clean_candles, planted_expectation, simulate
from agent_market.parameters import Parameters
from agent_market.pipelines.placebo.rerun import START, nodes_for, run_nodes

PROJECT = Path(__file__).parents[1]
MODELS = ("ridge", "lightgbm", "xgboost")
PLACEBO, PLANTED = 40, 12
STRENGTHS = {0.0: PLACEBO, 0.01: PLANTED, 0.02: PLANTED, 0.04: PLANTED}
FIRST_SEED = 1000
JUDGED = ("ridge", "lightgbm")
"""Models whose fits are tried on other markets, to know what their RankIC is."""
COVERED = 100
"""Markets per strength on which the best forecast's interval is measured."""
FIRST_COVERED_SEED = 5000

Key = tuple[float, int]  # strength, seed


def configured(strength: float, seed: int) -> dict[str, Any]:
    """The default parameters with the study's models, on another market."""
    arguments = settings.CONFIG_LOADER_ARGS | {"default_run_env": "base"}
    tree = OmegaConfigLoader(str(PROJECT / "conf"), **arguments)["parameters"]
    tree["models"] = {name: tree["models"][name] for name in MODELS}
    tree["market"] |= {"signal_strength": strength, "seed": seed}
    tree["training"] |= {"n_jobs": 1, "checkpoints": None}
    return tree


def markets() -> list[Key]:
    """Strength and seed of all markets, so ordered that a study cut short has some of each."""
    keys = [
        (number / count, strength, FIRST_SEED + number)
        for strength, count in STRENGTHS.items()
        for number in range(count)
    ]
    return [(strength, seed) for _, strength, seed in sorted(keys)]


def place(folder: Path, strength: float, seed: int) -> Path:
    """Where what is known of one market is kept."""
    return folder / f"{strength:g}" / str(seed)


def run_market(key: Key, folder: Path) -> None:
    """One market from candles to verdict; what the statistics need is stored."""
    strength, seed = key
    tree = configured(strength, seed)
    parameters = Parameters.model_validate(tree)
    own = [f"{name}.{what}" for name in MODELS for what in ("predictions", "metrics", "model")]
    wanted = ["labels", "equity", "verdicts", *own]
    made = run_nodes(nodes_for(tree, wanted, START), parameters, START, wanted)
    balance = parameters.backtest.starting_balance
    returns = {
        model: evaluation.daily_returns(account, starting_balance=balance)
        for model, account in made["equity"].groupby("model", sort=False)
    }
    target = place(folder, *key)
    target.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(returns).to_parquet(target / "returns.parquet")
    for name in JUDGED if strength else ():
        save_model(made[f"{name}.model"], target / name)
    facts = {"strength": strength, "seed": seed, "verdicts": made["verdicts"]}
    facts |= {"metrics": {name: made[f"{name}.metrics"] for name in MODELS}}
    (target / "facts.json").write_text(json.dumps(facts))


def try_others(key: Key, folder: Path) -> None:
    """RankIC, on this market's test windows, of the models that were fitted to each other market of its strength."""
    strength, seed = key
    tree = configured(strength, seed)
    parameters = Parameters.model_validate(tree)
    wanted = ["factors", "features", "labels", "folds"]
    made = run_nodes(nodes_for(tree, wanted, START), parameters, START, wanted)
    windows = {
        fold["fold"]: made["features"][made["features"]["date"].between(fold["test_start"], fold["test_end"], "left")]
        for fold in made["folds"].to_dict("records")
    }
    found: dict[str, dict[str, float]] = {name: {} for name in JUDGED}
    for other in (other for other_strength, other in markets() if other_strength == strength and other != seed):
        for name in JUDGED:
            model = load_model(place(folder, strength, other) / name)
            parts = [model.predict(rows, **made["factors"], fold=fold) for fold, rows in windows.items()]
            table = pd.concat(parts, ignore_index=True)
            ic = evaluation.ic_series(table, made["labels"], parameters.training.horizon, demeaned=True)["rank_ic"]
            found[name][str(other)] = float(ic.mean())
    (place(folder, *key) / "others.json").write_text(json.dumps(found))


def cover(key: Key, folder: Path) -> None:
    """The RankIC, with its interval, of what the simulator itself expects of the next candles."""
    strength, seed = key
    parameters = Parameters.model_validate(configured(strength, seed))
    market, horizon = parameters.market, parameters.training.horizon
    candles, _ = clean_candles(simulate(market), market)
    labels = build_labels(candles, parameters.labels, timeframe=market.timeframe)
    best = planted_expectation(market, horizon).rename(columns={"expected": "prediction"}).assign(kind="return", fold=0)
    tested = best[best["date"] >= candles["date"].min() + pd.Timedelta(days=395)]  # as long as the models are tested
    figures = evaluation.prediction_metrics(tested, labels, horizon=horizon, demeaned=True)
    target = place(folder / "coverage", *key)
    target.mkdir(parents=True, exist_ok=True)
    (target / "rank_ic.json").write_text(json.dumps({name: figures[name] for name in figures if "rank_ic" in name}))


def go_through(keys: Iterable[Key], done: Callable[[Key], bool], work: Callable[[Key], None], minutes: float) -> None:
    """Do the work that is not done yet, until the time is over."""
    until = time.monotonic() + 60 * minutes
    todo = [key for key in keys if not done(key)]
    for number, key in enumerate(todo, 1):
        if time.monotonic() > until:
            return
        began = time.process_time()
        work(key)
        print(f"{key}: {time.process_time() - began:.1f} s of CPU, {len(todo) - number} left", flush=True)


def read_market(key: Key, folder: Path) -> dict[str, Any]:
    """The claims of one run, by the statistics as they are now, and what its models' RankIC was."""
    target = place(folder, *key)
    facts = json.loads((target / "facts.json").read_text())
    returns = pd.read_parquet(target / "returns.parquet")
    significance = evaluation.weigh_evidence(
        {name: returns[name] for name in MODELS}, returns["buy_and_hold"], dict.fromkeys(MODELS, 1)
    )
    claims = evaluation.claims_of(facts["verdicts"], significance, facts["metrics"])
    return facts | {"key": key, "claims": claims, "significance": significance}


def print_claims(rows: dict[float, list[dict[str, Any]]]) -> None:
    """Shares of runs in which any model makes each claim, by strength of the signal."""
    print(
        "| any of the three models claims | promise | "
        + " | ".join(f"{s:g}: {len(r)} runs" for s, r in rows.items())
        + " |"
    )
    print("|---|---|" + "---|" * len(rows))
    for name, claim in ((name, claim) for name, claim in CLAIMS.items() if name != "gate"):  # no policy is among them
        promise = "–" if claim.markets is None else f"{5 * claim.markets:g} %"
        cells = []
        for runs in rows.values():
            count = sum(bool(run["claims"][name]) for run in runs)
            low, high = binomial_interval(count, len(runs))
            cells.append(f"{count / len(runs):.0%} [{low:.0%}, {high:.0%}]")
        print(f"| {claim.title} | {promise} | " + " | ".join(cells) + " |")


def print_models(rows: dict[float, list[dict[str, Any]]], folder: Path) -> None:
    """RankIC of the fitted models, what it is in truth, and how often the interval has that."""
    print("\n| strength | model | RankIC | on other markets | interval above 0 | interval has the truth |")
    print("|---|---|---|---|---|---|")
    for strength, runs in rows.items():
        for name in JUDGED:
            known = pd.DataFrame([run["metrics"][name] for run in runs], index=[run["seed"] for run in runs])
            above = f"{(known['rank_ic_low'] > 0).mean():.0%}"
            mean = f"{known['rank_ic'].mean():+.4f}"
            if strength == 0.0:
                covered, truth = known["rank_ic_low"].le(0) & known["rank_ic_high"].ge(0), "0"
            elif len(elsewhere := read_others(strength, name, folder)):
                covered, truth = covers(known, elsewhere), f"{elsewhere.mean(axis=None):+.4f}"
            else:
                continue
            low, high = binomial_interval(int(covered.sum()), len(covered))
            print(
                f"| {strength:g} | {name} | {mean} | {truth} | {above} | "
                f"{covered.mean():.0%} of {len(covered)} [{low:.0%}, {high:.0%}] |"
            )


def read_others(strength: float, name: str, folder: Path) -> pd.DataFrame:
    """RankIC of the model fitted to each market (rows) on each other market (columns)."""
    files = (folder / f"{strength:g}").glob("*/others.json")
    return pd.DataFrame({file.parent.name: json.loads(file.read_text())[name] for file in files})


def covers(known: pd.DataFrame, elsewhere: pd.DataFrame) -> pd.Series:
    """Whether each interval has the mean RankIC of the same fit on other markets, whose own error is allowed for."""
    truth = elsewhere.mean(axis=1)
    error = elsewhere.std(axis=1) / np.sqrt(elsewhere.notna().sum(axis=1))
    truth.index = error.index = truth.index.astype(int)
    own = known.loc[truth.index]
    reach = np.sqrt(((own["rank_ic_high"] - own["rank_ic_low"]) / 2) ** 2 + (1.96 * error) ** 2)
    return (own["rank_ic"] - truth).abs() <= reach


def print_coverage(folder: Path) -> None:
    """How often the interval of the best forecast has the mean over all markets."""
    print("\n| strength | markets | RankIC of the simulator's own expectation | its 95 % interval has that mean |")
    print("|---|---|---|---|")
    for part in sorted((folder / "coverage").iterdir()):
        table = pd.DataFrame([json.loads(file.read_text()) for file in part.glob("*/rank_ic.json")])
        truth, n = table["rank_ic"].mean(), len(table)
        covered = int(((table["rank_ic_low"] <= truth) & (truth <= table["rank_ic_high"])).sum())
        low, high = binomial_interval(covered, n)
        error = table["rank_ic"].std() / np.sqrt(n)
        print(f"| {part.name} | {n} | {truth:.4f} ± {error:.4f} | {covered / n:.1%} [{low:.1%}, {high:.1%}] |")


def print_tables(folder: Path) -> None:
    """All tables, of what there is."""
    rows: dict[float, list[dict[str, Any]]] = {}
    for key in markets():
        if (place(folder, *key) / "facts.json").exists():
            rows.setdefault(key[0], []).append(read_market(key, folder))
    print_claims(rows)
    print_models(rows, folder)
    if (folder / "coverage").exists():
        print_coverage(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["markets", "truth", "coverage", "table"])
    parser.add_argument("--folder", type=Path, default=PROJECT / "data" / "08_reporting" / "evidence")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin nothing new after so long")
    asked = parser.parse_args()
    folder = asked.folder
    bootstrap_project(PROJECT)
    if asked.step == "table":
        print_tables(folder)
        return
    planted = [key for key in markets() if key[0]]
    covered = [
        (strength, FIRST_COVERED_SEED + number) for number in range(COVERED) for strength in STRENGTHS if strength
    ]
    steps = {
        "markets": (markets(), "facts.json", run_market, folder),
        "truth": (planted, "others.json", try_others, folder),
        "coverage": (covered, "rank_ic.json", cover, folder / "coverage"),
    }
    keys, file, work, root = steps[asked.step]
    go_through(keys, lambda key: (place(root, *key) / file).exists(), lambda key: work(key, folder), asked.minutes)


if __name__ == "__main__":
    main()
