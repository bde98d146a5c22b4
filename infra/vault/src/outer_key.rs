//! The outer key: 32 random bytes from configuration or from a file that only its owner can read.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// The key that wraps all others. Nothing is ever encrypted with it directly: every use has a key of its own.
#[derive(Clone)]
pub struct OuterKey(Zeroizing<[u8; 32]>);

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Wraps the data keys of people.
    Wrap,
    /// Makes blind indexes.
    Blind,
    /// Recognises retries.
    Fingerprint,
    /// Seals what processes write to each other.
    Peers,
    /// Makes the secrets of webhooks.
    Webhooks,
    /// Seals what is kept in Redis.
    Redis,
}

impl OuterKey {
    /// From configuration: 32 bytes in base64.
    pub fn from_base64(text: &str) -> Result<Self> {
        let bytes = Zeroizing::new(STANDARD.decode(text.trim()).context("the outer key is not base64")?);
        let Ok(key) = <[u8; 32]>::try_from(bytes.as_slice()) else {
            bail!("the outer key has {} bytes instead of 32; `openssl rand -base64 32` makes one", bytes.len());
        };
        if key == [0; 32] {
            bail!("the outer key is all zeros; `openssl rand -base64 32` makes one");
        }
        Ok(Self(Zeroizing::new(key)))
    }

    /// From a file of mode 0600; made when it is missing.
    pub fn from_file(path: &Path) -> Result<Self> {
        secret_file(path).map(Self)
    }

    /// The key for one use: HMAC-SHA256 of its name, which is HKDF's expansion for one block (RFC 5869).
    pub fn derive(&self, purpose: Use) -> Zeroizing<[u8; 32]> {
        let name = match purpose {
            Use::Wrap => b"cartulary wrap 1\x01".as_slice(),
            Use::Blind => b"cartulary blind 1\x01",
            Use::Fingerprint => b"cartulary fingerprint 1\x01",
            Use::Peers => b"cartulary peers 1\x01",
            Use::Webhooks => b"cartulary webhooks 1\x01",
            Use::Redis => b"cartulary redis 1\x01",
        };
        mac(&self.0, &[name])
    }
}

/// 32 secret bytes in base64, in a file that only its owner may read; made at random when it is missing.
pub fn secret_file(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    if !path.exists() {
        make_file(path).with_context(|| format!("cannot make the key file {}", path.display()))?;
    }
    Ok(OuterKey::from_base64(&secret_text(path)?)?.0)
}

/// What is written in a file that only its owner may read.
pub fn secret_text(path: &Path) -> Result<Zeroizing<String>> {
    let cannot = || format!("cannot read {}", path.display());
    let mode = path.metadata().with_context(cannot)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others; `chmod 600` it", path.display());
    }
    std::fs::read_to_string(path).map(Zeroizing::new).with_context(cannot)
}

fn make_file(path: &Path) -> Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{}", STANDARD.encode(key.as_slice()))?;
    file.sync_all()?;
    Ok(())
}

/// HMAC-SHA256 over parts, each preceded by its length, so that no two lists of parts look alike.
pub fn mac_of_parts(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_be_bytes()).collect();
    let framed: Vec<&[u8]> = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]).collect();
    mac(key, &framed)
}

fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC fills a short key up with zeros to the block of its hash (RFC 2104).
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_only_its_owner_may_read_it() {
        let path = std::env::temp_dir().join(format!("cartulary-key-{}", std::process::id()));
        let made = OuterKey::from_file(&path).expect("a new key").derive(Use::Blind);
        assert_eq!(OuterKey::from_file(&path).expect("the same key").derive(Use::Blind), made);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
        assert!(OuterKey::from_file(&path).is_err());
        std::fs::remove_file(&path).expect("removed");
    }

    #[test]
    fn weak_keys_are_refused_and_uses_are_kept_apart() {
        for bad in ["", "abc", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert!(OuterKey::from_base64(bad).is_err(), "{bad}");
        }
        let key = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        assert_ne!(key.derive(Use::Wrap), key.derive(Use::Blind));
    }

    /// Computed by an independent implementation of RFC 5869 (Python's `hmac`).
    #[test]
    fn derived_keys_never_change() {
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        for (purpose, expected) in [
            (Use::Wrap, "h4t4J3mvnwGqXsRdsZT7uKxDiP91V2Q5VMHJ7aM66JI="),
            (Use::Blind, "rjgYKnpNLyj9cvflY8NtGicSAzlUvk9lAJ3L9c2KVsk="),
            (Use::Fingerprint, "kHqEaKcCZF2qyNbwyjPML918CLT4hhRfUITUGTvc/fs="),
            (Use::Peers, "xz2/JVunSNo3cmGgMry338pUbs3j16tr3AoEiGVZx1c="),
            (Use::Webhooks, "sqOpeVtx8QVRfDJTbWgFpgqHA/VDf0zP5PEXvScpE7g="),
            (Use::Redis, "9t3KwnybZ3ALGaxpzUkV8+xT47rbMIMMTqQ34rxWoPw="),
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
