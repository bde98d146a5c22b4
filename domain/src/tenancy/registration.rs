//! Registration of a tenant, and the state that the platform orders for it, as a stream of the platform's tenant
//! (TEN-01, TEN-22). Policies send each decision as a command to [`Tenant`](super::Tenant), a stream of the registered
//! tenant.
//!
//! Invariants: a tenant is registered once; every order changes the state; a closed tenant stays closed. Name claims make
//! the subdomain and the e-mail address unique (ES-15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::TenantState;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Email, Personal, Reason, Slug, TenantId, Title, Zone};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Registration {
    registered: Option<Registered>,
    /// State that was ordered last.
    state: TenantState,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Registered {
    name: Title,
    subdomain: Slug,
    contact_email: Personal<Email>,
    currency: Currency,
    zone: Zone,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RegistrationEvent {
    /// An organisation registered as a tenant. The stream id is the tenant id.
    #[serde(rename = "tenant.registered")]
    Registered { name: Title, subdomain: Slug, contact_email: Personal<Email>, currency: Currency, zone: Zone },
    /// The platform ordered that the tenant offers nothing new.
    #[serde(rename = "tenant.restriction_ordered")]
    RestrictionOrdered { reason: Reason },
    /// The platform ordered that the tenant accepts no new orders.
    #[serde(rename = "tenant.suspension_ordered")]
    SuspensionOrdered { reason: Reason },
    /// The platform ordered the end of a restriction or suspension.
    #[serde(rename = "tenant.reinstatement_ordered")]
    ReinstatementOrdered {},
    /// The platform ordered that the tenant ends for good.
    #[serde(rename = "tenant.closure_ordered")]
    ClosureOrdered { reason: Reason },
}

/// Rejections of a registration.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RegistrationRejection {
    #[error("this tenant is registered already, with other data")]
    AlreadyRegistered {},
    #[error("there is no such tenant")]
    TenantUnknown {},
    #[error("this tenant is closed for good")]
    ClosedForGood {},
}

impl Rejection for RegistrationRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::AlreadyRegistered {} | Self::ClosedForGood {} => Retry::Never,
            Self::TenantUnknown {} => Retry::NewId,
        }
    }
}

impl Registration {
    /// Registers an organisation. A repeat with the same data changes nothing.
    pub fn register(
        &self,
        name: Title,
        subdomain: Slug,
        contact_email: Personal<Email>,
        currency: Currency,
        zone: Zone,
    ) -> Decision<Self> {
        let requested = Registered { name, subdomain, contact_email, currency, zone };
        match &self.registered {
            Some(known) if *known == requested => Ok(vec![]),
            Some(_) => Err(RegistrationRejection::AlreadyRegistered {}),
            None => {
                let Registered { name, subdomain, contact_email, currency, zone } = requested;
                Ok(vec![RegistrationEvent::Registered { name, subdomain, contact_email, currency, zone }])
            }
        }
    }

    /// Orders that the tenant offers nothing new; also ends a suspension. A repeat keeps the first reason.
    pub fn restrict(&self, reason: Reason) -> Decision<Self> {
        self.order(TenantState::Restricted, RegistrationEvent::RestrictionOrdered { reason })
    }

    /// Orders that the tenant accepts no new orders. A repeat keeps the first reason.
    pub fn suspend(&self, reason: Reason) -> Decision<Self> {
        self.order(TenantState::Suspended, RegistrationEvent::SuspensionOrdered { reason })
    }

    /// Orders the end of a restriction or suspension.
    pub fn reinstate(&self) -> Decision<Self> {
        self.order(TenantState::Active, RegistrationEvent::ReinstatementOrdered {})
    }

    /// Orders that the tenant ends for good. A repeat keeps the first reason.
    pub fn close(&self, reason: Reason) -> Decision<Self> {
        self.order(TenantState::Closed, RegistrationEvent::ClosureOrdered { reason })
    }

    fn order(&self, state: TenantState, event: RegistrationEvent) -> Decision<Self> {
        match self.state {
            _ if self.registered.is_none() => Err(RegistrationRejection::TenantUnknown {}),
            current if current == state => Ok(vec![]),
            TenantState::Closed => Err(RegistrationRejection::ClosedForGood {}),
            _ => Ok(vec![event]),
        }
    }
}

