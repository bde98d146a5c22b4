//! Strict check of JSON from clients: refuses invalid input with the path of the field, before any value is used.
//!
//! serde_json accepts JSON that must not get into the log: duplicate field names, NUL in strings, values nested a
//! hundred deep. A `json` column of PostgreSQL keeps both of two duplicate fields but returns the last one, and it
//! stores NUL but fails when the value is read.

use std::collections::HashSet;
use std::fmt;

use commands::kernel::{Misuse, plain_words};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Maximum nesting depth of values; commands need far less.
pub const DEPTH_MOST: usize = 32;

/// Returns the text of a body that is exactly one JSON value.
///
/// Refuses bodies that are not UTF-8, not JSON, more than one value or nested too deep, and bodies with duplicate
/// fields, NUL or half a surrogate pair in a string.
pub fn strict(body: &[u8]) -> Result<&str, Misuse> {
    let text = std::str::from_utf8(body).map_err(|_| Misuse::new("INVALID_UTF8", "", "the body is not UTF-8"))?;
    let mut progress = Progress::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let walked = Walk { progress: &mut progress, depth: 0 }.deserialize(&mut json);
    walked.and_then(|()| json.end()).map_err(|error| {
        let code = progress.code.unwrap_or("INVALID_JSON");
        Misuse::new(code, progress.path(), plain_words(&error.to_string()))
    })?;
    Ok(text)
}

/// Position of the walk, kept when it fails.
#[derive(Default)]
struct Progress {
    steps: Vec<Step>,
    code: Option<&'static str>,
}

enum Step {
    Field(String),
    Index(usize),
}

impl Progress {
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
        // Field names come from the client and may be long.
        path.chars().take(200).collect()
    }

    fn refuse<E: Error>(&mut self, code: &'static str, text: &str) -> E {
        self.code = Some(code);
        E::custom(text)
    }
}

struct Walk<'a> {
    progress: &'a mut Progress,
    depth: usize,
}

impl Walk<'_> {
    fn check_text<E: Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') {
            return Err(self.progress.refuse("INVALID_FIELD", "a string must not contain NUL"));
        }
        Ok(())
    }

    fn check_depth<E: Error>(&mut self) -> Result<(), E> {
        if self.depth == DEPTH_MOST {
            return Err(self.progress.refuse("TOO_DEEP", "values are nested too deep"));
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
        self.check_text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<(), A::Error> {
        self.check_depth()?;
        for index in 0.. {
            self.progress.steps.push(Step::Index(index));
            let next = values.next_element_seed(Walk { progress: &mut *self.progress, depth: self.depth + 1 })?;
            self.progress.steps.pop();
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut fields: A) -> Result<(), A::Error> {
        self.check_depth()?;
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.progress.steps.push(Step::Field(name.clone()));
            Walk { progress: &mut *self.progress, depth: 0 }.check_text(&name)?;
            if !names.insert(name) {
                return Err(self.progress.refuse("DUPLICATE_FIELD", "the field occurs twice"));
            }
            fields.next_value_seed(Walk { progress: &mut *self.progress, depth: self.depth + 1 })?;
            self.progress.steps.pop();
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
    fn valid_json_is_returned_unchanged() {
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
    fn duplicate_fields_nul_half_surrogates_and_deep_values_are_refused_with_their_path() {
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
    fn invalid_json_is_refused() {
        for body in
            ["", "{", "{\"a\":1,}", "{} {}", "// x\n{}", "\u{feff}{}", "{a:1}", "NaN", "01", "{\"a\":\"\u{1}\"}"]
        {
            assert_eq!(refused(body).0, "INVALID_JSON", "{body:?}");
        }
        assert_eq!(strict(b"\"\xc0\x80\"").map_err(|misuse| misuse.code), Err("INVALID_UTF8".into()));
        assert_eq!(strict(b"\"\xff\"").map_err(|misuse| misuse.code), Err("INVALID_UTF8".into()));
    }

    #[test]
    fn hundred_thousand_fields_are_checked() {
        let fields: Vec<_> = (0..100_000).map(|n| format!("\"f{n}\":{n}")).collect();
        assert!(strict(format!("{{{}}}", fields.join(",")).as_bytes()).is_ok());
    }
}
