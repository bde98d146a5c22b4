//! A person in one tenant (BUY-01, BUY-14).
//!
//! Invariants: a customer registers once, also after having been imported; what is personal is seen here only sealed.
//! That nobody else has the address is a claim of its own (ES-15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Email, PersonName, Personal, Phone, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Customer {
    standing: Standing,
    profile: Profile,
}

/// The sealed words last told, by which a repeat is recognised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Profile {
    name: Option<Personal<PersonName>>,
    email: Option<Personal<Email>>,
    phone: Option<Personal<Phone>>,
}

/// How the customer came to be known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Standing {
    #[default]
    Unknown,
    Imported,
    Registered,
}

/// Names and fields are the stored format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum CustomerEvent {
    /// A person signed up.
    #[serde(rename = "customer.registered")]
    Registered { name: Personal<PersonName>, email: Option<Personal<Email>>, phone: Option<Personal<Phone>> },
    /// Another system knows this person. What it does not say stays as it was.
    #[serde(rename = "customer.imported")]
    Imported { name: Option<Personal<PersonName>>, email: Option<Personal<Email>>, source: Text<100> },
    /// The profile reads like this from now on.
    #[serde(rename = "customer.profile_updated")]
    ProfileUpdated { name: Personal<PersonName>, email: Option<Personal<Email>>, phone: Option<Personal<Phone>> },
}

/// Why a customer could not be changed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CustomerRejection {
    #[error("there is no such customer")]
    CustomerUnknown {},
    #[error("this customer is registered already, with other data")]
    CustomerExists {},
}

impl Rejection for CustomerRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::CustomerExists {} => Retry::Never,
            Self::CustomerUnknown {} => Retry::NewId,
        }
    }
}

impl Customer {
    /// Signs a person up.
    pub fn register(
        &self,
        name: Personal<PersonName>,
        email: Option<Personal<Email>>,
        phone: Option<Personal<Phone>>,
    ) -> Decision<Self> {
        match self.standing {
            Standing::Registered if self.profile.reads(&name, &email, &phone) => Ok(vec![]),
            Standing::Registered => Err(CustomerRejection::CustomerExists {}),
            _ => Ok(vec![CustomerEvent::Registered { name, email, phone }]),
        }
    }

    /// Takes over what another system knows. What it does not say, and what is known already, changes nothing.
    pub fn import(
        &self,
        name: Option<Personal<PersonName>>,
        email: Option<Personal<Email>>,
        source: Text<100>,
    ) -> Decision<Self> {
        let Profile { name: known_name, email: known_email, .. } = &self.profile;
        let nothing_new = (name.is_none() || name == *known_name) && (email.is_none() || email == *known_email);
        match self.standing {
            Standing::Imported | Standing::Registered if nothing_new => Ok(vec![]),
            _ => Ok(vec![CustomerEvent::Imported { name, email, source }]),
        }
    }

    /// Replaces the whole profile; what is left out is removed from it.
    pub fn update_profile(
        &self,
        name: Personal<PersonName>,
        email: Option<Personal<Email>>,
        phone: Option<Personal<Phone>>,
    ) -> Decision<Self> {
        self.require_known()?;
        if self.profile.reads(&name, &email, &phone) {
            return Ok(vec![]);
        }
        Ok(vec![CustomerEvent::ProfileUpdated { name, email, phone }])
    }

    /// Says no unless the customer is known here.
    pub fn require_known(&self) -> Result<(), CustomerRejection> {
        match self.standing {
            Standing::Unknown => Err(CustomerRejection::CustomerUnknown {}),
            _ => Ok(()),
        }
    }

    /// The blind index of the address, by which it is claimed.
    pub fn email_index(&self) -> Option<&str> {
        self.profile.email.as_ref().and_then(Personal::blind_index)
    }
}

impl Profile {
    fn reads(
        &self,
        name: &Personal<PersonName>,
        email: &Option<Personal<Email>>,
        phone: &Option<Personal<Phone>>,
    ) -> bool {
        (self.name.as_ref(), &self.email, &self.phone) == (Some(name), email, phone)
    }
}

impl Aggregate for Customer {
    const TYPE: &'static str = "Customer";
    type Id = CustomerId;
    type Event = CustomerEvent;
    type Rejection = CustomerRejection;

