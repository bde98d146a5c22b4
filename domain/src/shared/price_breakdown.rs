//! Price breakdown: the parts from which the total of an order follows (ORD-17). Frozen when the order is placed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PositivePoints, Price, Text};

/// Parts of a price and their sum: total = goods − discounts − points + shipping + tax + fees. All amounts are in the
/// currency of the total. Only the `with_…` methods change a part, and they keep the total equal to the sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceBreakdown {
    /// Sum of the lines before any deduction.
    goods: Price,
    /// Deductions, in the order in which they were made.
    discounts: Vec<Discount>,
    /// Points that pay for a part of the price.
    points: Option<PointsPayment>,
    /// Cost of shipping.
    shipping: Price,
    /// Tax that is added to the prices; zero where the prices include it.
    tax: Price,
    /// Further costs, such as that of a method of payment.
    fees: Vec<Fee>,
    /// Rule by which an amount is divided among lines.
    rounding: Rounding,
    /// Amount that the customer owes.
    total: Price,
}

/// A deduction from the price of the goods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Discount {
    /// Origin of the discount, such as the code of a coupon.
    pub source: Text<100>,
    /// Version of the rule at the time of the order.
    pub rule_version: u32,
    /// The whole deduction.
    pub amount: Price,
    /// Its part for each line, in minor units, in the order of the lines.
    pub shares: Vec<i64>,
}

/// Points that pay for a part of the price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointsPayment {
    /// Number of points.
    pub points: PositivePoints,
    /// Amount that they pay for.
    pub amount: Price,
}

/// A cost beside the goods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fee {
    /// Purpose of the fee.
    pub name: Text<100>,
    /// Its amount.
    pub amount: Price,
}

/// Rule by which an amount is divided among lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// Each share is rounded down; the minor units that are left go one each to the shares with the largest
    /// remainders; among equal remainders, to the earlier line first (the method of Hamilton).
    LargestRemainder,
}

/// Reason for which a part cannot be added to a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// A part is in another currency, or the sum is larger than a price can be.
    #[error("the parts of a price cannot be added")]
    NoSum,
    /// A deduction is larger than the amount from which it is deducted.
    #[error("the deductions exceed the price")]
    BelowZero,
    /// The shares of a discount do not add up to its amount.
    #[error("the shares of a discount differ from its amount")]
    SharesDiffer,
}

impl PriceBreakdown {
    /// Goods without any other part.
    pub fn of_goods(goods: Price) -> Self {
        let none = Price::zero(goods.currency());
        Self {
            goods,
            discounts: vec![],
            points: None,
            shipping: none,
            tax: none,
            fees: vec![],
            rounding: Rounding::LargestRemainder,
            total: goods,
        }
    }

    /// Amount that the customer owes.
    pub fn total(&self) -> Price {
        self.total
    }

    /// Sum of the lines before any deduction.
    pub fn goods(&self) -> Price {
        self.goods
    }

    /// Sum of all discounts.
    pub fn discount(&self) -> Price {
        self.sum(self.discounts.iter().map(|discount| discount.amount))
    }

    /// Amount that points pay for.
    pub fn paid_with_points(&self) -> Price {
        self.sum(self.points.iter().map(|points| points.amount))
    }

    pub fn shipping(&self) -> Price {
        self.shipping
    }

    pub fn tax(&self) -> Price {
        self.tax
    }

    /// Sum of all fees.
    pub fn fees(&self) -> Price {
        self.sum(self.fees.iter().map(|fee| fee.amount))
    }

    /// Sum of parts of this price, which `with_…` has added up before.
    fn sum(&self, mut parts: impl Iterator<Item = Price>) -> Price {
        let none = Price::zero(self.total.currency());
        parts.try_fold(none, Price::plus).unwrap_or(none)
    }

    /// Deducts a discount; its shares must add up to its amount.
    pub fn with_discount(mut self, discount: Discount) -> Result<Self, PriceError> {
        let shares = discount.shares.iter().try_fold(0_i64, |sum, share| sum.checked_add(*share));
        if shares != Some(discount.amount.minor()) {
            return Err(PriceError::SharesDiffer);
        }
        self.total = less(self.total, discount.amount)?;
        self.discounts.push(discount);
        Ok(self)
    }

    /// Deducts the amount that points pay for. A second call replaces the first; it does not add to it.
    pub fn with_points(mut self, points: PointsPayment) -> Result<Self, PriceError> {
        let before = self.points.take().map_or(Price::zero(self.total.currency()), |earlier| earlier.amount);
        self.total = less(more(self.total, before)?, points.amount)?;
        self.points = Some(points);
        Ok(self)
    }

    /// Increases the cost of shipping, and with it the total, by this amount.
    pub fn with_shipping(mut self, amount: Price) -> Result<Self, PriceError> {
        self.total = more(self.total, amount)?;
        self.shipping = more(self.shipping, amount)?;
        Ok(self)
    }

