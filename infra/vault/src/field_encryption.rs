//! Field encryption: seals (encrypts) and opens single fields.
//!
//! XChaCha20-Poly1305 under the data key of the person. Tenant, person and field are associated data, so a ciphertext
//! that was moved to another tenant, person or field does not open. The nonce is a keyed digest of the plaintext (a
//! synthetic nonce, as in RFC 8452), so equal values of one person and field have equal ciphertexts, by which an import
//! recognises that it changes nothing (ADR 0002). Apart from that, a ciphertext reveals the person's id and the length
//! of the value.

use std::collections::{BTreeSet, HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use commands::kernel::AnyCommand;
use commands::scribe::WrappedDataKey;
use domain::shared::{SealError, Sealed, Sealer, SearchToken, TenantId, search_prefixes};
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::data_keys::{DataKey, DataKeys};
use crate::outer_key::{KeyPurpose, OuterKey, mac_of_parts};

/// Seals and opens personal fields, and computes blind indexes, search tokens and fingerprints.
pub struct Vault {
    keys: DataKeys,
    blind_index_key: Zeroizing<[u8; 32]>,
    search_key: Zeroizing<[u8; 32]>,
    fingerprint_key: Zeroizing<[u8; 32]>,
}

impl Vault {
    pub fn new(pool: PgPool, outer: &OuterKey) -> Self {
        let keys = DataKeys::new(pool, &outer.derive(KeyPurpose::Wrap));
        Self {
            keys,
            blind_index_key: outer.derive(KeyPurpose::Blind),
            search_key: outer.derive(KeyPurpose::Search),
            fingerprint_key: outer.derive(KeyPurpose::Fingerprint),
        }
    }

    /// Keyed digest of a command's canonical form. Its first digit says what a stored fingerprint was computed from.
    pub fn fingerprint(&self, canonical: &str) -> String {
        format!("2.{}", self.digest(canonical.as_bytes()))
    }

    /// Keyed digest of the bytes of a command's body, as earlier versions stored it for the commands of callers.
    pub fn body_fingerprint(&self, body: &[u8]) -> String {
        format!("1.{}", self.digest(body))
    }

    fn digest(&self, bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(&mac_of_parts(&self.fingerprint_key, &[bytes])[..16])
    }

    /// Seals the personal fields of a command. Returns the wrapped data keys that the store may not have yet; they must
    /// be written together with the events of the command.
    pub async fn seal(&self, tenant: TenantId, command: &mut dyn AnyCommand) -> Result<Vec<WrappedDataKey>, SealError> {
        let mut sealer =
            CommandSealer { vault: self, tenant, keys: HashMap::new(), sealed: HashSet::new(), missing: None };
        // Sealing stops at the first person whose key is missing, and is repeated once the key is fetched.
        loop {
            match command.seal(&mut sealer) {
                Ok(()) => return Ok(sealer.keys.into_values().filter_map(|key| Some(key.unstored?.0)).collect()),
                Err(error) => {
                    let person = sealer.missing.take().ok_or(error)?;
                    let key = self.keys.key_or_new(tenant, person).await.map_err(|_| SealError::KeyStoreUnavailable)?;
                    sealer.keys.insert(person, key);
                }
            }
        }
    }

    /// Opens fields, each given by its name and its sealed text, in their order. `None` if the key was destroyed, or if
    /// the ciphertext is malformed or belongs to another tenant or field. One statement reads all keys that the cache
    /// does not have.
    pub async fn open(&self, tenant: TenantId, fields: &[(&str, &str)]) -> Result<Vec<Option<String>>, sqlx::Error> {
        let parse = |sealed| Sealed::parse(sealed).and_then(|sealed| Ciphertext::parse(sealed.ciphertext()));
        let parsed: Vec<_> = fields.iter().map(|(_, sealed)| parse(sealed)).collect();
        let persons: HashSet<_> = parsed.iter().flatten().map(|ciphertext: &Ciphertext| ciphertext.person).collect();
        let keys = self.keys.keys(tenant, persons).await?;
        let open = |((field, _), ciphertext): (&(&str, &str), Option<Ciphertext>)| {
            let Ciphertext { person, nonce, sealed } = ciphertext?;
            let cipher = XChaCha20Poly1305::new((&*keys.get(&person)?.key).into());
            let aad = associated_data(tenant, person, field);
            let opened = cipher.decrypt(&XNonce::from(nonce), Payload { msg: &sealed, aad: &aad });
            String::from_utf8(opened.ok()?).ok()
        };
        Ok(fields.iter().zip(parsed).map(open).collect())
    }

    /// Blind index of a field: a keyed digest of its folded value, equal for equal values of this field in a tenant.
    pub fn blind_index(&self, tenant: TenantId, field: &str, folded: &str) -> String {
        let digest =
            mac_of_parts(&self.blind_index_key, &[tenant.uuid().as_bytes(), field.as_bytes(), folded.as_bytes()]);
        URL_SAFE_NO_PAD.encode(&digest[..16])
    }

    /// Search token of a folded word or prefix: a keyed digest, another one in every tenant.
    pub fn search_token(&self, tenant: TenantId, word: &str) -> SearchToken {
        let digest = mac_of_parts(&self.search_key, &[tenant.uuid().as_bytes(), word.as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        SearchToken::new(i64::from_be_bytes(first))
    }

    /// Tokens of all words and prefixes by which a personal text is found.
    pub fn search_tokens(&self, tenant: TenantId, text: &str) -> BTreeSet<SearchToken> {
        search_prefixes(text).iter().map(|word| self.search_token(tenant, word)).collect()
    }
}

/// Sealer of the fields of one command, with the keys fetched so far.
struct CommandSealer<'a> {
    vault: &'a Vault,
    tenant: TenantId,
    keys: HashMap<Uuid, DataKey>,
    sealed: HashSet<Sealed>,
    /// The person whose key must be fetched before sealing can continue.
    missing: Option<Uuid>,
}

impl Sealer for CommandSealer<'_> {
    fn seal(&mut self, person: Uuid, field: &str, text: &str, folded: Option<&str>) -> Result<Sealed, SealError> {
        let Some(key) = self.keys.get(&person) else {
            self.missing = Some(person);
            return Err(SealError::KeyStoreUnavailable);
        };
        let digest = mac_of_parts(&key.key, &[b"nonce", field.as_bytes(), text.as_bytes()]);
        let mut nonce = [0; 24];
        nonce.copy_from_slice(&digest[..24]);
        let cipher = XChaCha20Poly1305::new((&*key.key).into());
        let aad = associated_data(self.tenant, person, field);
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: text.as_bytes(), aad: &aad })
            .map_err(|_| SealError::KeyStoreUnavailable)?;
        let ciphertext = Ciphertext { person, nonce, sealed }.encode();
        let index = folded.map(|folded| self.vault.blind_index(self.tenant, field, folded));
        let sealed = Sealed::new(&ciphertext, index.as_deref());
        self.sealed.insert(sealed.clone());
        Ok(sealed)
    }

    fn has_sealed(&self, sealed: &Sealed) -> bool {
        self.sealed.contains(sealed)
    }
}

