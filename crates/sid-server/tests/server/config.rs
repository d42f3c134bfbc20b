//! Configuration: precedence, unknown keys, secrets, and the reference.

use std::io::Write as _;

use sid_server::config::{Config, ConfigError, ModelApi, Sources, reference, reference_markdown};

use crate::harness::flags;

fn load(file: Option<&str>, environment: &[(&str, &str)], given: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut kept = tempfile::NamedTempFile::new().expect("a file");
    kept.write_all(file.unwrap_or_default().as_bytes()).expect("written");
    let file = file.map(|_| kept.path().to_owned());
    Config::load(Sources { file, environment: flags(environment), flags: flags(given) })
}

#[test]
fn later_sources_win() {
    let listen = |file, env: &[(&str, &str)], flags: &[(&str, &str)]| load(file, env, flags).expect("good").server.listen;
    let file = Some("[server]\nlisten = \"127.0.0.1:1\"");
    let env = [("SID_SERVER__LISTEN", "127.0.0.1:2")];
    assert_eq!(listen(None, &[], &[]), "127.0.0.1:8700");
    assert_eq!(listen(file, &[], &[]), "127.0.0.1:1");
    assert_eq!(listen(file, &env, &[]), "127.0.0.1:2");
    assert_eq!(listen(file, &env, &[("server.listen", "127.0.0.1:3")]), "127.0.0.1:3");
}

#[test]
fn without_any_model_there_is_a_default_one() {
    let config = load(None, &[], &[]).expect("good");
    assert_eq!(config.default_model(), "default");
    assert_eq!(config.models["default"].base_url, "http://127.0.0.1:8080/v1");
    let config =
        load(Some("[models.qwen]\nbase_url = \"http://gpu:8000/v1\"\n[models.\"a.b\"]\napi = \"ollama\""), &[], &[]).expect("good");
    assert_eq!(config.models.len(), 2);
    assert_eq!(config.models["a.b"].api, ModelApi::Ollama);
    assert_eq!(config.default_model(), "a.b");
    let config = load(None, &[("SID_DEFAULT_MODEL", "qwen"), ("SID_MODELS__QWEN__MODEL", "Qwen3")], &[]).expect("good");
    assert_eq!((config.default_model(), config.models["qwen"].model.as_str()), ("qwen", "Qwen3"));
}

