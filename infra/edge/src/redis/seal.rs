//! The MAC on everything that is kept in Redis or sent through it.

use zeroize::Zeroizing;

use super::Redis;
use vault::{OuterKey, Use, mac_of_parts};

const MAC_BYTES: usize = 32;

/// Seals values for one key each and tells whether a seal is ours.
#[derive(Clone)]
pub(super) struct Seal(Zeroizing<[u8; 32]>);

impl Seal {
    pub(super) fn new(outer: &OuterKey) -> Self {
        Self(outer.derive(Use::Redis))
    }

    fn mac(&self, key: &str, body: &[u8]) -> Zeroizing<[u8; MAC_BYTES]> {
        mac_of_parts(&self.0, &[key.as_bytes(), body])
    }

    fn seal(&self, key: &str, body: &[u8]) -> Vec<u8> {
        [self.mac(key, body).as_slice(), body].concat()
    }

    fn open<'a>(&self, key: &str, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (mac, body) = sealed.split_at_checked(MAC_BYTES)?;
        let ours: bool = subtle::ConstantTimeEq::ct_eq(self.mac(key, body).as_slice(), mac).into();
        ours.then_some(body)
    }
}

impl Redis {
    /// A value for one key or channel of ours. It is not hidden, only bound: to the key, and to processes with our
    /// outer key. That it is not an old one, only what it says about its own age can tell.
    pub fn seal(&self, key: &str, body: &[u8]) -> Vec<u8> {
        self.seal.seal(key, body)
    }

    /// What one of our processes sealed for this key; nothing where somebody else did, or for another key.
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
    fn a_value_is_for_one_key_and_for_those_who_know_the_outer_key() {
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
