//! Calls: arguments in, results out, packages, many at once.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sid_python::{Call, Function, Module, PythonConfig, PythonError, PythonTool};
use sid_tools::{Tool as _, ToolContext, most_tokens};
use support::{House, call, module, none, words};

#[tokio::test]
async fn arguments_arrive_as_their_types_and_results_as_json() {
    let house = House::open().await;
    let source = r#"
import dataclasses, datetime, decimal, enum, typing, uuid

class Color(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5

class Pair(typing.NamedTuple):
    a: int
    b: str = "x"

def kinds(p: Point, c: Color, d: datetime.date, t: typing.Tuple[int, str], s: typing.Set[int], n: Pair, o: typing.Optional[Point] = None,
          k: typing.Optional[typing.Dict[int, str]] = None, u: typing.Union[int, str] = 0) -> list:
    """Tells what it was given."""
    return [type(v).__name__ for v in (p, c, d, t, s, n, o, k, u)] + [p.x + p.y, d.year, sorted(k or {})]

def echo() -> dict:
    """Returns one of each."""
    return {"point": Point(1), "color": Color.RED, "when": datetime.datetime(2026, 1, 31, 9, 30), "set": {3, 1}, "pair": Pair(1),
            "decimal": decimal.Decimal("1.10"), "tuple": (1, None, True), 7: "seven", "large": 2**70, "text": "\u00e9\U0001F952", "half": "\ud800"}

async def later(n: int) -> int:
    """Waits a moment."""
    import asyncio
    await asyncio.gather(*(asyncio.sleep(0.01) for _ in range(n)))
    return await asyncio.get_running_loop().run_in_executor(None, lambda: n + 1)

def positional(a: int, /, b: int = 2) -> int:
    """Subtracts."""
    return a - b
"#;
    let module = module(source);
    let given = json!({"p": {"x": 2}, "c": "red", "d": "2026-01-31", "t": [1, "a"], "s": [1, 1], "n": {"a": 1}, "o": {"x": 1, "y": 2},
        "k": {"5": "five"}, "u": "5"});
    let kinds = house.contained(&module, "kinds", given).await.expect("it works");
    assert_eq!(kinds, json!(["Point", "Color", "date", "tuple", "set", "Pair", "Point", "dict", "str", 2.5, 2026, [5]]));
    assert_eq!(
        house.contained(&module, "echo", none()).await.expect("it works"),
        json!({"point": {"x": 1, "y": 0.5}, "color": "red", "when": "2026-01-31T09:30:00", "set": [1, 3], "pair": {"a": 1, "b": "x"},
            "decimal": "1.10", "tuple": [1, null, true], "7": "seven", "large": "1180591620717411303424", "text": "é🥒", "half": "?"})
    );
    assert_eq!(house.contained(&module, "later", json!({"n": 20})).await.expect("it works"), json!(21));
    assert_eq!(house.contained(&module, "positional", json!({"a": 5})).await.expect("it works"), json!(3));
}

#[tokio::test]
async fn wrong_arguments_are_told_with_their_place() {
    let house = House::open().await;
    let module = module("import datetime\ndef f(a: list[int], d: datetime.date = None):\n    'F.'\n    return a\n");
    for (given, told) in [
        (json!({"a": ["x"]}), "Bad arguments: `a`[0] must be a whole number, not 'x'"),
        (json!({"a": [], "d": "soon"}), "`d` must be a date like 2026-01-31"),
        (json!({}), "the argument `a` is missing"),
        (json!({"a": [], "b": 1}), "there is no argument `b`"),
    ] {
        let words = words(house.contained(&module, "f", given).await);
        assert!(words.contains(told), "{words}");
    }
    assert!(words(house.contained(&module, "g", none()).await).contains("no function `g`"));
}

#[tokio::test]
async fn an_exception_is_told_in_the_modules_own_lines() {
    let house = House::open().await;
    let module = module(
        "import json\ndef inner(text):\n    return json.loads(text)\n\ndef f(text: str):\n    'F.'\n    print('looking at', text)\n    return inner(text)\n",
    );
    let told = words(house.contained(&module, "f", json!({"text": "{"})).await);
    let expected = "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)\n  line 8, in f: return inner(text)\n  line 3, in inner: return json.loads(text)\nIt printed, at the end:\nlooking at {";
    assert_eq!(told, expected);
    assert!(!told.contains('/'), "no path of the host is told");
}

#[tokio::test]
async fn secrets_reach_the_function_that_declared_them_and_nothing_else() {
    let house = House::open().await;
    let source = "import os, sid, sys\n@sid.tool(secrets=['key'])\ndef f(name: str) -> list:\n    'F.'\n    return [sid.secret(name)[::-1], 'hunter2' in str(dict(os.environ)) + str(sys.argv)]\n";
    let module = Arc::new(module(source));
    let secrets = BTreeMap::from([("key".to_owned(), "hunter2".to_owned()), ("other".to_owned(), "hunter3".to_owned())]);
    let given = Call { secrets: secrets.clone(), ..call("f", json!({"name": "key"})) };
    assert_eq!(house.python.call(&module, given).await.expect("it works"), json!(["2retnuh", false]));
    let function = house.python.inspect(&module).await.expect("it loads").functions.remove(0);
    let tool = PythonTool::new(house.python.clone(), module, function).with_secrets(secrets);
    let context = ToolContext::detached(sid_types::Timestamp::UNIX_EPOCH);
    let told = tool.call(&context, json!({"name": "other"}).as_object().cloned().expect("an object")).await;
    assert!(told.is_error && told.text.contains("the secret `other` was not given"), "{}", told.text);
}

#[tokio::test]
async fn a_long_result_is_cut_to_the_budget() {
    let house = House::open().await;
    let module = Arc::new(module("def f() -> list:\n    'F.'\n    return list(range(20000))\n"));
    let function = house.python.inspect(&module).await.expect("it loads").functions.remove(0);
    let context = ToolContext::detached(sid_types::Timestamp::UNIX_EPOCH);
    let told = PythonTool::new(house.python.clone(), module, function).call(&context, serde_json::Map::new()).await;
    assert!(!told.is_error && most_tokens(&told.text) <= context.result_budget && told.text.contains("characters; ask for less"));
}

#[tokio::test]
async fn calls_run_at_the_same_time_each_in_a_clean_process() {
    let house = House::open_with(|c| c.most_at_once = 4).await;
    let source = "import os, time\nseen = []\ndef f(n: int) -> list:\n    'F.'\n    seen.append(n)\n    left = os.listdir('.')\n    open('left', 'w').close()\n    time.sleep(0.05)\n    return [n, len(seen), left]\n";
    let mut patient = module(source);
    patient.limits.timeout_ms = 60_000;
    let patient = Arc::new(patient);
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..12 {
        let (python, module) = (house.python.clone(), patient.clone());
        calls.spawn(async move { (n, python.call(&module, call("f", json!({"n": n}))).await) });
    }
    while let Some(done) = calls.join_next().await {
        let (n, result) = done.expect("no panic");
        assert_eq!(result.expect("it works"), json!([n, 1, []]));
    }
    house.assert_nothing_left();
}

#[tokio::test]
async fn who_waits_too_long_for_a_free_process_is_told_so() {
    let house = House::open_with(|c| c.most_at_once = 1).await;
    let long = Arc::new(module("import time\ndef f():\n    'F.'\n    time.sleep(30)\n"));
    let (python, first) = (house.python.clone(), long.clone());
    let running = tokio::spawn(async move { python.call(&first, call("f", none())).await });
    until(|| !house.processes().is_empty()).await;
    let second = Call { timeout: Some(Duration::from_millis(200)), ..call("f", none()) };
    assert!(words(house.python.call(&long, second).await).contains("too many functions are running"));
    running.abort();
    until(|| house.processes().is_empty() && house.folders().is_empty()).await;
}

/// Waits until something is so; the test's own limit ends it otherwise.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_the_process_along() {
    let house = House::open().await;
    let mut patient = module("import time\ndef f():\n    'F.'\n    open('begun', 'w').close()\n    time.sleep(300)\n");
    patient.limits.timeout_ms = 300_000;
    let python = house.python.clone();
    let running = tokio::spawn(async move { python.call(&patient, call("f", none())).await });
    // Before that, it would end by itself: nobody tells it what to do.
    until(|| house.folders().iter().any(|folder| folder.join("begun").exists())).await;
    running.abort();
    until(|| house.processes().is_empty() && house.folders().is_empty()).await;
}

