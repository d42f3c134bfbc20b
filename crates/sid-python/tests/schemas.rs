//! What is read from a module: names, descriptions and schemas, or what to do about it.

mod support;

use serde_json::{Value, json};
use sid_python::{Inspected, Module, PythonError};
use support::House;

async fn inspect(source: &str) -> Inspected {
    House::open().await.python.inspect(&Module::new("guest", source)).await.expect("it loads")
}

#[tokio::test]
async fn every_type_has_its_schema() {
    let table = [
        ("str", json!({"type": "string"})),
        ("int", json!({"type": "integer"})),
        ("float", json!({"type": "number"})),
        ("bool", json!({"type": "boolean"})),
        ("None", json!({"type": "null"})),
        ("typing.Any", json!({})),
        ("list", json!({"type": "array"})),
        ("list[int]", json!({"type": "array", "items": {"type": "integer"}})),
        ("typing.Sequence[str]", json!({"type": "array", "items": {"type": "string"}})),
        ("dict", json!({"type": "object"})),
        ("dict[str, int]", json!({"type": "object", "additionalProperties": {"type": "integer"}})),
        ("dict[int, str]", json!({"type": "object", "additionalProperties": {"type": "string"}})),
        (
            "tuple[int, str]",
            json!({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false, "minItems": 2, "maxItems": 2}),
        ),
        ("tuple[int, ...]", json!({"type": "array", "items": {"type": "integer"}})),
        ("set[str]", json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})),
        ("typing.Optional[int]", json!({"type": ["integer", "null"]})),
        ("typing.Union[int, str]", json!({"type": ["integer", "string"]})),
        ("typing.Union[int, list[str]]", json!({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]})),
        ("typing.Literal['a', 'b']", json!({"type": "string", "enum": ["a", "b"]})),
        ("typing.Literal[1, 'b']", json!({"enum": [1, "b"]})),
        ("Color", json!({"type": "string", "enum": ["red", "blue"]})),
        (
            "Point",
            json!({"type": "object", "properties": {"x": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
                "required": ["x"], "additionalProperties": false, "description": "A point."}),
        ),
        (
            "Film",
            json!({"type": "object", "properties": {"title": {"type": "string"}, "year": {"type": "integer"}}, "required": ["title"],
                "additionalProperties": false}),
        ),
        (
            "Pair",
            json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string", "default": "x"}},
                "required": ["a"], "additionalProperties": false}),
        ),
        ("datetime.datetime", json!({"type": "string", "format": "date-time"})),
        ("datetime.date", json!({"type": "string", "format": "date"})),
        ("decimal.Decimal", json!({"type": "string"})),
        ("uuid.UUID", json!({"type": "string", "format": "uuid"})),
        ("typing.Annotated[int, 'how many']", json!({"type": "integer", "description": "how many"})),
        ("UserId", json!({"type": "string"})),
    ];
    let mut source = String::from(
        r#"
import dataclasses, datetime, decimal, enum, typing, uuid

class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"

@dataclasses.dataclass
class Point:
    """A point."""
    x: int
    tags: typing.List[str] = dataclasses.field(default_factory=list)

class Titled(typing.TypedDict):
    title: str

class Film(Titled, total=False):
    year: int

class Pair(typing.NamedTuple):
    a: int
    b: str = "x"

UserId = typing.NewType("UserId", str)
"#,
    );
    for (n, (hint, _)) in table.iter().enumerate() {
        source.push_str(&format!("\ndef f{n}(x: {hint}):\n    \"\"\"Takes x.\"\"\"\n"));
    }
    let found = inspect(&source).await;
    assert_eq!(found.problems, []);
    for (n, (hint, schema)) in table.iter().enumerate() {
        assert_eq!(found.functions[n].parameters["properties"]["x"], *schema, "{hint}");
        assert_eq!(found.functions[n].parameters["required"], json!(["x"]), "{hint}");
        assert_eq!(found.functions[n].parameters["additionalProperties"], json!(false));
    }
}

