//! Compact serialisation of signed tokens (RFC 7515), parsed by hand so that a token cannot choose its algorithm or
//! supply its own key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde::{Deserialize, Serialize};

/// Maximum length of a token; a regular one has a few hundred bytes.
const BYTES_MOST: usize = 4_096;

/// Header with exactly these three fields. Tokens with `jwk`, `jku`, `x5u`, `crit` or any other field are refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

const ALGORITHM: &str = "EdDSA";
/// Type of an access token (RFC 9068); refresh and identity tokens have other types.
const TYPE: &str = "at+jwt";

/// Verifies the signature with a configured key; returns the claims as JSON bytes.
pub(super) fn verified<'a>(
    token: &str,
    key: impl Fn(&str) -> Option<&'a DecodingKey>,
) -> Result<Vec<u8>, &'static str> {
    if token.len() > BYTES_MOST {
        return Err("too long");
    }
    let (message, signature) = token.rsplit_once('.').ok_or("not a token")?;
    let (header, claims) = message.split_once('.').ok_or("not a token")?;
    if claims.contains('.') {
        return Err("too many parts");
    }
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| "header is not base64")?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| "header cannot be parsed")?;
    if header.alg != ALGORITHM || header.typ != TYPE {
        return Err("other algorithm or type");
    }
    let key = key(header.kid).ok_or("unknown key")?;
    // The length is checked here because the library does not check it.
    if URL_SAFE_NO_PAD.decode(signature).map(|bytes| bytes.len()) != Ok(64) {
        return Err("no signature");
    }
    match crypto::verify(signature, message.as_bytes(), key, Algorithm::EdDSA) {
        Ok(true) => URL_SAFE_NO_PAD.decode(claims).map_err(|_| "claims are not base64"),
        _ => Err("invalid signature"),
    }
}

/// Signs claims; returns the token.
pub(super) fn sign(kid: &str, key: &EncodingKey, claims: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
    let header = serde_json::to_vec(&Header { alg: ALGORITHM, typ: TYPE, kid })?;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, Algorithm::EdDSA)?;
    Ok(format!("{message}.{signature}"))
}

/// The public key of a private key.
pub(super) fn public_key(key: &EncodingKey) -> Option<[u8; 32]> {
    match Jwk::from_encoding_key(key, Algorithm::EdDSA).ok()?.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) => URL_SAFE_NO_PAD.decode(pair.x).ok()?.try_into().ok(),
        _ => None,
    }
}
