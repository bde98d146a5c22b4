//! Customers of a tenant (BUY-01, BUY-14). Personal fields are sealed (encrypted) in rows; the API decrypts them for
//! each response.

use domain::customers::CustomerEvent;
use domain::kernel::Recorded;
use domain::shared::{CustomerId, Email, Permission, PersonName, Personal, Phone, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Customer of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Customer {
    /// Id of the customer.
    pub customer: CustomerId,
    /// Full name.
    pub name: Option<Personal<PersonName>>,
    /// Email address.
    pub email: Option<Personal<Email>>,
    /// Phone number.
    pub phone: Option<Personal<Phone>>,
    /// Keyed hash of the email address: equal addresses have equal hashes. Used to find a customer by email address.
    pub email_index: Option<String>,
    /// True if the customer signed up here; false if only imported.
    pub registered: bool,
    /// System from which the customer was last imported.
    pub source: Option<Text<100>>,
    /// Time at which the customer was first registered or imported.
    pub known_since: Timestamp,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

impl ReadModel for Customer {
    const REVISION: u32 = 2;
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["customer"];
    const INDEXED: &'static [&'static str] = &["email_index", "known_since"];
    const OWNER: Option<&'static str> = Some("customer");
    const SEARCHED: &'static [&'static str] = &["name", "email"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::customers::Customer>(Self::on_customer);
    }
}

impl Customer {
    fn on_customer(row: Option<Self>, event: &Recorded<CustomerEvent>) -> Folded<Self> {
        let exists = row.is_some();
        let mut row = row.unwrap_or_else(|| Self::new(event));
        match event.event.clone() {
            CustomerEvent::Registered { name, email, phone } => {
                row = Self { name: Some(name), email, phone, registered: true, ..row };
            }
            CustomerEvent::Imported { name, email, source } => {
                row = Self { name: name.or(row.name), email: email.or(row.email), source: Some(source), ..row };
            }
            CustomerEvent::ProfileUpdated { .. } if !exists => return Err(Unfoldable::no_row()),
            CustomerEvent::ProfileUpdated { name, email, phone } => {
                row = Self { name: Some(name), email, phone, ..row }
            }
        }
        row.email_index = row.email.as_ref().and_then(Personal::blind_index).map(Into::into);
        row.changed_at = event.occurred_at;
        Ok(Some(row))
    }

    fn new(event: &Recorded<CustomerEvent>) -> Self {
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
    fn imported_customer_who_signs_up_stays_one_customer() {
        let event = CustomerEvent::Registered { name: sealed("ada"), email: Some(sealed("mail")), phone: None };
        let row: Customer = then(imported(), event).row();
        assert!(row.registered && row.source.is_some());
        assert_eq!((row.known_since, row.changed_at), (Story::at(1), Story::at(2)));
        assert_eq!(row.email_index.as_deref(), Some("index"));
    }

    #[test]
    fn import_keeps_fields_it_does_not_contain() {
        let source = "shopify".parse().expect("a source");
        let event = CustomerEvent::Imported { name: None, email: Some(sealed("mail")), source };
        let row: Customer = then(imported(), event).row();
        assert!(row.name.is_some() && row.email.is_some() && !row.registered);
    }

    #[test]
    fn removing_the_email_address_clears_its_index() {
        let event = CustomerEvent::Registered { name: sealed("ada"), email: Some(sealed("mail")), phone: None };
        let updated = CustomerEvent::ProfileUpdated { name: sealed("ada"), email: None, phone: None };
        let row: Customer = then(then(imported(), event), updated).row();
        assert_eq!((row.email, row.email_index), (None, None));
    }
}
