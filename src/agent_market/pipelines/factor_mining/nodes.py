"""Nodes of factor_mining."""

from dataclasses import asdict
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from agent_market.market.options import MarketOptions
from agent_market.mining import candidates as steps
from agent_market.mining.arena import Arena
from agent_market.mining.bench import Bench
from agent_market.mining.candidates import Candidate, Split, from_dicts, rejects_table
from agent_market.mining.feedback import build_feedback
from agent_market.mining.figures import gains_figure, trials_figure
from agent_market.mining.gate import judge
from agent_market.mining.library import extend, names_of
from agent_market.mining.llm.proposer import Asked
from agent_market.mining.llm.secret import Secret
from agent_market.mining.options import MiningOptions
from agent_market.mining.report import describe_arms, render_page
from agent_market.mining.run import propose
from agent_market.mining.scoring import Scored, score
from agent_market.mining.statistics import required_t, spent
from agent_market.mining.tracing import trace_gains, trade
from agent_market.trading.options import BacktestOptions

Rows = list[dict[str, Any]]


def propose_candidates(
    candles: pd.DataFrame,
    mining_ledger: Rows,
    stored_factor_library: dict[str, Any] | None,
    llm_key: Secret,
    mining_options: MiningOptions,
    market: MarketOptions,
) -> tuple[Rows, dict[str, Any], Rows]:
    """Candidates of all arms, how the language model was asked, and the ledger as it stood before this round.

    Of the candles only the search segment is seen. The library and `mining.feedback` turn the search to something new.
    """
    options = mining_options
    bench = Bench(candles, options, market)
    past = bench.past(mining_ledger)
    asked = Asked()

    def ask(arena: Arena, options: MiningOptions, round_number: int) -> list[Candidate]:
        nonlocal asked
        asked = bench.ask(arena, llm_key, stored_factor_library, round_number)
        return asked.candidates

    library = names_of(stored_factor_library)
    candidates = propose(
        bench.search, options, round_number=past.rounds + 1, library=library, heard=bench.heard, language_model=ask
    )
    dialogue = {name: value for name, value in asdict(asked).items() if name != "candidates"}
    return [candidate.as_dict() for candidate in candidates], dialogue, mining_ledger


def parse_candidates(proposed: Rows, stored_factor_library: dict[str, Any] | None) -> tuple[Rows, pd.DataFrame]:
    """Those that the factor language reads, in canonical form, and those that it does not."""
    return _split(steps.parse_candidates(from_dicts(proposed), names_of(stored_factor_library)))


def check_candidates(parsed: Rows, candles: pd.DataFrame, mining_options: MiningOptions) -> tuple[Rows, pd.DataFrame]:
    """Those that compare among pairs and are within limits, and the others."""
    n_pairs = candles["pair"].nunique()
    candidates = from_dicts(parsed)
    return _split(steps.check_candidates(candidates, mining_options.gate, n_pairs, mining_options.cross_section))


def deduplicate_candidates(
    checked: Rows,
    candles: pd.DataFrame,
    mining_ledger_before: Rows,
    stored_factor_library: dict[str, Any] | None,
    mining_options: MiningOptions,
    market: MarketOptions,
) -> tuple[Rows, pd.DataFrame]:
    """Those that say something new, and those that the round, the library or an earlier round has."""
    past = Bench(candles, mining_options, market).past(mining_ledger_before)
    library = names_of(stored_factor_library)
    return _split(steps.deduplicate(from_dicts(checked), library, past.tested))


