"""Trading environments and PPO: steps per CPU second beside three rivals, and what the agents earn out of sample.

    python benchmarks/rl.py                     # all: about a quarter of an hour, the first time some minutes more
    python benchmarks/rl.py --parts steps       # environments only
    python benchmarks/rl.py --parts training --seeds 2

The set-up makes a virtual environment with gym-trading-env and gym-anytrading beside this file (`.venv-rl`, 0.2 GB; it
needs a package index). It sees the packages of the present one, too, so that all run on the same numpy, pandas and
Stable-Baselines3. FreqAI's environment comes with freqtrade. Each measurement runs in a process of its own with one
thread, and counts the CPU seconds of that process: other work on the machine changes wall time far more.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import numpy as np
import pandas as pd
from rl_rivals import EPISODE, FEE, RIVALS

HERE = Path(__file__).parent
ENVIRONMENT = HERE / ".venv-rl"
PACKAGES = ("flask==2.2.5", "werkzeug<3", "pyecharts", "nest_asyncio", "matplotlib")
N_CANDLES, N_FEATURES = 15_000, 50
TRAIN, TEST = (500, 10_500), (12_900, 14_990)
COUNTS, WINDOWS = (8, 64, 256, 1024), (1, 24)

USUAL_STEPS = 212_992
RECIPES = {
    "usual: 8 single envs, library defaults": None,
    "ours, default profile": {"profile": "default"},
    "ours, fast profile": {"profile": "fast"},
}
"""What is given to the adapter; the rest is its defaults. None: Stable-Baselines3's PPO and its own defaults."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=["steps", "training"], choices=["steps", "training"])
    parser.add_argument("--repeats", type=int, default=3, help="of each measurement of steps; the fastest counts")
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds of each of them")
    parser.add_argument("--seeds", type=int, default=3, help="markets, each with an agent of its own")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](**json.loads(sys.stdin.read()))))
        return
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; per CPU second of a process with one thread")
    if "steps" in chosen.parts:
        show_steps(set_up(), {"repeats": chosen.repeats, "seconds": chosen.seconds})
    if "training" in chosen.parts:
        show_training(set_up(), chosen.seeds)


