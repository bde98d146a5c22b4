//! Every customer of a tenant (BUY-01, BUY-14). Personal fields stay sealed; they are opened when an answer is written.

use domain::customers::CustomerEvent;
use domain::kernel::Recorded;
use domain::shared::{CustomerId, Email, Permission, PersonName, Personal, Phone, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// A person in this tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Customer {
    /// The customer.
    pub customer: CustomerId,
    /// What the customer is called.
    pub name: Option<Personal<PersonName>>,
    /// Where mail reaches the customer.
    pub email: Option<Personal<Email>>,
    /// Where calls reach the customer.
    pub phone: Option<Personal<Phone>>,
    /// What equal addresses have in common; finds a customer by her address and says nothing else about it.
    pub email_index: Option<String>,
    /// Whether the customer signed up here.
    pub registered: bool,
    /// The system the customer was imported from last.
    pub source: Option<Text<100>>,
    /// Since when the customer is known here.
    pub known_since: Timestamp,
    /// When anything about it changed last.
    pub changed_at: Timestamp,
}

impl ReadModel for Customer {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["customer"];
    const INDEXED: &'static [&'static str] = &["email_index", "known_since"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::customers::Customer>(Self::on_customer);
    }
}

impl Customer {
    fn on_customer(row: Option<Self>, event: &Recorded<CustomerEvent>) -> Folded<Self> {
        let known = row.is_some();
        let mut row = row.unwrap_or_else(|| Self::unknown(event));
        match event.event.clone() {
            CustomerEvent::Registered { name, email, phone } => {
                row = Self { name: Some(name), email, phone, registered: true, ..row };
            }
            CustomerEvent::Imported { name, email, source } => {
                row = Self { name: name.or(row.name), email: email.or(row.email), source: Some(source), ..row };
            }
            CustomerEvent::ProfileUpdated { .. } if !known => return Err(Unfoldable::no_row()),
            CustomerEvent::ProfileUpdated { name, email, phone } => {
                row = Self { name: Some(name), email, phone, ..row }
            }
        }
        row.email_index = row.email.as_ref().and_then(Personal::blind_index).map(Into::into);
        row.changed_at = event.occurred_at;
        Ok(Some(row))
    }

    fn unknown(event: &Recorded<CustomerEvent>) -> Self {
        Self {
            customer: CustomerId::new(event.stream),
            name: None,
            email: None,
            phone: None,
            email_index: None,
            registered: false,
            source: None,
            known_since: event.occurred_at,
            changed_at: event.occurred_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::Sealed;
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    fn id() -> CustomerId {
        CustomerId::new(Uuid::from_u128(5))
    }

    fn sealed<T>(text: &str) -> Personal<T> {
        Personal::Sealed(Sealed::new(text, Some("index")))
    }

    fn then(story: Story, event: CustomerEvent) -> Story {
        story.then::<domain::customers::Customer>(id(), event)
    }

    fn imported() -> Story {
        let source = "shopify".parse().expect("a source");
        then(Story::new(), CustomerEvent::Imported { name: Some(sealed("ada")), email: None, source })
    }

    #[test]
    fn an_imported_customer_who_signs_up_stays_one_customer() {
        let event = CustomerEvent::Registered { name: sealed("ada"), email: Some(sealed("mail")), phone: None };
        let row: Customer = then(imported(), event).row();
        assert!(row.registered && row.source.is_some());
        assert_eq!((row.known_since, row.changed_at), (Story::at(1), Story::at(2)));
        assert_eq!(row.email_index.as_deref(), Some("index"));
    }

    #[test]
    fn what_an_import_does_not_say_stays() {
        let source = "shopify".parse().expect("a source");
        let event = CustomerEvent::Imported { name: None, email: Some(sealed("mail")), source };
        let row: Customer = then(imported(), event).row();
        assert!(row.name.is_some() && row.email.is_some() && !row.registered);
    }

    #[test]
    fn a_profile_without_an_address_can_no_longer_be_found_by_it() {
        let event = CustomerEvent::Registered { name: sealed("ada"), email: Some(sealed("mail")), phone: None };
        let updated = CustomerEvent::ProfileUpdated { name: sealed("ada"), email: None, phone: None };
        let row: Customer = then(then(imported(), event), updated).row();
        assert_eq!((row.email, row.email_index), (None, None));
    }
}
