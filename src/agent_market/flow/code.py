"""What code a function runs: a fingerprint that changes when any of it does, and only then.

From a function one follows the names that it uses through this project's modules, to functions, classes and constants,
without running anything. Comments, docstrings and layout do not count; the versions of the libraries that the code
imports do. A template in an unrelated package, or another model's adapter, leaves a training node as it was.

What cannot be followed by name is taken in whole: a module that stands as text in the code (as in tables of lazy
imports), a folder of data files beside a module that names it, and modules that parameters name (`adapters`).
"""

import ast
import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

Symbol = tuple[str, str]
"""A module and a name in it; the name `*` is all of the module."""

EVERYTHING = "*"


class CodeBook:
    """Fingerprints of functions; `packages` are the names of top-level packages whose code is followed."""

    def __init__(self, packages: Iterable[str]) -> None:
        self._packages = set(packages)
        self._modules: dict[str, _Module | None] = {}
        self._followed: dict[Symbol, tuple[Symbol, ...]] = {}

    def digest(self, function: Callable[..., Any], *further: str) -> str:
        """A hash of all that `function` runs, and of the modules `further` with what they run."""
        function, bound = _unwrapped(function)
        self._packages.add(function.__module__.split(".")[0])
        start = [(function.__module__, function.__qualname__.split(".")[0]), *((name, EVERYTHING) for name in further)]
        own, libraries = self.reached(start)
        lines = [f"python {sys.version_info.major}.{sys.version_info.minor}", repr(sorted(bound.items()))]
        lines += [f"{module}:{name} {self._text(module, name)}" for module, name in sorted(own)]
        lines += [f"{library} {_version_of(library)}" for library in sorted(libraries)]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    def digest_of_class(self, kind: type) -> str:
        """A hash of a class's code; of one from a library, of the library's version."""
        if kind.__module__.split(".")[0] not in self._packages:
            return f"{kind.__module__}.{kind.__qualname__} {_version_of(kind.__module__.split('.')[0])}"
        own, _ = self.reached([(kind.__module__, kind.__qualname__)])
        lines = [f"{module}:{name} {self._text(module, name)}" for module, name in sorted(own)]
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()

    def reached(self, start: Iterable[Symbol]) -> tuple[set[Symbol], set[str]]:
        """The project's symbols that those of `start` lead to, with themselves, and top-level names of libraries."""
        todo, own, libraries = list(start), set(), set()
        while todo:
            symbol = todo.pop()
            if symbol in own:
                continue
            if not self._is_own(symbol[0]):
                libraries.add(symbol[0].split(".")[0])
                continue
            own.add(symbol)
            if symbol not in self._followed:
                self._followed[symbol] = tuple(dict.fromkeys(self._leads_to(symbol)))
            todo.extend(self._followed[symbol])
        return own, {name for name in libraries if name not in sys.stdlib_module_names}

    def find(self, name: str) -> bool:
        """Whether there is a module of this name whose code can be followed; it becomes one of the project's own."""
        if self._spec(name) is None:
            return False
        self._packages.add(name.split(".")[0])
        return self._module(name) is not None

    def _leads_to(self, symbol: Symbol) -> Iterator[Symbol]:
        name, what = symbol
        module = self._module(name)
        if module is None:
            return
        if what == EVERYTHING:
            yield from ((name, defined) for defined in module.defined)
            yield from (target for targets in module.imported.values() for target in targets)
            return
        yield (name, "")  # what the module does when it is imported
        found = False
        for target in module.imported.get(what, ()):
            found = True
            yield self._inside(target)
        for statement in module.defined.get(what, ()):
            found = True
            yield from self._named_in(module, statement)
        if not found and what and self._module(f"{name}.{what}") is not None:
            yield (f"{name}.{what}", EVERYTHING)
        elif not found and "__getattr__" in module.defined:  # names that are imported when they are first asked for
            yield (name, EVERYTHING)

    def _inside(self, target: Symbol) -> Symbol:
        """A target of an import: a module is taken in whole only where it is one itself."""
        name, what = target
        if what not in ("", EVERYTHING) and self._is_own(name) and self._module(f"{name}.{what}") is not None:
            module = self._module(name)
            if module is None or (what not in module.defined and what not in module.imported):
                return (f"{name}.{what}", EVERYTHING)
        return target

    def _named_in(self, module: "_Module", statement: ast.stmt) -> Iterator[Symbol]:
        for node in ast.walk(statement):
            if isinstance(node, ast.Attribute):
                yield from self._attribute(module, node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                if node.id in module.defined or (
                    node.id in module.imported and not self._means_module(module, node.id)
                ):
                    yield (module.name, node.id)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for targets in _targets(node, module.package).values():
                    yield from (self._inside(target) for target in targets)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self._text_names(node.value)
        # Modules that are handed on as they are, not through one of their names.
        for name in _bare_names(statement):
            if name in module.imported and self._means_module(module, name):
                yield from ((target, EVERYTHING) for target in self._modules_of(module, name))

    def _attribute(self, module: "_Module", node: ast.Attribute) -> Iterator[Symbol]:
        path = _dotted(node)
        if path is None or path[0] not in module.imported:
            return
        for target in self._modules_of(module, path[0]):
            for part in path[1:]:
                deeper = f"{target}.{part}"
                if self._is_own(target) and self._module(deeper) is not None:
                    target = deeper
                    continue
                yield (target, part)
                break

    def _text_names(self, text: str) -> Iterator[Symbol]:
        if "." in text and self._is_own(text) and text.replace(".", "_").isidentifier():
            if self._module(text) is not None:
                yield (text, EVERYTHING)
            elif self._module(text.rpartition(".")[0]) is not None:
                yield tuple(text.rpartition(".")[::2])

    def _means_module(self, module: "_Module", alias: str) -> bool:
        return bool(self._modules_of(module, alias))

    def _modules_of(self, module: "_Module", alias: str) -> list[str]:
        """The modules that an imported name stands for; none if it is something in a module."""
        found = []
        for name, what in module.imported.get(alias, ()):
            if what == "":
                found.append(name)
            elif self._is_own(name) and (inner := self._inside((name, what))) != (name, what):
                found.append(inner[0])
        return found

    def _is_own(self, module: str) -> bool:
        return module.split(".")[0] in self._packages

    def _module(self, name: str) -> "_Module | None":
        if name not in self._modules:
            spec = self._spec(name) if self._is_own(name) else None
            self._modules[name] = _Module(name, Path(spec.origin)) if spec is not None and spec.origin else None
        return self._modules[name]

    @functools.cache  # noqa: B019 - one book lives as long as a run
    def _spec(self, name: str) -> ModuleSpec | None:
        """Where a module is, found without importing its parents; None for what is not there or has no source."""
        paths: Iterable[str] | None = None
        spec = None
        for part in name.split("."):
            spec = PathFinder.find_spec(part, list(paths) if paths is not None else None)
            if spec is None:
                break
            paths = spec.submodule_search_locations or ()
        if spec is None and name in sys.modules:
            spec = sys.modules[name].__spec__
        return spec if spec is not None and str(spec.origin).endswith(".py") else None

    def _text(self, name: str, what: str) -> str:
        module = self._module(name)
        return "" if module is None else module.text(what)


class _Module:
    """What the source of one module defines and imports at its top, by name."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self.file = file
        self.package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self.defined: dict[str, list[ast.stmt]] = {"": []}
        self.imported: dict[str, list[Symbol]] = {}
        self._texts: dict[str, str] = {}
        for statement in _without_docstrings(ast.parse(file.read_bytes())).body:
            self._take(statement)

    def _take(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for name, targets in _targets(statement, self.package).items():
                self.imported.setdefault(name, []).extend(targets)
            return
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
            for inner in statement.orelse:
                self._take(inner)
            return
        names = _bound_by(statement)
        if not isinstance(
            statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign
        ):
            self.defined[""].append(statement)  # it does something, whoever imports the module
            for inner in ast.walk(statement):
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    for name, targets in _targets(inner, self.package).items():
                        self.imported.setdefault(name, []).extend(targets)
        for name in names:
            self.defined.setdefault(name, []).append(statement)

    def text(self, what: str) -> str:
        """A hash of what defines a name, and of the data files that it reads."""
        if what not in self._texts:
            chosen = self.defined.get(what, [])
            dumped = [ast.dump(statement) for statement in chosen]
            dumped += [_hash_folder(folder) for statement in chosen for folder in self._folders(statement)]
            self._texts[what] = hashlib.blake2b("\n".join(dumped).encode(), digest_size=16).hexdigest()
        return self._texts[what]

    def _folders(self, statement: ast.stmt) -> list[Path]:
        """Files and folders of data beside the module that a statement names."""
        words = {n.value for n in ast.walk(statement) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        beside = (self.file.parent / word for word in words if re.fullmatch(r"\w[\w.-]{0,60}", word))
        return sorted(p for p in beside if (p.is_dir() and not (p / "__init__.py").exists()) or p.is_file())


def _unwrapped(function: Callable[..., Any]) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function behind partials and decorators, and the arguments that partials gave it."""
    bound: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        bound |= dict(enumerate(map(repr, function.args))) | {name: repr(v) for name, v in function.keywords.items()}
        function = function.func
    return inspect.unwrap(function), {str(name): value for name, value in bound.items()}


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return tree


def _targets(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, list[Symbol]]:
    """What each name stands for that an import binds."""
    if isinstance(statement, ast.Import):
        return {a.asname or a.name.split(".")[0]: [(a.name if a.asname else a.name.split(".")[0], "")]
                for a in statement.names}  # fmt: skip
    base = statement.module or ""
    if statement.level:
        parent = package.split(".")
        parent = parent[: len(parent) - statement.level + 1]
        base = ".".join([*parent, base] if base else parent)
    return {a.asname or a.name: [(base, a.name)] for a in statement.names}


def _bound_by(statement: ast.stmt) -> list[str]:
    """Names that a statement at the top of a module binds or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    names: list[str] = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
    if isinstance(statement, ast.Assign | ast.AugAssign | ast.Expr):  # table["x"] = 1, table.update(…)
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", statement)]
        names += [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return list(dict.fromkeys(names))


def _dotted(node: ast.Attribute) -> list[str] | None:
    parts: list[str] = []
    here: ast.expr = node
    while isinstance(here, ast.Attribute):
        parts.append(here.attr)
        here = here.value
    return [here.id, *reversed(parts)] if isinstance(here, ast.Name) else None


def _bare_names(statement: ast.stmt) -> set[str]:
    """Names that are used, and not only as the start of a dotted path."""
    dotted = {
        id(n.value) for n in ast.walk(statement) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    }
    return {
        n.id
        for n in ast.walk(statement)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and id(n) not in dotted
    }


def _hash_folder(path: Path) -> str:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
    return " ".join(hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in files)


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


@functools.cache
def _version_of(library: str) -> str:
    """The installed version of a library, by the name it is imported under."""
    found = []
    for name in (library, *_distributions().get(library, [])):
        try:
            found.append(version(name))
        except PackageNotFoundError:
            continue
    return "+".join(dict.fromkeys(found))