def set_up() -> str:
    """The Python of the rivals' environment, which is made if it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        print(f"making {ENVIRONMENT} …", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        own = next((ENVIRONMENT / "lib").glob("python*")) / "site-packages"
        (own / "project.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        install = [python, "-m", "pip", "install", "-q"]
        subprocess.run([*install, *PACKAGES], check=True)
        subprocess.run([*install, "--no-deps", "gym-trading-env==0.3.5", "gym-anytrading==2.0.0"], check=True)
        (ENVIRONMENT / "ready").touch()
    return str(python)


def run_side(python: str, side: str, **arguments):
    """What a function of SIDES gives in a process of its own."""
    one_thread = dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1")
    done = subprocess.run(
        [python, __file__, "--side", side],
        input=json.dumps(arguments), stdout=subprocess.PIPE, text=True, check=True, env=os.environ | one_thread,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


# ---- the market


def make_market(seed: int) -> list[tuple[pd.DataFrame, pd.DataFrame, np.ndarray]]:
    """Candles, features and the planted signal of two pairs: hourly, volatile by turns, opening at the last close.

    The signal is a hidden AR(1) of persistence 0.9 that explains 2 % of the variance of the next return; it is the
    last of the features. The others are of the ordinary kind. All are scaled by their own past.
    """
    return [_make_pair(np.random.default_rng([seed, number])) for number in range(2)]


def _make_pair(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    n = N_CANDLES
    signal, heat = np.zeros(n), np.zeros(n)
    kicks = rng.normal(size=(2, n)) * np.array([[np.sqrt(1 - 0.9**2)], [0.05]])
    for i in range(1, n):
        signal[i], heat[i] = 0.9 * signal[i - 1] + kicks[0, i], 0.98 * heat[i - 1] + kicks[1, i]
    volatility = 0.006 * np.exp(heat - heat.var() / 2)
    moves = volatility * (np.sqrt(0.98) * rng.normal(size=n) + np.sqrt(0.02) * np.append(0.0, signal[:-1]))
    close = 100 * np.exp(np.cumsum(moves))
    opening = np.append(100.0, close[:-1])
    wicks = np.abs(rng.normal(size=(2, n))) * volatility * 0.5
    candles = pd.DataFrame(
        {
            "open": opening,
            "high": np.maximum(opening, close) * (1 + wicks[0]),
            "low": np.minimum(opening, close) * (1 - wicks[1]),
            "close": close,
            "volume": rng.lognormal(3, 0.5, n),
        },
        index=pd.date_range("2022-01-01", periods=n, freq="h", tz="UTC").as_unit("ms"),
    )
    return candles, _make_features(candles, signal), signal


def _make_features(candles: pd.DataFrame, signal: np.ndarray) -> pd.DataFrame:
    close, high, low = candles["close"], candles["high"], candles["low"]
    log, columns = np.log(close), {}
    for span in (1, 2, 3, 4, 6, 8, 12, 24, 36, 48, 72, 168):
        top, bottom = high.rolling(span).max(), low.rolling(span).min()
        columns[f"return_{span}"] = log.diff(span)
        columns[f"range_{span}"] = (top - bottom) / close
        columns[f"place_{span}"] = (close - bottom) / (top - bottom)
        columns[f"volume_{span}"] = np.log(candles["volume"].rolling(span).mean())
    columns["body"] = close / candles["open"] - 1
    columns["signal"] = pd.Series(signal, candles.index)
    table = pd.DataFrame(columns)
    past = table.rolling(500, min_periods=50)
    scaled = ((table - past.mean()) / (past.std() + 1e-9)).clip(-5, 5).fillna(0.0).astype("float32")
    assert scaled.shape[1] == N_FEATURES
    return scaled


def market_arrays(pairs: list, span: tuple[int, int]):
    """Our arrays of the market, whose episodes stay in the candles of `span`."""
    from agent_market.learning.samples import FeatureTensor, Samples
    from agent_market.market.execution import ExecutionPrices
    from agent_market.trading.env import build_market

    tables = [
        pd.concat([candles, features], axis=1).rename_axis("date").reset_index().assign(pair=f"P{number}/USDT:USDT")
        for number, (candles, features, _) in enumerate(pairs)
    ]
    table = pd.concat(tables, ignore_index=True).astype({"pair": "category"})
    tensor = FeatureTensor.from_frame(table[["pair", "date", *pairs[0][1]]], timeframe="1h")
    prices = ExecutionPrices.from_candles(table, timeframe="1h")
    tensor = FeatureTensor(tensor.values, tensor.names, tensor.pair, tensor.date, tensor.segment_start, prices)
    rows = np.concatenate([np.arange(*span) + number * N_CANDLES for number in range(len(pairs))])
    return build_market(Samples(tensor, rows))


def env_options(window: int = 1):
    from agent_market.trading.env import EnvOptions

    return EnvOptions(trading_mode="futures", fee=FEE, slippage=0.0, window=window, episode_length=EPISODE)


# ---- steps


def steps_of_ours(repeats: int, seconds: float) -> list[list]:
    """Name, window, environments and steps per CPU second of all of ours."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    from agent_market.adapters.stable_baselines3.vec_env import VecTradingEnv
    from agent_market.trading.env import TradingCore, TradingEnv

    market, rows = market_arrays(make_market(0), (0, N_CANDLES)), []
    for window in WINDOWS:
        options = env_options(window)
        rows.append(["TradingEnv", window, 1, _rate_alone(TradingEnv(market, options), repeats, seconds)])
        dummy = DummyVecEnv([lambda options=options: TradingEnv(market, options)] * 8)
        rows.append(["TradingEnv in DummyVecEnv", window, 8, _rate(dummy, repeats, seconds)])
        for n in COUNTS:
            vectorised = VecTradingEnv(TradingCore(market, options, n))
            rows.append(["VecTradingEnv", window, n, _rate(vectorised, repeats, seconds)])
    return rows


