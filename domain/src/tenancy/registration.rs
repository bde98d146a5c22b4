//! A merchant's sign-up, in the platform's own tenant (TEN-01). A policy opens the tenant in its lane from it.
//!
//! Invariant: a tenant is registered once. That nobody else has the subdomain or the address is a claim (ES-15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Email, Personal, Slug, TenantId, Title, Zone};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Registration {
    registered: Option<Registered>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Registered {
    name: Title,
    subdomain: Slug,
    contact_email: Personal<Email>,
    currency: Currency,
    zone: Zone,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RegistrationEvent {
    /// An organisation wants to run shops here. The id of the stream is the id of the tenant.
    #[serde(rename = "tenant.registered")]
    Registered { name: Title, subdomain: Slug, contact_email: Personal<Email>, currency: Currency, zone: Zone },
}

/// Why an organisation could not register.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RegistrationRejection {
    #[error("this tenant is registered already, with other data")]
    AlreadyRegistered {},
}

impl Rejection for RegistrationRejection {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Registration {
    /// Registers an organisation. Sending the same again changes nothing.
    pub fn register(
        &self,
        name: Title,
        subdomain: Slug,
        contact_email: Personal<Email>,
        currency: Currency,
        zone: Zone,
    ) -> Decision<Self> {
        let Some(known) = &self.registered else {
            return Ok(vec![RegistrationEvent::Registered { name, subdomain, contact_email, currency, zone }]);
        };
        let same = known.contact_email.same_as(&contact_email)
            && (&known.name, &known.subdomain, known.currency, &known.zone) == (&name, &subdomain, currency, &zone);
        if same { Ok(vec![]) } else { Err(RegistrationRejection::AlreadyRegistered {}) }
    }
}

impl Aggregate for Registration {
    const TYPE: &'static str = "Registration";
    type Id = TenantId;
    type Event = RegistrationEvent;
    type Rejection = RegistrationRejection;

    fn apply(&mut self, event: &RegistrationEvent) {
        let RegistrationEvent::Registered { name, subdomain, contact_email, currency, zone } = event.clone();
        self.registered = Some(Registered { name, subdomain, contact_email, currency, zone });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Sealed;
    use crate::testing::given;

    fn address(ciphertext: &str) -> Personal<Email> {
        Personal::Sealed(Sealed::new(ciphertext, Some("ada")))
    }

    fn register(
        registration: &Registration,
        subdomain: &str,
        contact_email: Personal<Email>,
    ) -> Decision<Registration> {
        registration.register(
            "Ada's Mugs".parse().expect("a name"),
            subdomain.parse().expect("a subdomain"),
            contact_email,
            "USD".parse().expect("a currency"),
            "Europe/Berlin".parse().expect("a zone"),
        )
    }

    fn registered() -> RegistrationEvent {
        register(&Registration::default(), "adas-mugs", address("one")).expect("a decision").remove(0)
    }

    #[test]
    fn a_tenant_is_registered_once_even_if_its_address_was_sealed_anew() {
        given([])
            .when(|registration| register(registration, "adas-mugs", address("one")))
            .then_once([registered()])
            .when(|registration| register(registration, "adas-mugs", address("two")))
            .then_nothing();
    }

    #[test]
    fn a_registered_tenant_is_not_registered_with_other_data() {
        given([registered()])
            .when(|registration| register(registration, "adas-cups", address("one")))
            .then_rejected(RegistrationRejection::AlreadyRegistered {});
    }
}
