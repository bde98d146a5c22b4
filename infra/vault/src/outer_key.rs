//! Outer key (master key): 32 random bytes from the configuration, or from a file that only its owner may read.

use std::path::Path;

use anyhow::Result;
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use crate::secret_file::{parse_key, read_or_create_key};

/// Master key of the installation. It encrypts nothing directly: every purpose has a derived key.
#[derive(Clone)]
pub struct OuterKey(Zeroizing<[u8; 32]>);

/// Purpose of a derived key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Wraps the data keys of persons.
    Wrap,
    /// Computes blind indexes.
    Blind,
    /// Computes the search tokens of personal fields.
    Search,
    /// Computes the fingerprints that recognise a repeated command.
    Fingerprint,
    /// Authenticates messages between processes.
    Peers,
    /// Derives the secrets of webhook subscriptions.
    Webhooks,
    /// Authenticates values in Redis.
    Redis,
    /// Is the token of the monitoring system.
    Monitor,
}

impl OuterKey {
    /// Parses 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self> {
        parse_key(text).map(Self)
    }

    /// Reads the key from a file of mode 0600; creates the file with a random key if it is missing.
    pub fn from_file(path: &Path) -> Result<Self> {
        read_or_create_key(path).map(Self)
    }

    /// Derives the key of a purpose: HKDF-Expand (RFC 5869) with HMAC-SHA256 and the name of the purpose. The outer key
    /// is random, so HKDF-Extract is not needed.
    pub fn derive(&self, purpose: KeyPurpose) -> Zeroizing<[u8; 32]> {
        let name: &[u8] = match purpose {
            KeyPurpose::Wrap => b"cartulary wrap 1",
            KeyPurpose::Blind => b"cartulary blind 1",
            KeyPurpose::Search => b"cartulary search 1",
            KeyPurpose::Fingerprint => b"cartulary fingerprint 1",
            KeyPurpose::Peers => b"cartulary peers 1",
            KeyPurpose::Webhooks => b"cartulary webhooks 1",
            KeyPurpose::Redis => b"cartulary redis 1",
            KeyPurpose::Monitor => b"cartulary monitor 1",
        };
        let mut key = Zeroizing::new([0; 32]);
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.0.as_slice());
        let filled = prk.expand(&[name], hkdf::HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut_slice()));
        filled.expect("HKDF-SHA256 can derive 32 bytes");
        key
    }
}

/// HMAC-SHA256 over parts, each preceded by its length, so that different lists of parts are different messages.
pub fn mac_of_parts(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut mac = Zeroizing::new([0; 32]);
    mac.copy_from_slice(context.sign().as_ref());
    mac
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn invalid_keys_are_refused_and_purposes_have_different_keys() {
        for bad in ["", "abc", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert!(OuterKey::from_base64(bad).is_err(), "{bad}");
        }
        let key = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        assert_ne!(key.derive(KeyPurpose::Wrap), key.derive(KeyPurpose::Blind));
    }

    /// Computed by an independent implementation of RFC 5869 (Python's `hmac`).
    #[test]
    fn derived_keys_never_change() {
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        for (purpose, expected) in [
            (KeyPurpose::Wrap, "h4t4J3mvnwGqXsRdsZT7uKxDiP91V2Q5VMHJ7aM66JI="),
            (KeyPurpose::Blind, "rjgYKnpNLyj9cvflY8NtGicSAzlUvk9lAJ3L9c2KVsk="),
            (KeyPurpose::Fingerprint, "kHqEaKcCZF2qyNbwyjPML918CLT4hhRfUITUGTvc/fs="),
            (KeyPurpose::Peers, "xz2/JVunSNo3cmGgMry338pUbs3j16tr3AoEiGVZx1c="),
            (KeyPurpose::Webhooks, "sqOpeVtx8QVRfDJTbWgFpgqHA/VDf0zP5PEXvScpE7g="),
            (KeyPurpose::Redis, "9t3KwnybZ3ALGaxpzUkV8+xT47rbMIMMTqQ34rxWoPw="),
            (KeyPurpose::Monitor, "8LqQ3+lvfx6jmhLJvm/GJoDNGsFLFG1eDJH7CPObiKs="),
        ] {
            assert_eq!(STANDARD.encode(outer.derive(purpose).as_slice()), expected, "{purpose:?}");
        }
    }

    /// Computed by an independent implementation of RFC 2104 (Python's `hmac`).
    #[test]
    fn macs_never_change() {
        let mac = mac_of_parts(&[7; 32], &[b"a", b"", b"bc"]);
        assert_eq!(STANDARD.encode(mac.as_slice()), "2w1UGXmT608dGQ06mOjWlD2C9LqeQLjxYcfNtQhmq8c=");
    }
}
