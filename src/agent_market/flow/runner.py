"""A runner that runs only what has changed: `kedro run --runner agent_market.flow.CachedRunner`."""

import hashlib
import json
import logging
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset, AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import Version
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner
from kedro.runner.task import Task

from agent_market.configured import state_folder
from agent_market.errors import FlowError
from agent_market.flow.code import CodeBook
from agent_market.flow.content import (
    ABSENT,
    content_of,
    file_system,
    is_ignored,
    is_parameter,
    path_of,
    texts_in,
    versioned_path,
)
from agent_market.flow.records import Made, Record, Records, link, now

log = logging.getLogger(__name__)

PACKAGE = __name__.split(".")[0]


@dataclass(frozen=True)
class Decision:
    """What is to become of a node: `record` if it is unchanged, else the reason why it must run.

    `changed` is set where the node is not made of the same as when it last ran; a node may have to run without that,
    because what it made is gone, or because its inputs are yet to be made. `code`, `inputs` and `fingerprint` say what
    it is made of now; there is no fingerprint where that cannot be known beforehand.
    """

    reason: str
    record: Record | None = None
    changed: bool = False
    code: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    fingerprint: str | None = None
    damaged: dict[str, Made] = field(default_factory=dict)
    """Outputs that were changed since they were made."""


class NodesFailedError(FlowError):
    """Some nodes failed in a run that kept going; `nodes` are their names."""

    def __init__(self, message: str, nodes: list[str]) -> None:
        super().__init__(message)
        self.nodes = nodes