def steps_of_rival(name: str, repeats: int, seconds: float) -> list[list]:
    """The same of one rival, alone and in DummyVecEnv(8)."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    candles, features, _ = make_market(0)[0]
    make = RIVALS[name](candles, features)
    alone = _rate_alone(make(), repeats, seconds)
    return [[name, 1, 1, alone], [f"{name} in DummyVecEnv", 1, 8, _rate(DummyVecEnv([make] * 8), repeats, seconds)]]


def _rate(env, repeats: int, seconds: float) -> float:
    actions = np.random.default_rng(0).integers(0, env.action_space.n, (1024, env.num_envs))
    env.reset()

    def block(start: int) -> None:
        for i in range(start, start + 32):
            env.step(actions[i % 1024])

    return _fastest(block, 32 * env.num_envs, repeats, seconds)


def _rate_alone(env, repeats: int, seconds: float) -> float:
    actions = np.random.default_rng(0).integers(0, env.action_space.n, 1024)
    env.reset()

    def block(start: int) -> None:
        for i in range(start, start + 32):
            _, _, terminated, truncated, _ = env.step(actions[i % 1024])
            if terminated or truncated:
                env.reset()

    return _fastest(block, 32, repeats, seconds)


def _fastest(block, steps: int, repeats: int, seconds: float) -> float:
    block(0)  # compiled, and warm
    best = 0.0
    for _ in range(repeats):
        done, start = 0, time.process_time()
        while (spent := time.process_time() - start) < seconds:
            block(32 * done)
            done += 1
        best = max(best, done * steps / spent)
    return best


def show_steps(python: str, how: dict) -> None:
    rows = run_side(sys.executable, "steps_of_ours", **how)
    for name in RIVALS:
        rows += run_side(python, "steps_of_rival", name=name, **how)
    rate = {(name, window, n): found for name, window, n, found in rows}
    unit = rate["gym-trading-env in DummyVecEnv", 1, 8]
    print(f"\nSteps of environments ({N_CANDLES:,} candles, {N_FEATURES} features)\n")
    print("| environment | candles seen | episodes | steps/s | to gym-trading-env in DummyVecEnv |")
    print("|---|---:|---:|---:|---:|")
    for (name, window, n), found in rate.items():
        print(f"| {name} | {window} | {n} | {found:,.0f} | {found / unit:.2f}× |")
    ours = rate["VecTradingEnv", 1, 256]
    print(f"\nVecTradingEnv of 256: {ours / unit:.0f}× gym-trading-env in DummyVecEnv(8) (goal: 100×)")


# ---- training


def train_ours(recipe: str, seed: int) -> dict:
    """Training steps and CPU seconds of one agent, and its log return net of costs on the test candles."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from agent_market.adapters.stable_baselines3 import Options
    from agent_market.adapters.stable_baselines3.algorithms import build_algorithm
    from agent_market.adapters.stable_baselines3.vec_env import VecTradingEnv
    from agent_market.trading.env import TradingCore, TradingEnv, evaluate_table

    torch.set_num_threads(1)
    pairs, rules = make_market(seed), env_options()
    market = market_arrays(pairs, TRAIN)
    if RECIPES[recipe] is None:
        steps, env = USUAL_STEPS, DummyVecEnv([lambda: TradingEnv(market, rules)] * 8)
        env.seed(seed)
        agent = PPO("MlpPolicy", env, device="cpu", seed=seed)
    else:
        options = Options.model_validate(RECIPES[recipe] | {"env": rules})
        steps, env = options.total_timesteps, VecTradingEnv(TradingCore(market, rules, options.n_envs, seed=seed))
        env.reset()
        env.step(np.zeros(options.n_envs, dtype=np.int64))  # compiled before the clock runs
        agent = build_algorithm(options, env, seed)
    started = time.process_time()
    agent.learn(steps)
    spent = time.process_time() - started

    earned = evaluate_table(logits_of(agent), market_arrays(pairs, TEST), rules)
    held = buy_and_hold(pairs)
    return {"steps": agent.num_timesteps, "seconds": spent, "earned": earned.total / len(pairs), "held": held}