#[tokio::test]
async fn packages_come_from_a_requirements_file_once() {
    let house = House::open().await;
    let mut module = module("import idna\ndef f(name: str) -> str:\n    'F.'\n    return idna.encode(name).decode()\n");
    module.requirements = Some("idna==3.10 --hash=sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3\n".into());
    module.limits.timeout_ms = 60_000;
    let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = lines.clone();
    house.python.prepare(&module, &move |line| heard.lock().expect("a lock").push(line.to_owned())).await.expect("it installs");
    assert!(lines.lock().expect("a lock").iter().any(|l| l.contains("Successfully installed idna-3.10")));
    assert_eq!(house.contained(&module, "f", json!({"name": "bücher.example"})).await.expect("it works"), json!("xn--bcher-kva.example"));
    // The second time nothing is installed, whoever asks.
    let heard = lines.clone();
    lines.lock().expect("a lock").clear();
    house.python.prepare(&module, &move |line| heard.lock().expect("a lock").push(line.to_owned())).await.expect("it is there");
    assert_eq!(lines.lock().expect("a lock").len(), 0);
    // Without the requirements the package is not there.
    module.requirements = None;
    assert!(words(house.contained(&module, "f", json!({"name": "x"})).await).contains("No module named 'idna'"));
}

#[tokio::test]
async fn packages_that_cannot_be_installed_are_told() {
    let house = House::open().await;
    let mut module = Module::new("guest", "");
    module.requirements = Some("idna==0.0.0.1\n".into());
    let error = house.python.prepare(&module, &|_| {}).await.expect_err("there is no such version");
    assert!(matches!(&error, PythonError::Install(text) if text.contains("idna==0.0.0.1")), "{error}");
    module.requirements = Some("--index-url https://evil.example\n".into());
    assert!(matches!(house.python.inspect(&module).await, Err(PythonError::Requirements { line: 1, .. })));
    let left: Vec<_> = std::fs::read_dir(house.folder.path().join("environments")).expect("read").flatten().map(|e| e.path()).collect();
    assert!(left.iter().all(|p| p.extension().is_some_and(|e| e == "lock")), "{left:?}");
}