fn check_unknown(file: Option<&str>, environment: &[(&str, &str)], given: &[(&str, &str)], key: &str, near: Option<&str>) {
    match load(file, environment, given) {
        Err(ConfigError::UnknownKey { key: found, nearest, place }) => {
            assert_eq!((found.as_str(), nearest.as_deref()), (key, near));
            assert!(!place.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    check_unknown(Some("[server]\nlisen = \"x\""), &[], &[], "server.lisen", Some("server.listen"));
    check_unknown(Some("[sever]\nlisten = \"x\""), &[], &[], "sever.listen", Some("server.listen"));
    check_unknown(Some("[models.qwen]\nbase_ur = \"x\""), &[], &[], "models.qwen.base_ur", Some("models.qwen.base_url"));
    check_unknown(Some("[models.qwen]\napi_kee_file = \"x\""), &[], &[], "models.qwen.api_kee_file", Some("models.qwen.api_key_file"));
    check_unknown(Some("defaultmodel = \"x\""), &[], &[], "defaultmodel", Some("default_model"));
    check_unknown(Some("[wholly.different]"), &[], &[], "wholly.different", None);
    check_unknown(None, &[("SID_SERVER__PORT_NUMBER_TO_USE", "1")], &[], "server.port_number_to_use", None);
    check_unknown(None, &[("SID_LISTEN", "x")], &[], "listen", Some("server.listen"));
    check_unknown(None, &[], &[("store.pth", "x")], "store.pth", Some("store.path"));
    let error = load(None, &[("SID_SERVER__LISEN", "1")], &[]).expect_err("unknown").to_string();
    assert!(error.contains("SID_SERVER__LISEN") && error.contains("did you mean `server.listen`?"), "{error}");
}

#[test]
fn variables_of_others_are_no_configuration() {
    load(None, &[("SID_API_KEY", "x"), ("SID_URL", "x"), ("SID_TEST_PG_URL", "x"), ("PATH", "x"), ("SIDE", "x")], &[]).expect("ignored");
}

fn check_bad(given: &[(&str, &str)], key: &str, words: &str) {
    match load(None, &[], given) {
        Err(error @ ConfigError::BadValue { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&format!("`{key}`")) && text.contains(words), "{text}");
            assert_eq!(error.code(), "SID-CONFIG-BAD-VALUE");
        }
        other => panic!("{given:?}: {other:?}"),
    }
}

#[test]
fn values_that_do_not_fit_say_what_is_expected() {
    check_bad(&[("server.listen", "localhost")], "server.listen", "127.0.0.1:8700");
    check_bad(&[("server.queue_depth", "many")], "server.queue_depth", "whole number");
    check_bad(&[("server.queue_depth", "0")], "server.queue_depth", "at least 1");
    check_bad(&[("server.log_requests", "maybe")], "server.log_requests", "true or false");
    check_bad(&[("store.kind", "oracle")], "store.kind", "sqlite, postgres, in-process");
    check_bad(&[("store.kind", "postgres")], "store.url", "postgres://user:password@host:5432/database");
    check_bad(&[("models.m.base_url", "gpu:8000")], "models.m.base_url", "http://");
    check_bad(&[("models.m.summarizer", "x")], "models.m.summarizer", "[models.x]");
    check_bad(&[("models.m.context_window", "100")], "models.m.context_window", "512");
    check_bad(&[("default_model", "x")], "default_model", "default");
    check_bad(&[("embedder.kind", "fastembed")], "embedder.path", "required");
    check_bad(&[("embedder.kind", "openai")], "embedder.base_url", "required");
    check_bad(&[("next_embedder.kind", "openai")], "next_embedder.base_url", "next_embedder.kind");
    check_bad(&[("next_embedder.kind", "none")], "next_embedder.kind", "must make vectors");
    check_bad(&[("embedder.dimensions", "0")], "embedder.dimensions", "1 to 4096");
    check_bad(&[("store.keep_events_days", "0")], "store.keep_events_days", "at least 1");
    check_bad(&[("engine.lease_ttl_ms", "100")], "engine.lease_ttl_ms", "twice");
}

#[test]
fn files_that_cannot_be_read_say_where() {
    let missing = Config::load(Sources { file: Some("no-such-folder/sid.toml".into()), ..Sources::default() }).expect_err("missing");
    assert_eq!(missing.code(), "SID-CONFIG-UNREADABLE");
    let malformed = load(Some("[server]\nlisten = 127.0.0.1"), &[], &[]).expect_err("malformed");
    assert_eq!(malformed.code(), "SID-CONFIG-MALFORMED");
    assert!(malformed.to_string().contains("line 2"), "{malformed}");
    assert!(!malformed.to_string().contains('\n'));
    let wrong_type = load(Some("[server]\nlisten = 7"), &[], &[]).expect_err("wrong type");
    assert!(wrong_type.to_string().contains("expected a text, found integer"), "{wrong_type}");
}

#[test]
fn secrets_come_from_files_too_and_are_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), "canary-from-file\n").expect("written");
    let toml = folder.path().join("sid.toml");
    std::fs::write(&toml, "[models.a]\napi_key_file = \"key\"\n[models.b]\napi_key = \"canary-b\"").expect("written");
    let path = folder.path().join("key").display().to_string();
    let environment = flags(&[("SID_MODELS__C__API_KEY_FILE", &path)]);
    let config = Config::load(Sources { file: Some(toml), environment, flags: Vec::new() }).expect("good");
    assert_eq!(config.models["a"].api_key.reveal(), Some("canary-from-file"));
    assert_eq!(config.models["c"].api_key.reveal(), Some("canary-from-file"));
    for shown in [config.show(), format!("{config:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
    }
    assert_eq!(config.show().matches("api_key = \"<redacted>\"").count(), 3);
    let missing = load(None, &[("SID_MODELS__C__API_KEY_FILE", "no-such-file")], &[]).expect_err("missing");
    assert!(missing.to_string().contains("no-such-file"), "{missing}");
    // Only secrets have a file form.
    assert!(matches!(load(Some("[server]\nlisten_file = \"x\""), &[], &[]), Err(ConfigError::UnknownKey { .. })));
}

#[test]
fn what_is_shown_is_a_configuration_again() {
    let config = load(Some("[models.qwen]\ncontext_window = 4096"), &[], &[("server.listen", "0.0.0.0:9")]).expect("good");
    let again = load(Some(&config.show()), &[], &[]).expect("good");
    assert_eq!(again.show(), config.show());
    assert_eq!(again.models["qwen"].context_window, Some(4_096));
    assert!(again.next_embedder.is_none(), "it is a change only where somebody asked for one");
    let changing = load(Some("[next_embedder]"), &[], &[]).expect("good");
    assert!(load(Some(&changing.show()), &[], &[]).expect("good").next_embedder.is_some());
}

