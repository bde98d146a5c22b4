//! Validated URL of an endpoint that the engine calls.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

use super::{Invalid, string_value};

/// Longest accepted URL, in bytes.
const BYTES_MOST: usize = 2_000;

/// An `http` or `https` URL, kept as it was written, whose host and port every URL parser reads alike.
///
/// If the guard against server-side request forgery (SSRF) and the HTTP client read different hosts in one URL, a
/// request could go to a host that the guard forbids. A text is therefore refused if the WHATWG parser reads another
/// host or port than is written. This excludes upper case and other alphabets in names, short, octal or hexadecimal
/// IPv4 addresses, backslashes, tabs, user names and passwords. The guard itself is not part of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    text: String,
    host: TargetHost,
    port: u16,
}

/// Host of a [`TargetUrl`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHost {
    /// Lower-case DNS name.
    Name(String),
    Address(IpAddr),
}

impl TargetUrl {
    /// True for `https`.
    pub fn is_encrypted(&self) -> bool {
        split(&self.text).0 == "https"
    }

    pub const fn host(&self) -> &TargetHost {
        &self.host
    }

    /// Port as written, or the default port of the scheme.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as written.
    pub fn authority(&self) -> &str {
        split(&self.text).1
    }

    /// Path and query as written; an empty path becomes `/`.
    pub fn path_and_query(&self) -> String {
        let path = split(&self.text).2;
        if path.starts_with('/') { path.into() } else { format!("/{path}") }
    }
}

impl FromStr for TargetUrl {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > BYTES_MOST {
            return Invalid::because(format!("expected at most {BYTES_MOST} characters"));
        }
        let (scheme, authority, path) = split(text);
        if !["http", "https"].contains(&scheme) {
            return Invalid::because("expected an address that begins with https://");
        }
        if authority.contains('@') {
            return Invalid::because("names and passwords have no place in an address");
        }
        if !is_path(path) {
            return Invalid::because("behind the host, expected letters, digits and -._~!$&'()*+,;=:@/?%XX only");
        }
        let url = Url::parse(text).map_err(|error| Invalid(format!("expected an address: {error}")))?;
        let Some(port) = url.port_or_known_default().filter(|port| *port != 0) else {
            return Invalid::because("expected a port from 1 to 65535");
        };
        let written = authority.strip_suffix(&format!(":{port}")).unwrap_or(authority);
        match url.host().and_then(|host| host_as_written(host, written)) {
            Some(host) => Ok(Self { text: text.into(), host, port }),
            None => Invalid::because(
                "expected a host of lower-case letters, digits, hyphens and dots (other alphabets as xn--…), four \
                 decimal numbers, or an IPv6 address in brackets, and a port without leading zeros",
            ),
        }
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

string_value!(TargetUrl, "TargetUrl", { "type": "string", "format": "uri", "maxLength": BYTES_MOST });

/// Scheme, authority, and path with query, as written.
fn split(text: &str) -> (&str, &str, &str) {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (scheme, authority, path)
}

/// The parsed host, if it equals the written one. A name must also follow RFC 1123, which is stricter than WHATWG.
fn host_as_written(host: Host<&str>, written: &str) -> Option<TargetHost> {
    let bracketed = || written.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    match host {
        Host::Domain(name) if name == written && is_dns_name(name) => Some(TargetHost::Name(name.into())),
        Host::Ipv4(address) if address.to_string() == written => Some(TargetHost::Address(address.into())),
        Host::Ipv6(address) if bracketed() == Some(address) => Some(TargetHost::Address(address.into())),
        _ => None,
    }
}

/// True for at most 253 bytes of labels that follow RFC 1123.
fn is_dns_name(name: &str) -> bool {
    let plain = |label: &str| label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let inner = |label: &str| !label.starts_with('-') && !label.ends_with('-') && (1..=63).contains(&label.len());
    name.len() <= 253 && name.split('.').all(|label| plain(label) && inner(label))
}

/// True for RFC 3986 characters with complete percent escapes and without a fragment.
fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    let escape = |rest: &[u8]| matches!(rest, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
    path.bytes().all(plain) && path.split('%').skip(1).all(|rest| escape(rest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_split_into_its_parts_and_kept_as_written() {
        let text = "https://hooks.example.org:8443/shop/7?key=a%20b&x=1";
        let url: TargetUrl = text.parse().expect("a URL");
        assert_eq!((url.to_string().as_str(), url.port(), url.is_encrypted()), (text, 8443, true));
        assert_eq!(url.host(), &TargetHost::Name("hooks.example.org".into()));
        assert_eq!(
            (url.authority(), url.path_and_query().as_str()),
            ("hooks.example.org:8443", "/shop/7?key=a%20b&x=1")
        );

        let bare: TargetUrl = "http://receiver?a".parse().expect("a URL");
        assert_eq!((bare.port(), bare.authority(), bare.path_and_query().as_str()), (80, "receiver", "/?a"));
        let six: TargetUrl = "https://[2606:4700::1111]".parse().expect("a URL");
        assert_eq!((six.port(), six.path_and_query().as_str()), (443, "/"));
        assert!(matches!(six.host(), TargetHost::Address(IpAddr::V6(_))));
    }

    #[test]
    fn url_that_two_parsers_could_read_differently_is_refused() {
        for odd in [
            "",
            "hooks.example.org",
            "//example.org",
            "https:/example.org",
            "https://",
            "https:///x",
            "HTTPS://example.org",
            "file:///etc/passwd",
            "gopher://example.org",
            "ftp://example.org",
            "unix:/run/x",
            "ht\ttps://example.org",
            "https://user:pass@example.org/",
            "https://example.org#@127.0.0.1/",
            "https://example.org\\@127.0.0.1/",
            "https://example.org/a\\b",
            "https://example.org/#x",
            "https://example.org /",
            "https://Example.org/",
            "https://127.1/",
            "https://0/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://1.2.3.4.5/",
            "https://example.org./",
            "https://example..org/",
            "https://[::1/",
            "https://::1/",
            "https://[fe80::1%lo]/",
            "https://[fe80::1%25lo]/",
            "https://[example.org]/",
            "https://[::1]x/",
            "https://example.org:/",
            "https://example.org:0/",
            "https://example.org:65536/",
            "https://example.org:+80/",
            "https://example.org:080/",
            "https://example.org:80:80/",
            "https://exämple.org/",
            "https://example\u{3002}org/",
            "https://-example.org/",
            "https://exa_mple.org/",
            "https://example.org/%zz",
            "https://example.org/%4",
            "https://%6c%6fcalhost/",
            "https://example.org/\r\nx: y",
            "https://example.org/ä",
            "https://exa\tmple.org/",
            "https://example.org\t/",
            "https://0x7f.1/",
            "https://@example.org/",
            "https://xn--a/",
            "https://127.0.0.1:00443/",
        ] {
            assert!(odd.parse::<TargetUrl>().is_err(), "{odd:?}");
        }
        assert!(format!("https://example.org/{}", "x".repeat(8_192)).parse::<TargetUrl>().is_err());
    }

    #[test]
    fn default_port_and_every_form_of_an_ipv6_address_may_be_written_out() {
        for (text, authority) in [
            ("https://example.org:443/", "example.org:443"),
            ("https://[0:0:0:0:0:ffff:169.254.169.254]/", "[0:0:0:0:0:ffff:169.254.169.254]"),
        ] {
            let url: TargetUrl = text.parse().expect("a URL");
            assert_eq!((url.port(), url.authority(), url.to_string().as_str()), (443, authority, text));
        }
    }
}
