use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use domain::kernel::Actor;
use domain::shared::{Permission, TenantId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::error::Problem;
use crate::port::Caller;

const NOW_S: i64 = 1_763_640_000;

fn now() -> Timestamp {
    Timestamp::from_micros(NOW_S * 1_000_000 + 500)
}

fn key() -> SigningKey {
    SigningKey::from_seed("2026-11", [7; 32])
}

fn config() -> AuthConfig {
    let keys = [key(), SigningKey::from_seed("2026-10", [6; 32])].map(|key| key.public().expect("a public key")).into();
    AuthConfig { issuer: "https://id.test".into(), audience: "cartulary".into(), keys, lifetime_most: Seconds(900) }
}

fn authenticator() -> Authenticator {
    Authenticator::new(config())
}

fn claims() -> Value {
    json!({
        "iss": "https://id.test", "aud": "cartulary", "sub": Uuid::from_u128(1), "tenant": Uuid::from_u128(2),
        "roles": ["manager"], "iat": NOW_S, "exp": NOW_S + 600, "jti": "ignored",
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

fn without(field: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().expect("an object").remove(field);
    claims
}

fn token(claims: &Value) -> String {
    jws::sign("2026-11", &key().key, claims.to_string().as_bytes()).expect("signed")
}

/// A token with this header, signed with a configured key.
fn token_of(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key().key, jsonwebtoken::Algorithm::EdDSA);
    format!("{message}.{}", signature.expect("signed"))
}

fn headers(values: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).expect("visible"));
    }
    headers
}

fn caller_of(token: &str) -> Result<Caller, Problem> {
    authenticator().caller(&headers(&[format!("Bearer {token}")]), now())
}

#[track_caller]
fn refused(token: &str) {
    assert_eq!(caller_of(token), Err(Problem::unauthenticated()), "{token}");
}

#[test]
fn valid_token_identifies_the_caller() {
    let caller = caller_of(&token(&claims())).expect("a caller");
    assert_eq!((caller.tenant.uuid(), caller.principal.uuid()), (Uuid::from_u128(2), Uuid::from_u128(1)));
    assert_eq!(caller.actor, Actor::Member(caller.principal));
    assert!(caller.may(Permission::ManageStock) && !caller.may(Permission::ManageTenants));

    let customer = Uuid::from_u128(3);
    let mut claims = with("roles", json!(["customer"]));
    claims["customer"] = json!(customer);
    let caller = caller_of(&token(&claims)).expect("a caller");
    assert_eq!(caller.actor, Actor::Customer(domain::shared::CustomerId::new(customer)));
    assert_eq!(caller.customer.map(|id| id.uuid()), Some(customer));

    let mut claims = with("roles", json!(["operator"]));
    claims["tenant"] = json!(TenantId::PLATFORM);
    assert!(matches!(caller_of(&token(&claims)).expect("a caller").actor, Actor::Operator(_)));
}

#[test]
fn tokens_of_every_configured_key_are_accepted() {
    let claims: Claims = serde_json::from_value(claims()).expect("claims");
    for key in [key(), SigningKey::from_seed("2026-10", [6; 32])] {
        assert!(caller_of(&key.sign(&claims).expect("signed")).is_ok());
    }
    refused(&SigningKey::from_seed("2026-11", [8; 32]).sign(&claims).expect("signed"));
    refused(&SigningKey::from_seed("2026-10", [7; 32]).sign(&claims).expect("signed"));
}

#[test]
fn header_cannot_choose_algorithm_type_or_key() {
    let claims = claims().to_string();
    let good = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11"}"#;
    assert!(caller_of(&token_of(good, &claims)).is_ok());
    for header in [
        r#"{"alg":"none","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"None","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"NONE","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"eddsa","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"EdDSA","typ":"JWT","kid":"2026-11"}"#,
        r#"{"alg":"EdDSA","typ":"refresh+jwt","kid":"2026-11"}"#,
        r#"{"alg":"EdDSA","kid":"2026-11"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-12"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../keys/2026-11"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"' OR 1=1 --"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"https://evil.test/key"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":["2026-11"]}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11","crit":["exp"]}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11","jwk":{"kty":"OKP"}}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11","jku":"https://evil.test"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11","x5u":"https://evil.test"}"#,
        r#"{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":"2026-11"}"#,
        r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11"} "x""#,
        "[]",
        "",
    ] {
        refused(&token_of(header, &claims));
    }
}

