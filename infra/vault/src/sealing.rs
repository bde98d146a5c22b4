//! Seals and opens single fields.
//!
//! XChaCha20-Poly1305 under the person's key; tenant, person and field are associated data, so that a ciphertext
//! moved to another tenant, person or field does not open. The nonce is a keyed digest of the plaintext (a synthetic
//! one, as in RFC 8452): the same value of the same person and field always looks the same, which is how an import
//! that changes nothing is recognised, and nothing else can be learned from it.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use commands::kernel::AnyCommand;
use commands::scribe::PersonKey;
use domain::shared::{SealError, Sealed, Sealer, TenantId};
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::outer_key::{OuterKey, Use, mac_of_parts};
use super::person_keys::{Kept, PersonKeys};

/// Seals, opens, and recognises.
pub struct Vault {
    keys: PersonKeys,
    blind: Zeroizing<[u8; 32]>,
    fingerprint: Zeroizing<[u8; 32]>,
}

impl Vault {
    pub fn new(pool: PgPool, outer: &OuterKey) -> Self {
        let keys = PersonKeys::new(pool, &outer.derive(Use::Wrap));
        Self { keys, blind: outer.derive(Use::Blind), fingerprint: outer.derive(Use::Fingerprint) }
    }

    /// A keyed digest of a body, with the version of how it is made.
    pub fn fingerprint(&self, body: &[u8]) -> String {
        let digest = mac_of_parts(&self.fingerprint, &[body]);
        format!("1.{}", URL_SAFE_NO_PAD.encode(&digest[..16]))
    }

    /// Seals the personal fields of a command. Answers the keys of people who had none before.
    pub async fn seal(&self, tenant: TenantId, command: &mut dyn AnyCommand) -> Result<Vec<PersonKey>, SealError> {
        let mut sealer = CommandSealer { vault: self, tenant, keys: HashMap::new(), made: HashSet::new(), lacks: None };
        loop {
            match command.seal(&mut sealer) {
                Ok(()) => return Ok(sealer.keys.into_values().filter_map(|kept| Some(kept.unwritten?.0)).collect()),
                Err(error) => {
                    let person = sealer.lacks.take().ok_or(error)?;
                    let key = self.keys.key_or_new(tenant, person).await.map_err(|_| SealError::KeyStoreUnavailable)?;
                    sealer.keys.insert(person, key);
                }
            }
        }
    }

    /// Opens a field; nothing where the key was destroyed, or where this is not that tenant's field.
    pub async fn open(&self, tenant: TenantId, field: &str, word: &str) -> Result<Option<String>, sqlx::Error> {
        let Some(parts) = Sealed::parse(word).and_then(|sealed| Parts::read(sealed.ciphertext())) else {
            return Ok(None);
        };
        let Some(kept) = self.keys.key(tenant, parts.person).await? else { return Ok(None) };
        let cipher = XChaCha20Poly1305::new((&*kept.key).into());
        let context = context(tenant, parts.person, field);
        let opened = cipher.decrypt(&XNonce::from(parts.nonce), Payload { msg: &parts.sealed, aad: &context });
        Ok(opened.ok().and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// What equal values of a tenant's field have in common; meaningless without the key.
    pub fn blind_index(&self, tenant: TenantId, field: &str, folded: &str) -> String {
        let digest = mac_of_parts(&self.blind, &[tenant.uuid().as_bytes(), field.as_bytes(), folded.as_bytes()]);
        URL_SAFE_NO_PAD.encode(&digest[..16])
    }
}

/// Seals the fields of one command with keys that were fetched for it.
struct CommandSealer<'a> {
    vault: &'a Vault,
    tenant: TenantId,
    keys: HashMap<Uuid, Kept>,
    made: HashSet<Sealed>,
    /// The person whose key must be fetched before sealing can go on.
    lacks: Option<Uuid>,
}

impl Sealer for CommandSealer<'_> {
    fn seal(&mut self, person: Uuid, field: &str, text: &str, folded: Option<&str>) -> Result<Sealed, SealError> {
        let Some(kept) = self.keys.get(&person) else {
            self.lacks = Some(person);
            return Err(SealError::KeyStoreUnavailable);
        };
        let digest = mac_of_parts(&kept.key, &[b"nonce", field.as_bytes(), text.as_bytes()]);
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&digest[..24]);
        let cipher = XChaCha20Poly1305::new((&*kept.key).into());
        let context = context(self.tenant, person, field);
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: text.as_bytes(), aad: &context })
            .map_err(|_| SealError::KeyStoreUnavailable)?;
        let ciphertext = Parts { person, nonce, sealed }.write();
        let index = folded.map(|folded| self.vault.blind_index(self.tenant, field, folded));
        let sealed = Sealed::new(&ciphertext, index.as_deref());
        self.made.insert(sealed.clone());
        Ok(sealed)
    }

    fn has_sealed(&self, sealed: &Sealed) -> bool {
        self.made.contains(sealed)
    }
}

/// What lies inside a ciphertext word.
struct Parts {
    person: Uuid,
    nonce: [u8; 24],
    sealed: Vec<u8>,
}

impl Parts {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.person.as_bytes(), self.nonce.as_slice(), &self.sealed].concat())
    }

    fn read(word: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(word).ok()?;
        let (person, rest) = bytes.split_first_chunk::<16>()?;
        let (nonce, sealed) = rest.split_first_chunk::<24>()?;
        Some(Self { person: Uuid::from_bytes(*person), nonce: *nonce, sealed: sealed.to_vec() })
    }
}

fn context(tenant: TenantId, person: Uuid, field: &str) -> Vec<u8> {
    [tenant.uuid().as_bytes(), person.as_bytes(), field.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use sqlx::PgPool;

    use super::*;

    /// Computed by an independent implementation of XChaCha20-Poly1305 and HMAC in Python.
    #[tokio::test]
    async fn sealed_fields_and_digests_never_change() {
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        let pool = PgPool::connect_lazy("postgres://unused.invalid/unused").expect("a URL");
        let (vault, tenant, person) = (Vault::new(pool, &outer), TenantId::new(Uuid::from_u128(1)), Uuid::from_u128(2));
        assert_eq!(vault.fingerprint(b"body"), "1.AjbNqH3_lwniEOGd-0T52w");
        assert_eq!(vault.blind_index(tenant, "email", "anna@example.com"), "kzxNaFjgKMQSVsV_qzGa8Q");

        let keys = HashMap::from([(person, Kept { key: Zeroizing::new([7; 32]), unwritten: None })]);
        let mut sealer = CommandSealer { vault: &vault, tenant, keys, made: HashSet::new(), lacks: None };
        let sealed = sealer.seal(person, "email", "Anna@Example.com", Some("anna@example.com")).expect("sealed");
        let ciphertext =
            "AAAAAAAAAAAAAAAAAAAAAidmJgJmTC-sboO9vcGn-YJz5EsEETcdnzdyOpxcNUwQ_8UAvn-hjj6H3p59tGVSusi9j82CSvvE";
        assert_eq!(sealed.as_str(), format!("sealed.v1.{ciphertext}.kzxNaFjgKMQSVsV_qzGa8Q"));
    }
}
