//! What a token says.

use domain::shared::{CustomerId, Principal, Role, Seconds, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

/// The claims we read; others are ignored, a claim that is there twice is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Who made the token.
    pub iss: String,
    /// Whom it is for: exactly us. A list would make it somebody else's token too.
    pub aud: String,
    /// Who is calling.
    pub sub: Principal,
    pub tenant: TenantId,
    /// Never empty.
    pub roles: Vec<Role>,
    /// The customer that a customer's token stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// When it was made, in seconds since 1970, like `nbf` and `exp`.
    pub iat: i64,
    /// From when it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Until when it counts.
    pub exp: i64,
}

/// How far the clock of whoever makes tokens may be from ours.
const LEEWAY_S: i64 = 5;

impl Claims {
    /// When the token counts no more, by our clock.
    pub(super) fn until(&self) -> Timestamp {
        Timestamp::from_micros(self.exp.saturating_add(LEEWAY_S).saturating_mul(1_000_000))
    }

    /// Whether the token counts now and does not live longer than it may.
    pub(super) fn check_times(&self, now: Timestamp, lifetime_most: Seconds) -> Result<(), &'static str> {
        let now = now.micros().div_euclid(1_000_000);
        if self.exp.saturating_add(LEEWAY_S) <= now {
            return Err("expired");
        }
        if self.iat.max(self.nbf.unwrap_or(self.iat)) > now.saturating_add(LEEWAY_S) {
            return Err("not yet");
        }
        if self.exp <= self.iat || self.exp.saturating_sub(self.iat) > lifetime_most.0 {
            return Err("lives too long");
        }
        Ok(())
    }
}
