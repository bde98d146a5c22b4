//! What is left of something that need only be recognised.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A short digest by which a state recognises what it has seen, however long that was.
///
/// It is as good as the thing itself: 122 bits of SHA-1 do not meet by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(Uuid);

impl Fingerprint {
    /// Of a value that can be stored; equal for equal values.
    pub fn of(value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).expect("what can be stored is JSON");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_OID, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_short_and_tells_values_apart() {
        let long = "🦀".repeat(200);
        assert_eq!(Fingerprint::of(&long), Fingerprint::of(&long.clone()));
        assert_ne!(Fingerprint::of(&long), Fingerprint::of(&long.replacen("🦀", "🐚", 1)));
        assert_eq!(serde_json::to_string(&Fingerprint::of(&long)).expect("JSON").len(), 38);
    }
}
