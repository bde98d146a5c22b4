//! Claims of a token.

use domain::kernel::Actor;
use domain::shared::{CustomerId, Principal, Role, Seconds, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::port::Caller;

/// The claims that are read. Other claims are ignored; a token that repeats one of these is refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer of the token.
    pub iss: String,
    /// Audience: exactly this service. A list is refused, because the token would be valid elsewhere too.
    pub aud: String,
    /// Principal of the caller.
    pub sub: Principal,
    pub tenant: TenantId,
    /// Roles of the caller; never empty.
    pub roles: Vec<Role>,
    /// Customer that the token is limited to; present exactly with the role `customer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    /// Time of issue, in seconds since 1970, like `nbf` and `exp`.
    pub iat: i64,
    /// Start of validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// End of validity.
    pub exp: i64,
}

/// Tolerated clock difference between the issuer and this process, in seconds.
const LEEWAY_S: i64 = 5;

impl Claims {
    /// The caller that the claims describe. Refuses invalid combinations: no role; the engine's role or principal; an
    /// operator outside the platform's tenant, or another role in it; a customer or operator with a further role.
    pub fn caller(&self) -> Result<Caller, &'static str> {
        let (tenant, principal) = (self.tenant, self.sub);
        let is = |role| self.roles.contains(&role);
        if self.roles.is_empty() || is(Role::Engine) || principal == Principal::ENGINE {
            return Err("no role, or the engine's");
        }
        if is(Role::Operator) != (tenant == TenantId::PLATFORM) {
            return Err("an operator outside the platform's tenant, or another role in it");
        }
        let alone = self.roles.len() == 1;
        let actor = match (self.customer, is(Role::Customer), is(Role::Operator)) {
            (Some(customer), true, false) if alone => Actor::Customer(customer),
            (None, false, true) if alone => Actor::Operator(principal),
            (None, false, false) => Actor::Member(principal),
            _ => return Err("roles that exclude each other"),
        };
        Ok(Caller { tenant, principal, actor, roles: self.roles.clone(), customer: self.customer, until: self.until() })
    }

    /// End of validity by the clock of this process.
    fn until(&self) -> Timestamp {
        Timestamp::from_micros(self.exp.saturating_add(LEEWAY_S).saturating_mul(1_000_000))
    }

    /// Checks that the token is valid now and that its lifetime is not too long.
    pub(super) fn check_times(&self, now: Timestamp, lifetime_most: Seconds) -> Result<(), &'static str> {
        let now = now.micros().div_euclid(1_000_000);
        if self.exp.saturating_add(LEEWAY_S) <= now {
            return Err("expired");
        }
        if self.iat.max(self.nbf.unwrap_or(self.iat)) > now.saturating_add(LEEWAY_S) {
            return Err("not valid yet");
        }
        if self.exp <= self.iat || self.exp.saturating_sub(self.iat) > lifetime_most.0 {
            return Err("lifetime too long");
        }
        Ok(())
    }
}