#[tokio::test]
async fn an_interpreter_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for python in ["/nowhere/python3", "/bin/cat"] {
        let config = PythonConfig { python: python.into(), ..support::config(folder.path()) };
        assert!(matches!(sid_python::Python::open(config).await, Err(PythonError::Interpreter { .. })), "{python}");
    }
    let config = PythonConfig { launcher: "/bin/true".into(), ..support::config(folder.path()) };
    assert!(matches!(sid_python::Python::open(config).await, Err(PythonError::Unconfined(_))));
}

#[test]
fn a_function_is_stored_and_read_back() {
    let function = json!({"function": "f", "line": 3, "name": "f", "description": "F.", "parameters": {"type": "object"}, "read": false,
        "idempotent": true, "timeout": 2.5, "hosts": [], "secrets": []});
    let read: Function = serde_json::from_value(function.clone()).expect("it is read");
    assert_eq!(serde_json::to_value(read).expect("it is written"), function);
    let module: Module = serde_json::from_value(json!({"name": "m", "source": "", "limits": {"timeout_ms": 5}})).expect("it is read");
    assert_eq!((module.limits.timeout_ms, module.limits.open_files, module.grants.network), (5, 64, false));
    assert!(serde_json::from_value::<Module>(json!({"name": "m", "source": "", "grants": {"root": true}})).is_err());
    let _: Value = none();
}
