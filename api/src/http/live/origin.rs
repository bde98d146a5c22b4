//! Origin check: browsers let any page open a WebSocket to any host, and name the page's origin (RFC 6454) in a header.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};

use crate::error::Problem;

/// Refuses requests from pages of other hosts. A request without an origin is accepted: browsers always
/// send it with a WebSocket or a `POST`.
pub(in crate::http) fn check_same_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(()) };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let same = from.zip(host).is_some_and(|(from, host)| from.eq_ignore_ascii_case(host));
    if same && origins.next().is_none() {
        return Ok(());
    }
    let detail = "this page belongs to another host; a browser may subscribe from pages of this host only";
    Err(Problem::new(StatusCode::FORBIDDEN, "FOREIGN_ORIGIN", detail))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_pages_of_this_host_are_accepted() {
        let allowed = |origins: &[&'static str]| {
            let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("shop.example:8480"))]);
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_static(origin));
            }
            check_same_origin(&headers).is_ok()
        };
        assert!(allowed(&[]) && allowed(&["https://shop.example:8480"]) && allowed(&["http://SHOP.example:8480"]));
        for foreign in ["https://evil.example", "null", "", "https://shop.example", "https://shop.example:8480.evil"] {
            assert!(!allowed(&[foreign]), "{foreign}");
        }
        assert!(!allowed(&["https://shop.example:8480", "https://shop.example:8480"]));
        assert!(check_same_origin(&HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("http://a"))])).is_err());
    }
}
