//! Typed ids. An id is a UUID made by the caller (best version 7), or a UUIDv5 derived from a natural key.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::normal_form::composed;
use super::{Invalid, string_value};
use crate::kernel::StreamId;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Derives the id of a natural key within a tenant or another scope (UUIDv5).
            pub fn derived(scope: Uuid, key: &str) -> Self {
                let name = format!(concat!(stringify!($name), ":{}"), composed(key));
                Self(Uuid::new_v5(&scope, name.as_bytes()))
            }
        }

        impl StreamId for $name {
            fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                parse(text).map(Self)
            }
        }

        string_value!($name, stringify!($name), { "type": "string", "format": "uuid" });
    )*};
}

ids! {
    /// A tenant: an organisation that runs its shop on the platform.
    TenantId
    /// A store of a tenant: a storefront, a till, a channel.
    StoreId
    /// A customer of one tenant.
    CustomerId
    /// A product.
    ProductId
    /// The platform's decisions about one product of one tenant; the id is derived from both.
    ProductRestrictionId
    /// A variant of a product, such as a size.
    VariantId
    /// A category of products.
    CategoryId
    /// Stock of one product at one store; the id is derived from both.
    StockItemId
    /// A reservation of stock; the id is made by the caller, or derived from the order that holds the units.
    ReservationId
    /// A purchase from one tenant.
    OrderId
    /// The sales receipt of an order; the id is derived from the order.
    SalesReceiptId
    /// The numbers of a tenant's sales receipts of one year; the id is derived from both.
    ReceiptBookId
    /// A flash sale; the id is made by the caller that schedules it.
    FlashSaleId
    /// An occasion with flash sales of several products; the id is made by the caller that schedules it.
    SaleOccasionId
    /// A customer in a flash sale; the id is derived from both.
    SaleEntryId
    /// A customer's points; the id is derived from the customer.
    LoyaltyAccountId
    /// One reason for points, such as an order; the id is derived from the customer and the reason.
    EarningId
    /// A redemption: the purchase of a reward with points.
    RedemptionId
    /// A reward that points buy.
    RewardId
    /// A webhook subscription; the id is made by the caller that subscribes.
    WebhookSubscriptionId
    /// The settlement of an order; the id is derived from the order.
    SaleSettlementId
    /// A payout of the platform to a tenant; the id is made by the caller that requests it.
    PayoutId
    /// A review of a product or a store; the id is derived from the order and its subject.
    ReviewId
    /// A report of a review; the id is made by the caller that files it.
    ReviewReportId
    /// A question about a product; the id is made by the caller that asks it.
    QuestionId
    /// An answer to a question; the id is made by the caller that gives it.
    AnswerId
    /// A post of a tenant; the id is made by the caller that publishes it.
    PostId
    /// A like or a vote; the id is derived from the customer, its kind and its object.
    RelationId
    /// A tier that customers reach by spending; the id is made by the caller that adds it.
    TierId
    /// A customer's tier and spending; the id is derived from the customer.
    MembershipId
    /// A badge that customers earn; the id is made by the caller that defines it.
    BadgeId
    /// A customer's badge; the id is derived from both.
    BadgeAwardId
    /// A customer who brings friends; the id is derived from the customer.
    AdvocateId
    /// The referral of a friend; the id is derived from the friend.
    ReferralId
    /// A cart; the id is made by the caller that puts the first product into it.
    CartId
    /// A wishlist; the id is made by the caller that creates it.
    WishlistId
    /// A saved payment method; the id is made by the caller that adds it.
    PaymentMethodId
    /// A command; the id is made by its sender.
    CommandId
    /// An event; the id is derived from its command.
    EventId
    /// A sender of commands: a person, a device, or the engine itself.
    Principal
    /// An activity; the id is derived from the command that recorded it.
    ActivityId
    /// A claim on a unique name; the id is derived from the name.
    ClaimId
}

impl TenantId {
    /// Tenant of the platform itself: contains the registrations of all tenants and the names unique among them.
    pub const PLATFORM: Self = Self(Uuid::from_u128(0x0ca2_7001_0000_7000_8000_0000_0000_0001));
}

impl ReservationId {
    /// Id of the reservation of an order. It differs from the id of the order, which a caller may also use for a
    /// reservation by hand.
    pub fn of_order(order: OrderId) -> Self {
        Self::derived(order.uuid(), "order")
    }
}

impl Principal {
    /// Reserved for commands sent by the engine itself: policies and timers.
    pub const ENGINE: Self = Self(Uuid::from_u128(0x0ca2_7001_0000_7000_8000_0000_0000_0002));
}

/// Accepts the hyphenated form of RFC 9562 in either case. Refuses braces, URNs, nil and max.
fn parse(text: &str) -> Result<Uuid, Invalid> {
    let id = (text.len() == 36).then(|| Uuid::try_parse(text).ok()).flatten();
    match id {
        Some(id) if !id.is_nil() && !id.is_max() => Ok(id),
        _ => Invalid::because("expected a UUID such as 0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hyphenated_form_of_a_usable_uuid_is_accepted() {
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        assert_eq!(id.parse::<OrderId>().map(|id| id.to_string()).as_deref(), Ok(id));
        assert_eq!(id.to_uppercase().parse::<OrderId>().map(|id| id.to_string()).as_deref(), Ok(id));
        for bad in [
            "",
            "5",
            "0190a5b27c3d7e4f8a9b0c1d2e3f4a5b",
            "{0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b}",
            "urn:uuid:0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ] {
            assert!(bad.parse::<OrderId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn natural_key_yields_the_same_id_for_one_type_and_different_ids_for_two() {
        let scope = TenantId::PLATFORM.uuid();
        assert_eq!(ClaimId::derived(scope, "a"), ClaimId::derived(scope, "a"));
        assert_ne!(ClaimId::derived(scope, "a").uuid(), StockItemId::derived(scope, "a").uuid());
    }
}
