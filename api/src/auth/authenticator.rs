//! Authenticator: identifies the caller of a request, and remembers tokens whose signature it has verified.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use commands::scribe::TwoGenerationCache;
use domain::shared::Timestamp;

use super::{AuthConfig, Claims, jws};
use crate::error::Problem;
use crate::port::Caller;

const SCHEME: &[u8] = b"Bearer ";
/// Highest size of all remembered tokens, in bytes: about 10,000 tokens.
const TOKEN_BYTES_MOST: usize = 4 * 1024 * 1024;

/// Authenticates requests by their bearer tokens.
pub struct Authenticator {
    config: AuthConfig,
    /// Claims of tokens with a valid signature, issuer and audience, by the whole token. To verify a signature takes more
    /// time than to answer a query for one row.
    verified: Mutex<TwoGenerationCache<String, Claims>>,
}

impl Authenticator {
    pub fn new(config: AuthConfig) -> Self {
        Self { config, verified: Mutex::new(TwoGenerationCache::new(TOKEN_BYTES_MOST)) }
    }

    /// Authenticates a request by its headers. All failures give the same problem; the reason is only logged, at
    /// `debug`.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Problem> {
        let caller = self.verify(headers, now);
        caller.map_err(|reason| {
            tracing::debug!(reason, "a token was refused");
            Problem::unauthenticated()
        })
    }

    /// Authenticates a WebSocket by the header value in its first message, because browsers cannot set request headers
    /// of a WebSocket.
    pub fn caller_of_header(&self, authorization: &str, now: Timestamp) -> Result<Caller, Problem> {
        let headers = HeaderValue::from_str(authorization).map(|value| HeaderMap::from_iter([(AUTHORIZATION, value)]));
        self.caller(&headers.unwrap_or_default(), now)
    }

    /// Verifies the token; the error is the reason, for logs only.
    fn verify(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, &'static str> {
        let token = std::str::from_utf8(bearer(headers)?).map_err(|_| "not ASCII")?;
        let claims = self.claims(token.to_owned())?;
        claims.check_times(now, self.config.lifetime_most)?;
        claims.caller()
    }

    /// The claims of a token with a valid signature, issuer and audience. Its times are not checked.
    fn claims(&self, token: String) -> Result<Claims, &'static str> {
        if let Some(claims) = self.lock().get_mut(&token, |_| token.len()) {
            return Ok(claims.clone());
        }
        let config = &self.config;
        let key = |kid: &str| config.keys.iter().find(|key| key.kid == kid).map(|key| &key.key);
        let claims = jws::verified(&token, key)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| "claims cannot be parsed")?;
        if claims.iss != config.issuer || claims.aud != config.audience {
            return Err("other issuer or audience");
        }
        let (mut verified, bytes) = (self.lock(), token.len());
        verified.insert_weighted(token, claims.clone(), bytes);
        verified.rotate(|_| false);
        Ok(claims)
    }

    fn lock(&self) -> MutexGuard<'_, TwoGenerationCache<String, Claims>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bearer token of a request; the error is the reason, for logs only.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&[u8], &'static str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (values.next(), values.next()) else { return Err("expected one header") };
    let (scheme, token) = header.as_bytes().split_at_checked(SCHEME.len()).ok_or("no bearer token")?;
    // Scheme names are case-insensitive (RFC 9110, section 11.1).
    if scheme.eq_ignore_ascii_case(SCHEME) { Ok(token) } else { Err("no bearer token") }
}
