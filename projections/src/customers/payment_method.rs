//! Saved payment methods of a customer (BUY-17). Tokens are not shown.

use domain::customers::{LastDigits, PaymentMethodEvent, PaymentMethodKind, TokenText};
use domain::kernel::Recorded;
use domain::shared::{CustomerId, PaymentMethodId, Permission, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};

/// Payment method that a customer saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentMethod {
    /// Id of the method, chosen by the caller.
    pub method: PaymentMethodId,
    /// Customer to whom it belongs.
    pub customer: CustomerId,
    /// Kind of the method.
    pub kind: PaymentMethodKind,
    /// Name of the payment provider.
    pub provider: TokenText,
    /// Last four digits of the card or the account.
    pub last_digits: Option<LastDigits>,
    /// Time at which it was saved.
    pub added_at: Timestamp,
}

impl ReadModel for PaymentMethod {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["method"];
    const INDEXED: &'static [&'static str] = &["customer", "added_at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::customers::PaymentMethod>(Self::on_method);
    }
}

impl PaymentMethod {
    fn on_method(_: Option<Self>, event: &Recorded<PaymentMethodEvent>) -> Folded<Self> {
        Ok(match event.event.clone() {
            PaymentMethodEvent::Added { customer, kind, provider, last_digits, .. } => {
                let (method, added_at) = (PaymentMethodId::new(event.stream), event.occurred_at);
                Some(Self { method, customer, kind, provider, last_digits, added_at })
            }
            PaymentMethodEvent::Removed { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn method_is_listed_without_its_token_until_it_is_removed() {
        let customer = CustomerId::new(Uuid::from_u128(5));
        let then = |story: Story, event| {
            story.then::<domain::customers::PaymentMethod>(PaymentMethodId::new(Uuid::from_u128(9)), event)
        };
        let added = then(
            Story::new(),
            PaymentMethodEvent::Added {
                customer,
                kind: PaymentMethodKind::Card,
                provider: "stripe".parse().expect("a provider"),
                token: "tok_9f2".parse().expect("a token"),
                last_digits: Some("1111".parse().expect("digits")),
            },
        );
        let row: PaymentMethod = added.row();
        assert_eq!((row.customer, row.kind), (customer, PaymentMethodKind::Card));
        assert!(!serde_json::to_string(&row).expect("JSON").contains("tok_9f2"));
        let rows: Vec<PaymentMethod> = then(added, PaymentMethodEvent::Removed { customer }).rows();
        assert_eq!(rows, []);
    }
}
