//! Fingerprint: a short digest that is compared and never reversed.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::normal_form::composed;

/// Digest of a value: 122 bits of SHA-1, so that accidental collisions are not expected. A state that must recognise a
/// repeat stores the digest and not the value, so that the size of the state is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(Uuid);

impl Fingerprint {
    /// Computes the digest of the JSON form of a value; equal for equal values, and for both spellings of a letter.
    pub fn of(value: &impl Serialize) -> Self {
        let text = serde_json::to_string(value).expect("the value is representable as JSON");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, composed(&text).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_short_and_differs_for_different_values() {
        let long = "🦀".repeat(200);
        assert_eq!(Fingerprint::of(&long), Fingerprint::of(&long.clone()));
        assert_ne!(Fingerprint::of(&long), Fingerprint::of(&long.replacen("🦀", "🐚", 1)));
        assert_eq!(serde_json::to_string(&Fingerprint::of(&long)).expect("JSON").len(), 38);
    }
}
