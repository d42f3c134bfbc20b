//! What claims make of somebody.

use serde_json::json;

use super::*;

fn issuer(change: impl FnOnce(&mut config::Issuer)) -> Issuer {
    let mut settings = config::Issuer { issuer: Some("https://login.example.org".into()), ..config::Issuer::default() };
    change(&mut settings);
    Issuer {
        algorithms: Vec::new(),
        roles: settings.roles().expect("roles"),
        jwks: Arc::new(Jwks::fixed(settings.url(), &json!({"keys": []}))),
        settings,
    }
}

fn claims(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

#[test]
fn roles_follow_their_claim_and_the_first_that_fits_holds() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plain = issuer(|_| {});
    assert_eq!(plain.role(&claims(json!({"roles": ["owner"]}))), Some(AccessRole::Member), "no claim is named");
    let mapped = issuer(|s| {
        s.role_claim = Some("realm.roles".into());
        s.roles = vec!["boss=owner".into(), "eyes=read-only".into()];
        s.default_role = String::new();
    });
    let role = |roles: Value| mapped.role(&claims(json!({"realm": {"roles": roles}})));
    assert_eq!(role(json!(["x", "eyes", "boss"])), Some(AccessRole::Owner));
    assert_eq!(role(json!("eyes")), Some(AccessRole::ReadOnly));
    assert_eq!(role(json!(["owner", "Boss"])), None, "names of Sid's own roles mean nothing");
    assert_eq!(role(json!({"boss": true})), None);
    assert_eq!(mapped.role(&claims(json!({"realm.roles": "boss"}))), Some(AccessRole::Owner), "a claim whose name has a dot");
}

#[test]
fn scopes_take_away_what_they_do_not_name() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let check = |strict: bool, scope: Value, expected: Option<&[Permission]>| {
        let issuer = issuer(|s| s.require_scopes = strict);
        assert_eq!(issuer.scopes(&claims(json!({"scope": scope}))).as_deref(), expected, "{scope}");
    };
    check(false, json!("openid profile"), None);
    check(true, json!("openid profile"), Some(&[]));
    check(true, json!(null), Some(&[]));
    check(false, json!("openid sid:memory-read sid:chat"), Some(&[Permission::MemoryRead, Permission::Chat]));
    check(false, json!(["sid:export", "x"]), Some(&[Permission::Export]));
    check(false, json!("sid:everything"), Some(&[]));
    check(false, json!("SID:chat sidchat"), None);
}

#[test]
fn handles_come_from_one_claim_and_unverified_addresses_from_none() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let by_sub = issuer(|s| s.user_prefix = "corp:".into());
    assert_eq!(by_sub.handle(&claims(json!({"sub": " ann "}))).ok().as_deref(), Some("corp:ann"));
    for nobody in [json!({}), json!({"sub": ""}), json!({"sub": 7}), json!({"sub": ["ann"]}), json!({"sub": null})] {
        assert_eq!(by_sub.handle(&claims(nobody.clone())).map_err(|e| e.status.as_u16()), Err(403), "{nobody}");
    }
    let by_email = issuer(|s| s.user_claim = "email".into());
    let email = |verified: Value| by_email.handle(&claims(json!({"email": "a@example.org", "email_verified": verified}))).is_ok();
    assert!(email(json!(true)) && !email(json!(false)));
}
