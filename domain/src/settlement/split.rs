//! Division of a sale between the platform and the seller (PAY-09).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shared::{Money, Price};

/// Commission of the platform in percent of the gross amount.
const COMMISSION_PERCENT: i64 = 3;

/// Gross amount, commission and net amount; commission + net = gross.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Split {
    pub gross: Price,
    /// Share of the platform.
    pub commission: Price,
    /// Share of the seller.
    pub net: Price,
}

impl Split {
    /// Divides the gross amount of a sale. The commission is rounded down to the minor unit, in the seller's favour.
    pub fn of_sale(gross: Price) -> Self {
        Self::with_commission(gross, part(gross.minor(), COMMISSION_PERCENT, 100))
    }

    /// Divides the refunds of a sale so far: the commission is given back in proportion, rounded down, and as a whole
    /// with the last refund.
    pub fn of_refunds(sale: Self, refunded: Price) -> Self {
        Self::with_commission(refunded, part(sale.commission.minor(), refunded.minor(), sale.gross.minor()))
    }

    /// The difference to an earlier split of the same sale; `None` if nothing was added.
    pub fn since(self, earlier: Self) -> Option<Self> {
        let gross = self.gross.minus(earlier.gross).filter(|gross| gross.minor() > 0)?;
        Some(Self { gross, commission: self.commission.minus(earlier.commission)?, net: self.net.minus(earlier.net)? })
    }

    /// Splits that add nothing, as before the first refund.
    pub fn zero(gross: Price) -> Self {
        let zero = Price::zero(gross.currency());
        Self { gross: zero, commission: zero, net: zero }
    }

    fn with_commission(gross: Price, commission: i64) -> Self {
        let zero = Price::zero(gross.currency());
        let commission = Price::try_from(Money { minor: commission, ..gross.money() }).unwrap_or(zero);
        Self { gross, commission, net: gross.minus(commission).unwrap_or(zero) }
    }
}

/// `amount` × `weight` ÷ `whole`, rounded down; 0 if `whole` is 0.
fn part(amount: i64, weight: i64, whole: i64) -> i64 {
    let product = i128::from(amount).saturating_mul(weight.into());
    product.checked_div(whole.into()).and_then(|part| i64::try_from(part).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::values::price;

    fn minor(split: Split) -> (i64, i64, i64) {
        (split.gross.minor(), split.commission.minor(), split.net.minor())
    }

    #[test]
    fn commission_is_three_percent_rounded_down() {
        assert_eq!(minor(Split::of_sale(price(10_000))), (10_000, 300, 9_700));
        assert_eq!(minor(Split::of_sale(price(99))), (99, 2, 97));
        assert_eq!(minor(Split::of_sale(price(0))), (0, 0, 0));
    }

    #[test]
    fn refunds_give_back_the_commission_in_proportion() {
        let sale = Split::of_sale(price(10_000));
        let half = Split::of_refunds(sale, price(5_001));
        assert_eq!(minor(half), (5_001, 150, 4_851));
        let rest = Split::of_refunds(sale, price(10_000)).since(half).expect("a rest");
        assert_eq!(minor(rest), (4_999, 150, 4_849));
        assert_eq!(half.since(half), None);
        assert_eq!(half.since(Split::zero(price(1))), Some(half));
    }

    proptest! {
        fn parts_add_up(gross in 0..=1_000_000_000_000_000_i64, refunded in 0..=1_000_000_000_000_000_i64) {
            let sale = Split::of_sale(price(gross));
            prop_assert_eq!(sale.commission.minor().checked_add(sale.net.minor()), Some(gross));
            let refunds = Split::of_refunds(sale, price(refunded.min(gross)));
            prop_assert_eq!(refunds.commission.minor().checked_add(refunds.net.minor()), Some(refunded.min(gross)));
            prop_assert!(refunds.commission.minor() <= sale.commission.minor());
        }
    }

    #[test]
    fn commission_and_net_add_up_to_every_gross_amount() {
        parts_add_up();
        proofs::proven("PAY-09 commission and net add up to every gross amount");
    }
}