    /// Increases the tax, and with it the total, by this amount.
    pub fn with_tax(mut self, amount: Price) -> Result<Self, PriceError> {
        self.total = more(self.total, amount)?;
        self.tax = more(self.tax, amount)?;
        Ok(self)
    }

    /// Adds a fee.
    pub fn with_fee(mut self, fee: Fee) -> Result<Self, PriceError> {
        self.total = more(self.total, fee.amount)?;
        self.fees.push(fee);
        Ok(self)
    }
}

fn more(to: Price, amount: Price) -> Result<Price, PriceError> {
    to.plus(amount).ok_or(PriceError::NoSum)
}

fn less(from: Price, amount: Price) -> Result<Price, PriceError> {
    match from.currency() == amount.currency() {
        true => from.minus(amount).ok_or(PriceError::BelowZero),
        false => Err(PriceError::NoSum),
    }
}

/// Divides an amount in proportion to the weights, by [`Rounding::LargestRemainder`]. One share per weight; they
/// add up to the amount. If no weight is above zero, the first share is the whole amount. No weights: no shares.
pub fn divide(amount: i64, weights: &[i64]) -> Vec<i64> {
    let weights: Vec<i128> = weights.iter().map(|weight| i128::from((*weight).max(0))).collect();
    let sum: i128 = weights.iter().sum();
    if sum == 0 {
        return (0..weights.len()).map(|index| if index == 0 { amount } else { 0 }).collect();
    }
    let exact = |weight: &i128| i128::from(amount).saturating_mul(*weight);
    let mut shares: Vec<i64> =
        weights.iter().map(|weight| i64::try_from(exact(weight).div_euclid(sum)).unwrap_or(0)).collect();
    let left = amount.saturating_sub(shares.iter().sum());
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|&index| weights.get(index).map(|weight| std::cmp::Reverse(exact(weight).rem_euclid(sum))));
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(0)) {
        if let Some(share) = shares.get_mut(index) {
            *share = share.saturating_add(1);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::shared::Money;

    fn price(minor: i64) -> Price {
        Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
    }

    fn discount(amount: i64, shares: Vec<i64>) -> Discount {
        Discount { source: "SAVE10".parse().expect("a text"), rule_version: 3, amount: price(amount), shares }
    }

    #[test]
    fn total_is_the_sum_of_all_parts() {
        let points = PointsPayment { points: PositivePoints::try_from(500).expect("points"), amount: price(50) };
        let fee = Fee { name: "Cash on delivery".parse().expect("a text"), amount: price(200) };
        let breakdown = PriceBreakdown::of_goods(price(1000))
            .with_discount(discount(100, vec![60, 40]))
            .and_then(|price| price.with_points(points.clone()))
            .and_then(|price| price.with_points(points))
            .and_then(|breakdown| breakdown.with_shipping(price(499)))
            .and_then(|breakdown| breakdown.with_tax(price(70)))
            .and_then(|breakdown| breakdown.with_fee(fee))
            .expect("a sum");
        assert_eq!(breakdown.total(), price(1619));
        assert_eq!(PriceBreakdown::of_goods(price(7)).total(), price(7));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let goods = || PriceBreakdown::of_goods(price(100));
        assert_eq!(goods().with_discount(discount(101, vec![101])), Err(PriceError::BelowZero));
        assert_eq!(goods().with_discount(discount(10, vec![4, 5])), Err(PriceError::SharesDiffer));
        let euros = Money { minor: 5, currency: "EUR".parse().expect("a currency") };
        assert_eq!(goods().with_shipping(Price::try_from(euros).expect("a price")), Err(PriceError::NoSum));
    }

    #[test]
    fn remainders_go_to_the_largest_fractions_and_first_to_the_first() {
        assert_eq!(divide(100, &[1, 1, 1]), [34, 33, 33]);
        assert_eq!(divide(10, &[5, 3, 1]), [6, 3, 1]);
        assert_eq!(divide(5, &[0, 0]), [5, 0]);
        assert_eq!(divide(0, &[3, 4]), [0, 0]);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_stay_close_to_proportion(
            amount in 0..1_000_000_000_000_i64,
            weights in prop::collection::vec(0..1_000_000_000_000_i64, 1..20),
        ) {
            let shares = divide(amount, &weights);
            prop_assert_eq!(shares.iter().sum::<i64>(), amount);
            let sum: i128 = weights.iter().copied().map(i128::from).sum();
            for (share, weight) in shares.iter().zip(&weights) {
                let exact = i128::from(amount).saturating_mul(i128::from(*weight)).checked_div(sum);
                if let Some(exact) = exact {
                    prop_assert!(exact.abs_diff(i128::from(*share)) <= 1);
                }
            }
        }
    }
}