class CachedRunner(SequentialRunner):
    """Runs, one after the other, the nodes whose code, parameters or inputs are not as they were.

    What a node is made of is asked when its turn comes: a node that runs again and comes to the same output stops
    there what would follow. An output that was changed by hand, or is gone, is noticed: its node runs again, and what
    was found in its place is set aside under `.state/damaged`. Outputs of nodes that are not run are taken in the
    versions in which they were made; where a later version of a dataset exists, they become the newest version again.

    Args:
        is_async: as for Kedro's runners.
        keep_going: go on with what does not need the node that failed; the run fails in the end.
        listen: called with the name of an event and its facts.
        prepare: called with the catalog before anything is looked at.
        book: fingerprints of code that another run in this process has read.
    """

    def __init__(
        self,
        is_async: bool = False,
        keep_going: bool = False,
        listen: Callable[..., None] | None = None,
        prepare: Callable[[CatalogProtocol], None] | None = None,
        book: CodeBook | None = None,
    ) -> None:
        super().__init__(is_async=is_async)
        self._keep_going = keep_going
        self._listen = listen or (lambda event, **facts: None)
        self._prepare = prepare or (lambda catalog: None)
        self._book = book or CodeBook([PACKAGE])
        self.contents: dict[str, str | None] = {}
        """The hash of what each dataset holds that was looked at."""
        self.catalog: CatalogProtocol | None = None
        self.versions: dict[str, str | None] = {}
        """The version of each dataset that the run made or found unchanged."""
        self.ran: list[str] = []
        """Names of the nodes that ran."""
        self.unchanged: list[str] = []
        """Names of the nodes that did not have to."""

    @property
    def _logger(self) -> logging.Logger:
        return logging.getLogger(SequentialRunner.__module__)

    def plan(self, pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Decision]:
        """What a run would do with each node, in order; nodes whose inputs are to be made anew may yet be unchanged."""
        self._prepare(catalog)
        records = Records(state_folder() / "nodes")
        decisions: dict[str, Decision] = {}
        made_by = {output: node.name for node in pipeline.nodes for output in node.outputs}
        for node in pipeline.nodes:
            new = [n for n in node.inputs if n in made_by and decisions[made_by[n]].record is None]
            ignored = [n for n in new if is_ignored(_dataset(catalog, n))]
            if rest := [n for n in new if n not in ignored]:
                known = [name for name in node.inputs if name not in rest]
                certain = _difference(records.newest(node.name), self._made_of(node, catalog, known), known)
                told = certain or f"if {_listed(rest)} come out otherwise than before"
                decision = Decision(told, changed=bool(certain))
            else:
                decision = self._decide(node, catalog, records)
            if decision.record is not None:
                self._take(decision.record, catalog, None)
            decisions[node.name] = decision
        return decisions

    def _run(
        self, pipeline: Pipeline, catalog: CatalogProtocol, hook_manager: Any = None, run_id: str | None = None
    ) -> None:
        self.catalog = catalog
        self._prepare(catalog)
        records = Records(state_folder() / "nodes")
        load_counts = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        failed: dict[str, Exception] = {}
        missing: dict[str, str] = {}  # dataset → the node that failed or was held back
        for number, node in enumerate(pipeline.nodes, 1):
            lacking = [name for name in node.inputs if name in missing]
            if lacking:
                self._listen("node_held_back", node=node.name, lacks=lacking)
                missing |= dict.fromkeys(node.outputs, node.name)
                continue
            decision = self._decide(node, catalog, records)
            for name, made in decision.damaged.items():
                _set_aside(_dataset(catalog, name), made.version)
            if decision.record is not None:
                self._take(decision.record, catalog, run_id)
                records.keep(decision.record) if self._moved(decision.record) else records.touch(decision.record)
                self.unchanged.append(node.name)
                self._listen("node_unchanged", node=node.name)
            else:
                # What the listener raises is no failure of the node.
                self._listen("node_started", node=node.name, reason=decision.reason, changed=decision.changed)
                try:
                    self._execute(node, catalog, hook_manager, run_id, decision, records)
                except Exception as error:
                    self._listen("node_failed", node=node.name, error=f"{type(error).__name__}: {error}")
                    if not self._keep_going:
                        raise
                    failed[node.name] = error
                    missing |= dict.fromkeys(node.outputs, node.name)
            self._logger.info("Completed node: %s", node.name)
            self._logger.info("Completed %d out of %d tasks", number, len(pipeline.nodes))
            self._release_datasets(node, catalog, load_counts, pipeline)
        log.info(
            "%d of %d nodes had to run, %d were unchanged", len(self.ran), len(pipeline.nodes), len(self.unchanged)
        )
        if failed:
            first = next(iter(failed.values()))
            held = sorted(set(missing.values()) - set(failed))
            raise NodesFailedError(
                f"{_listed(failed)} failed, all else that could run did; "
                + (f"not run for want of inputs: {_listed(held)}; " if held else "")
                + f"the first error: {type(first).__name__}: {first}",
                list(failed),
            ) from first

    def _execute(
        self,
        node: Node,
        catalog: CatalogProtocol,
        hook_manager: Any,
        run_id: str | None,
        decision: Decision,
        records: Records,
    ) -> None:
        started = time.monotonic()
        Task(node=node, catalog=catalog, hook_manager=hook_manager, is_async=self._is_async, run_id=run_id).execute()
        outputs: dict[str, Made | None] = {}
        for name in node.outputs:
            dataset = _dataset(catalog, name)
            version = _pin(dataset, None)
            self.versions[name] = version
            content = content_of(name, dataset, version)
            self.contents[name] = content
            outputs[name] = Made(version, content) if content is not None else None
        seconds = round(time.monotonic() - started, 3)
        self.ran.append(node.name)
        if decision.fingerprint is not None and all(outputs.values()) and outputs:
            record = Record(
                node.name, decision.fingerprint, decision.code, decision.inputs, outputs, run_id or "", seconds, now()
            )  # fmt: skip
            records.keep(record)
        made = {name: output.content for name, output in outputs.items() if output is not None}
        self._listen("node_done", node=node.name, seconds=seconds, outputs=made)

    def _decide(self, node: Node, catalog: CatalogProtocol, records: Records) -> Decision:
        """Whether a node is as it was, with all it would read now."""
        made_of = self._made_of(node, catalog, node.inputs)
        outside = _outside(node, catalog)
        if unknown := [name for name in node.inputs if name not in made_of.inputs]:
            return replace(made_of, reason=f"{_listed(unknown)} cannot be compared: kept in memory only")
        if outside is None:
            return replace(made_of, reason="what it reads from outside may have changed")
        inputs = made_of.inputs | ({"outside": outside} if outside else {})
        told = json.dumps([node.name, made_of.code, _order(node), inputs], sort_keys=True)
        fingerprint = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
        decision = replace(made_of, inputs=inputs, fingerprint=fingerprint)
        record = records.find(node.name, fingerprint)
        if record is None or set(record.outputs) != set(node.outputs):
            changed = _difference(records.newest(node.name), decision, list(inputs))
            return replace(decision, reason=changed or "its wiring changed", changed=True)
        for name, made in record.outputs.items():
            found = content_of(name, _dataset(catalog, name), made.version)
            if found == ABSENT:
                return replace(decision, reason=f"{name} is not there any more")
            if found != made.content:
                reason = f"{name} is not as it was made: it was changed since {record.made}"
                return replace(decision, reason=reason, damaged={name: made})
        return replace(decision, record=record)

    def _made_of(self, node: Node, catalog: CatalogProtocol, names: Iterable[str]) -> Decision:
        """The code of a node, and what those of its inputs hold that can be compared."""
        contents = {name: self._content(name, catalog) for name in names}
        known = {name: content for name, content in contents.items() if content is not None}
        return Decision("", code=self._code(node, catalog), inputs=known)

    def _take(self, record: Record, catalog: CatalogProtocol, run_id: str | None) -> None:
        """Let what follows read the outputs of an unchanged node; with a run's id, as the newest version."""
        for name, made in record.outputs.items():
            dataset = _dataset(catalog, name)
            version = made.version
            if run_id is not None and version is not None and (newer := _newer(dataset, version)):
                version = _again(dataset, version, run_id if run_id > newer else newer + "_")
                record.outputs[name] = Made(version, made.content)
            _pin(dataset, version)
            self.versions[name] = version
            self.contents[name] = made.content

    def _moved(self, record: Record) -> bool:
        stored = Records(state_folder() / "nodes").find(record.node, record.fingerprint)
        return stored is None or stored.outputs != record.outputs

    def _content(self, name: str, catalog: CatalogProtocol) -> str | None:
        if name not in self.contents:
            self.contents[name] = content_of(name, _dataset(catalog, name))
        return self.contents[name]

    def _code(self, node: Node, catalog: CatalogProtocol) -> str:
        """The code of a node, of the modules that its parameters and inputs name, and of its datasets' own classes."""
        modules: list[str] = []
        for name in node.inputs:
            if is_parameter(name) and name != "parameters":
                texts = list(texts_in(catalog.load(name)))
            elif hasattr(dataset := _dataset(catalog, name), "code_of") and (path := path_of(dataset)) is not None:
                texts = dataset.code_of(Path(path))
            else:
                continue
            modules += [module for text in texts for module in self._modules(text)]
        datasets = [_dataset(catalog, name) for name in [*node.inputs, *node.outputs] if not is_parameter(name)]
        kinds = {type(dataset) for dataset in datasets if not is_ignored(dataset)}
        classes = sorted({f"{kind.__qualname__} {self._book.digest_of_class(kind)}" for kind in kinds})
        return hashlib.blake2b(
            "\n".join([self._book.digest(node.func, *sorted(set(modules))), *classes]).encode(), digest_size=16
        ).hexdigest()

    def _modules(self, text: str) -> list[str]:
        """Modules that a parameter's text names: a built-in adapter, or code of the user's own."""
        if re.fullmatch(r"[a-z_]\w*", text) and self._book.find(f"{PACKAGE}.adapters.{text}"):
            return [f"{PACKAGE}.adapters.{text}"]
        if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text):
            return [name for name in (text, text.rpartition(".")[0]) if self._book.find(name)][:1]
        return []


