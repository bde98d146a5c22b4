//! Bad and unusual values by the type of field, each with the expected answer.

use serde_json::Value;

/// A value as text, which may be invalid JSON.
#[derive(Clone, Debug)]
pub(crate) struct BadValue {
    pub(crate) json: String,
    pub(crate) fate: Fate,
}

/// Expected answer to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Accepted by the parser; the domain decides.
    Taken,
    /// Refused with the path of the field.
    Refused,
    /// Refused with the path of the object around it, which is read as a whole.
    RefusedAround,
}

use Fate::{Refused, RefusedAround, Taken};

/// Type of a field, as its schema gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Text {
        most: usize,
    },
    Sku,
    Slug,
    ActivityKind,
    Zone,
    /// A code that people type, such as a referral code.
    Code,
    /// A token of a payment provider, which is no card number.
    Token,
    /// The last four digits of a card.
    LastDigits,
    Currency,
    LegalTender,
    Email,
    Phone,
    /// An address that is called.
    Target,
    MediaUrl,
    /// The name of an event.
    Event,
    Id,
    Number {
        least: i64,
        most: i64,
    },
    /// Minor units of a price.
    Minor,
    Instant,
    Day,
    Enum,
    Flag,
}

impl Family {
    /// Family of a field, by the name of its definition and its schema.
    pub(crate) fn of(name: Option<&str>, schema: &Value) -> Self {
        let word = |field: &str| schema[field].as_str();
        match (name, word("format").or(word("x-personal")).or(word("pattern"))) {
            (Some("Sku"), _) => Self::Sku,
            (Some("Slug"), _) => Self::Slug,
            (Some("ActivityKind"), _) => Self::ActivityKind,
            (Some("Zone"), _) => Self::Zone,
            (Some("Code"), _) => Self::Code,
            (Some("TokenText"), _) => Self::Token,
            (Some("LastDigits"), _) => Self::LastDigits,
            (Some("Currency"), _) => Self::Currency,
            (Some("LegalTender"), _) => Self::LegalTender,
            (Some("TargetUrl"), _) => Self::Target,
            (Some("MediaUrl"), _) => Self::MediaUrl,
            (Some("EventType"), _) => Self::Event,
            (_, Some("email")) => Self::Email,
            (_, Some("phone")) => Self::Phone,
            (_, Some("name")) => Self::Text { most: 200 },
            (_, Some("uuid")) => Self::Id,
            (_, Some("date-time")) => Self::Instant,
            (_, Some("date")) => Self::Day,
            // The schema of an enum whose variants have doc comments is a `oneOf`.
            _ if schema["enum"].is_array() || schema["oneOf"][0]["const"].is_string() => Self::Enum,
            _ if schema["type"] == "boolean" => Self::Flag,
            _ if schema["type"] == "integer" || schema["type"][0] == "integer" => {
                let most = schema["maximum"].as_i64().unwrap_or(match word("format") {
                    Some("uint32") => u32::MAX.into(),
                    _ => i64::MAX,
                });
                Self::Number { least: schema["minimum"].as_i64().unwrap_or(i64::MIN), most }
            }
            _ => {
                let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok());
                Self::Text {
                    most: most.unwrap_or_else(|| {
                        panic!("a field without a family; add one to `Family::of`: {name:?} {schema}")
                    }),
                }
            }
        }
    }

    /// All values that are tried in a field of this family.
    pub(crate) fn values(&self) -> Vec<BadValue> {
        let mut values = match self {
            Self::Text { most } => texts(*most),
            Self::Sku => skus(),
            Self::Slug => listed(Refused, &["A-b", "-a-", "ab", "a.b", "käse", "../x", "a b", "my_shop", "ａbc"])
                .chain(listed(Taken, &["null", "nan", "constructor", "3d-mugs"]))
                .chain([quoted(&"a".repeat(256), Refused)])
                .collect(),
            Self::ActivityKind => listed(Refused, &["Viewed", "1st_view", "two words", "käse", "a-b", "_a", "../x"])
                .chain(listed(Taken, &["null", "nan", "constructor"]))
                .chain([quoted(&"a".repeat(51), Refused)])
                .collect(),
            Self::Code => listed(Refused, &["7K2MPQ9XR", "7K2MPQ9XRTT", "7K2MPQ9XR0", "7K2M PQ9XR", "７K2MPQ9XRT"])
                .chain(listed(Taken, &["7k2mpq9xrt"]))
                .collect(),
            Self::Token => listed(Refused, &["two words", "käse", "4111111111111111", "tok-4111-1111-1111-1111"])
                .chain(listed(Taken, &["null", "tok_9f2"]))
                .collect(),
            Self::LastDigits => listed(Refused, &["111", "11111", "111a", "١١١١", "4111111111111111"]).collect(),
            Self::Zone => listed(Refused, &["Mars/Phobos", "../etc/passwd", "europe berlin", "+14:00", "CET\r\nX: y"])
                .chain(listed(Taken, &["Asia/Kathmandu", "Africa/Casablanca"]))
                .collect(),
            Self::Currency => {
                listed(Refused, &["usd", "US", "USDX", "ZZZ", "U\u{300}SD", "ＵＳＤ", "$", "840"]).collect()
            }
            Self::LegalTender => {
                let other = ["XXX", "XTS", "XAU", "XDR", "HRK", "BGN"];
                Self::Currency.values().into_iter().chain(listed(Refused, &other)).collect()
            }
            Self::Email => emails(),
            Self::Phone => listed(
                Refused,
                &["030 123456", "+4930１２３４５６", "+49-30-123456", "+12345", "+1234567890123456", "tel:+4930123456"],
            )
            .chain(listed(Refused, &["+4930123456\r\nX: y", "+49\u{202e}30123456"]))
            .chain(listed(Taken, &["+4930123456"]))
            .collect(),
            Self::Target => targets(),
            Self::MediaUrl => media(),
            Self::Event => {
                listed(Refused, &["order", "order.*", "*", "Order.Placed", "order.placed ", "order.lost", "__proto__"])
                    .chain(listed(Taken, &["order.placed", "points.earned"]))
                    .collect()
            }
            Self::Id => ids(),
            Self::Number { least, most } => numbers(*least, *most, Refused),
            Self::Minor => numbers(0, 1_000_000_000_000_000, RefusedAround),
            Self::Instant => instants(),
            Self::Day => listed(Refused, &["2026-02-29", "20-11-2026", "2026-11-20T00:00:00Z", "0000-00-00"])
                .chain(listed(Taken, &["2024-02-29"]))
                .collect(),
            Self::Enum => listed(Refused, &["PURCHASE", "Pending", "__proto__", "0", "pending "])
                .chain(raw(Refused, &["0", "-1"]))
                .collect(),
            Self::Flag => listed(Refused, &["true", "yes", "1"])
                .chain(raw(Refused, &["0", "1", "null"]))
                .chain(raw(Taken, &["false"]))
                .collect(),
        };
        values.extend(self.misfits());
        values
    }

    /// Values of a wrong JSON type, texts with forbidden characters, and invalid JSON.
    fn misfits(&self) -> Vec<BadValue> {
        let mut values: Vec<_> = vec![];
        values.extend(raw(
            Refused,
            &["[]", "[1]", "{\"a\":1}", "1.5", "\"a\\u0000b\"", "\"\\ud800\"", "\"\\udc00x\"", "\"a\0b\""],
        ));
        values.extend(raw(Refused, &["NaN", "undefined", "1e400", "'x'", "01"]));
        if *self != Self::Flag {
            values.extend(raw(Refused, &["true"]));
        }
        if !matches!(self, Self::Number { .. } | Self::Minor) {
            values.extend(raw(
                Refused,
                &["5", "\"\"", "\"\\ufeffx\"", "\"\\u202ex\"", "\"a\\r\\nBcc: b@example.org\"", "\"\\u001b[2J\""],
            ));
        }
        values
    }
}