def logits_of(agent):
    """The scores that a discrete agent gives its actions, as a function of observations."""
    import torch

    def logits(seen: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return agent.policy.get_distribution(torch.from_numpy(seen)).distribution.logits.numpy()

    return logits


def evaluate() -> dict:
    """CPU seconds of judging an agent on the test candles: as a table, and step by step."""
    import torch
    from stable_baselines3 import PPO

    from agent_market.trading.env import TradingEnv, evaluate_table

    torch.set_num_threads(1)
    options = env_options().model_copy(update={"episode_length": None})
    market = market_arrays(make_market(0)[:1], TEST)
    env = TradingEnv(market, options)
    agent = PPO("MlpPolicy", env, device="cpu", seed=0)
    evaluate_table(logits_of(agent), market, options)  # compiled
    started = time.process_time()
    path = evaluate_table(logits_of(agent), market, options)
    as_table, started = time.process_time() - started, time.process_time()
    seen, _ = env.reset(options={"row": TEST[0]})
    total, is_over = 0.0, False
    while not is_over:
        seen, _, terminated, truncated, info = env.step(agent.predict(seen, deterministic=True)[0])
        total, is_over = total + info["log_return"], terminated or truncated
    assert abs(total - path.total) < 1e-9
    return {"table": as_table, "stepped": time.process_time() - started, "candles": len(path.rows)}


def buy_and_hold(pairs: list) -> float:
    opens = [candles["open"].to_numpy() for candles, _, _ in pairs]
    return float(np.mean([np.log(prices[TEST[1] - 1] / prices[TEST[0] + 1]) for prices in opens]))


def train_rival(steps: int = 16_384) -> dict:
    """The same of the usual recipe in gym-trading-env, timed only."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    pairs = make_market(0)
    makers = [RIVALS["gym-trading-env"](candles, features) for candles, features, _ in pairs]
    agent = PPO("MlpPolicy", DummyVecEnv([makers[i % 2] for i in range(8)]), device="cpu", seed=0)
    started = time.process_time()
    agent.learn(steps)
    return {"steps": agent.num_timesteps, "seconds": time.process_time() - started}


def show_training(python: str, seeds: int) -> None:
    print(f"\nPPO, networks of 64 × 64; test: {TEST[1] - TEST[0]:,} candles of 2 pairs, {seeds} markets and agents\n")
    print(
        "| recipe | steps | CPU seconds | steps/s | to the usual | net log return on the test, mean (least to most) |"
    )
    print("|---|---:|---:|---:|---:|---|")
    rival, usual = run_side(python, "train_rival"), None
    for recipe in RECIPES:
        runs = [run_side(sys.executable, "train_ours", recipe=recipe, seed=seed) for seed in range(1, seeds + 1)]
        speed = sum(run["steps"] for run in runs) / sum(run["seconds"] for run in runs)
        usual = usual or speed
        earned = [run["earned"] for run in runs]
        seconds = np.mean([run["seconds"] for run in runs])
        print(
            f"| {recipe} | {runs[0]['steps']:,} | {seconds:.1f} | {speed:,.0f} | {speed / usual:.1f}× "
            f"| {np.mean(earned):+.3f} ({min(earned):+.3f} to {max(earned):+.3f}) |",
            flush=True,
        )
    speed, took = rival["steps"] / rival["seconds"], f"{rival['steps']:,} | {rival['seconds']:.1f}"
    print(f"| usual, in gym-trading-env | {took} | {speed:,.0f} | {speed / usual:.1f}× | not evaluated |")
    held = np.mean([run["held"] for run in runs])
    print(f"\nbuy and hold: {held:+.3f}; goals: 8× and 25× the usual recipe, at an equal or better result")
    judged = run_side(sys.executable, "evaluate")
    print(
        f"an agent judged on {judged['candles']:,} candles: {judged['table']:.3f} s as a table, "
        f"{judged['stepped']:.2f} s step by step, the same to 1e-9"
    )


SIDES = {
    "steps_of_ours": steps_of_ours,
    "steps_of_rival": steps_of_rival,
    "train_ours": train_ours,
    "train_rival": train_rival,
    "evaluate": evaluate,
}

if __name__ == "__main__":
    main()
