"""What the pickle of a dict of tensors says, read by a machine that can do nothing else.

A pickle is a program: it may name any function and call it, and one of a few bytes can keep a pickle machine busy for
ever, say by a key whose hash has more parts than there are atoms. So it is not run. The few operations of which
torch.save makes the description of tensors are done here, on records: nothing is imported, nothing called, and only
text is ever hashed. The time is that of one step a byte.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any, BinaryIO

from minibert.format.values import shown
from minibert_converter.checkpoints.stored import MAX_DIMENSIONS

STORAGE_TYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """The raw elements `data/key`."""

    dtype: str
    key: str


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A view of a storage: first element, sizes, steps in elements."""

    storage: StorageRecord
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """What a pickle means by a name of a module: never the thing itself."""

    module: str
    name: str


_MARK = object()


def tensor_records(data: bytes) -> dict[str, TensorRecord]:
    """The tensors that a pickle describes, by name.

    Raises:
        UnpicklingError: it is no dict of tensors.
        Exception: it is no pickle; of many kinds.
    """
    state = Machine().run(io.BytesIO(data))
    if not isinstance(state, dict):
        raise UnpicklingError(f"it holds a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, TensorRecord):
            raise UnpicklingError(f"the entry {shown(name)} is a {type(value).__name__}, not a tensor")
    return state


class Machine:
    """A stack and a memo, as every pickle machine has them; this one knows tensors.

    Attributes:
        operations: what it can do; None stands for OPERATIONS.
        file: what it reads.
    """

    operations: Mapping[str, Callable[[Any, Any], None]] | None = None

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.file: BinaryIO | None = None

    def run(self, file: BinaryIO) -> Any:
        """Read a pickle to its end, and not beyond it; what it stands for."""
        self.file = file
        operations = self.operations or OPERATIONS
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                break
            if opcode.name not in operations:
                raise UnpicklingError(f"it uses the operation {opcode.name}")
            operations[opcode.name](self, argument)
        return self.stack.pop()

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def since_mark(self) -> list[Any]:
        """Takes what was pushed since the last mark, and the mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def tuple_of(self, count: int) -> None:
        """Make a tuple of so many values."""
        self.push(tuple([self.stack.pop() for _ in range(count)][::-1]))

    def add_to_list(self, _values: Any) -> None:
        """Lists belong to what is not read: they stay empty."""
        if not isinstance(self.stack[-1], list):
            raise UnpicklingError("it adds to something that is no list")

    def check_items(self, items: list[Any]) -> None:
        """Prove that these are keys and values for what is on top."""
        if not isinstance(self.stack[-1], dict) or len(items) % 2:
            raise UnpicklingError("it sets an entry of something that is no dict")

    def set_items(self, items: list[Any]) -> None:
        """Set entries of the dict on top: keys and values in turn."""
        self.check_items(items)
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise UnpicklingError("the name of an entry is not text")
            target[key] = value

    def build(self, _state: Any) -> None:
        """Attributes, such as the `_metadata` that torch hangs on a state dict, are not kept."""
        if not isinstance(self.stack[-1], dict):
            raise UnpicklingError("it sets attributes of something that is no dict")

    def reduce(self, arguments: Any) -> None:
        """Call what lies on top: of all functions only those that make tensors are known."""
        name = self.stack.pop()
        function = _FUNCTIONS.get((name.module, name.name)) if isinstance(name, Name) else None
        if function is None or not isinstance(arguments, tuple):
            raise UnpicklingError("it calls something that is no part of a tensor")
        self.push(function(*arguments))

    def look_up(self, module: Any, name: Any) -> None:
        """Put a name of a module on the stack."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("it names something by what is no text")
        if (module, name) not in _FUNCTIONS and (module != "torch" or name not in STORAGE_TYPES):
            raise UnpicklingError(f"it names {shown(f'{module}.{name}')}, which is no part of a tensor")
        self.push(Name(module, name))


def _storage(pid: Any) -> StorageRecord:
    match pid:
        case ("storage", Name(module="torch", name=name), str(key), _, int()) if name in STORAGE_TYPES:
            return StorageRecord(STORAGE_TYPES[name], key)
    raise UnpicklingError("a storage's record is malformed")


def _tensor(storage: Any, first: Any, shape: Any, strides: Any, *_: Any) -> TensorRecord:
    """torch._utils._rebuild_tensor_v2."""
    if not isinstance(storage, StorageRecord) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise UnpicklingError("a tensor's record is malformed")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise UnpicklingError(f"a tensor has more than {MAX_DIMENSIONS} sizes, or not as many strides as sizes")
    if any(type(number) is not int or not 0 <= number < 1 << 48 for number in (first, *shape, *strides)):
        raise UnpicklingError("a tensor's record is malformed")
    return TensorRecord(storage, first, shape, strides)


def _parameter(tensor: Any, *_: Any) -> TensorRecord:
    """torch._utils._rebuild_parameter: a tensor that was trained is a tensor."""
    if not isinstance(tensor, TensorRecord):
        raise UnpicklingError("a parameter is not a tensor")
    return tensor


def _ordered_dict() -> dict[str, Any]:
    return {}


_FUNCTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}

#: What a pickle of a dict of tensors consists of. Anything else (INST, OBJ, NEWOBJ, EXT1, ...) is refused.
OPERATIONS: Mapping[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        Machine.push,
    ),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "MARK": lambda machine, _: machine.push(_MARK),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.add_to_list(machine.stack.pop()),
    "APPENDS": lambda machine, _: machine.add_to_list(machine.since_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "BINPUT": lambda machine, index: machine.memo.update({index: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, index: machine.memo.update({index: machine.stack[-1]}),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": lambda machine, names: machine.look_up(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.look_up(*[machine.stack.pop(), machine.stack.pop()][::-1]),
    "REDUCE": lambda machine, _: machine.reduce(machine.stack.pop()),
    "BUILD": lambda machine, _: machine.build(machine.stack.pop()),
    "BINPERSID": lambda machine, _: machine.push(_storage(machine.stack.pop())),
}
