"""Row filters: text conditions on columns. Python parses the text, but does not execute it."""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskgmm.errors import DataError

# A column name that is not an identifier, in backticks.
QUOTED = re.compile(r"`([^`]+)`")

# Largest depth of a condition: deeper than any useful one, and far below the limit of Python's
# stack.
MAX_DEPTH = 50

ALLOWED = (
    "a condition compares columns and numbers (< <= == != >= >), with arithmetic "
    "(+ - * / // % **), and joins comparisons with and, or, not; put a column name that is not an "
    "identifier in backticks"
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
CONNECTIVES: dict[type[ast.boolop], np.ufunc] = {ast.And: np.logical_and, ast.Or: np.logical_or}

# A number, the name of a column, or a function with its arguments.
Node = float | str | tuple[Any, ...]


@dataclass(frozen=True)
class Condition:
    """A condition on rows.

    Attributes
    ----------
    text : str
    names : tuple of str
        Names of its columns.
    """

    text: str
    names: tuple[str, ...]
    _root: Node

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Parse a condition such as ``"distance > 100 and not (0 <= delay < 5)"``.

        Raises DataError if it is not valid.
        """
        if not isinstance(text, str):
            raise DataError(f"filter must be text, such as 'distance > 100', not {text!r}")
        return _Parser(text).condition()

    def __call__(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return which rows meet the condition, given the values of its columns.

        As in NumPy, a missing value (NaN) differs from every value, and is neither above nor
        below one.
        """
        with np.errstate(all="ignore"):
            mask: NDArray[np.bool_] = _value(self._root, columns)
        return mask


def _value(node: Node, columns: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(node, tuple):
        fn, *arguments = node
        return fn(*(_value(argument, columns) for argument in arguments))
    return columns[node] if isinstance(node, str) else node


class _Parser:
    """Translates text to NumPy functions; only operators of the tables are allowed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._quoted: dict[str, str] = {}
        self._columns: dict[str, None] = {}

    def condition(self) -> Condition:
        expression = " ".join(QUOTED.sub(self._placeholder, self._text).split())
        try:
            tree = ast.parse(expression, mode="eval")
        except SyntaxError as error:
            raise self._error(f"it is not an expression ({error.msg})") from None
        except (ValueError, RecursionError, MemoryError):  # for zero bytes or a hundred brackets
            raise self._error("it is not an expression") from None
        root = self._parse_truth(tree.body, MAX_DEPTH)
        if not self._columns:
            raise self._error("it names no column")
        return Condition(self._text, tuple(self._columns), root)

    def _placeholder(self, match: re.Match[str]) -> str:
        name = f"_{len(self._quoted)}"
        while name in self._text:
            name = f"_{name}"
        self._quoted[name] = match[1]
        return name

    def _error(self, what: str) -> DataError:
        return DataError(f"filter {self._text!r}: {what}; {ALLOWED}")

    def _unparse(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for placeholder, name in self._quoted.items():
            text = f"`{name}`".join(re.split(rf"\b{placeholder}\b", text))
        return text

    def _parse_truth(self, node: ast.expr, depth: int) -> Node:
        """Parse an expression that is true or false."""
        below = self._next_depth(depth)
        match node:
            case ast.BoolOp(op, values):
                return _join(
                    CONNECTIVES[type(op)], [self._parse_truth(value, below) for value in values]
                )
            case ast.UnaryOp(ast.Not(), operand):
                return (np.logical_not, self._parse_truth(operand, below))
            case ast.Compare(left, operators, rights):
                functions = [self._look_up(COMPARISONS, operator, node) for operator in operators]
                sides = [self._parse_number(side, below) for side in (left, *rights)]
                pairs: list[Node] = list(zip(functions, sides[:-1], sides[1:], strict=True))
                return _join(np.logical_and, pairs)
            case ast.Name() | ast.Constant() | ast.BinOp():
                bits = isinstance(node, ast.BinOp) and type(node.op) not in ARITHMETIC
                advice = "write and, or" if bits else "compare it with a number"
                raise self._error(f"{self._unparse(node)} is not a condition: {advice}")
        raise self._error(f"{self._unparse(node)} is not allowed")

    def _parse_number(self, node: ast.expr, depth: int) -> Node:
        """Parse an expression whose value is a number."""
        below = self._next_depth(depth)
        match node:
            case ast.Constant(int() | float() as value) if not isinstance(value, bool):
                return self._float(value)
            case ast.Name(name):
                name = self._quoted.get(name, name)
                self._columns[name] = None
                return name
            case ast.UnaryOp(ast.USub(), operand):
                return (np.negative, self._parse_number(operand, below))
            case ast.UnaryOp(ast.UAdd(), operand):
                return self._parse_number(operand, below)
            case ast.BinOp(left, operator, right):
                fn = self._look_up(ARITHMETIC, operator, node)
                return (fn, self._parse_number(left, below), self._parse_number(right, below))
            case ast.Compare() | ast.BoolOp() | ast.UnaryOp(ast.Not()):
                raise self._error(f"{self._unparse(node)} is a condition where a number is needed")
        raise self._error(f"{self._unparse(node)} is not allowed")

    def _float(self, value: float) -> float:
        try:
            return float(value)
        except OverflowError:
            raise self._error("it contains a number that is too large") from None

    def _look_up(self, table: Mapping[Any, np.ufunc], operator: ast.AST, node: ast.expr) -> Any:
        if type(operator) not in table:
            raise self._error(f"{self._unparse(node)} is not allowed")
        return table[type(operator)]

    def _next_depth(self, depth: int) -> int:
        if not depth:
            raise self._error("it is nested too deeply")
        return depth - 1


def _join(fn: Callable[..., Any], nodes: list[Node]) -> Node:
    """Join nodes by a function of two arguments, as a balanced tree of small depth."""
    if len(nodes) == 1:
        return nodes[0]
    middle = len(nodes) // 2
    return (fn, _join(fn, nodes[:middle]), _join(fn, nodes[middle:]))