#[tokio::test]
async fn defaults_and_keywords_are_optional() {
    let found = inspect(
        r#"
from __future__ import annotations
import enum, typing

class Size(enum.Enum):
    S = "s"

def order(what: str, count: int = 1, note: typing.Optional[str] = None, *, size: Size = Size.S, at: int | None = None) -> str:
    """Orders."""
"#,
    )
    .await;
    assert_eq!(found.problems, []);
    assert_eq!(
        found.functions[0].parameters,
        json!({
            "type": "object",
            "properties": {
                "what": {"type": "string"},
                "count": {"type": "integer", "default": 1},
                "note": {"type": "string"},
                "size": {"type": "string", "enum": ["s"], "default": "s"},
                "at": {"type": "integer"}
            },
            "required": ["what"],
            "additionalProperties": false
        })
    );
}

#[tokio::test]
async fn docstrings_of_three_styles_say_the_same() {
    let styles = [
        r#"
    """Orders a sandwich.

    It is made
    at once.

    Args:
        what (str): What goes on it,
            at least one thing.
        count: How many: 1 to 9.

    Returns:
        str: When it is ready.

    Raises:
        ValueError: Never.
    """"#,
        r#"
    """
    Orders a sandwich.

    It is made
    at once.

    Parameters
    ----------
    what : str
        What goes on it,
        at least one thing.
    count : int, optional
        How many: 1 to 9.

    Returns
    -------
    str
        When it is ready.
    """"#,
        r#"
    """Orders a sandwich.

    It is made
    at once.

    :param what: What goes on it,
        at least one thing.
    :type what: str
    :param int count: How many: 1 to 9.
    :returns: When it is ready.
    :raises ValueError: Never.
    """"#,
    ];
    for style in styles {
        let found = inspect(&format!("def order(what: str, count: int) -> str:{style}\n    return what\n")).await;
        assert_eq!(found.problems, []);
        let function = &found.functions[0];
        assert_eq!(function.description, "Orders a sandwich.\n\nIt is made at once.", "{style}");
        let properties = &function.parameters["properties"];
        assert_eq!(properties["what"]["description"], json!("What goes on it, at least one thing."), "{style}");
        assert_eq!(properties["count"]["description"], json!("How many: 1 to 9."), "{style}");
    }
}

#[tokio::test]
async fn the_right_functions_are_chosen() {
    let names = async |source: &str| -> Vec<String> { inspect(source).await.functions.into_iter().map(|f| f.name).collect() };
    let plain = "import json\nfrom textwrap import dedent\ndef b():\n    'B.'\ndef a():\n    'A.'\ndef _c():\n    'C.'\nclass D:\n    def e(self): 'E.'\n";
    assert_eq!(names(plain).await, ["b", "a"]);
    assert_eq!(names(&format!("__all__ = ['a', '_c', 'D']\n{plain}")).await, ["a", "_c"]);
    let marked = "import sid\n@sid.tool\ndef a():\n    'A.'\ndef b():\n    'B.'\n@sid.tool(name='see')\nasync def c():\n    'C.'\n";
    assert_eq!(names(marked).await, ["a", "see"]);
    let wrapped = "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def g(*a, **k): return f(*a, **k)\n    return g\n@twice\ndef a(x: int):\n    'A.'\n";
    assert!(names(wrapped).await.contains(&"a".to_owned()));
}

