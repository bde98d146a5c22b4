//! MAC on values that are stored in Redis or sent through it.

use vault::{KeyPurpose, OuterKey, mac_of_parts};
use zeroize::Zeroizing;

use super::Redis;

const MAC_BYTES: usize = 32;

/// Adds and verifies the MAC of values. The MAC also covers the key of the value.
#[derive(Clone)]
pub(super) struct Seal(Zeroizing<[u8; 32]>);

impl Seal {
    pub(super) fn new(outer: &OuterKey) -> Self {
        Self(outer.derive(KeyPurpose::Redis))
    }

    fn mac(&self, key: &str, body: &[u8]) -> Zeroizing<[u8; MAC_BYTES]> {
        mac_of_parts(&self.0, &[key.as_bytes(), body])
    }

    fn seal(&self, key: &str, body: &[u8]) -> Vec<u8> {
        [self.mac(key, body).as_slice(), body].concat()
    }

    fn open<'a>(&self, key: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (mac, body) = sealed.split_at_checked(MAC_BYTES)?;
        let is_valid: bool = subtle::ConstantTimeEq::ct_eq(self.mac(key, body).as_slice(), mac).into();
        is_valid.then_some(body)
    }
}

impl Redis {
    /// Adds a MAC to a value. The value is not encrypted, but it is bound to its key or channel, and only processes
    /// that have the outer key can make it. The MAC does not prevent replay of an older value: only a time inside the
    /// value can.
    pub fn seal(&self, key: &str, body: &[u8]) -> Vec<u8> {
        self.seal.seal(key, body)
    }

    /// Verifies and removes the MAC of a value; `None` if it was made with another outer key or for another key.
    pub fn open<'a>(&self, key: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let opened = self.seal.open(key, sealed);
        if opened.is_none() {
            metrics::counter!("cartulary_redis_errors_total", "what" => "foreign").increment(1);
        }
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str) -> Seal {
        Seal::new(&OuterKey::from_base64(key).expect("a key"))
    }

    #[test]
    fn a_sealed_value_opens_only_under_its_key_and_outer_key() {
        let ours = seal("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let sealed = ours.seal("a:1", b"row");
        assert_eq!(ours.open("a:1", &sealed), Some(b"row".as_slice()));
        assert_eq!(ours.open("a:2", &sealed), None);
        assert_eq!(seal("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").open("a:1", &sealed), None);
        for place in 0..sealed.len() {
            let mut other = sealed.clone();
            other[place] ^= 1;
            assert_eq!(ours.open("a:1", &other), None, "{place}");
        }
        for foreign in [b"".as_slice(), b"row", &[0; 31], &[0; 32]] {
            assert_eq!(ours.open("a:1", foreign), None);
        }
    }
}
