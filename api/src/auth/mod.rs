//! Who is calling: bearer tokens (RFC 9068), checked strictly and refused uniformly.
//!
//! The verifier chooses everything and the token nothing: one algorithm, keys from the configuration by name, one
//! issuer, one audience, one type.

mod caller;
mod claims;
mod jws;
#[cfg(test)]
mod tests;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::shared::{Seconds, Timestamp};
use jsonwebtoken::{DecodingKey, EncodingKey};

pub use caller::Caller;
pub use claims::Claims;

use crate::error::Problem;

const SCHEME: &[u8] = b"Bearer ";

/// What tokens must say to be believed.
#[derive(Clone)]
pub struct AuthConfig {
    pub issuer: String,
    pub audience: String,
    /// Every key that is live, so that keys can be changed without a moment in which nobody gets in.
    pub keys: Vec<PublicKey>,
    /// The longest time a token may live.
    pub lifetime_most: Seconds,
}

/// A key that tokens may be signed with, by the name that their `kid` gives.
#[derive(Clone)]
pub struct PublicKey {
    pub kid: String,
    key: DecodingKey,
}

/// A key that signs tokens.
pub struct SigningKey {
    pub kid: String,
    key: EncodingKey,
}

/// A key that is none.
#[derive(Debug, thiserror::Error)]
#[error("`{kid}` is no Ed25519 key: {reason}")]
pub struct BadKey {
    pub kid: String,
    pub reason: String,
}

impl PublicKey {
    /// From PEM (`-----BEGIN PUBLIC KEY-----`).
    pub fn from_pem(kid: impl Into<String>, pem: &str) -> Result<Self, BadKey> {
        let kid = kid.into();
        match DecodingKey::from_ed_pem(pem.as_bytes()) {
            Ok(key) => Ok(Self { kid, key }),
            Err(error) => Err(BadKey { kid, reason: error.to_string() }),
        }
    }

    /// From the 32 bytes of an Ed25519 public key.
    pub fn from_bytes(kid: impl Into<String>, bytes: [u8; 32]) -> Self {
        Self { kid: kid.into(), key: DecodingKey::from_ed_der(&bytes) }
    }
}

impl SigningKey {
    /// From PEM (PKCS#8, `-----BEGIN PRIVATE KEY-----`).
    pub fn from_pem(kid: impl Into<String>, pem: &str) -> Result<Self, BadKey> {
        let kid = kid.into();
        match EncodingKey::from_ed_pem(pem.as_bytes()) {
            Ok(key) => Ok(Self { kid, key }),
            Err(error) => Err(BadKey { kid, reason: error.to_string() }),
        }
    }

    /// From 32 random bytes.
    pub fn from_seed(kid: impl Into<String>, seed: [u8; 32]) -> Self {
        // The PKCS#8 frame of an Ed25519 key is constant (RFC 8410, section 7).
        let frame = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        Self { kid: kid.into(), key: EncodingKey::from_ed_der(&[frame.as_slice(), &seed].concat()) }
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> Result<PublicKey, BadKey> {
        jws::public_half(&self.key)
            .map(|bytes| PublicKey::from_bytes(&self.kid, bytes))
            .ok_or_else(|| BadKey { kid: self.kid.clone(), reason: "it has no public half".into() })
    }

    /// The same as PEM, for processes that read it from a file.
    pub fn public_pem(&self) -> Result<String, BadKey> {
        let bytes = jws::public_half(&self.key);
        let bytes = bytes.ok_or_else(|| BadKey { kid: self.kid.clone(), reason: "it has no public half".into() })?;
        // The frame of an Ed25519 public key is constant (RFC 8410, section 4).
        let frame = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        let text = STANDARD.encode([frame.as_slice(), &bytes].concat());
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
    }

    /// Writes a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, BadKey> {
        let bad = |reason: String| BadKey { kid: self.kid.clone(), reason };
        let claims = serde_json::to_vec(claims).map_err(|error| bad(error.to_string()))?;
        jws::sign(&self.kid, &self.key, &claims).map_err(|error| bad(error.to_string()))
    }
}

impl AuthConfig {
    /// Who sent this request. Every failure is the same problem; why it failed is only traced.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Problem> {
        let caller = self.believe(headers, now);
        caller.map_err(|why| {
            tracing::debug!(why, "a token was refused");
            Problem::unauthenticated()
        })
    }

    /// The same where the header's value comes in the first message of a socket, since browsers send no headers with it.
    pub fn caller_by(&self, authorization: &str, now: Timestamp) -> Result<Caller, Problem> {
        let headers = HeaderValue::from_str(authorization).map(|value| HeaderMap::from_iter([(AUTHORIZATION, value)]));
        self.caller(&headers.unwrap_or_default(), now)
    }

    /// Says in a word why not; the word is for traces only.
    fn believe(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, &'static str> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (given.next(), given.next()) else { return Err("not one header") };
        let (scheme, token) = header.as_bytes().split_at_checked(SCHEME.len()).ok_or("no bearer token")?;
        // Names of schemes have no case (RFC 9110, section 11.1).
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err("no bearer token");
        }
        let token = std::str::from_utf8(token).map_err(|_| "not ASCII")?;
        let key = |kid: &str| self.keys.iter().find(|key| key.kid == kid).map(|key| &key.key);
        let claims = jws::verified(token, key)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| "claims do not read")?;
        if claims.iss != self.issuer || claims.aud != self.audience {
            return Err("from or for somebody else");
        }
        claims.check_times(now, self.lifetime_most)?;
        Caller::from_claims(&claims)
    }
}
