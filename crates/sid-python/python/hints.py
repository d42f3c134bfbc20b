# Type hints: what they are, whatever the version of Python writes them like.
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid

LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, collections.abc.MutableSequence)
SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
TEXTS = {
    datetime.datetime: "date-time",
    datetime.date: "date",
    datetime.time: "time",
    uuid.UUID: "uuid",
    decimal.Decimal: None,
    pathlib.Path: None,
    pathlib.PurePath: None,
}
UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))


class Unsupported(Exception):
    """A type that has no counterpart in JSON; the message says what to write instead."""


def strip(hint):
    """The hint without `Annotated`, `NewType`, `Required` and the like; and what `Annotated` says of it."""
    notes = []
    while True:
        origin = typing.get_origin(hint)
        if hasattr(hint, "__metadata__"):
            notes.extend(hint.__metadata__)
            hint = hint.__origin__
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif getattr(origin, "_name", getattr(origin, "__name__", None)) in ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar"):
            hint = typing.get_args(hint)[0]
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            return hint, notes


def is_open(hint):
    return hint in (typing.Any, object) or isinstance(hint, typing.TypeVar)


def is_class(hint, base):
    return isinstance(hint, type) and typing.get_origin(hint) is None and issubclass(hint, base)


def is_enum(hint):
    return is_class(hint, enum.Enum)


def is_dataclass(hint):
    return isinstance(hint, type) and dataclasses.is_dataclass(hint) and not is_pydantic(hint)


def is_typed_dict(hint):
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__total__") and hasattr(hint, "__required_keys__")


def is_named_tuple(hint):
    return is_class(hint, tuple) and hasattr(hint, "_fields")


def is_pydantic(hint):
    return isinstance(hint, type) and (hasattr(hint, "model_json_schema") or hasattr(hint, "__get_validators__") and hasattr(hint, "schema"))


def fields(hint):
    """The fields of a class with fields: `(name, hint, has a default, default)`."""
    hints = typing.get_type_hints(hint, include_extras=True)
    if is_typed_dict(hint):
        return [(n, h, _may_be_left_out(n, h, hint), None) for n, h in hints.items()]
    if is_named_tuple(hint):
        return [(n, hints.get(n, typing.Any), n in hint._field_defaults, hint._field_defaults.get(n)) for n in hint._fields]
    missing, found = dataclasses.MISSING, []
    for f in dataclasses.fields(hint):
        if f.init:
            found.append((f.name, hints[f.name], f.default is not missing or f.default_factory is not missing, None if f.default is missing else f.default))
    return found


def _may_be_left_out(name, field, owner):
    # Where hints are text, older Pythons do not see `Required` in `__required_keys__`.
    word = getattr(typing.get_origin(field), "_name", None)
    return word == "NotRequired" or word != "Required" and name not in owner.__required_keys__


def name(hint):
    return getattr(hint, "__qualname__", None) if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