    fn apply(&mut self, event: &CustomerEvent) {
        match event.clone() {
            CustomerEvent::Registered { name, email, phone } => {
                *self = Self { standing: Standing::Registered, profile: Profile { name: Some(name), email, phone } };
            }
            CustomerEvent::ProfileUpdated { name, email, phone } => {
                self.profile = Profile { name: Some(name), email, phone };
            }
            CustomerEvent::Imported { name, email, .. } => {
                if self.standing == Standing::Unknown {
                    self.standing = Standing::Imported;
                }
                self.profile.name = name.or(self.profile.name.take());
                self.profile.email = email.or(self.profile.email.take());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Sealed;
    use crate::testing::values::parsed;
    use crate::testing::{Given, given};

    fn name(word: &str) -> Personal<PersonName> {
        Personal::Sealed(Sealed::new(word, None))
    }

    /// Written in another case, an address has another ciphertext and the same index.
    fn email(ciphertext: &str, index: &str) -> Option<Personal<Email>> {
        Some(Personal::Sealed(Sealed::new(ciphertext, Some(index))))
    }

    fn phone() -> Option<Personal<Phone>> {
        Some(Personal::Sealed(Sealed::new("number", None)))
    }

    fn source() -> Text<100> {
        parsed("till")
    }

    fn registered() -> Given<Customer> {
        given([])
            .when(|customer: &Customer| customer.register(name("ada"), email("one", "ada"), None))
            .then_once([CustomerEvent::Registered { name: name("ada"), email: email("one", "ada"), phone: None }])
    }

    fn imported() -> Given<Customer> {
        given([])
            .when(|customer: &Customer| customer.import(None, email("one", "ada"), source()))
            .then_once([CustomerEvent::Imported { name: None, email: email("one", "ada"), source: source() }])
    }

    #[test]
    fn a_customer_registers_once() {
        registered().when(|customer| customer.register(name("ada"), email("one", "ada"), None)).then_nothing();
        for (other_name, other_email, other_phone) in [
            (name("eve"), email("one", "ada"), None),
            (name("ada"), email("two", "ben"), None),
            (name("ada"), email("one", "ada"), phone()),
        ] {
            registered()
                .when(|customer| customer.register(other_name.clone(), other_email.clone(), other_phone.clone()))
                .then_rejected(CustomerRejection::CustomerExists {});
        }
    }

    #[test]
    fn an_imported_customer_may_still_register() {
        imported()
            .when(|customer| customer.register(name("ada"), email("two", "ada"), None))
            .then_once([CustomerEvent::Registered { name: name("ada"), email: email("two", "ada"), phone: None }]);
    }

    #[test]
    fn a_second_import_writes_only_what_is_new() {
        imported().when(|customer| customer.import(None, email("one", "ada"), source())).then_nothing();
        imported().when(|customer| customer.import(None, None, source())).then_nothing();
        registered().when(|customer| customer.import(Some(name("ada")), email("one", "ada"), source())).then_nothing();
        imported()
            .when(|customer| customer.import(Some(name("ada")), None, source()))
            .then_once([CustomerEvent::Imported { name: Some(name("ada")), email: None, source: source() }])
            .holds(|customer| customer.email_index() == Some("ada"));
    }

    #[test]
    fn an_import_with_nothing_but_an_id_makes_the_customer_known() {
        given([])
            .when(|customer: &Customer| customer.import(None, None, source()))
            .then_once([CustomerEvent::Imported { name: None, email: None, source: source() }])
            .holds(|customer| customer.require_known() == Ok(()));
    }

    #[test]
    fn a_profile_is_replaced_as_a_whole() {
        registered().when(|customer| customer.update_profile(name("ada"), email("one", "ada"), None)).then_nothing();
        registered()
            .when(|customer| customer.update_profile(name("ada"), None, None))
            .then_once([CustomerEvent::ProfileUpdated { name: name("ada"), email: None, phone: None }])
            .holds(|customer| customer.email_index().is_none());
    }

    #[test]
    fn an_address_in_another_case_is_another_profile_under_the_same_index() {
        let two = || email("two", "ada");
        registered()
            .when(|customer| customer.update_profile(name("ada"), two(), phone()))
            .then_once([CustomerEvent::ProfileUpdated { name: name("ada"), email: two(), phone: phone() }])
            .holds(|customer| customer.email_index() == Some("ada"));
    }

    #[test]
    fn nobody_unknown_has_a_profile() {
        given([])
            .when(|customer: &Customer| customer.update_profile(name("ada"), None, None))
            .then_rejected(CustomerRejection::CustomerUnknown {});
    }
}
