"""What it is worth to a search that it hears of earlier rounds, and whether it still believes in nothing.

    python benchmarks/mining_rounds.py planted     # markets with four planted signals of different strength
    python benchmarks/mining_rounds.py null        # markets without any
    python benchmarks/mining_rounds.py show        # the tables of what has been stored so far

Each market is mined in three rounds twice, with the same first round: a deaf search knows of earlier rounds nothing
(the gate knows library and ledger all the same), a hearing one starts from library and feedback. An idea is an accepted
factor whose gains on the search segment correlate by less than 0.5 with those accepted before. What is done is stored
in `--store` and not repeated.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from agent_market.factors.expression import parse
from agent_market.market import MarketOptions, clean_candles, simulate
from agent_market.mining.arena import Arena, build_arena
from agent_market.mining.candidates import rejects_table
from agent_market.mining.feedback import Heard, build_feedback, heard_of
from agent_market.mining.ledger import Past
from agent_market.mining.library import extend, names_of
from agent_market.mining.options import MiningOptions
from agent_market.mining.run import NO_PAST, NOTHING_HEARD, Mined, mine, propose
from agent_market.mining.segments import cut
from agent_market.mining.statistics import gain_correlations, measure

SEARCHES = ("deaf", "hearing")
ROUNDS = 3
HOURS = 8_760
SAME = 0.5
"""|correlation| of gains from which two factors are one idea."""

OPTIONS = MiningOptions.model_validate({"arms": {"genetic": 200, "zoo": 0}, "genetic": {"population": 40}})
"""Half of the trials that are usual, for each of three rounds."""

FAMILIES = {
    "wicks": "(open + close - high - low) / (high - low - abs(close - open) + close / 1000000000)",
    "activity": "ema(volume, 12) / ema(volume, 72)",
    "link": "ts_corr(close / delay(close, 1), volume, 48)",
    "place": "(close - ts_min(low, 72)) / (ts_max(high, 72) - ts_min(low, 72))",
}
"""What the planted signals follow."""

STRENGTH, WEIGHTS = 0.05, {"activity": 0.025, "link": 0.025, "place": 0.04}
"""Mean of the next candle's return in units of its deviation, for one deviation of what the signal follows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["planted", "null", "show"])
    parser.add_argument("--markets", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=3000)
    parser.add_argument("--searches", nargs="+", choices=SEARCHES, default=SEARCHES)
    parser.add_argument("--store", type=Path, default=Path("mining_rounds.jsonl"))
    given = parser.parse_args()
    if given.study == "show":
        show(_rows(given.store))
        return
    done = {(row["study"], row["seed"]) for row in _rows(given.store)}
    for seed in range(given.first_seed, given.first_seed + given.markets):
        if (given.study, seed) in done:
            continue
        for row in one_market(given.study, seed, given.searches):
            with given.store.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print({name: value for name, value in row.items() if name != "accepted_texts"}, flush=True)


def one_market(study: str, seed: int, searches: Sequence[str] = SEARCHES) -> list[dict]:
    """The rows of one market: one for each round and search."""
    candles = candles_of(study, seed)
    options = OPTIONS.model_copy(update={"seed": seed})
    arena = build_arena(candles, cut(candles, options, timeframe="1h").search, options, timeframe="1h")
    begun = time.process_time()
    first = mine(candles, options, timeframe="1h")
    rows = []
    for search in searches:
        library, past, heard, mined = (
            extend({}, *_tables(first), horizon=options.horizon),
            NO_PAST,
            NOTHING_HEARD,
            first,
        )
        for number in range(1, ROUNDS + 1):
            if number > 1:
                begun = time.process_time()
                known = names_of(library) if search == "hearing" else {}
                candidates = propose(arena, options, round_number=number, library=known, heard=heard)
                before = names_of(library)
                mined = mine(candles, options, timeframe="1h", library=before, past=past, candidates=candidates)
                library = extend(library, *_tables(mined), horizon=options.horizon)
            rows.append(
                {"study": study, "seed": seed, "search": search, "round": number}
                | outcome(mined, library, candles, arena, number)
                | {"seconds": round(time.process_time() - begun, 1)}
            )
            past, heard = _after(past, mined), _heard(mined, library, number) if search == "hearing" else heard
    return rows


def candles_of(study: str, seed: int) -> pd.DataFrame:
    """Candles of a simulated market with four planted signals, or with none."""
    market = MarketOptions(signal_strength=STRENGTH if study == "planted" else 0.0, seed=seed, n_candles=HOURS)
    candles, _ = clean_candles(simulate(market), market)
    return candles if study == "null" else pd.concat([_with_signals(part) for _, part in candles.groupby("pair")])


