//! The MAC on a letter, so that only our own processes are listened to.

use domain::shared::Timestamp;
use zeroize::Zeroizing;

use vault::{OuterKey, Use, mac_of_parts};

/// How far the clocks of two processes may be apart.
const CLOCKS_APART_S_MOST: i64 = 30;

/// 32 bytes in hexadecimal.
const MAC_LETTERS: usize = 64;

/// Seals letters and tells whether a seal is ours.
#[derive(Clone)]
pub struct PeerSeal {
    key: Zeroizing<[u8; 32]>,
}

impl PeerSeal {
    pub fn new(outer: &OuterKey) -> Self {
        Self { key: outer.derive(Use::Peers) }
    }

    /// `<seconds since 1970>.<MAC in hexadecimal>`.
    pub(super) fn of(&self, letter: &[u8], now: Timestamp) -> String {
        let seconds = now.micros().div_euclid(1_000_000);
        format!("{seconds}.{}", self.mac(seconds, letter))
    }

    /// Whether one of our processes has just written this.
    pub(super) fn is_on(&self, letter: &[u8], seal: &str, now: Timestamp) -> bool {
        let Some((seconds, mac)) = Self::fresh(seal, now) else { return false };
        subtle::ConstantTimeEq::ct_eq(self.mac(seconds, letter).as_bytes(), mac.as_bytes()).into()
    }

    /// The two halves of what looks like a seal of this moment; whether it is ours, only the letter tells.
    pub(super) fn fresh(seal: &str, now: Timestamp) -> Option<(i64, &str)> {
        let (seconds, mac) = seal.split_once('.')?;
        let seconds = seconds.parse::<i64>().ok()?;
        let apart = now.micros().div_euclid(1_000_000).abs_diff(seconds);
        (apart <= CLOCKS_APART_S_MOST.unsigned_abs() && mac.len() == MAC_LETTERS).then_some((seconds, mac))
    }

    fn mac(&self, seconds: i64, letter: &[u8]) -> String {
        let mac = mac_of_parts(&self.key, &[&seconds.to_be_bytes(), letter]);
        mac.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_for_one_letter_for_a_short_time() {
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        let (seal, now) = (PeerSeal::new(&outer), Timestamp::from_micros(1_000_000_000_000));
        let later = |seconds: i64| Timestamp::from_micros(now.micros() + seconds * 1_000_000);
        let on = seal.of(b"letter", now);
        assert!(seal.is_on(b"letter", &on, later(20)));
        assert!(!seal.is_on(b"better", &on, now));
        assert!(!seal.is_on(b"letter", &on, later(31)));
        assert!(!seal.is_on(b"letter", "", now) && !seal.is_on(b"letter", "x.y", now));
        let other = OuterKey::from_base64("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        assert!(!PeerSeal::new(&other).is_on(b"letter", &on, now));
    }
}