/// Ciphertext of a field: person, nonce and sealed bytes, joined in base64.
struct Ciphertext {
    person: Uuid,
    nonce: [u8; 24],
    sealed: Vec<u8>,
}

impl Ciphertext {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.person.as_bytes(), self.nonce.as_slice(), &self.sealed].concat())
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (person, rest) = bytes.split_first_chunk::<16>()?;
        let (nonce, sealed) = rest.split_first_chunk::<24>()?;
        Some(Self { person: Uuid::from_bytes(*person), nonce: *nonce, sealed: sealed.to_vec() })
    }
}

fn associated_data(tenant: TenantId, person: Uuid, field: &str) -> Vec<u8> {
    [tenant.uuid().as_bytes(), person.as_bytes(), field.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by an independent implementation of XChaCha20-Poly1305 and HMAC in Python.
    #[tokio::test]
    async fn sealed_fields_and_digests_never_change() {
        let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key");
        let pool = PgPool::connect_lazy("postgres://unused.invalid/unused").expect("a URL");
        let (vault, tenant, person) = (Vault::new(pool, &outer), TenantId::new(Uuid::from_u128(1)), Uuid::from_u128(2));
        assert_eq!(vault.fingerprint("body"), "2.AjbNqH3_lwniEOGd-0T52w");
        assert_eq!(vault.body_fingerprint(b"body"), "1.AjbNqH3_lwniEOGd-0T52w");
        assert_eq!(vault.blind_index(tenant, "email", "anna@example.com"), "kzxNaFjgKMQSVsV_qzGa8Q");

        let keys = HashMap::from([(person, DataKey { key: Zeroizing::new([7; 32]), unstored: None })]);
        let mut sealer = CommandSealer { vault: &vault, tenant, keys, sealed: HashSet::new(), missing: None };
        let sealed = sealer.seal(person, "email", "Anna@Example.com", Some("anna@example.com")).expect("sealed");
        let ciphertext =
            "AAAAAAAAAAAAAAAAAAAAAidmJgJmTC-sboO9vcGn-YJz5EsEETcdnzdyOpxcNUwQ_8UAvn-hjj6H3p59tGVSusi9j82CSvvE";
        assert_eq!(sealed.as_str(), format!("sealed.v1.{ciphertext}.kzxNaFjgKMQSVsV_qzGa8Q"));
    }
    #[tokio::test]
    async fn search_tokens_depend_on_key_tenant_and_word() {
        let key = |text| OuterKey::from_base64(text).expect("a key");
        let pool = || PgPool::connect_lazy("postgres://unused.invalid/unused").expect("a URL");
        let vault = Vault::new(pool(), &key("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        let other = Vault::new(pool(), &key("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
        let (one, two) = (TenantId::new(Uuid::from_u128(1)), TenantId::new(Uuid::from_u128(2)));
        assert_eq!(vault.search_tokens(one, "Zoë Li"), vault.search_tokens(one, "li ZOE"));
        assert!(vault.search_tokens(one, "Zoë Li").contains(&vault.search_token(one, "zoe")));
        for tokens in [vault.search_tokens(two, "Zoë Li"), other.search_tokens(one, "Zoë Li")] {
            assert!(tokens.is_disjoint(&vault.search_tokens(one, "Zoë Li")));
        }
    }
}