#[test]
fn altered_truncated_or_malleable_signatures_are_refused() {
    let good = token(&claims());
    let (message, signature) = good.rsplit_once('.').expect("a token");
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    refused(message);
    refused(&format!("{message}."));
    refused(&format!("{message}.{}", &signature[..signature.len() - 2]));
    refused(&format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64])));
    refused(&format!("{message}.{}", URL_SAFE.encode(&bytes)));
    refused(&format!("{message}.{}", STANDARD.encode(&bytes)));
    refused(&format!("{good}.x"));
    refused(&format!("{good}."));
    refused(&format!(".{good}"));
    refused(&format!("{message}=.{signature}"));
    // RFC 8032 requires S below the group's order: S plus the order verifies the same point and is refused.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order: Vec<_> = (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).expect("hex")).collect();
    let mut twin = bytes.clone();
    let mut carry = 0;
    for (at, part) in order.iter().enumerate() {
        let sum = u16::from(bytes[32 + at]) + u16::from(*part) + carry;
        twin[32 + at] = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    refused(&format!("{message}.{}", URL_SAFE_NO_PAD.encode(twin)));
    // The signature belongs to other claims: a lower role, another tenant.
    for claims in [with("roles", json!(["owner"])), with("tenant", json!(Uuid::from_u128(9)))] {
        let header = message.split('.').next().expect("a header");
        refused(&format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())));
    }
    refused(&format!("{}.{signature}", "a".repeat(1_000_000)));
}

#[test]
fn foreign_expired_and_malformed_claims_are_refused() {
    for claims in [
        with("iss", json!("https://evil.test")),
        with("aud", json!("another")),
        with("aud", json!(["cartulary", "another"])),
        with("aud", json!(["cartulary"])),
        with("exp", json!(NOW_S - 5)),
        with("exp", json!((NOW_S + 600).to_string())),
        with("exp", json!(NOW_S as f64 + 600.5)),
        with("exp", json!(i64::MAX)),
        with("exp", json!(u64::MAX)),
        with("exp", json!(NOW_S + 901)),
        with("exp", json!(null)),
        with("nbf", json!(NOW_S + 6)),
        with("iat", json!(NOW_S + 6)),
        with("sub", json!("not-a-uuid")),
        with("sub", json!(domain::shared::Principal::ENGINE)),
        with("tenant", json!("00000000-0000-0000-0000-000000000000")),
        with("tenant", json!(TenantId::PLATFORM)),
        with("roles", json!([])),
        with("roles", json!(["king"])),
        with("roles", json!("manager")),
        with("roles", json!(["engine"])),
        with("roles", json!(["operator"])),
        with("roles", json!(["customer"])),
        with("customer", json!(Uuid::from_u128(3))),
        without("exp"),
        without("iat"),
        without("sub"),
        without("tenant"),
        without("aud"),
        without("roles"),
    ] {
        refused(&token(&claims));
    }
    let twice = claims().to_string().replacen('{', &format!("{{\"tenant\":\"{}\",", Uuid::from_u128(9)), 1);
    refused(&token_of(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"2026-11"}"#, &twice));
    let mut both = with("roles", json!(["customer", "owner"]));
    both["customer"] = json!(Uuid::from_u128(3));
    refused(&token(&both));
}

#[test]
fn public_key_read_from_pem_verifies_tokens_of_its_signing_key() {
    let key = SigningKey::from_seed("k", [3; 32]);
    let pem = key.public_pem().expect("an Ed25519 key");
    let read = PublicKey::from_pem("k", &pem).expect("the PEM reads");
    let claims = serde_json::from_value(claims()).expect("claims");
    let token = key.sign(&claims).expect("a token");
    let config = AuthConfig { keys: vec![read], ..config() };
    assert!(Authenticator::new(config).caller(&headers(&[format!("Bearer {token}")]), now()).is_ok());
}

#[test]
fn clock_difference_of_five_seconds_is_tolerated() {
    for claims in [with("exp", json!(NOW_S - 4)), with("nbf", json!(NOW_S + 5)), with("iat", json!(NOW_S + 5))] {
        let mut claims = claims;
        if claims["exp"].as_i64() < claims["iat"].as_i64() {
            claims["iat"] = json!(NOW_S - 600);
        }
        assert!(caller_of(&token(&claims)).is_ok(), "{claims}");
    }
}

#[test]
fn exactly_one_bearer_header_is_accepted() {
    let good = token(&claims());
    let refuse = |values: &[String]| {
        assert_eq!(authenticator().caller(&headers(values), now()), Err(Problem::unauthenticated()), "{values:?}");
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert!(authenticator().caller(&headers(&[format!("{scheme} {good}")]), now()).is_ok(), "{scheme}");
    }
    refuse(&[]);
    refuse(std::slice::from_ref(&good));
    refuse(&[format!("Basic {good}")]);
    refuse(&[format!("Bearer  {good}")]);
    refuse(&[format!("Bearer {good}, Bearer {good}")]);
    refuse(&[format!("Bearer {good}"), format!("Bearer {good}")]);
}

#[test]
fn remembered_token_expires_and_another_signature_is_refused() {
    let (authenticator, token) =
        (authenticator(), key().sign(&serde_json::from_value(claims()).expect("claims")).expect("a token"));
    let caller = |token: &str, now| authenticator.caller(&headers(&[format!("Bearer {token}")]), now);
    assert!(caller(&token, now()).is_ok() && caller(&token, now()).is_ok());
    let later = Timestamp::from_micros((NOW_S + 700) * 1_000_000);
    assert_eq!(caller(&token, later), Err(Problem::unauthenticated()));
    let (message, signature) = token.rsplit_once('.').expect("a signature");
    let other = format!("{message}.{}", signature.chars().rev().collect::<String>());
    assert_eq!(caller(&other, now()), Err(Problem::unauthenticated()));
}
