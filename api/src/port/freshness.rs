//! The freshness token: the position up to which a client has seen its tenant's history. Opaque to clients.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A tenant position, and the epoch in which it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    pub tenant_position: i64,
    pub epoch: i64,
}

/// Reason why read models are not known to have reached a required position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// These read models did not reach the position in time.
    Models(Vec<String>),
    /// The position belongs to a history that was lost in a fail-over or a restore.
    OtherHistory,
    /// The store cannot be reached.
    Away,
}

/// Format version of the token.
const VERSION: u8 = 1;

impl Freshness {
    /// Encodes the token: 23 characters of URL-safe base64.
    pub fn to_token(self) -> String {
        let mut bytes = [VERSION; 17];
        bytes[1..9].copy_from_slice(&self.tenant_position.to_be_bytes());
        bytes[9..].copy_from_slice(&self.epoch.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes a token; `None` if the text is not one.
    pub fn from_token(token: &str) -> Option<Self> {
        let bytes: [u8; 17] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let (position, epoch) = bytes.split_last_chunk::<8>()?;
        let (version, position) = position.split_first()?;
        let tenant_position = i64::from_be_bytes(position.try_into().ok()?);
        let known = *version == VERSION && tenant_position >= 0;
        known.then_some(Self { tenant_position, epoch: i64::from_be_bytes(*epoch) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_round_trips_and_other_text_is_refused() {
        let freshness = Freshness { tenant_position: 42, epoch: -7 };
        let token = freshness.to_token();
        assert_eq!(token.len(), 23);
        assert_eq!(Freshness::from_token(&token), Some(freshness));
        for other in ["", "42", "AAAA", &token[1..], &format!("{token}="), "AgAAAAAAAAAqAAAAAAAAAAA"] {
            assert_eq!(Freshness::from_token(other), None, "{other}");
        }
        assert_eq!(Freshness::from_token(&Freshness { tenant_position: -1, epoch: 0 }.to_token()), None);
    }
}
