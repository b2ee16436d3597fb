"""Arithmetic and conditions in a spec (`derived`, `keep`): parsed, checked, then computed. Never run."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from trainables.errors import InputError

MOST_CHARACTERS, MOST_NODES = 500, 100
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: lambda a, b: math.pow(a, b),
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}
_COMPARE: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "log": math.log, "log2": math.log2, "log10": math.log10, "exp": math.exp,
    "min": min, "max": max, "abs": abs, "round": round,
}
_FORM = (f"numbers, names, + - * / ** // % ( ), comparisons, and, or, not, {', '.join(_FUNCTIONS)}")


class Expression:
    """One expression over named values."""

    def __init__(self, text: Any, key: str):
        self.text, self._key = str(text), key
        if len(self.text) > MOST_CHARACTERS:
            raise self._error(f"an expression of {len(self.text)} characters")
        try:
            self._tree = ast.parse(self.text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise self._error(f"cannot read the expression `{self.text}`") from None
        if sum(1 for _ in ast.walk(self._tree)) > MOST_NODES:
            raise self._error("the expression is too long")
        self.names = frozenset(self._names(self._tree))

    def _error(self, what: str) -> InputError:
        return InputError(what, key=self._key, fix=f"allowed: {_FORM}")

    def _names(self, node: ast.AST) -> set[str]:
        """The names used; InputError for anything that is not arithmetic."""
        match node:
            case ast.Name(id=name):
                return {name}
            case ast.Constant(value=value) if isinstance(value, int | float | bool):
                return set()
            case ast.BinOp(left=a, op=op, right=b) if type(op) in _BINARY:
                return self._names(a) | self._names(b)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=a):
                return self._names(a)
            case ast.BoolOp(values=values):
                return set().union(*map(self._names, values))
            case ast.Compare(left=a, ops=ops, comparators=rest) if all(
                    type(o) in _COMPARE for o in ops):
                return self._names(a).union(*map(self._names, rest))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return set().union(*map(self._names, args)) if args else set()
        raise self._error(f"`{ast.unparse(node)[:60]}` is not allowed in `{self.text}`")

    def value(self, names: Mapping[str, Any]) -> Any:
        """The value under these names; InputError where it has none."""
        try:
            return self._value(self._tree, names)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise InputError(f"`{self.text}` has no value: {error}", key=self._key,
                             fix="change the expression or the values it uses") from None

    def _value(self, node: ast.AST, names: Mapping[str, Any]) -> Any:
        go = lambda n: self._value(n, names)  # noqa: E731
        match node:
            case ast.Name(id=name):
                return names[name]
            case ast.Constant(value=value):
                return value
            case ast.BinOp(left=a, op=op, right=b):
                return _BINARY[type(op)](go(a), go(b))
            case ast.UnaryOp(op=op, operand=a):
                return not go(a) if isinstance(op, ast.Not) else (
                    -go(a) if isinstance(op, ast.USub) else +go(a))
            case ast.BoolOp(op=ast.And(), values=values):
                return all(go(v) for v in values)
            case ast.BoolOp(values=values):
                return any(go(v) for v in values)
            case ast.Compare(left=a, ops=ops, comparators=rest):
                sides = [go(a), *map(go, rest)]
                return all(_COMPARE[type(o)](x, y)
                           for o, x, y in zip(ops, sides, sides[1:], strict=False))
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name](*map(go, args))
        raise TypeError(f"unexpected {type(node).__name__}")
