//! Row keys.

use std::fmt;

use domain::shared::TenantId;
use serde::Serialize;

/// Key of a row within its tenant: the values of its key fields as a JSON array in text form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

/// Full address of a row: tenant and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub tenant: TenantId,
    pub key: Key,
}

impl Key {
    /// Builds a key from a tuple of key values; [`key!`](crate::key) is the short form.
    pub fn of(values: &impl Serialize) -> Self {
        let text = serde_json::to_string(values)
            .expect("key values are ids, short texts, numbers or days, which serialize to JSON");
        Self(text.into())
    }

    /// Makes a key from its text form, as stores keep it.
    pub fn from_text(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Builds a row key from the values of its key fields: `key![event.stream]`, `key![store, day]`.
#[macro_export]
macro_rules! key {
    ($($value:expr),+ $(,)?) => {
        $crate::kernel::Key::of(&($(&$value,)+))
    };
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    #[test]
    fn a_key_is_a_json_array_of_its_values() {
        assert_eq!(key![Uuid::from_u128(1)].as_str(), r#"["00000000-0000-0000-0000-000000000001"]"#);
        assert_eq!(key!["a\"b", 7].as_str(), r#"["a\"b",7]"#);
    }
}
