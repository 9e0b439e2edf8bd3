"""From what was typed to a command: how tyro reads our data classes, and an example below each help."""

import contextlib
import dataclasses
import functools
import operator
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from optaxaccel import registry
from optaxaccel.cli.commands import EXAMPLES, HIDDEN, NAMES, Command
from optaxaccel.cli.terminal import BAD_INPUT, say
from optaxaccel.training.run.argument_text import parse_arguments

_EMPTY = (None, "", (), {}, False)  # defaults that say nothing


def parse(arguments: Sequence[str], defaults: Mapping[type, Any] | None = None) -> Command:
    """Return the command that was typed; leave with a message where there is none, and after help.

    Args:
      arguments: what was typed.
      defaults: commands whose options have other defaults than usual.
    """
    known = list(NAMES.values())
    if arguments and not arguments[0].startswith("-") and arguments[0] not in known:
        say(f"optaxaccel: {registry.unknown('command', arguments[0], known)}", error=True)
        sys.exit(BAD_INPUT)
    name = arguments[0] if arguments and arguments[0] in known else ""
    options: dict[str, Any] = {"config": (tyro.conf.AvoidSubcommands,), "registry": _registry()}
    try:
        folded: Any = _Folded(sys.stdout)
        with contextlib.redirect_stdout(folded):
            if not name:
                kinds = (Annotated[kind, tyro.conf.subcommand(name=own)] for kind, own in NAMES.items())
                union: Any = functools.reduce(operator.or_, kinds)
                about = "Accelerated optimisers for JAX: compare them on real data with one fair loop."
                return tyro.cli(union, prog="optaxaccel", description=about, args=arguments, **options)
            (kind,) = (kind for kind, own in NAMES.items() if own == name)
            if (defaults or {}).get(kind) is not None:
                options["default"] = (defaults or {})[kind]
            prog = f"optaxaccel {name}"
            return tyro.cli(kind, prog=prog, description=kind.__doc__, args=arguments[1:], **options)
    except SystemExit as left:
        if left.code in (0, None):  # there was help, which ends with what to type
            say("\n".join(_examples(name)))
        raise


class _Folded:
    """Standard output as tyro should see it: a line of usage fits the terminal, and NO_COLOR is heeded."""

    def __init__(self, out: Any):
        self.out = out

    def __getattr__(self, name: str) -> Any:
        return getattr(self.out, name)

    def isatty(self) -> bool:
        """Tell whether colours are wanted; tyro asks for nothing else, also of what goes to the stream of errors."""
        return not os.environ.get("NO_COLOR") and self.out.isatty()

    def write(self, text: str) -> int:
        """Write a text."""
        width = shutil.get_terminal_size().columns
        fold = functools.partial(textwrap.fill, width=width, subsequent_indent="    ", break_on_hyphens=False)
        lines = text.split("\n")
        return self.out.write("\n".join(fold(line) if "usage:" in line[:20] else line for line in lines))


def _examples(command: str) -> Iterator[str]:
    shown = [EXAMPLES[command]] if command in EXAMPLES else [EXAMPLES["list"], EXAMPLES["train"]]
    yield "example:" if len(shown) == 1 else "examples:"
    for example in shown:
        yield from (f"  {line}" for line in example.splitlines())
    if command not in EXAMPLES:
        yield "Each command has a help of its own: optaxaccel train --help"


def _registry() -> ConstructorRegistry:
    made, asked = ConstructorRegistry(), []

    @made.primitive_rule
    def _(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
        if info.type_origin is not Mapping and getattr(info.type_origin, "__name__", "") != "Mapping":
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="K=V,...",
            instance_from_str=lambda texts: parse_arguments(texts[0]),
            is_instance=lambda value: isinstance(value, Mapping),
            str_from_instance=lambda value: [",".join(f"{k}={v!r}" for k, v in value.items())],
        )

    @made.struct_rule
    def _(info: StructTypeInfo) -> StructConstructorSpec | None:
        if asked or not dataclasses.is_dataclass(info.type):
            return None
        asked.append(info)  # the rule for data classes is asked, and not this one again
        try:
            fields = ConstructorRegistry.get_struct_spec(info)
        finally:
            asked.clear()
        if not isinstance(fields, StructConstructorSpec):
            return None
        return dataclasses.replace(fields, fields=tuple(map(_described, fields.fields)))

    return made


def _described(field: StructFieldSpec) -> StructFieldSpec:
    """Return an option whose default is said once, and not where it is none, and whose value has a plain name."""
    if dataclasses.is_dataclass(field.type) or any(map(dataclasses.is_dataclass, get_args(field.type))):
        return field
    if field.name in HIDDEN:
        return dataclasses.replace(field, type=Annotated[field.type, tyro.conf.Suppress])
    text = (field.helptext() if callable(field.helptext) else field.helptext) or ""
    default = field.default
    number = isinstance(default, (int, float)) and not isinstance(default, bool)  # 0 equals False
    said = "default" in text or (not number and default in _EMPTY)
    options: dict[str, Any] = {"help_behavior_hint": ""} if said else {}
    kind = [k for k in get_args(field.type) if k is not type(None)]
    if type(None) in get_args(field.type) and len(kind) == 1:
        options["metavar"] = kind[0].__name__.upper()
    return dataclasses.replace(field, type=Annotated[field.type, tyro.conf.arg(**options)]) if options else field
