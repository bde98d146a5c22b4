//! Content negotiation: the media types that a client accepts, and how much it prefers each (RFC 9110, section 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// Highest quality of a media type, in thousandths.
const QUALITY_MOST: u16 = 1_000;

/// The media ranges of all `Accept` headers of a request.
pub(super) struct Accept(Vec<Range>);

struct Range {
    /// `text/html`, `text/*` or `*/*`, in lower case.
    media_type: String,
    quality: u16,
}

impl Accept {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(Range::parse).collect();
        Self(ranges)
    }

    /// Quality of a media type by the most specific range; 0 if it is not accepted. Without an `Accept` header, every
    /// type is accepted.
    pub(super) fn quality(&self, media_type: &str) -> u16 {
        if self.0.is_empty() {
            return QUALITY_MOST;
        }
        let (kind, _) = media_type.split_once('/').unwrap_or_default();
        let ranges = [media_type, &format!("{kind}/*"), "*/*"];
        let quality = |range: &str| self.0.iter().find(|one| one.media_type == range).map(|one| one.quality);
        ranges.into_iter().find_map(quality).unwrap_or(0)
    }

    /// True if the media type is accepted by its name and not only by a range.
    pub(super) fn names(&self, media_type: &str) -> bool {
        self.0.iter().any(|range| range.media_type == media_type && range.quality > 0)
    }

    /// True if the first media type is accepted, and preferred to the other one.
    pub(super) fn prefers(&self, media_type: &str, other: &str) -> bool {
        self.quality(media_type) > self.quality(other)
    }
}

impl Range {
    /// Parses `type/subtype;q=0.5`. Other parameters are ignored. A range that is malformed is left out.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().filter(|range| range.contains('/'))?.to_ascii_lowercase();
        let parameters = parts.filter_map(|parameter| parameter.split_once('='));
        let quality =
            parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("q")).map(|(_, value)| value).next();
        Some(Self { media_type, quality: quality.map_or(QUALITY_MOST, quality_of) })
    }
}

/// `0.25` as thousandths. A malformed quality counts as zero.
fn quality_of(text: &str) -> u16 {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() != 1 || part.len() > 3 || !is_digits(whole) || !is_digits(part) {
        return 0;
    }
    format!("{whole}{part:0<3}").parse::<u16>().unwrap_or(0).min(QUALITY_MOST)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accept(values: &[&'static str]) -> Accept {
        Accept::of(&values.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn most_specific_range_decides() {
        let accept = accept(&["text/*;q=0.3, text/html;q=0.7, */*;q=0.5", "Text/Plain ; Q=1.0"]);
        let qualities = ["text/html", "text/plain", "text/css", "application/json"].map(|one| accept.quality(one));
        assert_eq!(qualities, [700, 1_000, 300, 500]);
        assert!(accept.names("text/html") && !accept.names("text/css") && accept.prefers("text/html", "text/css"));
    }

    #[test]
    fn missing_header_accepts_everything_and_prefers_nothing() {
        let accept = accept(&[]);
        assert_eq!((accept.quality("text/html"), accept.names("text/html")), (1_000, false));
        assert!(!accept.prefers("text/html", "application/json"));
    }

    #[test]
    fn refused_and_malformed_ranges_are_not_accepted() {
        let accept = accept(&["text/html;q=0, text/css;q=x, image/png;q=2, image/gif;q=0.1234, json, text/csv;q=0.5"]);
        assert_eq!(["text/html", "text/css", "image/gif", "image/jpeg"].map(|one| accept.quality(one)), [0; 4]);
        assert_eq!((accept.quality("image/png"), accept.quality("text/csv")), (1_000, 500));
    }

    #[test]
    fn browsers_prefer_pages() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        assert!(accept(&[browser]).prefers("text/html", "application/json"));
        for client in ["*/*", "application/json", "application/json, text/html", "application/json, text/html;q=0.9"] {
            assert!(!accept(&[client]).prefers("text/html", "application/json"), "{client}");
        }
    }
}
