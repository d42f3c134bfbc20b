# From type hints to JSON Schema.
import enum
import typing

import sid_hints as t


def of(hint, within=()):
    """The schema of a hint; raises `Unsupported`."""
    hint, notes = t.strip(hint)
    if len(within) > 16 or any(hint is outer for outer in within):
        raise t.Unsupported("the type `%s` contains itself, and a model needs an end: write the levels out, or take `dict`" % t.name(hint))
    schema = dict(_plain(hint, within + ((hint,) if isinstance(hint, type) and hint not in (list, dict, tuple, set) else ())))
    for note in notes:
        text = note if isinstance(note, str) else getattr(note, "description", None) or getattr(note, "documentation", None)
        if isinstance(text, str):
            schema["description"] = text
    return schema


def _plain(hint, within):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if t.is_open(hint):
        return {}
    if hint is None or hint is type(None):
        return {"type": "null"}
    for kind, word in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string")):
        if hint is kind:
            return {"type": word}
    if hint in t.TEXTS:
        return {"type": "string", "format": t.TEXTS[hint]} if t.TEXTS[hint] else {"type": "string"}
    if origin in t.UNIONS:
        return _union([of(a, within) for a in arguments])
    if origin is typing.Literal:
        return _choice([a.value if isinstance(a, enum.Enum) else a for a in arguments])
    if t.is_enum(hint):
        return _described(_choice([m.value for m in hint]), hint)
    if t.is_pydantic(hint):
        return _pydantic(hint)
    if t.is_named_tuple(hint) or t.is_typed_dict(hint) or t.is_dataclass(hint):
        return _described(_fields(hint, within), hint)
    container = origin or hint
    if container is tuple:
        return _tuple(arguments, within)
    if container in t.LISTS or container in t.SETS:
        schema = {"type": "array"}
        if arguments:
            schema["items"] = of(arguments[0], within)
        if container in t.SETS:
            schema["uniqueItems"] = True
        return schema
    if container in t.DICTS:
        if not arguments:
            return {"type": "object"}
        if t.strip(arguments[0])[0] not in (str, int) and not t.is_enum(arguments[0]):
            raise t.Unsupported("keys of `%s` must be `str` or `int`: JSON has no others" % t.name(hint))
        return {"type": "object", "additionalProperties": of(arguments[1], within)}
    raise t.Unsupported(
        "the type `%s` has no counterpart in JSON; take str, int, float, bool, list, dict, Literal, Enum, date, datetime, "
        "a dataclass, a TypedDict or a pydantic model" % t.name(hint)
    )


def _union(schemas):
    if all(set(s) == {"type"} for s in schemas):
        kinds = [s["type"] for s in schemas]
        return {"type": kinds[0] if len(kinds) == 1 else kinds}
    return {"anyOf": schemas}


def _choice(values):
    for value in values:
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise t.Unsupported("the choice %r has no counterpart in JSON: take text or numbers" % (value,))
    kinds = {type(v) for v in values}
    words = {str: "string", int: "integer", float: "number", bool: "boolean"}
    schema = {"enum": values}
    if len(kinds) == 1 and next(iter(kinds)) in words:
        schema = {"type": words[next(iter(kinds))], "enum": values}
    return schema


def _tuple(arguments, within):
    if not arguments:
        return {"type": "array"}
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return {"type": "array", "items": of(arguments[0], within)}
    items = [of(a, within) for a in arguments if a != ()]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _fields(hint, within):
    properties, required = {}, []
    for name, inner, has_default, default in t.fields(hint):
        properties[name] = with_default(of(inner, within), has_default, default)
        if not has_default:
            required.append(name)
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    schema["additionalProperties"] = False
    return schema


def with_default(schema, has_default, default):
    """The schema of something that may be left out. A default of None is no choice that a model has to know of."""
    if not has_default:
        return schema
    if default is None:
        kinds = schema.get("type")
        if isinstance(kinds, list) and "null" in kinds:
            kinds = [k for k in kinds if k != "null"]
            schema["type"] = kinds[0] if len(kinds) == 1 else kinds
        others = [s for s in schema.get("anyOf", ()) if s != {"type": "null"}]
        if len(others) == 1:
            schema = dict({k: v for k, v in schema.items() if k != "anyOf"}, **others[0])
        elif others:
            schema["anyOf"] = others
        return schema
    default = default.value if isinstance(default, enum.Enum) else default
    if isinstance(default, (str, int, float, bool)) and default == default and default not in (float("inf"), float("-inf")):
        schema["default"] = default
    return schema


def _described(schema, kind):
    text = kind.__dict__.get("__doc__") or ""
    # A dataclass without a docstring has its signature for one, an Enum of older Pythons a stock phrase.
    if text and not text.startswith(kind.__name__ + "(") and text != "An enumeration.":
        schema["description"] = " ".join(text.split())
    return schema


def _pydantic(kind):
    whole = kind.model_json_schema() if hasattr(kind, "model_json_schema") else kind.schema()
    definitions = whole.pop("$defs", None) or whole.pop("definitions", {})

    def inline(node, within):
        if isinstance(node, list):
            return [inline(n, within) for n in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            target = node["$ref"].rsplit("/", 1)[-1]
            if target in within:
                raise t.Unsupported("the model `%s` contains itself: write the levels out, or take `dict`" % target)
            rest = {k: v for k, v in node.items() if k != "$ref"}
            return dict(inline(definitions[target], within + (target,)), **inline(rest, within))
        # A property may be called `title`; a title is text.
        return {k: inline(v, within) for k, v in node.items() if not (k == "title" and isinstance(v, str))}

    return inline(whole, ())
