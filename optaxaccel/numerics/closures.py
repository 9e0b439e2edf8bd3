"""A function together with what it reads from elsewhere, so that a compiled loop is not taken for another problem.

Used by `minimize`, `fixed_point`, searches and what else is compiled once for each function outside `jax.jit`.
`jax.jit` finds a compiled program by the function object. A function that reads a global, a variable of the function
around it or an attribute of an object is another problem when that is bound anew, though it is the same object. Here
such bindings are part of the key. Contents that change in place (entries of a NumPy array, of a list or a dictionary)
are not seen.
"""

import dis
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

PLAIN = (bool, int, float, complex, str, bytes, type(None))
NO_OWNERS = (*PLAIN, types.ModuleType, types.FunctionType, np.ndarray, np.generic, jax.Array)  # no attribute to bind


class Reading:
    """A callable whose equality asks for the bindings that it reads as well; it is called as the function itself."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun, updated=())
        self.fun = fun
        self.bindings = tuple(_bindings(fun, set()))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.fun(*args, **kwargs)

    def __hash__(self) -> int:
        return hash(self.fun) if _has_hash(self.fun) else id(self.fun)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reading) or len(self.bindings) != len(other.bindings):
            return False
        if self.fun is not other.fun and not (_has_hash(self.fun) and self.fun == other.fun):
            return False
        return all(map(_same, self.bindings, other.bindings))


def reading(fun: Any) -> Any:
    """Return a callable as `Reading`, and None, or what cannot be a key of a compiled program, as it is."""
    return Reading(fun) if callable(fun) and _has_hash(fun) else fun


def _has_hash(fun: Any) -> bool:
    """Return whether a callable says how it compares; an instance of a data class may not, and is itself then."""
    try:
        hash(fun)
    except TypeError:
        return False
    return True


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, PLAIN) and a == b)


def _bindings(fun: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield the values that a callable reads, and what functions of its module that it calls read."""
    if id(fun) in seen:
        return
    seen.add(id(fun))
    if isinstance(fun, functools.partial):
        home = getattr(fun.func, "__globals__", None)
        for value in (*fun.args, *fun.keywords.values()):
            yield value
            yield from _read_of(value, _attributes_of_all(fun), home, seen)
        yield from _bindings(fun.func, seen)
    elif isinstance(fun, types.MethodType):
        yield from _attributes(fun.__self__, fun.__func__, seen)
        yield from _bindings(fun.__func__, seen)
    elif isinstance(fun, types.FunctionType):
        names = _attributes_of_all(fun)
        for value in _values(fun):
            yield value
            if isinstance(value, types.FunctionType) and value.__globals__ is fun.__globals__:
                yield from _bindings(value, seen)
            else:
                yield from _read_of(value, names, fun.__globals__, seen)
    elif isinstance(call := getattr(type(fun), "__call__", None), types.FunctionType):  # noqa: B004
        yield from _attributes(fun, call, seen)
        yield from _bindings(call, seen)


def _values(fun: types.FunctionType) -> list[Any]:
    """Return the globals, the variables around it and the defaults that a function reads."""
    globals_, free = _names(fun.__code__)
    values = [fun.__globals__[name] for name in globals_ if name in fun.__globals__]
    cells = zip(fun.__code__.co_freevars, fun.__closure__ or (), strict=True)
    values += [_contents(cell) for name, cell in cells if name in free]
    return [*values, *(fun.__defaults__ or ()), *(fun.__kwdefaults__ or {}).values()]


def _attributes_of_all(fun: Any) -> frozenset[str]:
    """Return the names of attributes that a function and those of its module that it calls read, and none sets.

    What is handed on as an argument is read there: `lambda x: loss(x, settings)`.
    """
    sets, reads, codes, home, left = set(), set(), set(), None, [fun]
    while left:
        one = left.pop()
        if isinstance(one, functools.partial):
            left.append(one.func)
        elif isinstance(one, types.FunctionType) and one.__code__ not in codes:
            home = one.__globals__ if home is None else home
            if one.__globals__ is home:
                codes.add(one.__code__)
                stored, loaded = _of_attributes(one.__code__)
                sets |= stored
                reads |= loaded
                left += _values(one)
    return frozenset(reads - sets)


def _attributes(owner: Any, method: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield the attributes of an object, but for those that the method itself sets, a counter of its calls, say."""
    sets, reads, codes, left = set(), set(), set(), [method]
    while left:  # the method, and those of the same object that it names
        code = getattr(left.pop(), "__code__", None)
        if isinstance(code, types.CodeType) and code not in codes:
            codes.add(code)
            stored, loaded = _of_attributes(code)
            sets |= stored
            reads |= loaded
            left += [getattr(type(owner), name, None) for name in loaded]
    kept = getattr(owner, "__dict__", {})
    if isinstance(kept, dict):
        yield from (value for name, value in kept.items() if name not in sets)
    yield from _read_of(owner, frozenset(reads - sets), getattr(method, "__globals__", None), seen)


def _read_of(owner: Any, names: frozenset[str], home: Any, seen: set[Any]) -> Iterator[Any]:
    """Yield the attributes of an object, of its class and of objects in them, that code reads by these names.

    Methods of the module that the code is from are followed. Nothing is called to learn an attribute.
    """
    left = [(owner, names)]
    while left:  # a chain of objects may be long
        owner, names = left.pop()
        if isinstance(owner, NO_OWNERS) or (id(owner), names) in seen:
            continue
        seen.add((id(owner), names))
        for name in sorted(names):
            value = _of_name(owner, name)
            if isinstance(value, types.FunctionType):
                if value.__globals__ is home:
                    stored, loaded = _of_attributes(value.__code__)
                    left.append((owner, loaded - stored))
                    yield from _bindings(value, seen)
            elif value is not None:
                yield value
                left.append((value, names))


def _of_name(owner: Any, name: str) -> Any:
    """Return what is kept under a name in an object, a slot of it or its class; of a property the function.

    None where it would be computed in another way.
    """
    own = getattr(owner, "__dict__", {})
    if isinstance(own, (dict, types.MappingProxyType)) and name in own:
        return own[name]
    for kind in (owner if isinstance(owner, type) else type(owner)).__mro__:
        if name in vars(kind):
            value = vars(kind)[name]
            if isinstance(value, types.MemberDescriptorType):
                return getattr(owner, name, None)
            if isinstance(value, property):
                return value.fget
            return value if isinstance(value, types.FunctionType) or not hasattr(value, "__get__") else None
    return None


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


@functools.lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the globals and the free variables that a piece of code, and code within it, reads and never sets."""
    reads, free, sets = [], set(code.co_freevars), set()
    for piece in _pieces(code):
        for instruction in dis.get_instructions(piece):
            if instruction.opname == "LOAD_GLOBAL":
                reads.append(instruction.argval)
            elif instruction.opname in ("STORE_GLOBAL", "STORE_DEREF"):
                sets.add(instruction.argval)
    return tuple(name for name in dict.fromkeys(reads) if name not in sets), frozenset(free - sets)


@functools.lru_cache(maxsize=1024)
def _of_attributes(code: types.CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of attributes that a piece of code sets, and of those that it reads."""
    instructions = [i for piece in _pieces(code) for i in dis.get_instructions(piece)]
    stored = frozenset(i.argval for i in instructions if i.opname == "STORE_ATTR")
    return stored, frozenset(i.argval for i in instructions if i.opname in ("LOAD_ATTR", "LOAD_METHOD"))


def _pieces(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _pieces(constant)
