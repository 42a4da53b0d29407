"""The batches of CIFAR-10's Python version, which are pickles, read without unpickling: to unpickle is to run what the file says.

`pickletools.genops` splits a pickle into its instructions and executes none. What follows them here is a machine that knows those
that a batch is made of, by which nothing is imported and nothing called: names of numpy's are kept as names.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ebmpipe.data.fetching import UnusableRawData

#: What a batch names, as Python 2 and numpy of 2009 wrote it.
RECONSTRUCT, NDARRAY, DTYPE = "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"

#: The state of the type of single bytes: version, byte order, and what only other types have.
BYTES_STATE = (3, "|", None, None, None, -1, -1, 0)


@dataclass(frozen=True)
class Name:
    """Something that the pickle would import."""

    name: str


@dataclass
class Call:
    """Something that the pickle would call, and the state that it would give to what comes of it."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass
class Machine:
    """The stack and the memory of a pickle, as far as a batch needs them."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def above(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        mark = self.marks.pop()
        taken, self.stack[mark:] = self.stack[mark:], []
        return taken

    def top(self, kind: type) -> Any:
        """The object on top, which must be of ``kind``."""
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"there is a {type(self.stack[-1]).__name__} in the place of a {kind.__name__}")
        return self.stack[-1]

    def push(self, value: Any) -> None:
        """Put ``value`` on top."""
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        """Mark this height of the stack."""
        self.marks.append(len(self.stack))

    def put(self, index: int) -> None:
        """Remember what is on top."""
        self.memory[index] = self.stack[-1]

    def get(self, index: int) -> None:
        """Put what was remembered on top."""
        self.push(self.memory[index])

    def tuple_of(self, count: int | None) -> Callable[[Any], None]:
        """An instruction that makes a tuple of the last ``count`` objects, or of those above the mark."""

        def make(_: Any) -> None:
            taken = self.above() if count is None else [self.stack.pop() for _ in range(count)][::-1]
            self.push(tuple(taken))

        return make

    def append(self, _: Any) -> None:
        """Append one object to the list below it."""
        value = self.stack.pop()
        self.top(list).append(value)

    def appends(self, _: Any) -> None:
        """Append all that is above the mark to the list below it."""
        taken = self.above()
        self.top(list).extend(taken)

    def setitem(self, _: Any) -> None:
        """Put one pair into the dictionary below it."""
        self.mark(None)
        self.marks[-1] -= 2
        self.setitems(None)

    def setitems(self, _: Any) -> None:
        """Put all pairs above the mark into the dictionary below it."""
        taken = self.above()
        known = self.top(dict)
        for key, value in zip(taken[::2], taken[1::2], strict=True):
            if type(key) is not str or key in known:
                raise ValueError("a key of its dictionary is no text, or is there twice")
            known[key] = value

    def name(self, name: str) -> None:
        """Put a name on top, if it is one of the three."""
        if name not in (RECONSTRUCT, NDARRAY, DTYPE):
            raise ValueError(f"it asks for {name.replace(' ', '.')}, which no batch does")
        self.push(Name(name))

    def call(self, _: Any) -> None:
        """Note a call; nothing is called."""
        arguments, called = self.stack.pop(), self.stack.pop()
        if type(called) is not Name or type(arguments) is not tuple:
            raise ValueError("it calls what is no name")
        self.push(Call(called.name, arguments))

    def build(self, _: Any) -> None:
        """Note a state."""
        state = self.stack.pop()
        made = self.top(Call)
        if made.state is not None:
            raise ValueError("it gives an object two states")
        made.state = state

    def instructions(self) -> dict[str, Callable[[Any], None]]:
        """The instructions of a batch; there are no others."""
        pushing = ("BININT", "BININT1", "BININT2", "BINSTRING", "SHORT_BINSTRING")
        return {
            **dict.fromkeys(pushing, self.push),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self.put),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), self.get),
            **{f"TUPLE{count or ''}": self.tuple_of(count) for count in (None, 1, 2, 3)},
            "EMPTY_DICT": lambda _: self.push({}),
            "EMPTY_LIST": lambda _: self.push([]),
            "NONE": lambda _: self.push(None),
            "NEWFALSE": lambda _: self.push(False),
            "NEWTRUE": lambda _: self.push(True),
            "MARK": self.mark,
            "APPEND": self.append,
            "APPENDS": self.appends,
            "SETITEM": self.setitem,
            "SETITEMS": self.setitems,
            "GLOBAL": self.name,
            "REDUCE": self.call,
            "BUILD": self.build,
        }


def content_of(pickled: bytes) -> Any:
    """What a pickle of protocol 2 describes, with every call noted instead of made.

    Raises:
        ValueError: if it has an instruction that no batch has, or none that is whole.
    """
    machine = Machine()
    known = machine.instructions()
    for opcode, argument, position in pickletools.genops(pickled):
        if opcode.name == "STOP":
            break
        if opcode.name == "PROTO":
            if argument != 2 or position != 0:
                raise ValueError("it is not of protocol 2")
        elif opcode.name in known:
            known[opcode.name](argument)
        else:
            raise ValueError(f"it has the instruction {opcode.name}, which no batch has")
    if len(machine.stack) != 1 or machine.marks:
        raise ValueError("it does not end in one object")
    return machine.stack[0]


def pixels(made: Any, shape: tuple[int, int]) -> np.ndarray:
    """The array of bytes that a `Call` describes, as numpy would make it.

    Raises:
        ValueError: if it is none of ``shape``.
    """
    if not (isinstance(made, Call) and made.name == RECONSTRUCT and made.arguments == (Name(NDARRAY), (0,), "b")):
        raise ValueError("its data are no array of numpy's")
    if not (isinstance(made.state, tuple) and len(made.state) == 5):
        raise ValueError("its array has no state of numpy's")
    version, found, dtype, by_columns, content = made.state
    if not (isinstance(dtype, Call) and (dtype.name, dtype.arguments, dtype.state) == (DTYPE, ("u1", 0, 1), BYTES_STATE)):
        raise ValueError("its array is not of unsigned bytes")
    if (version, found) != (1, shape) or type(by_columns) is not bool or type(content) is not str or len(content) != shape[0] * shape[1]:
        raise ValueError(f"its array is not {shape[0]} x {shape[1]} bytes")
    return np.frombuffer(content.encode("latin-1"), np.uint8).reshape(shape, order="F" if by_columns else "C")


def read_batch(pickled: bytes, shape: tuple[int, int], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of a batch.

    Args:
        pickled: the content of its file.
        shape: number of images, and of bytes of each.
        source: what messages call it.

    Returns:
        uint8 of ``shape``, and (n,) int64.

    Raises:
        UnusableRawData: if it is no such batch; nothing that it may contain was executed.
    """
    try:
        batch = content_of(pickled)
        if type(batch) is not dict or not {"data", "labels"} <= batch.keys():
            raise ValueError("it has no data and labels")
        labels = batch["labels"]
        if type(labels) is not list or len(labels) != shape[0] or any(type(label) is not int for label in labels):
            raise ValueError(f"its labels are no list of {shape[0]} integers")
        return pixels(batch["data"], shape), np.array(labels, np.int64)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise UnusableRawData(f"{source} is no batch of CIFAR-10 in its Python version: {error}; nothing in it was executed") from error
