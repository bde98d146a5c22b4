//! Monitor token: lets a monitoring system read `/reason` and `/metrics` of every process of an installation.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::outer_key::{KeyPurpose, OuterKey};

/// Token derived from the outer key: all processes accept it, and it changes only with that key.
#[derive(Clone)]
pub struct MonitorToken(Zeroizing<String>);

impl MonitorToken {
    pub fn new(outer: &OuterKey) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(outer.derive(KeyPurpose::Monitor).as_slice())))
    }

    /// The token as text, for the configuration of the monitoring system.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn equals(&self, token: &[u8]) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), token).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_of_the_same_outer_key_is_accepted() {
        let token = |key: &str| MonitorToken::new(&OuterKey::from_base64(key).expect("a key"));
        let ours = token("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let other = token("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        assert!(ours.equals(ours.text().as_bytes()) && ours.text().len() == 43);
        for wrong in [other.text(), "", &ours.text()[1..], &format!("{}a", ours.text())] {
            assert!(!ours.equals(wrong.as_bytes()), "{wrong}");
        }
    }
}
