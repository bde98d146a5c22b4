//! Values that tests of several modules use.

use std::fmt::Debug;
use std::str::FromStr;

use uuid::Uuid;

use crate::shared::{Currency, CustomerId, Date, Money, PositivePoints, Price, Quantity, StoreId, Timestamp, Units};

pub(crate) const ADA: CustomerId = CustomerId::new(id(1));
pub(crate) const BEN: CustomerId = CustomerId::new(id(2));
pub(crate) const STORE: StoreId = StoreId::new(id(2));

pub(crate) const fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Parses a value of any domain type.
#[track_caller]
pub(crate) fn parsed<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a valid test value")
}

pub(crate) fn today() -> Date {
    parsed("2026-11-20")
}

/// An instant, in seconds since 1970.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

pub(crate) fn usd() -> Currency {
    parsed("USD")
}

pub(crate) fn eur() -> Currency {
    parsed("EUR")
}

/// An amount in cents of USD.
pub(crate) fn money(minor: i64) -> Money {
    Money { minor, currency: usd() }
}

/// A price in cents of USD.
#[track_caller]
pub(crate) fn price(minor: i64) -> Price {
    Price::try_from(money(minor)).expect("a price")
}

#[track_caller]
pub(crate) fn points(number: i64) -> PositivePoints {
    number.try_into().expect("points")
}

#[track_caller]
pub(crate) fn quantity(number: i64) -> Quantity {
    number.try_into().expect("a quantity")
}

#[track_caller]
pub(crate) fn units(number: i64) -> Units {
    number.try_into().expect("units")
}
