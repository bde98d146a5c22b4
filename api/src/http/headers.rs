//! Request headers that several routes read.

use axum::http::{HeaderMap, HeaderName};
use commands::kernel::Misuse;
use uuid::Uuid;

use crate::error::Problem;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

/// The correlation id of a request, if it has one.
pub(super) fn correlation(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    uuid(headers, &CORRELATION_ID)
        .map_err(|()| Misuse::new("INVALID_FIELD", "X-Correlation-Id", "expected one UUID").into())
}

/// The value of a header that may occur once and must be a UUID.
pub(super) fn uuid(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Uuid>, ()> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let id = value.to_str().ok().filter(|text| text.len() == 36).and_then(|text| Uuid::try_parse(text).ok());
    match (id, values.next()) {
        (Some(id), None) => Ok(Some(id)),
        _ => Err(()),
    }
}