#[tokio::test]
async fn a_function_declares_what_it_touches() {
    let source = "import sid\n@sid.tool(read=True, timeout=2.5, hosts=['api.example'], secrets=['key'])\ndef look():\n    'Looks.'\n\n@sid.tool(idempotent=True)\ndef put():\n    'Puts.'\n";
    let found = inspect(source).await;
    let limits = sid_python::Limits::default();
    let look = found.functions[0].declaration(&limits);
    assert_eq!(look.effect, sid_tools::EffectClass::Read);
    assert_eq!(look.timeout, std::time::Duration::from_millis(2_500));
    assert_eq!((look.hosts, look.secrets), (vec!["api.example".to_owned()], vec!["key".to_owned()]));
    assert_eq!(found.functions[1].declaration(&limits).effect, sid_tools::EffectClass::External { idempotent: true });
    let shorter = sid_python::Limits { timeout_ms: 1_000, ..limits };
    assert_eq!(found.functions[0].declaration(&shorter).timeout, std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn what_cannot_be_described_is_told_with_its_line_and_what_to_do() {
    let table = [
        ("def f(a):\n    'F.'\n", "the parameter `a` has no type: write `a: str`"),
        ("def f(a: int):\n    pass\n", "no docstring"),
        ("def f(*a: int):\n    'F.'\n", "`*a` takes anything"),
        ("def f(**a):\n    'F.'\n", "`**a` takes anything"),
        ("def f(a: complex):\n    'F.'\n", "the type `complex` has no counterpart in JSON"),
        ("def f(a: 'Nope'):\n    'F.'\n", "its type hints cannot be read: NameError"),
        ("def f(a: bytes):\n    'F.'\n", "the type `bytes`"),
        ("import typing\ndef f(a: typing.Callable[[], int]):\n    'F.'\n", "has no counterpart"),
        ("def f(a: dict[tuple, int]):\n    'F.'\n", "must be `str` or `int`"),
        ("def f():\n    'F.'\n    yield 1\n", "return a list instead of yielding"),
        ("import sid\n@sid.tool(name='a b')\ndef f():\n    'F.'\n", "1 to 64 characters"),
        ("import sid\n@sid.tool(timeout=-1)\ndef f():\n    'F.'\n", "a number of seconds above 0"),
        (
            "from __future__ import annotations\nimport dataclasses\n@dataclasses.dataclass\nclass T:\n    kids: list[T]\ndef f(t: T):\n    'F.'\n",
            "contains itself",
        ),
    ];
    for (source, words) in table {
        let found = inspect(source).await;
        let line = 1 + source.lines().position(|l| l.starts_with("def f") || l.starts_with("@sid")).expect("a line");
        assert_eq!(found.functions, [], "{source}");
        let problem = found.problems.iter().find(|p| p.problem.contains(words));
        assert!(problem.is_some_and(|p| p.function == "f" && p.line as usize == line), "{source}: {:?}", found.problems);
    }
    let twice = "import sid\n@sid.tool(name='x')\ndef a():\n    'A.'\n@sid.tool(name='x')\ndef b():\n    'B.'\n";
    assert!(inspect(twice).await.problems[0].problem.contains("two functions are called `x`"));
}

#[tokio::test]
async fn a_module_that_cannot_be_loaded_says_where() {
    let house = House::open().await;
    for (source, words) in [
        ("def f(:\n", "line 1, in <module>: def f(:"),
        ("x = 1\nimport nothing_like_this\n", "ModuleNotFoundError: No module named 'nothing_like_this'\n  line 2, in <module>"),
        (
            "def g():\n    return 1 / 0\ng()\n",
            "ZeroDivisionError: division by zero\n  line 3, in <module>: g()\n  line 2, in g: return 1 / 0",
        ),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("import os\nos._exit(3)\n", "ended its own process with exit code 3"),
    ] {
        let error = house.python.inspect(&Module::new("guest", source)).await.expect_err("it does not load");
        assert!(matches!(&error, PythonError::Module(text) if text.contains(words)), "{source}: {error}");
        house.assert_nothing_left();
    }
}

#[tokio::test]
async fn a_described_module_is_a_registry_of_tools() {
    let house = House::open().await;
    let source = "def add(a: int, b: list[int]) -> int:\n    'Adds.'\n    return a + sum(b)\n";
    let module = std::sync::Arc::new(Module::new("guest", source));
    let mut registry = sid_tools::Registry::new();
    for function in house.python.inspect(&module).await.expect("it loads").functions {
        let tool = sid_python::PythonTool::new(house.python.clone(), module.clone(), function);
        registry.register(std::sync::Arc::new(tool)).expect("it registers");
    }
    let context = sid_tools::ToolContext::detached(sid_types::Timestamp::UNIX_EPOCH);
    let call = async |arguments: Value| registry.dispatch("add", arguments.as_object().cloned().expect("an object"), &context).await;
    assert_eq!(call(json!({"a": "2", "b": "[3, 4]"})).await.text, "9");
    let told = call(json!({"a": "two", "b": []})).await;
    assert!(told.is_error && told.text.starts_with("Bad arguments for `add`"), "{}", told.text);
    house.assert_nothing_left();
}