impl Aggregate for Registration {
    const TYPE: &'static str = "Registration";
    // Version 2: the state in place of a flag for suspension.
    const STATE_VERSION: i32 = 2;
    type Id = TenantId;
    type Event = RegistrationEvent;
    type Rejection = RegistrationRejection;

    fn apply(&mut self, event: &RegistrationEvent) {
        match event.clone() {
            RegistrationEvent::Registered { name, subdomain, contact_email, currency, zone } => {
                self.registered = Some(Registered { name, subdomain, contact_email, currency, zone });
            }
            RegistrationEvent::RestrictionOrdered { .. } => self.state = TenantState::Restricted,
            RegistrationEvent::SuspensionOrdered { .. } => self.state = TenantState::Suspended,
            RegistrationEvent::ReinstatementOrdered {} => self.state = TenantState::Active,
            RegistrationEvent::ClosureOrdered { .. } => self.state = TenantState::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Sealed;
    use crate::testing::given;
    use crate::testing::values::parsed;

    fn address(ciphertext: &str) -> Personal<Email> {
        Personal::Sealed(Sealed::new(ciphertext, Some("ada")))
    }

    fn register(
        registration: &Registration,
        subdomain: &str,
        contact_email: Personal<Email>,
    ) -> Decision<Registration> {
        registration.register(
            parsed("Ada's Mugs"),
            subdomain.parse().expect("a subdomain"),
            contact_email,
            parsed("USD"),
            parsed("Europe/Berlin"),
        )
    }

    fn registered() -> RegistrationEvent {
        register(&Registration::default(), "adas-mugs", address("one")).expect("a decision").remove(0)
    }

    #[test]
    fn tenant_is_registered_once() {
        given([])
            .when(|registration| register(registration, "adas-mugs", address("one")))
            .then_once([registered()])
            .when(|registration| register(registration, "adas-mugs", address("one")))
            .then_nothing();
    }

    #[test]
    fn registration_with_other_data_is_rejected() {
        given([registered()])
            .when(|registration| register(registration, "adas-cups", address("one")))
            .then_rejected(RegistrationRejection::AlreadyRegistered {});
        given([registered()])
            .when(|registration| register(registration, "adas-mugs", address("two")))
            .then_rejected(RegistrationRejection::AlreadyRegistered {});
    }

    #[test]
    fn suspension_and_reinstatement_alternate() {
        let reason: Reason = parsed("fraud");
        given([registered()]).when(Registration::reinstate).then_nothing();
        given([registered()])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_once([RegistrationEvent::SuspensionOrdered { reason: reason.clone() }])
            .when(Registration::reinstate)
            .then_once([RegistrationEvent::ReinstatementOrdered {}])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_once([RegistrationEvent::SuspensionOrdered { reason: reason.clone() }]);
    }

    #[test]
    fn each_state_follows_any_other_until_the_tenant_is_closed() {
        let reason: Reason = parsed("fraud");
        given([registered()])
            .when(|registration: &Registration| registration.restrict(reason.clone()))
            .then_once([RegistrationEvent::RestrictionOrdered { reason: reason.clone() }])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_once([RegistrationEvent::SuspensionOrdered { reason: reason.clone() }])
            .when(|registration: &Registration| registration.restrict(reason.clone()))
            .then([RegistrationEvent::RestrictionOrdered { reason: reason.clone() }])
            .when(|registration: &Registration| registration.close(reason.clone()))
            .then_once([RegistrationEvent::ClosureOrdered { reason: reason.clone() }])
            .when(Registration::reinstate)
            .then_rejected(RegistrationRejection::ClosedForGood {});
    }

    #[test]
    fn unregistered_tenant_cannot_be_suspended_or_reinstated() {
        let reason: Reason = parsed("fraud");
        let unknown = RegistrationRejection::TenantUnknown {};
        given([])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_rejected(unknown.clone());
        given([]).when(Registration::reinstate).then_rejected(unknown);
    }
}
