"""Whether policies learn what is there to learn, and whether the go-live gate tells them from luck.

    python benchmarks/rl_quality.py learn                         # PPO beside flat and the oracle, five markets
    python benchmarks/rl_quality.py gate                          # planted markets and placebos through the gate
    python benchmarks/rl_quality.py learn --algorithms ppo a2c    # others beside it
    python benchmarks/rl_quality.py learn --algorithms ppo "ppo, imitating" --strengths 0.14 0.05
    python benchmarks/rl_quality.py show                          # the tables of what has been stored so far

Markets are simulated: two pairs, and a state that moves the next candle with a correlation (IC) of `strength`, shown by
the wicks of each candle; policies see ordinary factors and the one that shows the state. Futures, 0.1 % per side.
The oracle knows the state itself, and holds a position until it has turned by a band that is best on the training
candles. Each market has its own seed, which is the agent's as well. One process per processor, one thread each; what is
done is stored in `--store` and not repeated.
"""

import argparse
import json
import os
import time
from itertools import product
from math import expm1
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from scipy import stats

from agent_market.adapters import parse_model_options
from agent_market.factors import compute_factors, load_factors
from agent_market.learning.account import account_policy
from agent_market.learning.fitting import silent
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.gate import GateOptions, judge_policy
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.market import MarketOptions, clean_candles, simulate
from agent_market.market.simulated import WICK_SLOPE

SHOWN = "(minimum(open, close) - low - (high - maximum(open, close))) / (high - low - abs(close - open) + close / 1e9)"
FACTORS = load_factors("single_pair", {"wicks": SHOWN})
HALF_LIFE = 6.6  # candles: an autocorrelation of 0.9
COSTS = {"fee": 0.001, "slippage": 0.0, "trading_mode": "futures"}
STRONG, WEAK, PLACEBO = 0.14, (0.03, 0.05), 0.0

LEARN = {"n_candles": 15_000, "folds": FoldOptions(train="416d", valid="90d", test="87d", embargo=100)}
GATE = {"n_candles": 15_000, "folds": FoldOptions(train="250d", valid="10d", test="120d", expanding=True)}
LEARNERS = {
    "ppo": {},
    "ppo, fast": {"profile": "fast"},
    "ppo, imitating": {"imitate": 5},
    "ppo, one seed, imitating": {"seeds": 1, "imitate": 5},
    "ppo, gamma 0.99": {"gamma": 0.99, "gae_lambda": 0.95},
    "ppo, library's defaults": {"n_envs": 8, "n_steps": 2048, "batch_size": 64, "gamma": 0.99, "gae_lambda": 0.95},
    "ppo, one seed": {"seeds": 1},
    "ppo, one seed, no early stop": {"seeds": 1, "patience": 0},
    **{name: {"algorithm": name} for name in ("a2c", "dqn", "qr_dqn", "sac", "td3", "recurrent_ppo")},
}
JUDGED = {"profile": "fast", "total_timesteps": 100_000, "seeds": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["learn", "gate", "show"])
    parser.add_argument(
        "--algorithms", nargs="*", default=["ppo"], choices=LEARNERS, metavar="NAME", help=str([*LEARNERS])
    )
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4], help="markets of `learn`")
    parser.add_argument("--markets", type=int, default=20, help="of `gate`, for each strength")
    parser.add_argument("--strengths", nargs="*", type=float, help="of the signal; learn: 0.14, gate: four of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--store", type=Path, default=Path("data/08_reporting/rl_quality.jsonl"))
    chosen = parser.parse_args()
    strengths = chosen.strengths or {"learn": [STRONG], "gate": [STRONG, PLACEBO, *WEAK], "show": []}[chosen.study]
    tasks = {
        "learn": [("learn", *task) for task in product(chosen.algorithms, strengths, chosen.seeds)],
        "gate": [("gate", "ppo", strength, 100 + n) for n in range(chosen.markets) for strength in strengths],
        "show": [],
    }[chosen.study]
    done = {tuple(row["task"]) for row in stored(chosen.store)}
    calls = [joblib.delayed(run_task)(task, chosen.store) for task in tasks if task not in done]
    joblib.Parallel(n_jobs=chosen.processes)(calls)
    show(stored(chosen.store))


