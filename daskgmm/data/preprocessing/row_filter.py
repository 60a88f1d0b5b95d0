"""Conditions on columns, written as text: parsed by Python's grammar, and never executed."""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DataError

# A column whose name is no identifier.
QUOTED = re.compile(r"`([^`]+)`")

# Deeper than anybody writes, and far from where Python's own stack ends.
DEEPEST = 50

ALLOWED = (
    "a condition compares columns and numbers (< <= == != >= >), calculates with them "
    "(+ - * / // % **) and joins comparisons by and, or, not; a column whose name is no "
    "identifier stands in backticks"
)

COMPARISONS: dict[type[ast.cmpop], np.ufunc] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
    ast.GtE: np.greater_equal,
    ast.Gt: np.greater,
}
ARITHMETIC: dict[type[ast.operator], np.ufunc] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder,
    ast.Pow: np.power,
}
JOINED: dict[type[ast.boolop], np.ufunc] = {ast.And: np.logical_and, ast.Or: np.logical_or}

# A number, the name of a column, or a function with what it is called on.
Node = float | str | tuple[Any, ...]


@dataclass(frozen=True)
class Condition:
    """What rows must meet.

    Attributes
    ----------
    text : str
    names : tuple of str
        The columns that it names.
    """

    text: str
    names: tuple[str, ...]
    _root: Node

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition such as ``"distance > 100 and not (0 <= delay < 5)"``.

        Raises DataError for anything else.
        """
        if not isinstance(text, str):
            raise DataError(f"filter is text, such as 'distance > 100', not {text!r}")
        return _Parser(text).condition()

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Which rows meet it, given a value of each of them in each column.

        As in NumPy, a missing value (NaN) is unequal to all values, and neither above nor below
        any.
        """
        with np.errstate(all="ignore"):
            found: NDArray[np.bool_] = _value(self._root, columns)
        return found


def _value(node: Node, columns: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(node, tuple):
        fn, *arguments = node
        return fn(*(_value(each, columns) for each in arguments))
    return columns[node] if isinstance(node, str) else node


class _Parser:
    """From text to functions of NumPy's, by a table of what is allowed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._quoted: dict[str, str] = {}
        self._named: dict[str, None] = {}

    def condition(self) -> Condition:
        expression = " ".join(QUOTED.sub(self._placeholder, self._text).split())
        try:
            tree = ast.parse(expression, mode="eval")
        except SyntaxError as error:
            raise self._error(f"it is no expression ({error.msg})") from None
        except (ValueError, RecursionError, MemoryError):  # zero bytes; a hundred brackets
            raise self._error("it is no expression") from None
        root = self._truth(tree.body, DEEPEST)
        if not self._named:
            raise self._error("it names no column")
        return Condition(self._text, tuple(self._named), root)

    def _placeholder(self, found: re.Match[str]) -> str:
        name = f"_{len(self._quoted)}"
        while name in self._text:
            name = f"_{name}"
        self._quoted[name] = found[1]
        return name

    def _error(self, what: str) -> DataError:
        return DataError(f"filter {self._text!r}: {what}; {ALLOWED}")

    def _shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for placeholder, name in self._quoted.items():
            text = f"`{name}`".join(re.split(rf"\b{placeholder}\b", text))
        return text

    def _truth(self, node: ast.expr, depth: int) -> Node:
        """Of what is true or false."""
        below = self._below(depth)
        match node:
            case ast.BoolOp(op, values):
                return _joined(JOINED[type(op)], [self._truth(each, below) for each in values])
            case ast.UnaryOp(ast.Not(), operand):
                return (np.logical_not, self._truth(operand, below))
            case ast.Compare(left, operators, rights):
                compared = [self._known(COMPARISONS, each, node) for each in operators]
                sides = [self._number(each, below) for each in (left, *rights)]
                pairs: list[Node] = list(zip(compared, sides[:-1], sides[1:], strict=True))
                return _joined(np.logical_and, pairs)
            case ast.Name() | ast.Constant() | ast.BinOp():
                bits = isinstance(node, ast.BinOp) and type(node.op) not in ARITHMETIC
                advice = "write and, or" if bits else "compare it with something"
                raise self._error(f"{self._shown(node)} is not a condition: {advice}")
        raise self._error(f"{self._shown(node)} is not allowed")

    def _number(self, node: ast.expr, depth: int) -> Node:
        """Of what has a number as its value."""
        below = self._below(depth)
        match node:
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                return self._float(value)
            case ast.Name(name):
                name = self._quoted.get(name, name)
                self._named[name] = None
                return name
            case ast.UnaryOp(ast.USub(), operand):
                return (np.negative, self._number(operand, below))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self._number(operand, below)
            case ast.BinOp(left, operator, right):
                fn = self._known(ARITHMETIC, operator, node)
                return (fn, self._number(left, below), self._number(right, below))
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(ast.Not()):
                raise self._error(f"{self._shown(node)} is a condition where a number is needed")
        raise self._error(f"{self._shown(node)} is not allowed")

    def _float(self, value: float) -> float:
        try:
            return float(value)
        except OverflowError:
            raise self._error("it has a number that is too large") from None

    def _known(self, table: Mapping[Any, np.ufunc], operator: ast.AST, node: ast.expr) -> Any:
        if type(operator) not in table:
            raise self._error(f"{self._shown(node)} is not allowed")
        return table[type(operator)]

    def _below(self, depth: int) -> int:
        if not depth:
            raise self._error("it is nested too deeply")
        return depth - 1


def _joined(fn: Callable[..., Any], nodes: list[Node]) -> Node:
    """One function of two over several, as a balanced tree: a long list is not deep."""
    if len(nodes) == 1:
        return nodes[0]
    middle = len(nodes) // 2
    return (fn, _joined(fn, nodes[:middle]), _joined(fn, nodes[middle:]))
