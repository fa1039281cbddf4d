"""How often the miner believes in nothing, and how often it finds what is there.

    python benchmarks/mining.py null                       # simulated markets without a signal
    python benchmarks/mining.py rotated --datadir FOLDER   # real candles, their outcomes turned in time
    python benchmarks/mining.py power                      # planted signals of several strengths
    python benchmarks/mining.py random                     # random factors instead of a search, without a signal
    python benchmarks/mining.py show                       # the tables of what has been stored so far
    python benchmarks/mining.py older --datadir FOLDER --expressions freqai_expressions.json

Each market is mined whole: genetic search and zoo, 440 trials, the gate. Its rows hold the nominees and, for
comparison, the ten best by |IC|; both meet the vault, which is allowed here since the markets are thrown away. What
is done is stored in `--store` and not repeated.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.factors import read_expressions_file
from agent_market.factors.expression import parse
from agent_market.market import MarketOptions, clean_candles, load_candles, simulate
from agent_market.mining.arena import build_arena
from agent_market.mining.candidates import Candidate
from agent_market.mining.genetic import Search
from agent_market.mining.grammar import Grammar
from agent_market.mining.options import MiningOptions
from agent_market.mining.run import Mined, mine, rotated
from agent_market.mining.statistics import false_discovery, gain_correlations, measure, value_correlations

OPTIONS = MiningOptions()
STRENGTHS = (0.005, 0.01, 0.02)
WICKS = "(open + close - high - low) / (high - low - abs(close - open) + close / 1000000000)"
"""Shows the planted state of a simulated market as it is."""

FAMILY = 0.5
"""|correlation| with the planted factor's gains from which a factor is the same idea, as the gate sees it."""

TOP = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["null", "rotated", "power", "random", "show", "older"])
    parser.add_argument("--markets", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--datadir")
    parser.add_argument("--expressions")
    parser.add_argument("--store", type=Path, default=Path("mining.jsonl"))
    given = parser.parse_args()
    if given.study == "show":
        show(_rows(given.store))
    elif given.study == "older":
        older(given.datadir, given.expressions)
    else:
        study(given)


def study(given: argparse.Namespace) -> None:
    done = {(row["study"], row["strength"], row["seed"]) for row in _rows(given.store)}
    strengths = STRENGTHS if given.study == "power" else (0.0,)
    real = _real(given.datadir) if given.study == "rotated" else None
    for seed in range(given.first_seed, given.first_seed + given.markets):
        for strength in strengths:
            if (given.study, strength, seed) in done:
                continue
            row = one_market(given.study, strength, seed, real)
            with given.store.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["seed"], row["strength"], len(row["accepted"]), f"{row['seconds']:.1f} s", flush=True)


def one_market(name: str, strength: float, seed: int, real: pd.DataFrame | None) -> dict:
    begun = time.process_time()
    options = OPTIONS.model_copy(update={"seed": seed})
    rotate, candidates = 0, None
    if real is None:
        market = MarketOptions(signal_strength=strength, seed=seed)
        candles, _ = clean_candles(simulate(market), market)
    else:
        candles, rotate = real, int(np.random.default_rng(seed).integers(500, 2500))
    if name == "random":
        candidates = random_candidates(options, options.arms.genetic + options.arms.zoo)
    mined = mine(candles, options, timeframe="1h", rotate=rotate, candidates=candidates)
    facts = {"study": name, "strength": strength, "seed": seed, "trials": len(mined.scored.candidates)}
    return facts | outcome(mined, candles, options, rotate) | {"seconds": time.process_time() - begun}


def random_candidates(options: MiningOptions, n: int) -> list[Candidate]:
    """Distinct factors that nobody chose."""
    grammar = Grammar(options.genetic.windows, options.genetic.lags, True)
    rng = np.random.default_rng(options.seed)
    search = Search(None, options, n, (0,))  # draws and checks, evaluates nothing
    from agent_market.factors.tree import to_text
    from agent_market.mining.candidates import candidate_of

    found = {}
    while len(found) < n:
        for tree in search._make(50, lambda: grammar.draw(rng, depth=int(rng.integers(2, 5)))):
            candidate = candidate_of(tree, to_text(tree), id=f"zoo-{len(found):05d}", arm="zoo")
            found.setdefault(candidate.rank_key, candidate)
    return list(found.values())[:n]


