//! Where a row stands.

use std::fmt;

use domain::shared::TenantId;
use serde::Serialize;

/// The key of a row within its tenant: the values of its key fields as the text of a JSON array.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

/// A row's tenant and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub tenant: TenantId,
    pub key: Key,
}

impl Key {
    /// From a tuple of key values; [`key!`](crate::key) writes it shorter.
    pub fn of(values: &impl Serialize) -> Self {
        let text = serde_json::to_string(values).expect("key values are ids, words, numbers or days, which are JSON");
        Self(text.into())
    }

    /// As the store keeps it.
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

/// The key of a row from the values of its key fields: `key![event.stream]`, `key![store, day]`.
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
    fn a_key_is_the_array_of_its_values() {
        assert_eq!(key![Uuid::from_u128(1)].as_str(), r#"["00000000-0000-0000-0000-000000000001"]"#);
        assert_eq!(key!["a\"b", 7].as_str(), r#"["a\"b",7]"#);
    }
}