def _with_signals(pair: pd.DataFrame) -> pd.DataFrame:
    """Candles of one pair whose next return also follows activity, its link to returns, and the place of the price."""
    close, volume = pair["close"], pair["volume"]
    returns = close.pct_change()
    lowest, highest = pair["low"].rolling(72).min(), pair["high"].rolling(72).max()
    shown = {
        "activity": np.log(volume.ewm(span=12).mean() / volume.ewm(span=72).mean()),
        "link": returns.rolling(48).corr(volume),
        "place": (close - lowest) / (highest - lowest),
    }
    units = {name: ((x - x.mean()) / x.std()).clip(-3, 3).fillna(0.0) for name, x in shown.items()}
    mean = returns.ewm(halflife=48).std() * sum(WEIGHTS[name] * x for name, x in units.items())
    path = (1 + mean.shift(1).fillna(0.0)).cumprod()
    opens, closes = pair["open"] * path.shift(1).fillna(1.0), close * path
    top, bottom = pair[["open", "close"]].max(axis=1), pair[["open", "close"]].min(axis=1)
    high = np.maximum(opens, closes) * pair["high"] / top  # wicks keep their lengths
    low = np.minimum(opens, closes) * pair["low"] / bottom
    return pair.assign(open=opens, high=high, low=low, close=closes)


def outcome(mined: Mined, library: dict, candles: pd.DataFrame, arena: Arena, number: int) -> dict:
    """What a round brought, and what there is after it; the vault may be looked at since the market is thrown away."""
    texts = [facts["expression"] for facts in library["factors"].values()]
    new = [facts["expression"] for facts in library["factors"].values() if facts["round"] == number]
    trees = [parse(text) for text in [*FAMILIES.values(), *texts]]
    table = np.abs(gain_correlations(arena.gains(trees).by_date, arena.options.block))
    families = len(FAMILIES)
    ideas: list[int] = []
    for one in range(families, len(trees)):
        if all(table[one, other] < SAME for other in ideas):
            ideas.append(one)
    near = table[families:, :families]
    vault = build_arena(candles, mined.segments.vault, arena.options, timeframe="1h")
    held = measure(vault, vault.gains([parse(text) for text in new]))["ic"].tolist() if new else []
    return {
        "trials": len(mined.scored.candidates),
        "nominees": len(mined.judgement.results),
        "accepted": len(new),
        "ideas": len(ideas),
        "families": {name: bool((near[:, i] >= SAME).any()) for i, name in enumerate(FAMILIES)},
        "best_new_t": best_new(mined, [text for text in texts if text not in new], arena),
        "vault_ic": held,
        "library_ic": together_ic(texts, vault) if texts else 0.0,
        "accepted_texts": new,
    }


def together_ic(texts: list[str], arena: Arena) -> float:
    """The rank correlation with what came after of the mean of the factors' ranks across pairs."""
    values = arena.values([parse(text) for text in texts])
    grids = np.where(arena.cells >= 0, values[:, arena.cells], np.nan)
    ranks = sum(pd.DataFrame(grid).rank(axis=1, pct=True).fillna(0.5) for grid in grids)
    both = [ranks.rank(axis=1).to_numpy(), pd.DataFrame(arena.outcome).rank(axis=1).to_numpy()]
    whole = np.isfinite(both[1]).all(axis=1)
    x, y = (part[whole] - part[whole].mean(axis=1, keepdims=True) for part in both)
    return float(np.nanmean((x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))))


def best_new(mined: Mined, before: list[str], arena: Arena) -> float:
    """The largest |t| of the round's trials whose gains are not those of a factor that was in the library before."""
    t = mined.scored.trials["t"].abs().to_numpy()
    if before:
        gains = np.vstack([arena.gains([parse(text) for text in before]).by_date, mined.scored.gains])
        together = np.abs(gain_correlations(gains, arena.options.block))[len(before) :, : len(before)]
        t = t[together.max(axis=1) < SAME]
    return float(t.max()) if t.size else 0.0


def _tables(mined: Mined) -> tuple[pd.DataFrame, pd.DataFrame]:
    return mined.judgement.results, mined.scored.trials


def _after(past: Past, mined: Mined) -> Past:
    keys = {candidate.id: candidate.rank_key for candidate in mined.scored.candidates}
    tested = {keys[name] for name in mined.judgement.results["id"]}
    return Past(past.rounds + 1, past.trials | set(keys.values()), past.tested | tested, 0)


def _heard(mined: Mined, library: dict, number: int) -> Heard:
    feedback = build_feedback(
        round_number=number,
        search=mined.segments.search,
        trials_total=0,
        q_left=0.0,
        trials=mined.scored.trials,
        rejects=rejects_table(mined.rejects),
        accepted=library["factors"],
        backtest={},
        arms={},
    )
    return heard_of(feedback, mined.segments.search)


def _rows(store: Path) -> list[dict]:
    return [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []


def show(rows: list[dict]) -> None:
    columns = [
        "nominees",
        "accepted",
        "wrong",
        "ideas so far",
        "families so far",
        "library's IC in the vault",
        "best new t",
    ]
    print(f"| study | search | round | markets | {' | '.join(columns)} |\n|{'---|' * (4 + len(columns))}")
    for (study, search, number), group in pd.DataFrame(rows).groupby(["study", "search", "round"], sort=False):
        figures = [
            f"{group['nominees'].mean():.1f}",
            group["accepted"].sum(),
            sum(ic <= 0 for row in group["vault_ic"] for ic in row),
            f"{group['ideas'].mean():.2f}",
            f"{np.mean([sum(row.values()) for row in group['families']]):.2f}",
            f"{group['library_ic'].mean():.4f}",
            f"{group['best_new_t'].mean():.2f}",
        ]
        print(f"| {study} | {search} | {number} | {len(group)} | {' | '.join(map(str, figures))} |")


if __name__ == "__main__":
    main()
