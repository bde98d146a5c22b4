//! Bodies: of the right kind, of bounded size, and whole.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use futures::StreamExt;

use crate::error::Problem;

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Of a body that nobody wants, so much is let pass before the connection is closed on its sender.
const DRAINED_MOST: usize = 8 * 1_024 * 1_024;

/// Reads a body of exactly this type, at most so many bytes.
///
/// Compressed bodies are refused: a bomb would have to be unpacked to be measured.
pub(super) async fn read(headers: &HeaderMap, body: Body, kind: &str, bytes_most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large("BODY_TOO_LARGE", format!("a body has at most {bytes_most} bytes here"));
    let told = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let fits = if told.is_some_and(|told| told > bytes_most) { Err(too_large()) } else { Ok(()) };
    if let Err(problem) = check_kind(headers, kind).and(fits) {
        drain(body).await;
        return Err(problem);
    }
    // A body that ends early fails here as well; its sender is gone and reads no answer.
    to_bytes(body, bytes_most).await.map_err(|_| too_large())
}

/// Reads on without keeping anything: a sender who is still sending when the connection closes never sees the answer.
async fn drain(body: Body) {
    let mut left = DRAINED_MOST;
    let mut data = body.into_data_stream();
    while let Some(Ok(bytes)) = data.next().await {
        match left.checked_sub(bytes.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

fn check_kind(headers: &HeaderMap, kind: &str) -> Result<(), Problem> {
    let refused = || Problem::media_type(kind);
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(given), None) = (types.next(), types.next()) else { return Err(refused()) };
    let given = given.to_str().map_err(|_| refused())?.to_ascii_lowercase();
    let mut parts = given.split(';').map(str::trim);
    let is_kind = parts.next() == Some(kind);
    let is_utf8 = parts.all(|part| matches!(part, "charset=utf-8" | "charset=\"utf-8\""));
    let encoded = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity");
    if is_kind && is_utf8 && !encoded { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_utf8_json_that_is_not_packed_is_read() {
        let check = |kind: &'static str, encoding: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            encoding.map(|encoding| headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding)));
            check_kind(&headers, JSON).is_ok()
        };
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""] {
            assert!(check(good, None), "{good}");
        }
        for bad in [
            "text/plain",
            "application/json; charset=utf-16",
            "application/json; charset=latin1",
            "application/jsonx",
            "application/json, text/plain",
            "multipart/form-data; boundary=x",
            "",
        ] {
            assert!(!check(bad, None), "{bad}");
        }
        assert!(check(JSON, Some("identity")) && !check(JSON, Some("gzip")));
        assert!(check_kind(&HeaderMap::new(), JSON).is_err());
    }
}
