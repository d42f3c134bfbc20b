# From JSON to annotated types, and from results to JSON.
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import typing
import uuid

import sid_hints as t

_ABSENT = object()


class Mismatch(Exception):
    """An argument that does not fit; the message is for the model."""


class Unsendable(Exception):
    """A result that has no counterpart in JSON; the message is for whoever wrote the function, and for the model."""


def argument(value, hint, place):
    """`value` as the annotated type; raises `Mismatch`."""
    hint, _ = t.strip(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if t.is_open(hint):
        return value
    if origin in t.UNIONS:
        return _union(value, arguments, place)
    if origin is typing.Literal:
        for choice in arguments:
            plain = choice.value if isinstance(choice, enum.Enum) else choice
            if plain == value and isinstance(plain, bool) == isinstance(value, bool):
                return choice
        raise Mismatch("%s must be one of %s" % (place, ", ".join(repr(getattr(c, "value", c)) for c in arguments)))
    if hint is None or hint is type(None):
        return _check(value, value is None, None, place, "null")
    if hint is bool:
        return _check(value, isinstance(value, bool), value, place, "true or false")
    if hint is int:
        whole = isinstance(value, int) or isinstance(value, float) and value.is_integer()
        return _check(value, whole and not isinstance(value, bool), value, place, "a whole number", int)
    if hint is float:
        return _check(value, isinstance(value, (int, float)) and not isinstance(value, bool), value, place, "a number", float)
    if hint is str:
        return _check(value, isinstance(value, str), value, place, "text")
    if hint in t.TEXTS:
        return _text(value, hint, place)
    if t.is_enum(hint):
        for member in hint:
            if member.value == value or member.name == value:
                return member
        raise Mismatch("%s must be one of %s" % (place, ", ".join(repr(m.value) for m in hint)))
    if t.is_pydantic(hint):
        try:
            return hint.model_validate(value) if hasattr(hint, "model_validate") else hint.parse_obj(value)
        except ValueError as error:
            raise Mismatch("%s: %s" % (place, error)) from None
    if t.is_named_tuple(hint) or t.is_typed_dict(hint) or t.is_dataclass(hint):
        return _fields(value, hint, place)
    return _container(value, hint, origin or hint, arguments, place)


def _check(value, fits, converted, place, wanted, kind=None):
    if not fits:
        raise Mismatch("%s must be %s, not %s" % (place, wanted, _shown(value)))
    return kind(converted) if kind else converted


def _shown(value):
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _union(value, arguments, place):
    # What fits without a change comes first: "5" stays text where text is allowed.
    for choice in arguments:
        if isinstance(choice, type) and type(value) is choice:
            return value
    problems = []
    for choice in arguments:
        try:
            return argument(value, choice, place)
        except Mismatch as problem:
            problems.append(str(problem))
    raise Mismatch("; or ".join(problems))


def _text(value, hint, place):
    try:
        if hint is decimal.Decimal and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = repr(value)
        if not isinstance(value, str):
            raise ValueError
        if hint in (datetime.datetime, datetime.date, datetime.time):
            # Before Python 3.11 `Z` is not understood.
            text = value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value
            return hint.fromisoformat(text[:10] if hint is datetime.date else text)
        return hint(value)
    except (ValueError, decimal.InvalidOperation):
        words = {
            datetime.datetime: "a date and time like 2026-01-31T09:30:00+00:00",
            datetime.date: "a date like 2026-01-31",
            datetime.time: "a time like 09:30:00",
            uuid.UUID: "a UUID",
            decimal.Decimal: "a decimal number",
        }
        raise Mismatch("%s must be %s, not %s" % (place, words.get(hint, "text"), _shown(value))) from None


def _fields(value, hint, place):
    if t.is_named_tuple(hint) and isinstance(value, list):
        value = dict(zip(hint._fields, value))
    if not isinstance(value, dict):
        raise Mismatch("%s must be an object, not %s" % (place, _shown(value)))
    given, known = {}, t.fields(hint)
    for name, inner, has_default, _ in known:
        if value.get(name, _ABSENT) is not _ABSENT:
            given[name] = argument(value[name], inner, "%s.%s" % (place, name))
        elif not has_default:
            raise Mismatch("%s.%s is missing" % (place, name))
    unknown = set(value) - {name for name, _, _, _ in known}
    if unknown:
        raise Mismatch("%s has no field %s" % (place, ", ".join(sorted(map(repr, unknown)))))
    return hint(**given)


def _container(value, hint, container, arguments, place):
    if container is tuple or container in t.LISTS or container in t.SETS:
        if not isinstance(value, list):
            raise Mismatch("%s must be a list, not %s" % (place, _shown(value)))
        if container is tuple and arguments and Ellipsis not in arguments:
            if len(arguments) != len(value):
                raise Mismatch("%s must have %d items, not %d" % (place, len(arguments), len(value)))
            inner = arguments
        else:
            inner = [arguments[0] if arguments else typing.Any] * len(value)
        items = [argument(v, h, "%s[%d]" % (place, n)) for n, (v, h) in enumerate(zip(value, inner))]
        if container is tuple:
            return tuple(items)
        if container in t.SETS:
            return frozenset(items) if container is frozenset else set(items)
        return items
    if container in t.DICTS:
        if not isinstance(value, dict):
            raise Mismatch("%s must be an object, not %s" % (place, _shown(value)))
        key, inner = arguments or (str, typing.Any)
        return {_key(k, key, place): argument(v, inner, "%s.%s" % (place, k)) for k, v in value.items()}
    raise Mismatch("%s has a type that cannot be made from JSON" % place)


def _key(key, hint, place):
    if t.strip(hint)[0] is int:
        try:
            return int(key)
        except ValueError:
            raise Mismatch("%s: the key %r must be a whole number" % (place, key)) from None
    return argument(key, hint, place)


def result(value, place="the result", depth=0):
    """`value` as JSON can carry it; raises `Unsendable`."""
    if depth > 64:
        raise Unsendable("%s... is nested deeper than 64 levels, or contains itself" % place[:60])
    if value is None or isinstance(value, (bool, str)) and not isinstance(value, enum.Enum):
        # A half of a surrogate pair is no Unicode, and no JSON either.
        return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
    if isinstance(value, enum.Enum):
        return result(value.value, place, depth + 1)
    if isinstance(value, int):
        # Further out a number loses digits on its way; its text does not.
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unsendable("%s is %r, which JSON does not have; return None or text for it" % (place, float(value)))
        return float(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal, pathlib.PurePath)):
        return str(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: result(getattr(value, f.name), "%s.%s" % (place, f.name), depth + 1) for f in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return result(value.model_dump(mode="json"), place, depth + 1)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {_result_key(k, place): result(v, "%s.%s" % (place, k), depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [result(v, "%s[%d]" % (place, n), depth + 1) for n, v in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        items = [result(v, place, depth + 1) for v in value]
        return sorted(items, key=repr)
    # Numbers of numpy and their kin.
    if hasattr(value, "item") and not getattr(value, "shape", True):
        return result(value.item(), place, depth + 1)
    raise Unsendable(
        "%s is of the type `%s`, which cannot be sent to a model; return text, numbers, lists, dicts, a dataclass or a pydantic model"
        % (place, type(value).__name__)
    )


def _result_key(key, place):
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, (str, int, float, bool, datetime.date, uuid.UUID)) or key is None:
        return str(key)
    raise Unsendable("%s has a key of the type `%s`; keys are text or numbers" % (place, type(key).__name__))
