//! Signature of forwarded requests: an HMAC with a timestamp, which only processes with the outer key can compute.

use domain::shared::Timestamp;
use vault::{KeyPurpose, OuterKey, mac_of_parts};
use zeroize::Zeroizing;

/// Maximum difference between the clocks of two processes, in seconds.
const CLOCK_SKEW_S_MOST: i64 = 30;

/// Length of a MAC: 32 bytes in hexadecimal.
const MAC_LETTERS: usize = 64;

/// Key that signs forwarded requests and verifies their signatures.
#[derive(Clone)]
pub struct ForwardingKey {
    key: Zeroizing<[u8; 32]>,
}

impl ForwardingKey {
    pub fn new(outer: &OuterKey) -> Self {
        Self { key: outer.derive(KeyPurpose::Peers) }
    }

    /// Signature of a request body: `<seconds since 1970>.<MAC in hexadecimal>`.
    pub(super) fn sign(&self, body: &[u8], now: Timestamp) -> String {
        let seconds = now.micros().div_euclid(1_000_000);
        format!("{seconds}.{}", self.mac(seconds, body))
    }

    /// True if a process with the same key has signed this body, at a time that differs from `now` by at most 30
    /// seconds.
    pub(super) fn verify(&self, body: &[u8], signature: &str, now: Timestamp) -> bool {
        let Some((seconds, mac)) = Self::fresh_parts(signature, now) else { return false };
        subtle::ConstantTimeEq::ct_eq(self.mac(seconds, body).as_bytes(), mac.as_bytes()).into()
    }

    /// Timestamp and MAC of a signature that is well-formed and at most 30 seconds old. Does not verify the MAC, which
    /// needs the body.
    pub(super) fn fresh_parts(signature: &str, now: Timestamp) -> Option<(i64, &str)> {
        let (seconds, mac) = signature.split_once('.')?;
        let seconds = seconds.parse::<i64>().ok()?;
        let skew = now.micros().div_euclid(1_000_000).abs_diff(seconds);
        (skew <= CLOCK_SKEW_S_MOST.unsigned_abs() && mac.len() == MAC_LETTERS).then_some((seconds, mac))
    }

    fn mac(&self, seconds: i64, body: &[u8]) -> String {
        let mac = mac_of_parts(&self.key, &[&seconds.to_be_bytes(), body]);
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_valid_for_one_body_for_thirty_seconds() {
        let outer =
            OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("the key is valid base64");
        let (key, now) = (ForwardingKey::new(&outer), Timestamp::from_micros(1_000_000_000_000));
        let later = |seconds: i64| Timestamp::from_micros(now.micros() + seconds * 1_000_000);
        let signature = key.sign(b"order", now);
        assert!(key.verify(b"order", &signature, later(20)));
        assert!(!key.verify(b"other", &signature, now));
        assert!(!key.verify(b"order", &signature, later(31)));
        assert!(!key.verify(b"order", "", now) && !key.verify(b"order", "x.y", now));
        let other =
            OuterKey::from_base64("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("the key is valid base64");
        assert!(!ForwardingKey::new(&other).verify(b"order", &signature, now));
    }
}
