"""What people read of flows: lines of text."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from agent_market.flow.archive import Run
from agent_market.flow.guard import holder
from agent_market.flow.records import read_json
from agent_market.flow.reproduce import differences
from agent_market.flow.runner import Decision


def event_line(event: dict[str, Any]) -> str | None:
    """An event in words; None for one that others tell better."""
    what = event["event"]
    if what == "flow_started":
        return f"Flow {event['run']}"
    if what == "flow_resumed":
        return f"Flow {event['run']} goes on ({event['state']}{': ' + event['reason'] if event['reason'] else ''})"
    if what == "round_started":
        return f"Round {event['round']} of {event['of']}"
    if what == "round_retried":
        return f"Round {event['round']} failed and is taken up again: {event['error']}"
    if what == "left_out":
        return f"Left out from here on: {', '.join(event['what'])}, because {event['error']}"
    if what == "round_done":
        mined = (
            f"; {event['trials']} factors tried, {event['accepted']} accepted" if event["trials"] is not None else ""
        )
        return f"Round {event['round']} is done: {event['ran']} nodes ran, {event['unchanged']} were unchanged{mined}"
    return None


def plan_lines(number: int, decisions: dict[str, Decision]) -> Iterator[str]:
    """What a round would do: what would run with the reason, and how much is unchanged."""
    would = {name: decision for name, decision in decisions.items() if decision.record is None}
    yield f"round {number}: {len(would)} of {len(decisions)} nodes would run"
    width = max((len(name) for name in would), default=0)
    for name, decision in would.items():
        yield f"  {name:<{width}}  {decision.reason}"


def list_lines(runs: list[Run], state_folder: Path) -> Iterator[str]:
    """A table of runs."""
    held = holder(state_folder)
    rows = [("run", "state", "rounds", "tried", "accepted", "minutes", "reason")]
    for run in runs:
        tried = [part.trials for part in run.rounds if part.trials is not None]
        accepted = [part.accepted for part in run.rounds if part.accepted is not None]
        rounds = f"{sum(part.state == 'done' for part in run.rounds)}/{run.task['rounds']}"
        mined = (str(sum(tried)) if tried else "", str(sum(accepted)) if accepted else "")
        rows.append((run.id, _state(run, held), rounds, *mined, _minutes(run), _short(run.reason)))
    yield from _table(rows)


def _state(run: Run, held: dict[str, Any] | None) -> str:
    """A run's state; one that was killed could not write it down, but holds nothing either."""
    return "died" if run.state == "running" and held is None else run.state


def show_lines(run: Run, state_folder: Path) -> Iterator[str]:
    """All that the archive knows of a run, in short."""
    yield f"{run.id}: {_state(run, holder(state_folder))}" + (f", {run.reason}" if run.reason else "")
    yield f"task      {run.task_file}: {', '.join(run.task['steps'])}"
    yield f"begun     {run.started}, ended {run.ended or 'not yet'} ({_minutes(run)} minutes)"
    commit = run.code.get("commit", "")[:12]
    changed = run.code.get("changed") or []
    yield f"code      {commit or 'no repository'}" + (f", with changes in {', '.join(changed[:5])}" if changed else "")
    yield f"libraries {', '.join(f'{name} {version}' for name, version in run.libraries.items())}"
    if run.left_out:
        yield f"left out  {', '.join(run.left_out)}"
    for part in run.rounds:
        mined = f", {part.trials} factors tried, {part.accepted} accepted" if part.trials is not None else ""
        yield f"round {part.number}   {part.state}: {part.ran} nodes ran, {part.unchanged} were unchanged{mined}"
        if part.dates:
            yield f"          candles {' to '.join(map(str, part.dates['candles']))}"
            yield f"          tested  {' to '.join(map(str, part.dates['tested']))}"
        folder = run.round_folder(part.number)
        if (verdict := (read_json(folder / "feedback.json") or {}).get("verdict")) is not None:
            yield f"          {verdict['sentence']}"
        for name in ("report", "mining_report"):
            if (folder / name / "index.html").is_file():
                yield f"          {folder / name}/index.html"
    yield f"files     {run.folder}"


def status_lines(run: Run | None, state_folder: Path) -> Iterator[str]:
    """What is running, and how far it is."""
    held = holder(state_folder)
    if held is not None:
        yield f"running: {held.get('what', 'a run')}, process {held.get('process')} since {held.get('since')}"
    if run is None:
        yield "no flow has run yet"
        return
    state = _state(run, held)
    yield f"{run.id}: {state}" + (f", {run.reason}" if run.reason else "")
    done = sum(part.state == "done" for part in run.rounds)
    yield f"rounds: {done} of {run.task['rounds']} done"
    last = next((e for e in reversed(run.events()) if e["event"].startswith("node_")), None)
    if last is not None and run.state == "running":
        doing = {"node_started": "in"}.get(last["event"], "after")
        yield f"{doing} {last['node']}, since {last['time']}"
    if state in ("died", "failed", "stopped"):
        yield f"go on with it: kedro flow resume {run.id}"


def diff_lines(one: Run, other: Run) -> Iterator[str]:
    """Where two runs differ: task, code, libraries, parameters, what came out, and figures of the models."""
    yield f"{one.id} | {other.id}"
    trees = {
        "task": (one.task, other.task),
        "code": (one.code, other.code),
        "libraries": (one.libraries, other.libraries),
    }
    n = min(len(one.rounds), len(other.rounds))
    if n:
        kept = [read_json(run.round_folder(n) / "parameters.json") or {} for run in (one, other)]
        trees["parameters"] = (kept[0], kept[1])
    for what, (then, now) in trees.items():
        for path, left, right in differences(then, now):
            yield f"{what} {path}: {_short(left)} | {_short(right)}"
    if len(one.rounds) != len(other.rounds):
        yield f"rounds: {len(one.rounds)} | {len(other.rounds)}"
    for number in range(1, n + 1):
        left, right = one.rounds[number - 1].contents, other.rounds[number - 1].contents
        changed = [name for name in {**left, **right} if left.get(name) != right.get(name)]
        told = f"{len(changed)} differ: {', '.join(sorted(changed)[:8])}" if changed else "the same"
        yield f"round {number}: {len({**left, **right})} datasets, {told}{' …' if len(changed) > 8 else ''}"
        yield from _figures(one, other, number)


def _figures(one: Run, other: Run, number: int) -> Iterator[str]:
    found = [read_json(run.round_folder(number) / "feedback.json") or {} for run in (one, other)]
    models = [feedback.get("models", {}) for feedback in found]
    for model in dict.fromkeys([*models[0], *models[1]]):
        for figure in ("rank_ic", "sharpe", "total_return", "max_drawdown"):
            left, right = ((part.get(model) or {}).get("metrics", {}).get(figure) for part in models)
            if left != right:
                yield f"  {model} {figure}: {_short(left)} | {_short(right)}"


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _minutes(run: Run) -> str:
    if run.ended is None:
        return ""
    seconds = (datetime.fromisoformat(run.ended) - datetime.fromisoformat(run.started)).total_seconds()
    return f"{seconds / 60:.1f}"


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