#[test]
fn every_option_has_a_doc_and_its_default_is_accepted() {
    for field in reference() {
        assert!(field.doc.ends_with('.') && field.doc.len() > 10, "{field:?}");
        if let Some(default) = &field.default {
            let key = field.key.replace("NAME", "default");
            // An issuer has no defaults for what makes it one.
            let required =
                "auth.oidc.default.issuer = 'https://x.example'\nauth.oidc.default.audience = ['sid']\nauth.oidc.default.tenant = 'x'\n";
            let required = match key.as_str() {
                key if key.starts_with("auth.oidc.") => required,
                // Neither has a program.
                key if key.starts_with("tools.mcp.") && !key.ends_with(".command") => "tools.mcp.default.command = 'npx'\n",
                "tools.mcp.default.command" => continue,
                _ => "",
            };
            let file = format!("{required}{key} = {default}");
            load(Some(&file), &[], &[]).unwrap_or_else(|e| panic!("{file}: {e}"));
        }
    }
    let page = reference_markdown();
    assert!(page.contains("| `listen` | text | `\"127.0.0.1:8700\"` |"), "{page}");
}

#[test]
fn identity_is_set_up_whole_or_not_at_all() {
    let check = |lines: &str, expected: Option<&str>| match (load(Some(lines), &[], &[]), expected) {
        (Ok(_), None) => {}
        (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{error}"),
        (found, _) => panic!("{lines}: {:?} instead of {expected:?}", found.map(drop)),
    };
    let issuer = "[auth.oidc.corp]\nissuer = \"https://login.example.org\"\naudience = [\"sid\"]\ntenant = \"acme\"\n";
    check(issuer, None);
    check("[auth.oidc.corp]", Some("issuer"));
    check("[auth.oidc.corp]\nissuer = \"https://x.example\"\ntenant = \"x\"", Some("another service"));
    check("[auth.oidc.corp]\nissuer = \"https://x.example\"\naudience = [\"sid\"]", Some("tenant_claim"));
    check(&format!("{issuer}tenant_claim = \"org\""), Some("not both"));
    for bad in ["none", "HS256", "RS1", "rs256"] {
        check(&format!("{issuer}algorithms = [\"RS256\", \"{bad}\"]"), Some(bad));
    }
    check(&format!("{issuer}algorithms = []"), Some("algorithms"));
    check(&format!("{issuer}roles = [\"boss\"]"), Some("value=role"));
    check(&format!("{issuer}roles = [\"boss=king\"]"), Some("read-only"));
    check(&format!("{issuer}roles = [\"a=b=admin\"]\ndefault_role = \"\""), None);
    check(&format!("{issuer}default_role = \"king\""), Some("default_role"));
    check(&format!("{issuer}sync_teams = true"), Some("teams_claim"));
    check(&format!("{issuer}isuer = \"x\""), Some("did you mean `auth.oidc.corp.issuer`"));
    check(&format!("{issuer}{}", issuer.replace("corp", "again")), Some("the same issuer"));
    check("auth.oidc_corp = 1", Some("unknown configuration key"));
    let key = sid_types::KeyId::new();
    let proxy = format!("[auth.trusted_proxy]\naddresses = [\"10.0.0.0/8\"]\nkey = \"{key}\"\nuser_header = \"X-User\"\n");
    check(&proxy, None);
    check("[auth.trusted_proxy]\nuser_header = \"X-User\"", Some("all three"));
    check(&proxy.replace("10.0.0.0/8", "localhost"), Some("10.0.0.5"));
    check(&proxy.replace(&key.to_string(), "sid_abc"), Some("id of a tenant key"));
    check(&proxy.replace("X-User", "X User"), Some("header"));
    check("[server]\npublic_url = \"sid.example\"", Some("http://"));
    // Lists come from the environment with commas; names of issuers in small letters.
    let environment = flags(&[
        ("SID_AUTH__OIDC__CORP__ISSUER", "https://login.example.org"),
        ("SID_AUTH__OIDC__CORP__AUDIENCE", "sid, https://sid.example.org"),
        ("SID_AUTH__OIDC__CORP__TENANT", "acme"),
    ]);
    let config = Config::load(Sources { file: None, environment, flags: Vec::new() }).expect("good");
    assert_eq!(config.oidc["corp"].audience, ["sid", "https://sid.example.org"]);
    assert_eq!(load(Some(&config.show()), &[], &[]).expect("good").show(), config.show());
}