/// Texts that people and attackers write into free-text fields; stored character for character.
pub(crate) const PLAIN: &[&str] = &[
    "null",
    "undefined",
    "NaN",
    "__proto__",
    "constructor",
    "{{7*7}}",
    "${jndi:ldap://x/y}",
    "=1+1",
    "+1",
    "-1",
    "@SUM(1)",
    "\t=1+1",
    "'; DROP TABLE log.events; --",
    "\\",
    "%",
    "100%_\\%",
    "$$x$$",
    "\"quoted\"",
    "<script>alert(1)</script>",
    "<svg onload=alert(1)>",
    "../../etc/passwd",
    "C:\\Windows\\system32",
    "\\\\server\\share",
    "قميص رجالي",
    "مرحبا 👋",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "ab\u{200d}c",
    "é",
    "e\u{301}",
    "ı",
    "İstanbul",
    "１２３",
    "日本語",
    "line\nbreak",
    "ß",
    "\u{1f600}",
    "\u{2066}isolated\u{2069}",
];

fn texts(most: usize) -> Vec<BadValue> {
    let long = [most + 1, 10_000].map(|length| quoted(&"x".repeat(length), Refused));
    let marks = format!("Z{}", "\u{301}".repeat(1_000));
    let fits = |length: usize| if length <= most { Taken } else { Refused };
    PLAIN
        .iter()
        .map(|text| quoted(text, Taken))
        .chain(long)
        .chain([quoted(&marks, fits(1_001)), quoted(&"a".repeat(256), fits(256)), quoted(&"ü".repeat(most), Taken)])
        .chain(listed(Refused, &["   ", "\n\t", "\u{200b}", "\u{200d}\u{2060}", "a\u{7f}b", "a\u{85}b", "\u{202d}x"]))
        .collect()
}