def _outside(node: Node, catalog: CatalogProtocol) -> str | None:
    state = getattr(node.func, "reads_outside", None)
    return "" if state is None else state(*(catalog.load(name) for name in node.inputs if is_parameter(name)))


def _dataset(catalog: CatalogProtocol, name: str) -> AbstractDataset:
    return catalog.get(name, fallback_to_runtime_pattern=True)


def _order(node: Node) -> list[str]:
    """How inputs and outputs are given to the function: by place or by name."""
    return [json.dumps(part, sort_keys=True) for part in (node._inputs, node._outputs)]


def _pin(dataset: AbstractDataset, version: str | None) -> str | None:
    """Let `load` give one version, without one that which was saved; what is not versioned has none."""
    if not isinstance(dataset, AbstractVersionedDataset) or not dataset._version:
        return None
    saved = version or dataset.resolve_save_version()
    dataset._version = Version(saved, dataset._version.save)
    return saved


def _newer(dataset: AbstractDataset, version: str) -> str | None:
    """The newest stored version, if it is a later one than `version`."""
    versions = dataset.list_versions(full_path=False) if isinstance(dataset, AbstractVersionedDataset) else []
    return versions[0] if versions and versions[0] > version else None


def _again(dataset: AbstractVersionedDataset, version: str, new: str) -> str:
    """Give a stored version a second, newer name; on this machine's disk without taking space."""
    source, target = (versioned_path(dataset, name) for name in (version, new))
    files = file_system(dataset)
    if getattr(dataset, "_protocol", "file") == "file":
        draft = Path(target).parent.with_name(f".{new}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        place = draft / Path(target).name
        if Path(source).is_dir():
            shutil.copytree(source, place, copy_function=link)
        else:
            link(str(source), str(place))
        draft.rename(Path(target).parent)
    else:
        files.copy(str(source), str(target), recursive=True)
    return new


def _set_aside(dataset: AbstractDataset, version: str | None) -> None:
    """Move what was changed by hand to where no run finds it, and nothing of it is lost."""
    path = path_of(dataset, version)
    if version is None or path is None or getattr(dataset, "_protocol", "file") != "file":
        return  # the new output takes its place
    folder = Path(path).parent
    target = state_folder() / "damaged" / f"{Path(path).name} {version} {now()}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, target)


def _difference(before: Record | None, now: Decision, names: list[str]) -> str:
    """Why a node has another fingerprint than when it last ran, as far as code and the inputs `names` say; else ""."""
    if before is None:
        return "it has not run yet"
    if changed := [name for name in names if now.inputs.get(name) != before.inputs.get(name)]:
        return f"{_listed(changed)} changed"
    return "its code changed" if now.code != before.code else ""


def _listed(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
