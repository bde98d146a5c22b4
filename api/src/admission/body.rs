//! Request bodies: the bounds of their size, and their reader.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use futures::StreamExt;

use crate::error::Problem;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// Maximum size of the body of one command, in bytes. The largest order of a shop has a few hundred lines.
pub(crate) const COMMAND_BYTES_MOST: usize = 256 * 1_024;
/// Maximum size of the body of a batch, in bytes.
pub(crate) const BATCH_BYTES_MOST: usize = 4 * 1_024 * 1_024;
/// Maximum number of commands of one batch.
pub(crate) const BATCH_COMMANDS_MOST: usize = 1_000;
/// Maximum size of the body of a GraphQL request, in bytes. The document has a lower limit; the rest is for variables.
pub(crate) const GRAPHQL_BYTES_MOST: usize = 256 * 1_024;
/// Maximum size of a message of a WebSocket client, in bytes. As above, the rest is for variables.
pub(crate) const MESSAGE_BYTES_MOST: usize = 64 * 1_024;

/// Maximum number of bytes of a refused body that are read before the refusal is sent.
const DRAINED_BYTES_MOST: usize = 8 * 1_024 * 1_024;

/// Reads a body of exactly this media type with at most `bytes_most` bytes.
///
/// Compressed bodies are refused, because their real size is known only after unpacking.
pub(crate) async fn read(headers: &HeaderMap, body: Body, kind: &str, bytes_most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::too_large("BODY_TOO_LARGE", format!("a body has at most {bytes_most} bytes here"));
    let declared = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let fits = if declared.is_some_and(|length| length > bytes_most) { Err(too_large()) } else { Ok(()) };
    if let Err(problem) = check_media_type(headers, kind).and(fits) {
        drain(body).await;
        return Err(problem);
    }
    // A body that ends early gets the same problem, but its sender has disconnected and reads no answer.
    to_bytes(body, bytes_most).await.map_err(|_| too_large())
}

/// Reads and drops a refused body: a client that is still sending when the connection closes may never see the answer.
async fn drain(body: Body) {
    let mut left = DRAINED_BYTES_MOST;
    let mut data = body.into_data_stream();
    while let Some(Ok(bytes)) = data.next().await {
        match left.checked_sub(bytes.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

fn check_media_type(headers: &HeaderMap, kind: &str) -> Result<(), Problem> {
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
    fn only_uncompressed_utf8_json_is_accepted() {
        let check = |kind: &'static str, encoding: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            encoding.map(|encoding| headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding)));
            check_media_type(&headers, JSON).is_ok()
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
        assert!(check_media_type(&HeaderMap::new(), JSON).is_err());
    }
}
