//! Files with secrets, which only their owner may read.

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Reads a key of 32 bytes in base64 from a file; creates the file with a random key if it is missing.
pub fn read_or_create_key(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    if !path.exists() {
        create_key(path).with_context(|| format!("cannot create the key file {}", path.display()))?;
    }
    parse_key(&read_secret(path)?)
}

/// Reads a text file; an error if its mode permits access by others than its owner.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>> {
    let cannot_read = || format!("cannot read {}", path.display());
    let mode = path.metadata().with_context(cannot_read)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others; `chmod 600` it", path.display());
    }
    std::fs::read_to_string(path).map(Zeroizing::new).with_context(cannot_read)
}

/// Parses a key of 32 bytes in base64. Zeros are refused.
pub(crate) fn parse_key(text: &str) -> Result<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).context("the outer key is not base64")?);
    let Ok(key) = <[u8; 32]>::try_from(bytes.as_slice()) else {
        bail!("the outer key has {} bytes instead of 32; `openssl rand -base64 32` makes one", bytes.len());
    };
    if key == [0; 32] {
        bail!("the outer key is all zeros; `openssl rand -base64 32` makes one");
    }
    Ok(Zeroizing::new(key))
}

fn create_key(path: &Path) -> Result<()> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice())?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    writeln!(file, "{}", STANDARD.encode(key.as_slice()))?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_created_once_and_refused_when_others_may_read_it() {
        let path = std::env::temp_dir().join(format!("cartulary-key-{}", std::process::id()));
        let created = read_or_create_key(&path).expect("a new key");
        assert_eq!(read_or_create_key(&path).expect("the same key"), created);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("chmod");
        assert!(read_or_create_key(&path).is_err());
        std::fs::remove_file(&path).expect("removed");
    }
}
