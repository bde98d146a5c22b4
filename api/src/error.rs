//! Errors of the API, with their forms as problem details (HTTP) and as GraphQL errors. Internal messages are logged
//! and not sent to clients.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use commands::kernel::{Misuse, NotNow, plain_words};
use domain::kernel::Retry;
use domain::shared::SealError;
use projections::ports::{Cause, Fault};
use serde::Serialize;
use uuid::Uuid;

use crate::port::{Behind, NotPermitted};

/// Seconds after which a query of a read model that is being built should be repeated.
const BUILDING_S: u32 = 5;
/// `Retry-After` for an address whose host name cannot be resolved, in seconds.
const NAMES_AWAY_S: u32 = 5;

/// A refusal by the API itself, sent as RFC 9457 problem details or as a GraphQL error.
///
/// A rejection by the domain is not a problem but an answer; see [`crate::command_answer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable code in capitals, for clients to branch on.
    pub code: Cow<'static, str>,
    /// Text for people.
    pub detail: String,
    /// Errors of single input fields.
    pub errors: Vec<FieldError>,
    pub retry: Retry,
    pub retry_after_s: Option<u32>,
}

/// Error of one input field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A path such as `lines[0].sku`; empty for the whole input.
    pub field: String,
    pub code: Cow<'static, str>,
    pub message: String,
}

impl Problem {
    /// A permanent refusal: sending the request again does not help.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            retry: Retry::Never,
            retry_after_s: None,
        }
    }

    /// The same answer to every missing, invalid or expired token, so that it reveals nothing about the reason.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", "a valid bearer token is needed")
    }

    /// An authenticated caller without the permission.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail)
    }

    /// A resource that does not exist for this caller.
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// A body, document or batch above a limit.
    pub fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }

    /// A body of an unsupported media type or charset.
    pub fn media_type(expected: &str) -> Self {
        let detail = format!("expected `Content-Type: {expected}` in UTF-8, uncompressed");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail)
    }

    /// A caller that has used up its rate limit or budget.
    pub fn throttled(retry_after_s: u32) -> Self {
        let detail = "too many requests in a short time";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "THROTTLED", detail).later(retry_after_s)
    }

    /// An internal failure. The cause is only logged, under the incident id that the caller gets.
    pub fn fault(incident: Uuid, inside: &dyn std::fmt::Display) -> Self {
        tracing::error!(incident.id = %incident, inside = %inside, "request failed: incident {incident}");
        let detail = format!("internal error; give support the incident id {incident}");
        Self { retry: Retry::SameId, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail) }
    }

    /// The problem of a failed read: 503 if the store is unavailable, otherwise an internal failure.
    pub fn from_fault(fault: &Fault, incident: Uuid) -> Self {
        match fault.cause {
            Cause::Unavailable => NotNow::StoreAway.into(),
            Cause::Corrupt | Cause::Conflict => Self::fault(incident, fault),
        }
    }

    /// Marks a refusal as temporary: nothing was decided, and the request may be sent again.
    fn later(self, retry_after_s: u32) -> Self {
        Self { retry: Retry::SameId, retry_after_s: Some(retry_after_s), ..self }
    }

    /// The GraphQL error; clients branch on `extensions.code`.
    pub fn into_graphql(self) -> async_graphql::Error {
        let mut error = async_graphql::Error::new(self.detail);
        let mut extensions = async_graphql::ErrorExtensionValues::default();
        extensions.set("code", &*self.code);
        extensions.set("retry", retry_code(self.retry));
        if let Some(seconds) = self.retry_after_s {
            extensions.set("retryAfter", seconds);
        }
        if let Some(first) = self.errors.first().filter(|first| !first.field.is_empty()) {
            extensions.set("field", first.field.as_str());
        }
        error.extensions = Some(extensions);
        error
    }
}

/// Public spelling of the retry advice.
pub const fn retry_code(retry: Retry) -> &'static str {
    match retry {
        Retry::SameId => "SAME_ID",
        Retry::NewId => "NEW_ID",
        Retry::Never => "NEVER",
    }
}

