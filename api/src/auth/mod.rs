//! Authentication by bearer tokens (RFC 9068): strict checks, one answer for every failure.
//!
//! Algorithm, token type, issuer, audience and keys are fixed by the configuration. A token only names, by its `kid`,
//! one of the configured keys.

mod authenticator;
mod claims;
mod extractor;
mod jws;
mod monitor;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::shared::Seconds;
use jsonwebtoken::{DecodingKey, EncodingKey};

pub use authenticator::Authenticator;
pub use claims::Claims;
pub(crate) use monitor::Monitor;

/// Requirements for a valid token.
#[derive(Clone)]
pub struct AuthConfig {
    pub issuer: String,
    pub audience: String,
    /// All valid keys; more than one during a key rotation.
    pub keys: Vec<PublicKey>,
    /// Longest accepted lifetime of a token, from `iat` to `exp`.
    pub lifetime_most: Seconds,
}

/// A verification key, selected by the token's `kid`.
#[derive(Clone)]
pub struct PublicKey {
    pub kid: String,
    key: DecodingKey,
}

/// A signing key.
pub struct SigningKey {
    pub kid: String,
    key: EncodingKey,
}

/// Error of a key that is not an Ed25519 key.
#[derive(Debug, thiserror::Error)]
#[error("`{kid}` is not an Ed25519 key: {reason}")]
pub struct BadKey {
    pub kid: String,
    pub reason: String,
}

impl PublicKey {
    /// Reads a key from PEM (`-----BEGIN PUBLIC KEY-----`).
    pub fn from_pem(kid: impl Into<String>, pem: &str) -> Result<Self, BadKey> {
        let kid = kid.into();
        match DecodingKey::from_ed_pem(pem.as_bytes()) {
            Ok(key) => Ok(Self { kid, key }),
            Err(error) => Err(BadKey { kid, reason: error.to_string() }),
        }
    }

    /// Makes a key from the 32 bytes of an Ed25519 public key.
    pub fn from_bytes(kid: impl Into<String>, bytes: [u8; 32]) -> Self {
        Self { kid: kid.into(), key: DecodingKey::from_ed_der(&bytes) }
    }
}

impl SigningKey {
    /// Reads a key from PEM (PKCS#8, `-----BEGIN PRIVATE KEY-----`).
    pub fn from_pem(kid: impl Into<String>, pem: &str) -> Result<Self, BadKey> {
        let kid = kid.into();
        match EncodingKey::from_ed_pem(pem.as_bytes()) {
            Ok(key) => Ok(Self { kid, key }),
            Err(error) => Err(BadKey { kid, reason: error.to_string() }),
        }
    }

    /// Makes a key from a seed of 32 random bytes.
    pub fn from_seed(kid: impl Into<String>, seed: [u8; 32]) -> Self {
        // The PKCS#8 prefix of an Ed25519 key is constant (RFC 8410, section 7).
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        Self { kid: kid.into(), key: EncodingKey::from_ed_der(&[prefix.as_slice(), &seed].concat()) }
    }

    /// The verification key of this signing key.
    pub fn public(&self) -> Result<PublicKey, BadKey> {
        jws::public_key(&self.key)
            .map(|bytes| PublicKey::from_bytes(&self.kid, bytes))
            .ok_or_else(|| BadKey { kid: self.kid.clone(), reason: "it has no public key".into() })
    }

    /// The verification key as PEM, for processes that read it from a file.
    pub fn public_pem(&self) -> Result<String, BadKey> {
        let bytes = jws::public_key(&self.key);
        let bytes = bytes.ok_or_else(|| BadKey { kid: self.kid.clone(), reason: "it has no public key".into() })?;
        // The DER prefix of an Ed25519 public key is constant (RFC 8410, section 4).
        let prefix = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
        let text = STANDARD.encode([prefix.as_slice(), &bytes].concat());
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"))
    }

    /// Signs claims; returns the token.
    pub fn sign(&self, claims: &Claims) -> Result<String, BadKey> {
        let bad = |reason: String| BadKey { kid: self.kid.clone(), reason };
        let claims = serde_json::to_vec(claims).map_err(|error| bad(error.to_string()))?;
        jws::sign(&self.kid, &self.key, &claims).map_err(|error| bad(error.to_string()))
    }
}
