# Docstrings in Google, NumPy and Sphinx style: what a function does, and what its parameters mean.
import inspect
import re

_SECTIONS = {
    "args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters", "returns", "return", "yields",
    "yield", "raises", "raise", "except", "exceptions", "warns", "warnings", "examples", "example", "notes", "note", "references", "see also",
    "todo", "attributes", "methods",
}
_PARAMETERS = {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"}
_GOOGLE = re.compile(r"^([A-Z][A-Za-z ]+):\s*$")
_GOOGLE_ITEM = re.compile(r"^\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:\s*(.*)$")
_NUMPY_ITEM = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_FIELD = re.compile(r"^:(\w+)([^:]*):\s*(.*)$")


def parse(docstring):
    """The description, and the text of each parameter."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    description, found = [], {}
    at = 0
    while at < len(lines):
        line = lines[at]
        google = _GOOGLE.match(line)
        if _FIELD.match(line):
            at = _field(lines, at, found)
        elif google and google.group(1).strip().lower() in _SECTIONS:
            at = _section(lines, at + 1, google.group(1), found, _google_items)
        elif at + 1 < len(lines) and line.strip().lower() in _SECTIONS and re.match(r"^\s*-{3,}\s*$", lines[at + 1]):
            at = _section(lines, at + 2, line, found, _numpy_items)
        else:
            description.append(line)
            at += 1
    return _paragraphs(description), {name: _flat(text) for name, text in found.items()}


def _section(lines, start, title, found, items):
    end = start
    while end < len(lines) and not _starts_section(lines, end, items):
        end += 1
    if title.strip().lower() in _PARAMETERS:
        items(lines[start:end], found)
    return end


def _starts_section(lines, at, items):
    line = lines[at]
    if items is _numpy_items:
        return at + 1 < len(lines) and line.strip() and re.match(r"^\s*-{3,}\s*$", lines[at + 1]) is not None
    return bool(line.strip()) and not line.startswith((" ", "\t"))


def _google_items(lines, found):
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    if not indents:
        return
    first, name = min(indents), None
    for line in lines:
        item = _GOOGLE_ITEM.match(line.strip())
        if item and len(line) - len(line.lstrip()) == first:
            name = item.group(1)
            found[name] = [item.group(2)]
        elif name:
            found[name].append(line)


def _numpy_items(lines, found):
    names = []
    for line in lines:
        item = _NUMPY_ITEM.match(line)
        if item and not line.startswith((" ", "\t")):
            names = [n.strip().lstrip("*") for n in item.group(1).split(",")]
            for name in names:
                found[name] = []
        else:
            for name in names:
                found[name].append(line)


def _field(lines, at, found):
    field = _FIELD.match(lines[at])
    text = [field.group(3)]
    at += 1
    while at < len(lines) and not _FIELD.match(lines[at]) and (lines[at].startswith((" ", "\t")) or not lines[at].strip()):
        text.append(lines[at])
        at += 1
    if field.group(1) in ("param", "parameter", "arg", "argument", "key", "keyword") and field.group(2).split():
        found[field.group(2).split()[-1].lstrip("*")] = text
    return at


def _flat(lines):
    return " ".join(" ".join(lines).split())


def _paragraphs(lines):
    text = "\n".join(line.rstrip() for line in lines).strip()
    return "\n\n".join(_flat(part.splitlines()) for part in re.split(r"\n{2,}", text) if part.strip())
