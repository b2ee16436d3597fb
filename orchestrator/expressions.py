"""Arithmetic and conditions of a spec (`derived`, `keep`): parsed, checked, computed by a table.

Nothing is ever run: only the kinds of nodes listed here pass, and numbers stay below a bound.
"""

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from trainables.errors import InputError

MOST_CHARACTERS, MOST_NODES = 500, 200
MOST_WHOLE = 10**18  # whole numbers would grow without end; floats end by themselves
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: math.pow,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}
_UNARY: Mapping[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARE: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp,
    "min": min, "max": max, "abs": abs, "round": round,
}
_FORM = f"numbers, names, + - * / ** // % ( ), comparisons, and, or, not, {', '.join(FUNCTIONS)}"


class Expression:
    """One expression over named values. InputError, at ``key``, for what is no arithmetic."""

    def __init__(self, text: Any, key: str):
        self.text, self._key = str(text), key
        self._tree = self._parsed()
        self.names = frozenset(self._names(self._tree))

    def value(self, names: Mapping[str, Any]) -> Any:
        """The value under these names; InputError where it has none that is finite."""
        try:
            return _value(self._tree, names)
        except KeyError as error:
            reason = f"{error.args[0]} has no value"
        except (ArithmeticError, ValueError, TypeError) as error:
            reason = str(error)
        raise InputError(f"`{self.text}` cannot be computed: {reason}", key=self._key,
                         fix="change the expression, or the values that it uses")

    def _parsed(self) -> ast.expr:
        if len(self.text) > MOST_CHARACTERS:
            raise self._error(f"an expression of {len(self.text):,} characters")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what Python thinks of `1 is 2`
                tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._error(f"`{self.text}` is no expression") from None
        if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
            raise self._error(f"`{self.text}` has more than {MOST_NODES} parts")
        return tree

    def _error(self, what: str) -> InputError:
        return InputError(what, key=self._key, fix=f"allowed: {_FORM}")

    def _names(self, node: ast.AST) -> set[str]:
        """The names used; InputError for anything that is not arithmetic."""
        match node:
            case ast.Name() | ast.Attribute(value=ast.Name()):
                return {_name(node)}
            case ast.Constant(value=value) if isinstance(value, int | float | bool | str):
                return set()
            case ast.BinOp(left=a, op=op, right=b) if type(op) in _BINARY:
                return self._names(a) | self._names(b)
            case ast.UnaryOp(op=op, operand=a) if type(op) in (*_UNARY, ast.Not):
                return self._names(a)
            case ast.BoolOp(values=values):
                return set().union(*map(self._names, values))
            case ast.Compare(left=a, ops=ops, comparators=rest) if all(
                    type(o) in _COMPARE for o in ops):
                return self._names(a).union(*map(self._names, rest))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
                return set().union(*map(self._names, args))
        raise self._error(f"`{ast.unparse(node)[:60]}` is not allowed in `{self.text}`")


def _value(node: ast.AST, names: Mapping[str, Any]) -> Any:
    match node:
        case ast.Name() | ast.Attribute():
            return names[_name(node)]
        case ast.Constant(value=value):
            return value
        case ast.BinOp(left=a, op=op, right=b):
            return _bounded(_BINARY[type(op)](*map(_number, (_value(a, names), _value(b, names)))))
        case ast.UnaryOp(op=ast.Not(), operand=a):
            return not _condition(_value(a, names))
        case ast.UnaryOp(op=op, operand=a):
            return _UNARY[type(op)](_number(_value(a, names)))
        case ast.BoolOp(op=op, values=values):
            chosen = all if isinstance(op, ast.And) else any
            return chosen(_condition(_value(v, names)) for v in values)
        case ast.Compare(left=a, ops=ops, comparators=rest):
            sides = [_value(side, names) for side in (a, *rest)]
            return all(map(_compared, ops, sides, sides[1:]))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _bounded(FUNCTIONS[name](*(_number(_value(a, names)) for a in args)))
    raise TypeError(f"unexpected {type(node).__name__}")


def _name(node: ast.AST) -> str:
    """`lr`, or `model.width`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _compared(op: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(left, str) is not isinstance(right, str):
        raise TypeError(f"{left!r} and {right!r} cannot be compared")
    return _COMPARE[type(op)](left, right)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return value


def _condition(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        raise OverflowError("a whole number above 10^18")
    if not math.isfinite(value):
        raise OverflowError("the result is not finite")
    return value
