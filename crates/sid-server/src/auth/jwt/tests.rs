//! Tokens of every odd kind, signed with keys that are made here.

use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::auth::signatures;

const ISSUER: &str = "https://login.example.org";
const NOW: i64 = 1_800_000_000;

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer's key pair.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        Self(Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key"))
    }

    fn jwk(&self, id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(self.0.public_key()), "kid": id})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = encoded(self.0.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": "one"})
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "sid", "sub": "ann", "exp": NOW + 300, "iat": NOW})
}

/// A copy with some members set, or taken away where the value is `null`.
fn with(base: Value, changes: Value) -> Value {
    let mut map = base.as_object().expect("an object").clone();
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            map.remove(name);
        } else {
            map.insert(name.clone(), value.clone());
        }
    }
    map.into()
}

struct House {
    signer: Signer,
    keys: Vec<SigningKey>,
    audience: Vec<String>,
    algorithms: Vec<Algorithm>,
}

impl House {
    fn new() -> Self {
        signatures::install();
        let signer = Signer::new();
        let keys = SigningKey::read_set(&json!({"keys": [signer.jwk("one"), Signer::new().jwk("two")]})).expect("a set");
        Self { signer, keys, audience: vec!["sid".into()], algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] }
    }

    fn verify(&self, token: &str) -> Result<Map<String, Value>, Fault> {
        let now = Timestamp::from_second(NOW).expect("a moment");
        let expected = Expected { issuer: ISSUER, audience: &self.audience, algorithms: &self.algorithms, leeway_s: 60, now };
        Token::read(token)?.verify(&self.keys, &expected)
    }

    /// A token with these changes must be refused for this, or taken.
    fn check(&self, header_changes: Value, claim_changes: Value, expected: Result<(), Fault>) {
        let token = self.signer.sign(&with(header(), header_changes.clone()), &with(claims(), claim_changes.clone()));
        assert_eq!(self.verify(&token).map(drop), expected, "{header_changes} {claim_changes}");
    }
}

#[test]
fn a_good_token_gives_its_claims() {
    let house = House::new();
    let found = house.verify(&house.signer.sign(&header(), &claims())).expect("good");
    assert_eq!(found["sub"], "ann");
    house.check(json!({"typ": "at+jwt"}), json!({"aud": ["other", "sid"], "nbf": NOW}), Ok(()));
    house.check(json!({"typ": null}), json!({"exp": NOW as f64 + 0.5}), Ok(()));
    // Without a name of the key, it must be clear which one it is.
    house.check(json!({"kid": null}), json!({}), Err(Fault::UnknownKey));
    let mut alone = House::new();
    alone.keys.truncate(1);
    alone.check(json!({"kid": null}), json!({}), Ok(()));
}

#[test]
fn unsigned_tokens_are_refused() {
    let house = House::new();
    for none in ["none", "None", "NONE", "nOnE"] {
        house.check(json!({"alg": none}), json!({}), Err(Fault::Algorithm));
    }
    house.check(json!({"alg": null}), json!({}), Err(Fault::Algorithm));
    house.check(json!({"alg": ["EdDSA"]}), json!({}), Err(Fault::Algorithm));
    let token = house.signer.sign(&header(), &claims());
    let message = token.rsplit_once('.').expect("three parts").0;
    assert_eq!(house.verify(&format!("{message}.")).map(drop), Err(Fault::Signature));
    let unsigned = format!("{}.{}.", encoded(json!({"alg": "none"}).to_string()), encoded(claims().to_string()));
    assert_eq!(house.verify(&unsigned).map(drop), Err(Fault::Algorithm));
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let house = House::new();
    let secret = house.signer.0.public_key().as_ref();
    for (name, algorithm) in [("HS256", ring::hmac::HMAC_SHA256), ("HS384", ring::hmac::HMAC_SHA384), ("HS512", ring::hmac::HMAC_SHA512)] {
        let message = format!("{}.{}", encoded(with(header(), json!({"alg": name})).to_string()), encoded(claims().to_string()));
        for secret in [secret, encoded(secret).as_bytes()] {
            let signature = ring::hmac::sign(&ring::hmac::Key::new(algorithm, secret), message.as_bytes());
            assert_eq!(house.verify(&format!("{message}.{}", encoded(signature))).map(drop), Err(Fault::Algorithm), "{name}");
        }
        // Not even where somebody has configured it: no key of a set serves for it.
        let mut careless = House::new();
        careless.algorithms.push(name.parse().expect("a name"));
        let signature = ring::hmac::sign(&ring::hmac::Key::new(algorithm, careless.signer.0.public_key().as_ref()), message.as_bytes());
        assert_eq!(careless.verify(&format!("{message}.{}", encoded(signature))).map(drop), Err(Fault::UnknownKey), "{name}");
    }
}

