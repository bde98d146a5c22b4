//! Signatures of Standard Webhooks 1.0, and the secrets with which messages are signed.
//!
//! Secrets are not stored: each is derived from the outer key, the tenant, the subscription and the number of its
//! generation. A copy of the database contains no secret.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::shared::{TenantId, WebhookSubscriptionId};
use vault::{KeyPurpose, OuterKey, mac_of_parts};
use zeroize::Zeroizing;

/// Key from which all webhook secrets are derived.
pub struct SigningKeys(Zeroizing<[u8; 32]>);

/// Secret of one generation of a subscription: a symmetric key and a key pair.
pub(super) struct Secret {
    shared: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

impl SigningKeys {
    pub fn new(outer: &OuterKey) -> Self {
        Self(outer.derive(KeyPurpose::Webhooks))
    }

    /// Derives the secret of a generation. The same arguments give the same secret.
    pub(super) fn secret(
        &self,
        tenant: TenantId,
        subscription: WebhookSubscriptionId,
        generation: u32,
    ) -> Result<Secret, aws_lc_rs::error::KeyRejected> {
        let derived = |purpose: &[u8]| {
            let (tenant, subscription, generation) = (tenant.uuid(), subscription.uuid(), generation.to_be_bytes());
            mac_of_parts(&self.0, &[tenant.as_bytes(), subscription.as_bytes(), &generation, purpose])
        };
        let pair = Ed25519KeyPair::from_seed_unchecked(derived(b"ed25519").as_slice())?;
        Ok(Secret { shared: derived(b"hmac-sha256"), pair })
    }
}

impl Secret {
    /// The value of the header `webhook-signature`: HMAC-SHA256 (`v1`) and Ed25519 (`v1a`).
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let signed = signed(id, timestamp, body);
        let signature = self.pair.sign(signed.as_bytes());
        format!("v1,{} v1a,{}", mac(self.shared.as_slice(), &signed), STANDARD.encode(signature.as_ref()))
    }

    /// The shared secret in the format in which it is shown to a permitted user.
    pub(super) fn shown(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.shared.as_slice()))
    }

    /// The public key that verifies the Ed25519 signatures.
    pub(super) fn public_key(&self) -> String {
        format!("whpk_{}", STANDARD.encode(self.pair.public_key().as_ref()))
    }
}

/// The signed content of a message.
fn signed(id: &str, timestamp: i64, body: &str) -> String {
    format!("{id}.{timestamp}.{body}")
}

/// HMAC-SHA256 in base64.
fn mac(shared: &[u8], signed: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, shared), signed.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use uuid::Uuid;

    use super::*;

    fn keys() -> SigningKeys {
        SigningKeys::new(&OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a key"))
    }

    fn secret(tenant: u128, subscription: u128, generation: u32) -> Secret {
        let subscription = WebhookSubscriptionId::new(Uuid::from_u128(subscription));
        keys().secret(TenantId::new(Uuid::from_u128(tenant)), subscription, generation).expect("a secret")
    }

    #[test]
    fn secrets_are_reproducible_and_differ_by_tenant_subscription_and_generation() {
        let all = [secret(1, 1, 0), secret(2, 1, 0), secret(1, 2, 0), secret(1, 1, 1)];
        let mut shown: Vec<_> = all.iter().flat_map(|secret| [secret.shown(), secret.public_key()]).collect();
        shown.sort();
        shown.dedup();
        assert_eq!(shown.len(), 8);
        assert_eq!(secret(1, 1, 0).shown(), all[0].shown());
        assert_eq!(STANDARD.decode(&all[0].shown()["whsec_".len()..]).map(|bytes| bytes.len()), Ok(32));
    }

    #[test]
    fn both_signatures_verify_for_their_message_only() {
        let secret = secret(1, 1, 0);
        let header = secret.sign("msg", 1_763_640_000, "{}");
        let (mac, signature) = header.split_once(' ').expect("two signatures");
        let mac = STANDARD.decode(mac.strip_prefix("v1,").expect("its kind")).expect("base64");
        let signature = STANDARD.decode(signature.strip_prefix("v1a,").expect("its kind")).expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(&secret.shown()[6..]).expect("base64"));
        let public = STANDARD.decode(&secret.public_key()[5..]).expect("base64");
        let public = UnparsedPublicKey::new(&ED25519, public);
        for (message, holds) in
            [("msg.1763640000.{}", true), ("msg.1763640001.{}", false), ("msg.1763640000.{ }", false)]
        {
            assert_eq!(hmac::verify(&key, message.as_bytes(), &mac).is_ok(), holds, "{message}");
            assert_eq!(public.verify(message.as_bytes(), &signature).is_ok(), holds, "{message}");
        }
    }

    #[test]
    fn the_example_of_the_specification_has_the_expected_signature() {
        // The example of the specification's reference libraries.
        let shared = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let signed = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(mac(&shared, &signed), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
