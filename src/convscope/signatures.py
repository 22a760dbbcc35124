"""A function's parameters and docstring, read from its source: what its module imports stays unimported."""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Collection
from functools import cache
from importlib import import_module
from importlib.util import find_spec, resolve_name
from inspect import Parameter
from pathlib import Path
from typing import Any

from convscope.tables import Entry


class _Kind(type):
    """Whatever is asked of an unimported type is unimported as well."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls

    def __getitem__(cls, item: Any) -> type:
        return cls


class Unimported(metaclass=_Kind):
    """Stands for a type that only importing another package would give, such as a tensor."""


def read_signature(entry: Entry, *, without: Collection[str] = ()) -> tuple[list[Parameter], str]:
    """The parameters of an entry's function but those named, and its docstring, empty where it has none.

    Annotations are evaluated, of keyword-only parameters alone; in them types that come from neither Python nor
    convscope nor the entry's own package are Unimported. What the source does not say so plainly (a decorated
    function, a type that is a class) is imported after all. Raises UsageError where another package's entry does
    not load.

    >>> from convscope.methods import METHODS
    >>> parameters, told = read_signature(METHODS["invert"], without=["progress"])
    >>> [each.name for each in parameters if each.kind is each.KEYWORD_ONLY], parameters[-1].annotation
    (['prior', 'steps', 'strength', 'control', 'seed'], <class 'int'>)
    """
    module, _, name = entry.target.partition(":")
    try:
        return _read(module, name, without)
    except Exception:
        function = entry.load()
        parameters = inspect.signature(function, eval_str=True).parameters.values()
        return [each for each in parameters if each.name not in without], inspect.getdoc(function) or ""


def _read(module: str, name: str, without: Collection[str]) -> tuple[list[Parameter], str]:
    """What the source says. Raises whatever comes of a source that is missing or says it in another way."""
    names = _names(module)
    node = names.statements[name]
    if isinstance(node, ast.ImportFrom):
        return _read(*names.origin(node, name), without)
    if not isinstance(node, ast.FunctionDef) or node.decorator_list or node.args.vararg or node.args.kwarg:
        raise ValueError(f"{module}:{name} is not written as a plain function")
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults]
    needs = [
        Parameter(each.arg, Parameter.POSITIONAL_OR_KEYWORD, default=names.default(default))
        for each, default in zip(positional, defaults, strict=True)
    ]
    knobs = [
        Parameter(
            each.arg, Parameter.KEYWORD_ONLY, default=names.default(default), annotation=names.type(each.annotation)
        )
        for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
        if each.arg not in without
    ]
    return [each for each in needs if each.name not in without] + knobs, ast.get_docstring(node) or ""


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement gives a meaning."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def _names(module: str) -> _Names:
    """The names of a module."""
    return _Names(module)


class _Names(dict[str, Any]):
    """What the names in a module's annotations and defaults stand for, found when they are met."""

    def __init__(self, module: str) -> None:
        super().__init__()
        self.module = module
        found = find_spec(module)
        if found is None or found.origin is None:
            raise ModuleNotFoundError(module)
        self.package = found.parent
        tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
        for_types = [each for node in tree.body if isinstance(node, ast.If) for each in node.body]  # TYPE_CHECKING
        self.statements = {name: node for node in (*for_types, *tree.body) for name in _bound(node)}

    def origin(self, node: ast.ImportFrom, name: str) -> tuple[str, str]:
        """The module that something is imported from, and its name there."""
        theirs = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        return resolve_name("." * node.level + (node.module or ""), self.package), theirs

    def type(self, annotation: ast.expr | None) -> Any:
        """What an annotation means, quoted or not."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        return Parameter.empty if annotation is None else self._value(annotation)

    def default(self, expression: ast.expr | None) -> Any:
        """What a default comes to. Raises ValueError where only importing another package would tell."""
        value = Parameter.empty if expression is None else self._value(expression)
        if value is Unimported:
            raise ValueError(f"{self.module} has a default from elsewhere")
        return value

    def _value(self, expression: ast.expr) -> Any:
        """What an expression comes to."""
        return eval(compile(ast.Expression(expression), self.module, "eval"), {}, self)

    def __missing__(self, name: str) -> Any:
        node = self.statements.get(name)
        self[name] = getattr(builtins, name) if node is None else self._meaning(name, node)
        return self[name]

    def _meaning(self, name: str, node: ast.stmt) -> Any:
        """What a statement gives the name. Raises ValueError for a function or a class, which must be made."""
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            return self._value(node.value)
        if isinstance(node, ast.Import) and name in sys.stdlib_module_names:
            return import_module(name)
        if isinstance(node, ast.ImportFrom):
            module, theirs = self.origin(node, name)
            root = module.partition(".")[0]
            if root in sys.stdlib_module_names:
                return getattr(import_module(module), theirs)
            if root in ("convscope", self.module.partition(".")[0]):
                return _names(module)[theirs]
        if isinstance(node, ast.Import | ast.ImportFrom):
            return Unimported
        raise ValueError(f"{self.module}:{name} is no value that can be read")