#[test]
fn signatures_of_other_kinds_and_keys_are_refused() {
    let house = House::new();
    house.check(json!({"alg": "RS256"}), json!({}), Err(Fault::UnknownKey));
    house.check(json!({"alg": "ES512"}), json!({}), Err(Fault::Algorithm));
    house.check(json!({"kid": "two"}), json!({}), Err(Fault::Signature));
    house.check(json!({"kid": "three"}), json!({}), Err(Fault::UnknownKey));
    house.check(json!({"kid": 7}), json!({}), Err(Fault::Malformed));
    let mut narrow = House::new();
    narrow.algorithms = vec![Algorithm::RS256];
    narrow.check(json!({}), json!({}), Err(Fault::Algorithm));
    // Another issuer's key, whatever the token says of it.
    let stranger = Signer::new();
    assert_eq!(house.verify(&stranger.sign(&header(), &claims())).map(drop), Err(Fault::Signature));
    for own in [json!({"jwk": stranger.jwk("one")}), json!({"jku": "https://evil.example/keys"}), json!({"x5u": "https://evil.example/c"})]
    {
        assert_eq!(house.verify(&stranger.sign(&with(header(), own.clone()), &claims())).map(drop), Err(Fault::Signature), "{own}");
        // The issuer's own tokens may have such headers; they mean nothing.
        house.check(own, json!({}), Ok(()));
    }
    house.check(json!({"crit": ["exp"]}), json!({}), Err(Fault::Malformed));
    house.check(json!({"crit": []}), json!({}), Err(Fault::Malformed));
}

#[test]
fn claims_must_be_for_here_and_now() {
    let house = House::new();
    let check = |claims: Value, expected: Fault| house.check(json!({}), claims, Err(expected));
    check(json!({"iss": "https://login.example.org/"}), Fault::Issuer);
    check(json!({"iss": "https://evil.example"}), Fault::Issuer);
    check(json!({"iss": [ISSUER]}), Fault::Issuer);
    check(json!({"iss": null}), Fault::Issuer);
    check(json!({"aud": "other"}), Fault::Audience);
    check(json!({"aud": ["other", "sid2"]}), Fault::Audience);
    check(json!({"aud": []}), Fault::Audience);
    check(json!({"aud": null}), Fault::Audience);
    check(json!({"exp": NOW - 60}), Fault::Expired);
    check(json!({"exp": null}), Fault::Expired);
    check(json!({"exp": "2100-01-01"}), Fault::Expired);
    check(json!({"nbf": NOW + 61}), Fault::NotYet);
    check(json!({"nbf": "soon"}), Fault::Malformed);
    // Clocks differ a little.
    house.check(json!({}), json!({"exp": NOW - 59, "nbf": NOW + 60}), Ok(()));
}

#[test]
fn a_change_of_one_byte_is_seen() {
    let house = House::new();
    let token = house.signer.sign(&header(), &claims());
    let parts: Vec<&str> = token.split('.').collect();
    let other = encoded(with(claims(), json!({"sub": "bob"})).to_string());
    assert_eq!(house.verify(&format!("{}.{other}.{}", parts[0], parts[2])).map(drop), Err(Fault::Signature));
    for bad in ["", ".", "..", "a.b.c", "a.b", "sid_abc", &format!("{token}.x"), &format!("{token}="), &token.replace('.', "..")] {
        assert!(house.verify(bad).is_err(), "{bad}");
    }
    let long = house.signer.sign(&header(), &with(claims(), json!({"x": "y".repeat(LONGEST)})));
    assert_eq!(house.verify(&long).map(drop), Err(Fault::Malformed));
}

#[test]
fn elliptic_curves_are_verified_by_their_curve() {
    let mut house = House::new();
    let random = ring::rand::SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).expect("a key");
    let point = pair.public_key().as_ref();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..]), "kid": "ec", "use": "sig"});
    house.keys = SigningKey::read_set(&json!({"keys": [jwk]})).expect("a set");
    let token = |algorithm: &str, signer: &EcdsaKeyPair| {
        let header = json!({"alg": algorithm, "kid": "ec"});
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims().to_string()));
        let signature = signer.sign(&random, message.as_bytes()).expect("signed");
        format!("{message}.{}", encoded(signature))
    };
    assert_eq!(house.verify(&token("ES256", &pair)).map(drop), Ok(()));
    assert_eq!(house.verify(&token("EdDSA", &pair)).map(drop), Err(Fault::UnknownKey));
    house.algorithms.push(Algorithm::ES384);
    assert_eq!(house.verify(&token("ES384", &pair)).map(drop), Err(Fault::UnknownKey), "a curve of its own");
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    let other = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).expect("a key");
    assert_eq!(house.verify(&token("ES256", &other)).map(drop), Err(Fault::Signature));
}