/// Addresses of pictures and films.
fn media() -> Vec<BadValue> {
    let refused = [
        "http://1.1.1.1/a.jpg",
        "javascript:alert(1)",
        "data:image/png;base64,AA",
        "//1.1.1.1/a",
        "https://u:p@1.1.1.1/",
        "https://0x7f000001/a.jpg",
        "https://example\u{3002}org/a.jpg",
    ];
    listed(Refused, &refused).chain(listed(Taken, &["https://media.example.org/a.jpg?w=1"])).collect()
}

/// URLs that parsers read in different ways, and URLs of internal addresses. The test engine permits loopback addresses.
fn targets() -> Vec<BadValue> {
    let hosts = [
        "127.1",
        "0",
        "0.0.0.0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "169.254.169.254",
        "100.64.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "[fc00::1]",
        "[fe80::1%lo]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::]",
        "localhost.",
        "user:pass@1.1.1.1",
        "1.1.1.1#@10.0.0.1",
        "1.1.1.1\\@10.0.0.1",
        "1.1.1.1:22",
        "1.1.1.1:5432",
        "1.1.1.1:0",
        "1.1.1.1:65536",
        "printer.local",
        "metadata.internal",
        "example\u{3002}org",
    ];
    let inside = hosts.into_iter().map(|host| quoted(&format!("https://{host}/hook"), Refused));
    let schemes =
        ["file:///etc/passwd", "gopher://1.1.1.1", "ftp://1.1.1.1", "unix:/run/x", "http://1.1.1.1/", "//1.1.1.1"];
    let long = format!("https://127.0.0.1:9/{}", "x".repeat(8_192));
    inside
        .chain(listed(Refused, &schemes))
        .chain([quoted(&long, Refused)])
        .chain(listed(Taken, &["https://127.0.0.1:9/hook?a=%20&b=1", "http://127.0.0.1:9/"]))
        .collect()
}

fn skus() -> Vec<BadValue> {
    let forbidden = |c: char| c.is_whitespace() || matches!(c, '\u{200d}' | '\u{2066}');
    let is_refused = |text: &str| text.chars().any(forbidden) || text.chars().count() > 64;
    PLAIN.iter().map(|text| quoted(text, if is_refused(text) { Refused } else { Taken })).collect()
}

