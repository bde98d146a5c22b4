//! Short constructors of domain values.

use std::fmt::Debug;
use std::str::FromStr;

use domain::shared::{
    CustomerId, Money, OrderId, Personal, PersonalField, Points, PositivePoints, Price, ProductId, Quantity,
    RedemptionId, RewardId, Timestamp, Units,
};
use uuid::Uuid;

/// Parses a value of any domain type.
#[track_caller]
pub(crate) fn it<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a value")
}

#[track_caller]
pub(crate) fn open<T: PersonalField>(text: &str) -> Personal<T> {
    Personal::Open(it(text))
}

pub(crate) fn instant(text: &str) -> Timestamp {
    it(text)
}

pub(crate) fn usd(minor: i64) -> Price {
    Price::try_from(Money { minor, currency: it("USD") }).expect("a price")
}

pub(crate) fn pieces(number: i64) -> Quantity {
    Quantity::try_from(number).expect("a quantity")
}

pub(crate) fn units(number: i64) -> Units {
    Units::try_from(number).expect("units")
}

pub(crate) fn points(number: i64) -> PositivePoints {
    PositivePoints::try_from(number).expect("points")
}

pub(crate) fn change(number: i64) -> Points {
    Points::try_from(number).expect("points")
}

pub(crate) fn order(number: u128) -> OrderId {
    OrderId::new(Uuid::from_u128(0x0bde_0000 + number))
}

pub(crate) fn product(number: u128) -> ProductId {
    ProductId::new(Uuid::from_u128(0x5e11_0000 + number))
}

pub(crate) fn customer(number: u128) -> CustomerId {
    CustomerId::new(Uuid::from_u128(0xc0de_0000 + number))
}

pub(crate) fn reward(number: u128) -> RewardId {
    RewardId::new(Uuid::from_u128(0x9175_0000 + number))
}

pub(crate) fn redemption(number: u128) -> RedemptionId {
    RedemptionId::new(Uuid::from_u128(0x4ede_0000 + number))
}
