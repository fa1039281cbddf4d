"""A fingerprint of code changes when what a function runs changes, and only then."""

import importlib
import sys
import textwrap
from pathlib import Path

import pytest

from agent_market.flow.code import CodeBook

FILES = {
    "__init__.py": "",
    "nodes.py": '''
        """Nodes."""
        from functools import partial
        from shop import tables, tools
        from shop.options import Options
        from shop.parts import LIMIT, helper as help_me
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from shop.unused import Hint

        def node(x, options: Options):
            """What it does."""
            return help_me(x) + LIMIT + tools.deep.twice(x)

        def other(x):
            return tables.pick("a")(x)

        def lazy(x):
            from shop.late import later
            return later(x)

        def by_text(x):
            import importlib
            return importlib.import_module(PLACES["late"]).later(x)

        PLACES = {"late": "shop.late"}

        def page(x):
            return open("templates/" + "page.txt"), "templates"

        bound = partial(node, options=None)
    ''',
    "parts.py": """
        LIMIT = 3
        UNUSED = 4

        def helper(x):
            return inner(x)

        def inner(x):
            return x + 1

        def stranger(x):
            return x
    """,
    "options.py": """
        class Base:
            pass

        class Options(Base):
            size = 1
    """,
    "tools/__init__.py": "from shop.tools import deep",
    "tools/deep.py": """
        def twice(x):
            return 2 * x

        def thrice(x):
            return 3 * x
    """,
    "tables.py": """
        TABLE = {}

        def add(name):
            def added(function):
                TABLE[name] = function
                return function
            return added

        @add("a")
        def first(x):
            return x

        def pick(name):
            return TABLE[name]

        TABLE["b"] = lambda x: x
    """,
    "late.py": """
        def later(x):
            return x
    """,
    "unused.py": """
        class Hint:
            pass
    """,
    "templates/page.txt": "hello",
}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Writes files of a package, and gives the fingerprint of one of its functions."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(**changed: str) -> None:
        for name, text in (FILES | changed).items():
            path = tmp_path / "shop" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    def digest(function: str, *further: str, changed: dict[str, str] | None = None) -> str:
        write(**(changed or {}))
        for name in [name for name in sys.modules if name.split(".")[0] == "shop"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return CodeBook(["shop"]).digest(getattr(importlib.import_module("shop.nodes"), function), *further)

    return digest


def edited(file: str, before: str, after: str) -> dict[str, str]:
    assert before in FILES[file]
    return {file: FILES[file].replace(before, after)}


@pytest.mark.parametrize(
    ("function", "file", "before", "after"),
    [
        ("node", "nodes.py", "+ LIMIT", "- LIMIT"),
        ("node", "parts.py", "LIMIT = 3", "LIMIT = 5"),
        ("node", "parts.py", "x + 1", "x + 2"),
        ("node", "options.py", "size = 1", "size = 2"),
        ("node", "options.py", "class Base:\n            pass", "class Base:\n            x = 1"),
        ("node", "tools/deep.py", "2 * x", "4 * x"),
        ("bound", "parts.py", "x + 1", "x + 2"),
        ("other", "tables.py", 'TABLE["b"] = lambda x: x', 'TABLE["b"] = lambda x: -x'),
        ("lazy", "late.py", "return x", "return -x"),
        ("by_text", "late.py", "return x", "return -x"),
        ("page", "templates/page.txt", "hello", "good bye"),
    ],
)
def test_what_a_function_runs_counts(shop, function, file, before, after):
    assert shop(function) != shop(function, changed=edited(file, before, after))


@pytest.mark.parametrize(
    ("function", "file", "before", "after"),
    [
        ("node", "parts.py", "return x\n", "return -x\n"),  # stranger
        ("node", "parts.py", "UNUSED = 4", "UNUSED = 5"),
        ("node", "nodes.py", 'pick("a")', 'pick("b")'),  # another node
        ("node", "nodes.py", '"""What it does."""', '"""What it does, in other words."""'),
        ("node", "nodes.py", "return help_me(x) + LIMIT", "# because\n            return help_me(x) + (LIMIT)"),
        ("node", "tools/deep.py", "3 * x", "5 * x"),
        ("node", "unused.py", "pass", "x = 1"),
        ("node", "templates/page.txt", "hello", "good bye"),
    ],
)
def test_what_it_does_not_run_does_not_count(shop, function, file, before, after):
    assert shop(function) == shop(function, changed=edited(file, before, after))


def test_modules_that_parameters_name_count_in_whole(shop):
    changed = edited("unused.py", "pass", "x = 1")
    assert shop("node", "shop.unused") != shop("node", "shop.unused", changed=changed)


def test_arguments_of_a_partial_count(shop):
    import functools

    shop("node")
    node = importlib.import_module("shop.nodes").node
    book = CodeBook(["shop"])
    digests = {book.digest(functools.partial(node, model=name)) for name in ("a", "b")}
    assert len(digests | {book.digest(node)}) == 3


def test_the_version_of_a_library_counts(monkeypatch):
    from agent_market.flow import code
    from agent_market.pipelines.feature_store.nodes import make_folds

    before = CodeBook(["agent_market"]).digest(make_folds)
    monkeypatch.setattr(code, "_version_of", lambda library: "99")
    assert CodeBook(["agent_market"]).digest(make_folds) != before


def test_training_does_not_hang_on_the_report_nor_on_another_librarys_adapter():
    from agent_market.pipelines.training import train

    book = CodeBook(["agent_market"])
    own, _ = book.reached([(train.__module__, train.__name__)])
    modules = {module for module, _ in own}
    assert "agent_market.learning.walk_forward" in modules
    assert not [m for m in modules if m.startswith(("agent_market.evaluation.report", "agent_market.mining"))]
    assert not [m for m in modules if m.startswith("agent_market.adapters.") and not m.endswith("skops_file")]


def test_all_code_that_runs_in_a_node_was_foreseen():
    """A node is run with every call traced: none is of a function of ours that its fingerprint leaves out."""
    import pandas as pd

    from agent_market.learning.folds import FoldOptions
    from agent_market.learning.labels import LabelOptions
    from agent_market.learning.walk_forward import TrainingOptions
    from agent_market.market.options import MarketOptions
    from agent_market.pipelines.data_engineering import nodes as data
    from agent_market.pipelines.feature_store import nodes as features

    market = MarketOptions(n_pairs=3, n_candles=1200)
    book = CodeBook(["agent_market"])

    def traced(function, *arguments):
        called: set[tuple[str, str]] = set()

        def note(frame, event, _):
            module = frame.f_globals.get("__name__", "")
            if event == "call" and module.startswith("agent_market."):
                called.add((module, frame.f_code.co_qualname.split(".")[0]))

        sys.setprofile(note)
        try:
            result = function(*arguments)
        finally:
            sys.setprofile(None)
        foreseen, _ = book.reached([(function.__module__, function.__name__)])
        whole = {module for module, name in foreseen if name == "*"}
        missed = {c for c in called if c not in foreseen and c[0] not in whole and not c[1].startswith(("<", "__"))}
        assert not missed
        assert called
        return result

    raw = traced(data.fetch_candles, market)
    candles, _ = traced(data.clean_candles, raw, market)
    folds = FoldOptions(train="20d", valid="5d", test="5d")
    assert isinstance(traced(features.make_folds, candles, folds, market), pd.DataFrame)
    traced(features.build_labels, candles, LabelOptions(), market, TrainingOptions())


@pytest.mark.slow
def test_all_code_that_runs_in_a_whole_run_was_foreseen(tmp_path, monkeypatch):
    """As above, for each node of a run of all families of models, mining included, with what saves its outputs."""
    from kedro.framework.hooks import hook_impl
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    from agent_market.flow import CachedRunner
    from agent_market.flow.content import path_of, texts_in
    from projects import PROJECT

    monkeypatch.setenv("AGENT_MARKET_DATA", str(tmp_path))
    bootstrap_project(PROJECT)
    runner = CachedRunner()
    missed: dict[str, set[tuple[str, str]]] = {}
    # What stands around a node, and cannot change what it makes: schemas only refuse.
    around = tuple(f"agent_market.{name}" for name in ("flow", "hooks", "configured", "progress", "schemas"))

    class Tracing:
        def __init__(self):
            self.called = set()

        def note(self, frame, event, _):
            module = frame.f_globals.get("__name__", "")
            if event == "call" and module.startswith("agent_market.") and not module.startswith(around):
                self.called.add((module, frame.f_code.co_qualname.split(".")[0]))

        @hook_impl
        def before_node_run(self):
            self.called = set()
            sys.setprofile(self.note)

        @hook_impl
        def after_dataset_saved(self, dataset_name, node, data):
            sys.setprofile(None)
            book = runner._book
            catalog = runner.catalog
            texts = [t for n in node.inputs if n.startswith("params:") for t in texts_in(catalog.load(n))]
            for model in (catalog.get(n) for n in node.inputs if n.endswith(".model")):
                texts += model.code_of(Path(path_of(model)))
            named = [(module, "*") for text in texts for module in runner._modules(text)]
            kinds = [type(catalog.get(n)) for n in [*node.inputs, *node.outputs]]
            classes = [
                (kind.__module__, kind.__qualname__) for kind in kinds if kind.__module__.startswith("agent_market")
            ]
            function = getattr(node.func, "func", node.func)
            foreseen, _ = book.reached([(function.__module__, function.__name__), *named, *classes])
            whole = {module for module, name in foreseen if name == "*"}
            gone = {c for c in self.called if c not in foreseen and c[0] not in whole}
            if gone := {c for c in gone if not c[1].startswith(("<", "__"))}:
                missed.setdefault(node.name, set()).update(gone)
            sys.setprofile(self.note)

    parameters = {"features": {"mined": True}, "training": {"n_jobs": 1}, "backtest": {"freqtrade": False}}
    with KedroSession.create(PROJECT, env="test", runtime_params=parameters) as session:
        session._hook_manager.register(Tracing())
        try:
            session.run(pipeline_names=["__default__", "factor_mining"], runner=runner)
        finally:
            sys.setprofile(None)
    assert len(runner.ran) > 100
    assert not missed, "\n".join(f"{node}: {sorted(gone)}" for node, gone in missed.items())