def outcome(mined: Mined, candles: pd.DataFrame, options: MiningOptions, rotate: int) -> dict:
    """Accepted factors and the ten best by |IC|, with what the vault says of them."""
    vault = build_arena(candles, mined.segments.vault, options, timeframe="1h")
    vault = rotated(vault, rotate) if rotate else vault
    trials = mined.scored.trials
    best = trials["ic"].abs().sort_values(ascending=False, kind="stable").index[:TOP]
    results = mined.judgement.results
    passed = results[results["passed"].astype(bool)]
    p = trials["p"].to_numpy()
    truth = [parse(WICKS)]

    def figures(texts: list[str], signs: list[float]) -> list[dict]:
        if not texts:
            return []
        trees = [parse(text) for text in texts]
        held = measure(vault, vault.gains(trees))
        near = np.abs(value_correlations(mined.search, trees, truth))[:, 0]
        gains = mined.search.gains([*truth, *trees]).by_date
        together = np.abs(gain_correlations(gains, options.block)[0, 1:])
        return [
            {"vault_ic": sign * ic, "vault_t": sign * t, "truth": float(r), "together": float(c)}
            for sign, ic, t, r, c in zip(signs, held["ic"], held["t"], near, together, strict=True)
        ]

    return {
        "accepted": [
            {"text": row.expression, "search_ic": abs(row.search_ic), "gate_ic": row.sign * row.gate_ic} | more
            for row, more in zip(
                passed.itertuples(index=False),
                figures(passed["expression"].tolist(), passed["sign"].tolist()),
                strict=True,
            )
        ],
        "nominees": [[abs(row.search_t), row.gate_p] for row in results.itertuples(index=False)],
        "top": [
            {"search_ic": float(abs(trials["ic"][i]))} | more
            for i, more in zip(
                best, figures(trials["expression"][best].tolist(), np.sign(trials["ic"][best]).tolist()), strict=True
            )
        ],
        "t_above_2": int((trials["t"].abs() > 2).sum()),
        "bh_on_search": int(false_discovery(p, options.gate.q).sum()),
        "rejected_at_5": float((p < 0.05).mean()),
    }


def _real(datadir: str) -> pd.DataFrame:
    market = MarketOptions(source="freqtrade_datadir", datadir=datadir)
    return clean_candles(load_candles(market), market)[0]


def _rows(store: Path) -> list[dict]:
    return [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []


def show(rows: list[dict]) -> None:
    print(
        "| study | strength | markets | trials | rule | accepted / market | markets with one or more "
        "| search IC | vault IC |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["study"], row["strength"]), []).append(row)
    for (name, strength), group in groups.items():
        trials = np.mean([row["trials"] for row in group])
        head = f"| {name} | {strength:g} | {len(group)} | {trials:.0f} |"
        for rule, key in (("top 10 by IC", "top"), ("**the gate**", "accepted")):
            taken = [one for row in group for one in row[key]]
            count, some = len(taken) / len(group), np.mean([bool(row[key]) for row in group])
            ics = [f"{np.mean([one[ic] for one in taken]):+.4f}" if taken else "–" for ic in ("search_ic", "vault_ic")]
            print(head, f"{rule} | {count:.2f} | {some:.0%} | {ics[0]} | {ics[1]} |")
        for rule, key in (("t > 2", "t_above_2"), ("BH 10 % on the search", "bh_on_search")):
            counts = np.array([row[key] for row in group])
            print(head, f"{rule} | {counts.mean():.2f} | {(counts > 0).mean():.0%} | – | – |")
        nominees = np.mean([len(row["nominees"]) for row in group])
        whole = np.array([false_discovery(np.array([p for _, p in row["nominees"]]), 0.1).sum() for row in group])
        print(head, f"the gate, all of q in one round | {whole.mean():.2f} | {(whole > 0).mean():.0%} | – | – |")
        found = np.mean([any(one["together"] >= FAMILY for one in row["accepted"]) for row in group])
        true = [one["together"] >= FAMILY for row in group for one in row["accepted"]]
        held = [one["vault_ic"] > 0 for row in group for one in row["accepted"]]
        size = np.mean([row["rejected_at_5"] for row in group])
        seconds = np.mean([row["seconds"] for row in group])
        shares = (
            f"{np.mean(held):.0%} of accepted hold in the vault, {np.mean(true):.0%} are of its family; "
            if true
            else ""
        )
        print(
            f"\n{name} {strength:g}: {nominees:.1f} nominees a market; planted family found in {found:.0%}; {shares}"
            f"search p < 0.05: {size:.1%}; {seconds:.1f} CPU-s a market\n"
        )


def older(datadir: str, expressions: str) -> None:
    """The older tool's published factors through the gate on real candles: across pairs, and pair by pair over time."""
    candles = _real(datadir)
    rows = read_expressions_file(expressions).rows
    claimed = {row["name"]: row for row in rows[rows["kind"] == "expression"].to_dict("records")}
    candidates = [
        Candidate(f"zoo-{number:05d}", "zoo", row["canonical"], name)
        for number, (name, row) in enumerate(claimed.items())
    ]
    across = mine(candles, OPTIONS, timeframe="1h", candidates=candidates)
    alone = OPTIONS.model_copy(update={"cross_section": candles["pair"].nunique() + 1})
    over_time = mine(candles, alone, timeframe="1h", candidates=candidates)
    print("| factor | expression | claimed Sharpe | t across pairs | verdict | t over time | verdict |")
    print("|---|---|---|---|---|---|---|")
    for name, row in claimed.items():
        verdicts = " | ".join(_verdict(mined, name) for mined in (across, over_time))
        print(f"| {name} | `{row['expression']}` | {row['signal_sharpe']:.2f} | {verdicts} |")


def _verdict(mined: Mined, name: str) -> str:
    trials = mined.scored.trials.set_index("name")["t"]
    rejects = {reject.candidate.name: reject for reject in mined.rejects}
    t = f"{trials[name]:+.2f}" if name in trials.index else "–"
    return f"{t} | {rejects[name].code if name in rejects else 'accepted'}"


if __name__ == "__main__":
    main()