fn instants() -> Vec<BadValue> {
    listed(Refused, &["yesterday", "2026-11-20", "2026-11-20T12:00:00", "0000-01-01T00:00:00Z"])
        .chain(listed(Refused, &["9999-12-31T23:59:59Z", "2026-02-29T12:00:00Z", "1763640000", "2026-11-20T25:00:00Z"]))
        .chain(listed(Taken, &["1969-12-31T23:59:59Z", "2024-02-29T12:00:00Z", "2026-11-20T12:00:00+14:00"]))
        .chain(raw(Refused, &["1763640000", "1763640000000"]))
        .collect()
}

fn emails() -> Vec<BadValue> {
    let long = format!("{}@example.org", "a".repeat(250));
    listed(
        Taken,
        &["Zoë@example.org", "zoe\u{308}@example.org", "ı@example.org", "=1+1@example.org", "a+b@xn--80ak6aa92e.com"],
    )
    .chain(listed(
        Refused,
        &["ada", "@example.org", "ada@", "a@b", "a b@x.org", "a@x..org", "a@b@c.org", "a@x.org\r\nBcc: b@x.org"],
    ))
    .chain(listed(
        Refused,
        &["a@x.org\nBcc: b@x.org", "\"a\"@x.org", "<a@x.org>", "a@x.org,b@x.org", "a\u{202e}@x.org"],
    ))
    .chain(listed(Refused, &["a\u{200b}@x.org", "\u{feff}a@x.org", "a\\@x.org"]))
    .chain([quoted(&long, Refused)])
    .collect()
}

fn ids() -> Vec<BadValue> {
    let refused = [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "{0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b}",
        "urn:uuid:0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b",
        "0190a5b27c3d7e4f8a9b0c1d2e3f4a5b",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "5",
        "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b ",
        "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5",
        "../0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b",
        "0190a5b2%2F7c3d-7e4f-8a9b-0c1d2e3f4a5b",
        "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5g",
        "０190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a",
        "null",
        "' OR 1=1 --",
    ];
    // UUIDs of no known entity: version 4, upper case, and version 1 with a time far in the future.
    let taken = [
        "9b2f7c1e-5a4d-4f3b-8c6a-1d2e3f4a5b6c",
        "0190A5B2-7C3D-7E4F-8A9B-0C1D2E3F4A5B",
        "ffffffff-ffff-1fff-bfff-ffffffffff00",
    ];
    listed(Refused, &refused)
        .chain(listed(Taken, &taken))
        .chain(raw(Refused, &["[\"0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b\"]"]))
        .collect()
}

fn numbers(least: i64, most: i64, outside: Fate) -> Vec<BadValue> {
    let fate = |number: i64| if (least..=most).contains(&number) { Taken } else { outside };
    let whole = [0, -1, 1_000_000_000, 1_000_000_001, 1 << 31, (1 << 53) + 1, i64::MAX, i64::MIN];
    let whole = whole.into_iter().map(|number| BadValue { json: number.to_string(), fate: fate(number) });
    whole
        .chain(raw(
            Refused,
            &["9223372036854775808", "10000000000000000000", "1e30", "1.0", "1e3", "0.30000000000000004", "-0", "-0.0"],
        ))
        .chain(raw(Refused, &["\"1\"", "\"1,5\"", "\"NaN\"", "1,5", "+1", "0x10", "1_000", "Infinity"]))
        .collect()
}

fn quoted(text: &str, fate: Fate) -> BadValue {
    BadValue { json: Value::from(text).to_string(), fate }
}

fn listed<'a>(fate: Fate, texts: &'a [&'a str]) -> impl Iterator<Item = BadValue> + use<'a> {
    texts.iter().map(move |text| quoted(text, fate))
}

fn raw<'a>(fate: Fate, texts: &'a [&'a str]) -> impl Iterator<Item = BadValue> + use<'a> {
    texts.iter().map(move |text| BadValue { json: (*text).to_owned(), fate })
}