def stored(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_task(task: tuple, store: Path) -> None:
    """One market, stored as one line."""
    study, name, strength, seed = task
    started = time.process_time()
    found = learn(LEARNERS[name], strength, seed) if study == "learn" else gate(strength, seed)
    row = {"task": task, "cpu_seconds": time.process_time() - started} | found
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.open("a") as file:
        file.write(json.dumps(row) + "\n")


def trained(how: dict, model: dict, strength: float, seed: int) -> tuple:
    """The market, the model and its positions, and the environment that it was trained in."""
    market = MarketOptions(
        seed=seed, n_pairs=2, n_candles=how["n_candles"], signal_strength=strength, signal_half_life=HALF_LIFE
    )
    candles, _ = clean_candles(simulate(market), market)
    features = compute_factors(candles, FACTORS, timeframe="1h")
    labels = build_labels(candles, LabelOptions(horizons=(1,)), timeframe="1h")
    folds = make_folds(candles["date"], how["folds"], timeframe="1h")
    options = parse_model_options({"adapter": "stable_baselines3", "seed": seed, "env": COSTS} | model)
    training = TrainingOptions(horizon=1, n_jobs=1, demean=False)
    started = time.process_time()
    fitted, predictions = walk_forward(
        features, FACTORS, labels, folds, options, training, timeframe="1h", candles=candles,
        report=lambda fold, progress: silent(progress),
    )  # fmt: skip
    return market, candles, folds, options.env, predictions, time.process_time() - started, fitted


def learn(model: dict, strength: float, seed: int) -> dict:
    """What a policy, the oracle and the market made of the test candles, log return, mean of the pairs."""
    _, candles, folds, env, predictions, seconds, _ = trained(LEARN, model, strength, seed)
    fold = folds.iloc[0].to_dict()
    ours = account_policy(predictions, candles, env, cost_factor=2.0, timeframe="1h").intervals
    ours = ours[ours["seed"] == "ensemble"].iloc[0]
    signal = shown_state(candles)
    train = signal[signal["date"].between(fold["train_start"], fold["train_end"], inclusive="left")]
    test = signal.merge(predictions[["pair", "date"]], on=["pair", "date"])
    bands = [(enter, leave) for enter in (0.25, 0.5, 0.75, 1.0, 1.25) for leave in (-0.75, -0.5, -0.25, 0.0)]
    best = max(bands, key=lambda band: earned(hold(train, *band), candles, env))
    return {
        "policy": float(ours["net"]),
        "oracle": earned(hold(test, *best), candles, env),
        "sign": earned(hold(test, 0.0, 0.0), candles, env),
        "market": float(ours["market"]),
        "entries_per_day": float(ours["entries"]) / 2 / 87,
        "fit_seconds": seconds,
    }


def shown_state(candles: pd.DataFrame) -> pd.DataFrame:
    """The planted state, as the wicks show it: pair, date, score of mean 0 and deviation 1."""
    low, high = candles[["open", "close"]].min(axis=1), candles[["open", "close"]].max(axis=1)
    tick = candles["close"] * 1e-6
    score = np.log((low - candles["low"] + tick) / (candles["high"] - high + tick)) / WICK_SLOPE
    return candles[["pair", "date"]].assign(score=score)


def hold(signal: pd.DataFrame, enter: float, leave: float) -> pd.DataFrame:
    """Positions of the oracle: long above `enter`, short below -`enter`, until the signal has gone past `leave`."""
    positions, held, before = [], 0.0, None
    for pair, score in zip(signal["pair"], signal["score"], strict=True):
        held, before = (held if pair == before else 0.0), pair
        if score > enter:
            held = 1.0
        elif score < -enter:
            held = -1.0
        elif score * held < leave * abs(held):
            held = 0.0
        positions.append(held)
    return signal[["pair", "date"]].assign(prediction=positions, fold=0, kind="position")


def earned(positions: pd.DataFrame, candles: pd.DataFrame, env) -> float:
    found = account_policy(positions, candles, env, cost_factor=2.0, timeframe="1h").intervals
    return float(found.loc[found["seed"] == "ensemble", "net"].item())


def gate(strength: float, seed: int) -> dict:
    """The gate's verdict on the policies of one market."""
    options = GateOptions()
    _, candles, folds, env, predictions, seconds, _ = trained(GATE, JUDGED, strength, seed)
    account = account_policy(predictions, candles, env, cost_factor=options.cost_factor, timeframe="1h")
    verdict = judge_policy(account, options)
    return {
        "passed": verdict["passed"],
        "failed": [check["check"] for check in verdict["checks"] if not check["passed"]],
        "values": {check["check"]: check["value"] for check in verdict["checks"]},
        "z": verdict["timing_z"],
        "folds": len(folds),
        "fit_seconds": seconds,
    }


def show(rows: list[dict]) -> None:
    """Both tables."""
    learned = pd.DataFrame(
        [dict(zip(("study", "name", "strength", "seed"), row["task"], strict=True)) | row for row in rows]
    )
    learned = learned[learned["study"] == "learn"] if len(learned) else learned
    for strength, of_strength in learned.groupby("strength", sort=False) if len(learned) else ():
        print(
            f"Strength {strength:g}, test windows of 87 days, net log return, mean of two pairs; [least, most] market"
        )
        for name, part in of_strength.groupby("name", sort=False):
            policy, share = part["policy"], part["policy"].sum() / part["oracle"].sum()
            print(
                f"{name:26} {policy.mean():+.3f} [{policy.min():+.3f}, {policy.max():+.3f}]  better than flat on "
                f"{(policy > 0).sum()} of {len(part)}; oracle {part['oracle'].mean():+.3f} ({share:.0%}), sign of the "
                f"state {part['sign'].mean():+.3f}, market {part['market'].mean():+.3f}; "
                f"{part['entries_per_day'].mean():.1f} entries a day; {part['fit_seconds'].mean():.0f} CPU seconds"
            )
        show_differences(of_strength)
    judged = pd.DataFrame([row | {"strength": row["task"][2]} for row in rows if row["task"][0] == "gate"])
    if len(judged):
        print("\nThe gate: three seeds, windows of 120 days")
        for strength, part in judged.groupby("strength", sort=False):
            failed = pd.Series([name for names in part["failed"] for name in names]).value_counts()
            total = [values["net log return"] for values in part["values"]]
            print(
                f"strength {strength:<5g} {part['passed'].sum():3d} of {len(part)} pass; net return mean "
                f"{expm1(np.mean(total)):+.1%}, above zero in {np.mean(np.array(total) > 0):.0%}; "
                f"{part['folds'].iloc[0]} windows; {part['fit_seconds'].mean():.0f} CPU seconds a market; "
                f"failed: {', '.join(f'{name} {n}' for name, n in failed.items()) or 'nothing'}"
            )


def show_differences(learned: pd.DataFrame) -> None:
    """What imitation earned more on the same markets, with an interval of 95 % by Student's t."""
    table = learned.pivot_table(index="seed", columns="name", values="policy")
    for name in table.filter(like=", imitating"):
        without = name.removesuffix(", imitating")
        more = (table[name] - table[without]).dropna() if without in table else []
        if len(more) > 1:
            low, high = stats.t.interval(0.95, len(more) - 1, more.mean(), stats.sem(more))
            print(f"{name} minus {without}: {more.mean():+.3f} ({low:+.3f} to {high:+.3f}), {len(more)} markets")


if __name__ == "__main__":
    main()
