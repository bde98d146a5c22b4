//! Saved payment method of a customer: a token of the payment provider, never a card number (BUY-17).
//!
//! Invariant: a method is added once; a removed one stays removed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LastDigits, TokenText};
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Fingerprint, PaymentMethodId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PaymentMethod {
    customer: Option<CustomerId>,
    /// Digest of the adding event, to recognise a repeat.
    added: Option<Fingerprint>,
    removed: bool,
}

/// Kind of a payment method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethodKind {
    Card,
    Wallet,
    BankAccount,
    MobileMoney,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum PaymentMethodEvent {
    /// A customer saved a payment method.
    #[serde(rename = "payment_method.added")]
    Added {
        customer: CustomerId,
        kind: PaymentMethodKind,
        provider: TokenText,
        token: TokenText,
        last_digits: Option<LastDigits>,
    },
    /// The customer removed it.
    #[serde(rename = "payment_method.removed")]
    Removed { customer: CustomerId },
}

/// Rejections of a payment method.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentMethodRejection {
    #[error("this customer has no such payment method")]
    PaymentMethodUnknown {},
    #[error("this payment method was saved already, with other data")]
    PaymentMethodExists {},
}

impl Rejection for PaymentMethodRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::PaymentMethodUnknown {} => Retry::NewId,
            Self::PaymentMethodExists {} => Retry::Never,
        }
    }
}

impl PaymentMethod {
    /// Saves the method. A repeat changes nothing.
    pub fn add(
        &self,
        customer: CustomerId,
        kind: PaymentMethodKind,
        provider: TokenText,
        token: TokenText,
        last_digits: Option<LastDigits>,
    ) -> Decision<Self> {
        let event = PaymentMethodEvent::Added { customer, kind, provider, token, last_digits };
        match self.added {
            None => Ok(vec![event]),
            Some(known) if known == Fingerprint::of(&event) => Ok(vec![]),
            Some(_) => Err(PaymentMethodRejection::PaymentMethodExists {}),
        }
    }

    /// Removes the method. A repeat changes nothing.
    pub fn remove(&self, customer: CustomerId) -> Decision<Self> {
        if self.customer != Some(customer) {
            return Err(PaymentMethodRejection::PaymentMethodUnknown {});
        }
        Ok(if self.removed { vec![] } else { vec![PaymentMethodEvent::Removed { customer }] })
    }
}

impl Aggregate for PaymentMethod {
    const TYPE: &'static str = "PaymentMethod";
    type Id = PaymentMethodId;
    type Event = PaymentMethodEvent;
    type Rejection = PaymentMethodRejection;

    fn apply(&mut self, event: &PaymentMethodEvent) {
        match event {
            PaymentMethodEvent::Added { customer, .. } => {
                self.customer = Some(*customer);
                self.added = Some(Fingerprint::of(event));
            }
            PaymentMethodEvent::Removed { .. } => self.removed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, parsed};
    use crate::testing::{Given, given};

    fn add(method: &PaymentMethod, token: &str) -> Decision<PaymentMethod> {
        method.add(ADA, PaymentMethodKind::Card, parsed("stripe"), parsed(token), Some(parsed("1111")))
    }

    fn added() -> Given<PaymentMethod> {
        let (provider, token, last_digits) = (parsed("stripe"), parsed("tok_9f2"), Some(parsed("1111")));
        let kind = PaymentMethodKind::Card;
        given([]).when(|method: &PaymentMethod| add(method, "tok_9f2")).then_once([PaymentMethodEvent::Added {
            customer: ADA,
            kind,
            provider,
            token,
            last_digits,
        }])
    }

    #[test]
    fn method_is_saved_once_and_removed_by_its_customer() {
        added().when(|method| add(method, "tok_000")).then_rejected(PaymentMethodRejection::PaymentMethodExists {});
        added().when(|method| method.remove(BEN)).then_rejected(PaymentMethodRejection::PaymentMethodUnknown {});
        added().when(|method| method.remove(ADA)).then_once([PaymentMethodEvent::Removed { customer: ADA }]);
    }
}
