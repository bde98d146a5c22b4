//! JSON as strangers send it: refused, with the path of the field, before anything reads a value out of it.
//!
//! What serde accepts is more than a log can bear: two fields of one name, NUL in a text, values nested a hundred
//! deep. PostgreSQL keeps the last of two fields where a `json` column keeps both, and chokes on NUL when it reads.

use std::collections::HashSet;
use std::fmt;

use commands::kernel::Misuse;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Values nested deeper than this are refused; no command comes near.
pub const DEPTH_MOST: usize = 32;

/// The text of a body that is one JSON value and nothing else.
///
/// Refuses what is no UTF-8, no JSON, more than one value, nested too deep, names a field twice, or has NUL or half
/// a surrogate pair in a text.
pub fn strict(body: &[u8]) -> Result<&str, Misuse> {
    let text = std::str::from_utf8(body).map_err(|_| Misuse::new("INVALID_UTF8", "", "the body is not UTF-8"))?;
    let mut seen = Seen::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let walked = Walk { seen: &mut seen, depth: 0 }.deserialize(&mut json);
    walked.and_then(|()| json.end()).map_err(|error| {
        let code = seen.code.unwrap_or("INVALID_JSON");
        Misuse::new(code, seen.path(), without_place(&error.to_string()))
    })?;
    Ok(text)
}

/// Serde ends its sentences with a line and a column, which say nothing about a field.
pub fn without_place(sentence: &str) -> &str {
    sentence.rfind(" at line ").map_or(sentence, |end| &sentence[..end])
}

/// Where the walk stands; left as it is when it fails.
#[derive(Default)]
struct Seen {
    steps: Vec<Step>,
    code: Option<&'static str>,
}

enum Step {
    Field(String),
    Index(usize),
}

impl Seen {
    /// `lines[0].sku`, as commands name their fields.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.extend([".", name]),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        // A name of a kilobyte helps nobody.
        path.chars().take(200).collect()
    }

    fn refuse<E: Error>(&mut self, code: &'static str, text: &str) -> E {
        self.code = Some(code);
        E::custom(text)
    }
}

struct Walk<'a> {
    seen: &'a mut Seen,
    depth: usize,
}

impl Walk<'_> {
    fn text<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(self.seen.refuse("INVALID_FIELD", "a text must not contain NUL"));
        }
        Ok(())
    }

    fn deeper<E: Error>(&mut self) -> Result<(), E> {
        if self.depth == DEPTH_MOST {
            return Err(self.seen.refuse("TOO_DEEP", "values are nested too deep"));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<(), A::Error> {
        self.deeper()?;
        for index in 0.. {
            self.seen.steps.push(Step::Index(index));
            let next = values.next_element_seed(Walk { seen: &mut *self.seen, depth: self.depth + 1 })?;
            self.seen.steps.pop();
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        self.deeper()?;
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.seen.steps.push(Step::Field(name.clone()));
            Walk { seen: &mut *self.seen, depth: 0 }.text(&name)?;
            if !names.insert(name) {
                return Err(self.seen.refuse("DUPLICATE_FIELD", "the field is there twice"));
            }
            fields.next_value_seed(Walk { seen: &mut *self.seen, depth: self.depth + 1 })?;
            self.seen.steps.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (String, String) {
        let misuse = strict(body.as_bytes()).expect_err(body);
        assert!(!misuse.message.contains("line"), "{}", misuse.message);
        (misuse.code.into_owned(), misuse.field)
    }

    #[test]
    fn ordinary_json_passes_as_it_is() {
        for body in [
            r#"{"lines":[{"sku":"a","units":3}],"note":"\ud83d\ude00 🛒","n":null,"f":1.5,"big":18446744073709551615}"#,
            "[]",
            " 7 ",
            "\"\\u202e\"",
        ] {
            assert_eq!(strict(body.as_bytes()).as_deref(), Ok(body));
        }
    }

    #[test]
    fn what_a_log_cannot_bear_is_refused_with_its_path() {
        assert_eq!(refused(r#"{"a":1,"b":{"c":1,"c":2}}"#), ("DUPLICATE_FIELD".into(), "b.c".into()));
        assert_eq!(refused(r#"{"a":1,"\u0061":2}"#), ("DUPLICATE_FIELD".into(), "a".into()));
        assert_eq!(
            refused(r#"{"lines":[{"sku":"x"},{"sku":"a\u0000b"}]}"#),
            ("INVALID_FIELD".into(), "lines[1].sku".into())
        );
        assert_eq!(refused(r#"{"a\u0000":1}"#).0, "INVALID_FIELD");
        assert_eq!(refused(r#"{"a":"\ud800"}"#), ("INVALID_JSON".into(), "a".into()));
        assert_eq!(refused(r#"{"a":"\udc00x"}"#), ("INVALID_JSON".into(), "a".into()));
        assert_eq!(refused(r#"{"a":1e400}"#), ("INVALID_JSON".into(), "a".into()));
        assert_eq!(refused(&format!("{}{}", "[".repeat(33), "]".repeat(33))).0, "TOO_DEEP");
        assert_eq!(refused(&"[".repeat(100_000)).0, "TOO_DEEP");
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for body in
            ["", "{", "{\"a\":1,}", "{} {}", "// x\n{}", "\u{feff}{}", "{a:1}", "NaN", "01", "{\"a\":\"\u{1}\"}"]
        {
            assert_eq!(refused(body).0, "INVALID_JSON", "{body:?}");
        }
        assert_eq!(strict(b"\"\xc0\x80\"").map_err(|misuse| misuse.code), Err("INVALID_UTF8".into()));
        assert_eq!(strict(b"\"\xff\"").map_err(|misuse| misuse.code), Err("INVALID_UTF8".into()));
    }

    #[test]
    fn a_hundred_thousand_fields_take_no_time() {
        let fields: Vec<_> = (0..100_000).map(|n| format!("\"f{n}\":{n}")).collect();
        assert!(strict(format!("{{{}}}", fields.join(",")).as_bytes()).is_ok());
    }
}