/// Input that cannot be parsed, an empty batch and an invalid idempotency key are a bad request (400); input that parses and is
/// invalid is unprocessable (422).
impl From<Misuse> for Problem {
    fn from(misuse: Misuse) -> Self {
        let status = match &*misuse.code {
            "INVALID_JSON" | "INVALID_UTF8" | "DUPLICATE_FIELD" | "TOO_DEEP" | "INVALID_KEY" | "EMPTY_BATCH" => {
                StatusCode::BAD_REQUEST
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let message = plain_words(&misuse.message);
        let errors = vec![FieldError { field: misuse.field, code: misuse.code.clone(), message: message.clone() }];
        Self { errors, ..Self::new(status, misuse.code, message) }
    }
}

impl From<NotNow> for Problem {
    fn from(not_now: NotNow) -> Self {
        let seconds = match &not_now {
            NotNow::Overloaded { retry_after_s } => *retry_after_s,
            NotNow::StoreUnsafe(_) | NotNow::NotDue => 60,
            NotNow::DeadlinePassed | NotNow::LaneElsewhere | NotNow::NotYet { .. } => 1,
            NotNow::SoldOutForNow { retry_after_ms } => retry_after_ms.div_ceil(1_000),
            NotNow::StoreAway | NotNow::ClockOff(_) | NotNow::KeyStoreAway | NotNow::ShuttingDown => 5,
        };
        let detail = match &not_now {
            // The reasons are for operators only; they find them at `/reason`.
            NotNow::StoreUnsafe(_) => "the store is not safe to write to".into(),
            NotNow::ClockOff(_) => "the clock of this server is off; try again".into(),
            other => other.to_string(),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, not_now.code().to_owned(), detail).later(seconds)
    }
}

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        match error {
            SealError::AlreadySealed(field) => Misuse::new("INVALID_FIELD", field, error.to_string()).into(),
            SealError::KeyStoreUnavailable => NotNow::KeyStoreAway.into(),
        }
    }
}

impl Problem {
    /// The read model is new or has a new shape and is built from the log. How long that takes depends on the log.
    pub fn building(model: &str) -> Self {
        let detail = format!("{model} is being built from the log; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "BUILDING", detail).later(BUILDING_S)
    }
}

impl From<Behind> for Problem {
    fn from(behind: Behind) -> Self {
        match behind {
            Behind::Models(models) => {
                let detail = format!("{} did not reach the demanded position in time", models.join(", "));
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "BEHIND", detail).later(1)
            }
            Behind::OtherHistory => {
                let detail = "the token belongs to a history that was lost; read without it";
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "OTHER_HISTORY", detail)
            }
            Behind::Away => NotNow::StoreAway.into(),
        }
    }
}

impl From<NotPermitted> for Problem {
    fn from(not_permitted: NotPermitted) -> Self {
        match not_permitted {
            NotPermitted::Misuse(misuse) => misuse.into(),
            NotPermitted::Unknown => {
                let detail = "the host name of this address cannot be resolved at the moment";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "NAMES_AWAY", detail).later(NAMES_AWAY_S)
            }
        }
    }
}

/// RFC 9457 problem details, extended by the code and the retry advice.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    retry: &'a str,
}

impl Problem {
    /// The problem document as JSON text.
    pub fn to_json(&self) -> String {
        let document = Document {
            kind: format!("urn:cartulary:problem:{}", self.code.to_ascii_lowercase().replace('_', "-")),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            code: &self.code,
            detail: &self.detail,
            errors: &self.errors,
            retry: retry_code(self.retry),
        };
        serde_json::to_string(&document).unwrap_or_else(|_| String::from("{}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unparsable_input_is_400_and_invalid_input_is_422() {
        let status = |code| Problem::from(Misuse::new(code, "", "…")).status.as_u16();
        assert_eq!([status("INVALID_JSON"), status("INVALID_FIELD"), status("COMMAND_ID_REUSED")], [400, 422, 422]);
    }

    #[test]
    fn problem_names_the_field_and_omits_serdes_line_and_column() {
        let misuse = Misuse::new("INVALID_FIELD", "lines[0].units", "expected a count at line 1 column 7");
        let json = Problem::from(misuse).to_json();
        assert!(
            json.contains(r#""field":"lines[0].units","code":"INVALID_FIELD","message":"expected a count""#),
            "{json}"
        );
        assert!(
            json.contains(r#""type":"urn:cartulary:problem:invalid-field","title":"Unprocessable Entity""#),
            "{json}"
        );
    }

    #[test]
    fn internal_messages_are_not_sent() {
        let incident = Uuid::from_u128(7);
        let json = Problem::fault(incident, &"relation \"events\" does not exist").to_json();
        assert!(json.contains(&incident.to_string()) && !json.contains("relation"), "{json}");
        let json = Problem::from(NotNow::StoreUnsafe("fsync is off".into())).to_json();
        assert!(!json.contains("fsync"), "{json}");
    }

    #[test]
    fn temporary_refusal_carries_retry_after() {
        let response = Problem::from(NotNow::Overloaded { retry_after_s: 3 }).into_response();
        assert_eq!((response.status().as_u16(), response.headers()[RETRY_AFTER].as_bytes()), (503, b"3".as_slice()));
    }
}