def score_candidates(
    distinct: Rows, candles: pd.DataFrame, mining_options: MiningOptions, market: MarketOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What each candidate foretold on the search segment, and those that say too little."""
    search = Bench(candles, mining_options, market).search
    scored, rejects = score(from_dicts(distinct), search)
    return scored.trials, rejects_table(rejects)


def judge_candidates(
    factor_trials: pd.DataFrame,
    candles: pd.DataFrame,
    mining_ledger_before: Rows,
    stored_factor_library: dict[str, Any] | None,
    mining_options: MiningOptions,
    market: MarketOptions,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The nominees' results on the gate segment, who was rejected, and the line for the ledger."""
    bench = Bench(candles, mining_options, market)
    past = bench.past(mining_ledger_before)
    candidates = from_dicts(factor_trials.to_dict("records"))
    gains = bench.search.gains([candidate.tree for candidate in candidates]).by_date
    scored = Scored(candidates, factor_trials, gains)
    judgement = judge(
        scored,
        bench.search,
        bench.gate,
        names_of(stored_factor_library),
        round_number=past.rounds + 1,
        trials_before=len(past.trials),
    )
    return judgement.results, rejects_table(judgement.rejects), bench.record(scored, judgement, past)


def update_library(
    gate_results: pd.DataFrame,
    factor_trials: pd.DataFrame,
    stored_factor_library: dict[str, Any] | None,
    candles: pd.DataFrame,
    mining_options: MiningOptions,
    market: MarketOptions,
) -> dict[str, Any]:
    """The library with the factors that passed."""
    gate = Bench(candles, mining_options, market).segments.gate
    how = {"horizon": mining_options.horizon, "seen_until": gate.span[1]}
    return extend(stored_factor_library, gate_results, factor_trials, **how)


def list_rejects(*rejects: pd.DataFrame) -> pd.DataFrame:
    """All that fell by the wayside, step by step, each with its reason code."""
    return pd.concat(rejects, ignore_index=True)


def list_arms(
    proposed: Rows, factor_trials: pd.DataFrame, mining_rejects: pd.DataFrame, gate_results: pd.DataFrame
) -> pd.DataFrame:
    """What each proposer brought."""
    return describe_arms(proposed, factor_trials, mining_rejects, gate_results)


def trade_library(
    factor_library: dict[str, Any],
    candles: pd.DataFrame,
    market_snapshot: dict[str, Any],
    funding_rates: pd.DataFrame,
    backtest: BacktestOptions,
    mining_options: MiningOptions,
    market: MarketOptions,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A backtest of all accepted factors on the search segment, and the same under the older tool's keys."""
    search = Bench(candles, mining_options, market).search
    return trade(names_of(factor_library), search, market_snapshot, funding_rates, backtest, market)


def give_mining_feedback(
    factor_trials: pd.DataFrame,
    mining_rejects: pd.DataFrame,
    factor_library: dict[str, Any],
    mining_arms: pd.DataFrame,
    mining_backtest: dict[str, Any],
    candles: pd.DataFrame,
    mining_ledger_before: Rows,
    mining_options: MiningOptions,
    market: MarketOptions,
) -> dict[str, Any]:
    """The facts of this round for the next one; no figure of the gate is among them."""
    bench = Bench(candles, mining_options, market)
    past = bench.past(mining_ledger_before)
    q, number = mining_options.gate.q, past.rounds + 1
    return build_feedback(
        round_number=number,
        search=bench.segments.search,
        trials_total=len(past.trials | set(factor_trials["rank_key"])),
        q_left=q - sum(spent(q, earlier) for earlier in range(1, number + 1)),
        trials=factor_trials,
        rejects=mining_rejects,
        accepted=factor_library["factors"],
        backtest=mining_backtest,
        arms=mining_arms.set_index("arm")[["proposed", "trials", "accepted"]].to_dict("index"),
    )


def trace_nominees(
    gate_results: pd.DataFrame, candles: pd.DataFrame, mining_options: MiningOptions, market: MarketOptions
) -> pd.DataFrame:
    """Gains of the nominees over search and gate."""
    bench = Bench(candles, mining_options, market)
    return trace_gains(gate_results, {"search": bench.search, "gate": bench.gate})


def plot_mining(
    nominee_gains: pd.DataFrame, factor_trials: pd.DataFrame, mining_ledger_before: Rows, candles: pd.DataFrame,
    mining_options: MiningOptions, market: MarketOptions,
) -> tuple[go.Figure, go.Figure]:  # fmt: skip
    """The nominees' gains, and how all trials are spread."""
    past = Bench(candles, mining_options, market).past(mining_ledger_before)
    required = required_t(mining_options.gate.search_t, len(past.trials) + len(factor_trials))
    return gains_figure(nominee_gains), trials_figure(factor_trials, required)


def write_mining_report(
    gate_results: pd.DataFrame,
    factor_trials: pd.DataFrame,
    mining_rejects: pd.DataFrame,
    mining_arms: pd.DataFrame,
    factor_library: dict[str, Any],
    llm_dialogue: dict[str, Any],
    mining_backtest: dict[str, Any],
    candles: pd.DataFrame,
    mining_ledger_before: Rows,
    mining_options: MiningOptions,
    market: MarketOptions,
    backtest: BacktestOptions,
    *figures: go.Figure,
) -> dict[str, str]:
    """The page of this round, which needs no network."""
    bench = Bench(candles, mining_options, market)
    return render_page(
        results=gate_results,
        trials=factor_trials,
        rejects=mining_rejects,
        arms=mining_arms,
        library=factor_library,
        dialogue=llm_dialogue,
        backtest=mining_backtest,
        withheld=bench.heard.withheld,
        segments=bench.segments,
        past=bench.past(mining_ledger_before),
        options=mining_options,
        costs=backtest.fee + backtest.slippage,
        figures={figure.layout.title.text: figure for figure in figures},
        cross_section=bench.search.is_cross_section,
    )


def _split(split: Split) -> tuple[Rows, pd.DataFrame]:
    good, bad = split
    return [candidate.as_dict() for candidate in good], rejects_table(bad)
