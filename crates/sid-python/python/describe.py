# From a module to the descriptions of its functions.
import inspect
import typing

import sid_docstrings
import sid_schema
import sid_hints as t

_WORDS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def module(loaded):
    """`(tools, problems)` of a loaded module, in the order in which they were written."""
    tools, problems = [], []
    for name, function in functions(loaded):
        line = function.__code__.co_firstlineno
        found = []
        described = _function(name, function, found)
        problems.extend({"function": name, "line": line, "problem": problem} for problem in found)
        if not found:
            tools.append(described)
    taken = {}
    for tool in tools:
        if tool["name"] in taken:
            words = "two functions are called `%s`: give one another name with @tool(name=..)" % tool["name"]
            problems.append({"function": tool["function"], "line": tool["line"], "problem": words})
        taken[tool["name"]] = tool
    return tools, problems


def functions(loaded):
    """Those in `__all__`; else those marked with `@tool`; else the public ones that the module itself defines."""
    everything = {n: _unwrapped(v) for n, v in vars(loaded).items() if inspect.isroutine(v) and _unwrapped(v) is not None}
    if hasattr(loaded, "__all__"):
        chosen = {n: everything[n] for n in loaded.__all__ if n in everything}
    else:
        chosen = {n: f for n, f in everything.items() if hasattr(getattr(loaded, n), "__sid_tool__")}
        if not chosen:
            chosen = {n: f for n, f in everything.items() if not n.startswith("_") and f.__module__ == loaded.__name__}
    return sorted(chosen.items(), key=lambda pair: pair[1].__code__.co_firstlineno)


def _unwrapped(function):
    inner = inspect.unwrap(function)
    return inner if inspect.isfunction(inner) else None


def hints(function):
    """The type hints of a function; raises `Unsupported`."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise t.Unsupported("its type hints cannot be read: %s: %s" % (type(error).__name__, error)) from None


def _function(name, function, problems):
    marks = getattr(function, "__sid_tool__", {})
    description, texts = sid_docstrings.parse(function.__doc__)
    if not description:
        problems.append("it has no docstring: say in a sentence what it does, the model chooses by it")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        problems.append("it is a generator: return a list instead of yielding")
    try:
        annotated = hints(function)
    except t.Unsupported as problem:
        problems.append(str(problem))
        return None
    properties, required = {}, []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            problems.append("`%s` takes anything, and a model must know what: name the parameters" % str(parameter).split(":")[0])
            continue
        if parameter.name not in annotated:
            problems.append("the parameter `%s` has no type: write `%s: str`, or what it is" % (parameter.name, parameter.name))
            continue
        has_default = parameter.default is not parameter.empty
        try:
            schema = sid_schema.with_default(sid_schema.of(annotated[parameter.name]), has_default, parameter.default)
        except t.Unsupported as problem:
            problems.append("the parameter `%s`: %s" % (parameter.name, problem))
            continue
        except Exception as error:
            problems.append("the parameter `%s`: its type cannot be described: %s: %s" % (parameter.name, type(error).__name__, error))
            continue
        if texts.get(parameter.name):
            schema["description"] = texts[parameter.name]
        properties[parameter.name] = schema
        if not has_default:
            required.append(parameter.name)
    parameters = {"type": "object", "properties": properties}
    if required:
        parameters["required"] = required
    parameters["additionalProperties"] = False
    shown = marks.get("name") or name
    if not 1 <= len(shown) <= 64 or not set(shown) <= _WORDS:
        problems.append("the name `%s` must be 1 to 64 characters of a-z, A-Z, 0-9, _ and -: give another with @tool(name=..)" % shown)
    timeout = marks.get("timeout")
    if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
        problems.append("timeout=%r must be a number of seconds above 0" % (timeout,))
    return {
        "function": name,
        "line": function.__code__.co_firstlineno,
        "name": shown,
        "description": description,
        "parameters": parameters,
        "read": marks.get("read", False),
        "idempotent": marks.get("idempotent", False),
        "timeout": timeout,
        "hosts": [str(h) for h in marks.get("hosts", [])],
        "secrets": [str(s) for s in marks.get("secrets", [])],
    }
