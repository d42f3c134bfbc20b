//! Toolsets: put, changed by version, and whose they are.

use sid_store::{MOST_TOOLSET_BYTES, MOST_TOOLSETS, StoreError};
use sid_types::{ToolsetKind, ToolsetSpec};

use super::World;
use super::world::assert_error;

fn spec(text: &str) -> ToolsetSpec {
    let source = serde_json::json!({"module": text, "limits": {"seconds": 10}}).as_object().cloned().expect("an object");
    ToolsetSpec { kind: ToolsetKind::Python, source, is_default: true }
}

/// What is put is read as it was, under its name; putting it again counts, dropping forgets it, and a new one begins anew.
pub async fn toolsets_are_kept_as_they_were_put(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    let odd = "def f():\n    return '\u{0} \u{10FFFF}0 ü 😀 \\u0000'";
    let first = s.put_toolset(scope, "weather", spec(odd), None).await.expect("put");
    assert_eq!((first.name.as_str(), &first.spec, first.version), ("weather", &spec(odd), 1));
    let http = ToolsetSpec { kind: ToolsetKind::Http, is_default: false, ..spec("x") };
    s.put_toolset(scope, "a-b_C9", http.clone(), None).await.expect("put");
    w.wait(60);
    let again = s.put_toolset(scope, "weather", spec("y"), None).await.expect("put again");
    assert_eq!((again.version, again.created_at), (2, first.created_at));
    assert!(again.updated_at > first.updated_at);
    assert_eq!(s.toolset(scope, "weather").await.expect("there"), again);
    let all = s.toolsets(scope).await.expect("listed");
    assert_eq!(all.iter().map(|t| (t.name.as_str(), &t.spec)).collect::<Vec<_>>(), [("a-b_C9", &http), ("weather", &spec("y"))]);
    s.drop_toolset(scope, "weather", None).await.expect("dropped");
    assert_error!(s.toolset(scope, "weather").await, StoreError::NotFound { .. });
    assert_error!(s.drop_toolset(scope, "weather", None).await, StoreError::NotFound { .. });
    assert_eq!(s.put_toolset(scope, "weather", spec("z"), Some(0)).await.expect("anew").version, 1);
}

/// Who has read another version than the one that is there changes nothing; of two at once one wins.
pub async fn toolsets_change_by_version(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    assert_error!(s.put_toolset(scope, "t", spec("a"), Some(1)).await, StoreError::Conflict { expected: 1, found: 0 });
    s.put_toolset(scope, "t", spec("a"), Some(0)).await.expect("made");
    assert_error!(s.put_toolset(scope, "t", spec("b"), Some(0)).await, StoreError::Conflict { expected: 0, found: 1 });
    assert_error!(s.drop_toolset(scope, "t", Some(2)).await, StoreError::Conflict { expected: 2, found: 1 });
    let texts: Vec<String> = (0..8).map(|i| format!("writer {i}")).collect();
    let written = futures::future::join_all(texts.iter().map(|text| s.put_toolset(scope, "t", spec(text), Some(1)))).await;
    let won: Vec<&String> = texts.iter().zip(&written).filter(|(_, r)| r.is_ok()).map(|(text, _)| text).collect();
    assert_eq!(won.len(), 1, "{written:?}");
    let there = s.toolset(scope, "t").await.expect("there");
    assert_eq!((there.version, there.spec), (2, spec(won[0])));
    s.drop_toolset(scope, "t", Some(2)).await.expect("dropped");
}

/// They are the tenant's: its turns read them, its people know of none, other tenants have their own.
pub async fn toolsets_are_the_tenants(w: World) {
    let (s, o) = (&*w.store, &w.ours);
    let put = s.put_toolset(&o.scope, "t", spec("ours"), None).await.expect("put");
    let turn = o.as_turn(&o.agent, Some(&o.ann));
    assert_eq!(s.toolsets(&turn).await.expect("listed"), std::slice::from_ref(&put));
    assert_eq!(s.toolset(&turn, "t").await.expect("there"), put);
    let ann = o.as_user(&o.ann);
    assert!(s.toolsets(&ann).await.expect("listed").is_empty());
    assert_error!(s.toolset(&ann, "t").await, StoreError::NotFound { .. });
    for scope in [&turn, &ann] {
        assert_error!(s.put_toolset(scope, "t", spec("x"), None).await, StoreError::NotFound { .. });
        assert_error!(s.drop_toolset(scope, "t", None).await, StoreError::NotFound { .. });
    }
    let theirs = &w.theirs.scope;
    assert!(s.toolsets(theirs).await.expect("listed").is_empty());
    assert_error!(s.toolset(theirs, "t").await, StoreError::NotFound { .. });
    assert_error!(s.drop_toolset(theirs, "t", None).await, StoreError::NotFound { .. });
    s.put_toolset(theirs, "t", spec("theirs"), Some(0)).await.expect("their own");
    assert_eq!(s.toolset(&o.scope, "t").await.expect("there"), put);
}

/// Names, sizes and numbers have limits, which are told.
pub async fn toolsets_have_limits(w: World) {
    let (s, scope) = (&*w.store, &w.ours.scope);
    for name in ["", "a b", "ü", "a/b", &"x".repeat(65)] {
        assert_error!(s.put_toolset(scope, name, spec("x"), None).await, StoreError::Invalid(_));
    }
    let unknown = ToolsetSpec { kind: ToolsetKind::Unknown, ..spec("x") };
    assert_error!(s.put_toolset(scope, "odd", unknown, None).await, StoreError::Invalid(_));
    let large = spec(&"x".repeat(usize::try_from(MOST_TOOLSET_BYTES).expect("small")));
    assert_error!(s.put_toolset(scope, "large", large, None).await, StoreError::TooLarge { .. });
    for i in 0..MOST_TOOLSETS {
        s.put_toolset(scope, &format!("t{i}"), spec("x"), None).await.expect("put");
    }
    assert_error!(s.put_toolset(scope, "more", spec("x"), None).await, StoreError::Invalid(_));
    s.put_toolset(scope, "t0", spec("y"), None).await.expect("what is there may change");
    s.drop_toolset(scope, "t1", None).await.expect("dropped");
    s.put_toolset(scope, "more", spec("x"), None).await.expect("there is room");
}
