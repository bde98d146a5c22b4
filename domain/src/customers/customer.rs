//! Customer of one tenant (BUY-01, BUY-14).
//!
//! Invariants: a customer registers at most once, even after an import; personal fields are sealed. A name claim makes
//! the e-mail address unique (ES-15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Email, PersonName, Personal, Phone, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Customer {
    #[serde(rename = "standing")]
    status: Status,
    profile: Profile,
}

/// Current fields, sealed; a repeat is recognised by their ciphertexts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Profile {
    name: Option<Personal<PersonName>>,
    email: Option<Personal<Email>>,
    phone: Option<Personal<Phone>>,
}

/// Knowledge of a customer: none yet, from another system, or from a registration here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Status {
    #[default]
    Unknown,
    Imported,
    Registered,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum CustomerEvent {
    /// A customer registered.
    #[serde(rename = "customer.registered")]
    Registered { name: Personal<PersonName>, email: Option<Personal<Email>>, phone: Option<Personal<Phone>> },
    /// A customer was imported from another system. Fields that are absent keep their values.
    #[serde(rename = "customer.imported")]
    Imported { name: Option<Personal<PersonName>>, email: Option<Personal<Email>>, source: Text<100> },
    /// The profile was replaced by these fields.
    #[serde(rename = "customer.profile_updated")]
    ProfileUpdated { name: Personal<PersonName>, email: Option<Personal<Email>>, phone: Option<Personal<Phone>> },
}

/// Rejections of a customer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CustomerRejection {
    #[error("there is no such customer")]
    CustomerUnknown {},
    #[error("this customer is registered already, with other data")]
    CustomerExists {},
    #[error("this customer of the other system was imported already, as {customer}")]
    SourceImported { customer: CustomerId },
}

impl Rejection for CustomerRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::CustomerExists {} | Self::SourceImported { .. } => Retry::Never,
            Self::CustomerUnknown {} => Retry::NewId,
        }
    }
}

impl Customer {
    /// Registers the customer. A repeat with the same data changes nothing.
    pub fn register(
        &self,
        name: Personal<PersonName>,
        email: Option<Personal<Email>>,
        phone: Option<Personal<Phone>>,
    ) -> Decision<Self> {
        match self.status {
            Status::Registered if self.profile.equals(&name, &email, &phone) => Ok(vec![]),
            Status::Registered => Err(CustomerRejection::CustomerExists {}),
            _ => Ok(vec![CustomerEvent::Registered { name, email, phone }]),
        }
    }

    /// Imports the fields that another system has; absent fields are kept. An import of a known customer is recorded
    /// only if a field changes.
    pub fn import(
        &self,
        name: Option<Personal<PersonName>>,
        email: Option<Personal<Email>>,
        source: Text<100>,
    ) -> Decision<Self> {
        let Profile { name: known_name, email: known_email, .. } = &self.profile;
        let unchanged = (name.is_none() || name == *known_name) && (email.is_none() || email == *known_email);
        match self.status {
            Status::Imported | Status::Registered if unchanged => Ok(vec![]),
            _ => Ok(vec![CustomerEvent::Imported { name, email, source }]),
        }
    }

    /// Replaces the whole profile; absent fields are removed.
    pub fn update_profile(
        &self,
        name: Personal<PersonName>,
        email: Option<Personal<Email>>,
        phone: Option<Personal<Phone>>,
    ) -> Decision<Self> {
        self.require_known()?;
        if self.profile.equals(&name, &email, &phone) {
            return Ok(vec![]);
        }
        Ok(vec![CustomerEvent::ProfileUpdated { name, email, phone }])
    }

    /// Rejects unless the customer is registered or imported.
    pub fn require_known(&self) -> Result<(), CustomerRejection> {
        match self.status {
            Status::Unknown => Err(CustomerRejection::CustomerUnknown {}),
            _ => Ok(()),
        }
    }

    /// Blind index of the e-mail address, as used by its name claim.
    pub fn email_index(&self) -> Option<&str> {
        self.profile.email.as_ref().and_then(Personal::blind_index)
    }
}

impl Profile {
    fn equals(
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
                *self = Self { status: Status::Registered, profile: Profile { name: Some(name), email, phone } };
            }
            CustomerEvent::ProfileUpdated { name, email, phone } => {
                self.profile = Profile { name: Some(name), email, phone };
            }
            CustomerEvent::Imported { name, email, .. } => {
                if self.status == Status::Unknown {
                    self.status = Status::Imported;
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

    /// Ciphertext and blind index of an address. The same address in another case has another ciphertext and the same
    /// index.
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
    fn customer_registers_once() {
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
    fn imported_customer_can_register() {
        imported()
            .when(|customer| customer.register(name("ada"), email("two", "ada"), None))
            .then_once([CustomerEvent::Registered { name: name("ada"), email: email("two", "ada"), phone: None }]);
    }

    #[test]
    fn second_import_is_recorded_only_if_a_field_changes() {
        imported().when(|customer| customer.import(None, email("one", "ada"), source())).then_nothing();
        imported().when(|customer| customer.import(None, None, source())).then_nothing();
        registered().when(|customer| customer.import(Some(name("ada")), email("one", "ada"), source())).then_nothing();
        imported()
            .when(|customer| customer.import(Some(name("ada")), None, source()))
            .then_once([CustomerEvent::Imported { name: Some(name("ada")), email: None, source: source() }])
            .holds(|customer| customer.email_index() == Some("ada"));
    }

    #[test]
    fn import_without_fields_makes_the_customer_known() {
        given([])
            .when(|customer: &Customer| customer.import(None, None, source()))
            .then_once([CustomerEvent::Imported { name: None, email: None, source: source() }])
            .holds(|customer| customer.require_known() == Ok(()));
    }

    #[test]
    fn profile_is_replaced_as_a_whole() {
        registered().when(|customer| customer.update_profile(name("ada"), email("one", "ada"), None)).then_nothing();
        registered()
            .when(|customer| customer.update_profile(name("ada"), None, None))
            .then_once([CustomerEvent::ProfileUpdated { name: name("ada"), email: None, phone: None }])
            .holds(|customer| customer.email_index().is_none());
    }

    #[test]
    fn address_in_another_case_changes_the_profile_and_keeps_the_index() {
        let two = || email("two", "ada");
        registered()
            .when(|customer| customer.update_profile(name("ada"), two(), phone()))
            .then_once([CustomerEvent::ProfileUpdated { name: name("ada"), email: two(), phone: phone() }])
            .holds(|customer| customer.email_index() == Some("ada"));
    }

    #[test]
    fn profile_of_an_unknown_customer_cannot_be_updated() {
        given([])
            .when(|customer: &Customer| customer.update_profile(name("ada"), None, None))
            .then_rejected(CustomerRejection::CustomerUnknown {});
    }
}
