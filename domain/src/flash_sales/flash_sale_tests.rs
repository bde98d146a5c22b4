//! Tests of flash sales.

use super::*;
use crate::shared::Price;
use crate::testing::values::{ADA, BEN, STORE, at, eur, id, price, quantity};
use crate::testing::{Given, given};

const PRODUCT: ProductId = ProductId::new(id(7));

fn order(number: u128) -> OrderId {
    OrderId::new(id(number))
}

/// Five units at 4.00 USD from second 100 to second 1,000, at most three for a customer.
fn terms() -> SaleTerms {
    let (starts_at, ends_at) = (at(100), at(1_000));
    SaleTerms { starts_at, ends_at, allotment: quantity(5), price: price(400), limit: Some(quantity(3)) }
}

fn scheduled() -> Given<FlashSale> {
    given([])
        .when(|sale: &FlashSale| sale.schedule(None, PRODUCT, STORE, &terms(), price(900), at(0)))
        .then_once([FlashSaleEvent::Scheduled { product: PRODUCT, store: STORE, terms: terms(), occasion: None }])
}

fn claimed(number: u128, customer: CustomerId, count: i64, until: i64) -> FlashSaleEvent {
    FlashSaleEvent::Claimed { order: order(number), customer, units: quantity(count), until: at(until) }
}

fn claim(sale: &FlashSale, number: u128, customer: CustomerId, count: i64, now: i64) -> Decision<FlashSale> {
    sale.claim(order(number), customer, quantity(count), at(now.saturating_add(900)), at(now))
}

/// Ada and Ben have claimed all five units at second 100.
fn sold_out() -> Given<FlashSale> {
    scheduled()
        .when(|sale| claim(sale, 1, ADA, 3, 100))
        .then_once([claimed(1, ADA, 3, 1_000)])
        .when(|sale| claim(sale, 2, BEN, 2, 100))
        .then_once([claimed(2, BEN, 2, 1_000), FlashSaleEvent::SoldOut {}])
}

#[test]
fn terms_that_make_no_sale_are_rejected() {
    let rejected = |terms: SaleTerms, rejection| {
        given([])
            .when(|sale: &FlashSale| sale.schedule(None, PRODUCT, STORE, &terms, price(900), at(0)))
            .then_rejected(rejection);
    };
    let window = |starts_at, ends_at| FlashSaleRejection::SaleWindowEmpty { starts_at, ends_at };
    rejected(SaleTerms { ends_at: at(100), ..terms() }, window(at(100), at(100)));
    rejected(SaleTerms { starts_at: at(-9), ends_at: at(0), ..terms() }, window(at(-9), at(0)));
    let not_reduced = FlashSaleRejection::SalePriceNotReduced { normal: price(900) };
    rejected(SaleTerms { price: price(900), ..terms() }, not_reduced.clone());
    rejected(SaleTerms { price: Price::zero(eur()), ..terms() }, not_reduced);
    let large = SaleTerms { allotment: quantity(ALLOTMENT_MOST.saturating_add(1)), ..terms() };
    rejected(large, FlashSaleRejection::AllotmentTooLarge { most: ALLOTMENT_MOST });
}

#[test]
fn terms_change_until_the_start_and_not_after_it() {
    let dearer = SaleTerms { price: price(500), ..terms() };
    scheduled()
        .when(|sale| sale.change(&dearer, price(900), at(99)))
        .then_once([FlashSaleEvent::Changed { terms: dearer.clone() }]);
    // The start counts by time, also before it is recorded.
    scheduled()
        .when(|sale| sale.change(&dearer, price(900), at(100)))
        .then_rejected(FlashSaleRejection::SaleStarted {});
    scheduled().when(|sale| sale.change(&terms(), price(900), at(100))).then_nothing();
    scheduled()
        .when(|sale| sale.schedule(None, PRODUCT, STORE, &dearer, price(900), at(0)))
        .then_rejected(FlashSaleRejection::SaleExists {});
}

#[test]
fn window_of_a_sale_in_an_occasion_does_not_change_and_its_price_does() {
    let occasion = Some(SaleOccasionId::new(id(9)));
    let scheduled = || {
        given([])
            .when(|sale: &FlashSale| sale.schedule(occasion, PRODUCT, STORE, &terms(), price(900), at(0)))
            .then_once([FlashSaleEvent::Scheduled { product: PRODUCT, store: STORE, terms: terms(), occasion }])
    };
    let (later, dearer) = (SaleTerms { ends_at: at(1_001), ..terms() }, SaleTerms { price: price(500), ..terms() });
    scheduled()
        .when(|sale| sale.change(&later, price(900), at(99)))
        .then_rejected(FlashSaleRejection::SaleInOccasion {});
    scheduled()
        .when(|sale| sale.change(&dearer, price(900), at(99)))
        .then_once([FlashSaleEvent::Changed { terms: dearer.clone() }]);
    scheduled()
        .when(|sale| sale.schedule(None, PRODUCT, STORE, &terms(), price(900), at(0)))
        .then_rejected(FlashSaleRejection::SaleExists {});
}

#[test]
fn unknown_sale_rejects_every_verb() {
    let unknown = || FlashSaleRejection::SaleUnknown {};
    given([]).when(|sale: &FlashSale| sale.change(&terms(), price(900), at(0))).then_rejected(unknown());
    given([]).when(|sale: &FlashSale| sale.cancel(at(0))).then_rejected(unknown());
    given([]).when(|sale: &FlashSale| claim(sale, 1, ADA, 1, 100)).then_rejected(unknown());
    given([]).when(|sale: &FlashSale| sale.record_start(at(0))).then_rejected(unknown());
}

#[test]
fn start_and_end_are_recorded_once_and_not_early() {
    scheduled().when(|sale| sale.record_start(at(99))).then_nothing();
    let started = || scheduled().when(|sale| sale.record_start(at(100))).then_once([FlashSaleEvent::Started {}]);
    started().when(|sale| sale.record_end(at(999))).then_nothing();
    started().when(|sale| sale.record_end(at(1_000))).then_once([FlashSaleEvent::Ended {}]);
    // A timer that fires after both.
    scheduled()
        .when(|sale| sale.record_end(at(1_000)))
        .then_once([FlashSaleEvent::Started {}, FlashSaleEvent::Ended {}])
        .when(|sale| sale.record_start(at(1_001)))
        .then_nothing();
}

#[test]
fn units_are_claimed_only_in_the_window_and_while_the_sale_is_not_cancelled() {
    for now in [99, 1_000] {
        scheduled().when(|sale| claim(sale, 1, ADA, 1, now)).then_rejected(FlashSaleRejection::SaleNotRunning {});
    }
    let cancelled = || scheduled().when(|sale| sale.cancel(at(500))).then_once([FlashSaleEvent::Cancelled {}]);
    cancelled().when(|sale| claim(sale, 1, ADA, 1, 500)).then_rejected(FlashSaleRejection::SaleNotRunning {});
    cancelled().when(|sale| sale.record_start(at(500))).then_nothing();
    cancelled().when(|sale| sale.record_end(at(1_000))).then_nothing();
    cancelled()
        .when(|sale| sale.change(&terms(), price(900), at(0)))
        .then_rejected(FlashSaleRejection::SaleCancelled {});
    scheduled().when(|sale| sale.cancel(at(1_000))).then_rejected(FlashSaleRejection::SaleOver {});
}

#[test]
fn customer_cannot_claim_more_than_the_limit_in_several_orders() {
    let limit = |bought| FlashSaleRejection::SaleLimitReached { most: 3, bought };
    scheduled().when(|sale| claim(sale, 1, ADA, 4, 100)).then_rejected(limit(0));
    let two = || scheduled().when(|sale| claim(sale, 1, ADA, 2, 100)).then_once([claimed(1, ADA, 2, 1_000)]);
    two().when(|sale| claim(sale, 2, ADA, 2, 101)).then_rejected(limit(2));
    two().when(|sale| claim(sale, 2, ADA, 1, 101)).then_once([claimed(2, ADA, 1, 1_001)]);
    // A cancelled order no longer counts.
    two()
        .when(|sale| sale.release(order(1)))
        .then_once([FlashSaleEvent::ClaimReleased {
            order: order(1),
            customer: ADA,
            units: 2,
            amount: None,
            buyers: None,
        }])
        .when(|sale| claim(sale, 2, ADA, 3, 101))
        .then_once([claimed(2, ADA, 3, 1_001)]);
}

#[test]
fn expired_claim_no_longer_counts_towards_the_limit_or_the_allotment() {
    let short = |sale: &FlashSale, number, customer, count, now: i64| {
        sale.claim(order(number), customer, quantity(count), at(now.saturating_add(10)), at(now))
    };
    scheduled()
        .when(|sale| short(sale, 1, ADA, 3, 100))
        .then_once([claimed(1, ADA, 3, 110)])
        .when(|sale| short(sale, 2, ADA, 3, 110))
        .then_once([FlashSaleEvent::ClaimExpired { order: order(1), customer: ADA, units: 3 }, claimed(2, ADA, 3, 120)])
        .holds(|sale| sale.left(at(110)) == Ok(2) && sale.left(at(120)) == Ok(5));
}

#[test]
fn sold_out_is_recorded_once_and_ends_when_units_come_back() {
    let left = FlashSaleRejection::SaleSoldOut { left: 0, wanted: 1 };
    sold_out().when(|sale| claim(sale, 3, BEN, 1, 101)).then_rejected(left);
    sold_out()
        .when(|sale| sale.expire(order(1), at(1_000)))
        .then_once([
            FlashSaleEvent::ClaimExpired { order: order(1), customer: ADA, units: 3 },
            FlashSaleEvent::AvailableAgain { left: 3 },
        ])
        .when(|sale| sale.expire(order(2), at(999)))
        .then_nothing();
}

#[test]
fn paid_claim_stays_until_its_order_is_cancelled() {
    let confirm =
        |sale: &FlashSale, now: i64| sale.confirm(order(1), ADA, quantity(3), at(now.saturating_add(900)), at(now));
    let (customer, units, amount) = (ADA, 3, price(1_200));
    let confirmed = FlashSaleEvent::ClaimConfirmed { order: order(1), customer, units, amount, buyers: Some(1) };
    // The claim is paid after the window, within its own time.
    scheduled()
        .when(|sale| claim(sale, 1, ADA, 3, 999))
        .then_once([claimed(1, ADA, 3, 1_899)])
        .when(|sale| confirm(sale, 1_898))
        .then_once([confirmed.clone()])
        .when(|sale| sale.expire(order(1), at(9_000)))
        .then_nothing();
    sold_out().when(|sale| confirm(sale, 200)).then_once([confirmed]).when(|sale| sale.release(order(1))).then_once([
        FlashSaleEvent::ClaimReleased { order: order(1), customer, units, amount: Some(amount), buyers: Some(0) },
        FlashSaleEvent::AvailableAgain { left: 3 },
    ]);
    sold_out().when(|sale| confirm(sale, 1_000)).then_rejected(FlashSaleRejection::SaleNotRunning {});
}

#[test]
fn amount_beyond_the_largest_price_is_rejected() {
    let largest = 1_000_000_000_000_000_i64;
    let dear = SaleTerms { price: price(largest.saturating_sub(1)), ..terms() };
    given([])
        .when(|sale: &FlashSale| sale.schedule(None, PRODUCT, STORE, &dear, price(largest), at(0)))
        .then_once([FlashSaleEvent::Scheduled { product: PRODUCT, store: STORE, terms: dear.clone(), occasion: None }])
        .when(|sale| claim(sale, 1, ADA, 2, 100))
        .then_once([claimed(1, ADA, 2, 1_000)])
        .when(|sale| sale.confirm(order(1), ADA, quantity(2), at(1_000), at(101)))
        .then_rejected(FlashSaleRejection::SaleAmountTooLarge {});
}

#[test]
fn customer_with_two_paid_orders_is_one_buyer() {
    let claimed = |sale: &FlashSale, number, customer| claim(sale, number, customer, 1, 100);
    let confirm =
        |sale: &FlashSale, number, customer| sale.confirm(order(number), customer, quantity(1), at(999), at(101));
    let mut sale = scheduled().into_state();
    let mut buyers = vec![];
    let mut decide = |sale: &mut FlashSale, decision: Decision<FlashSale>| {
        for event in decision.expect("a decision") {
            sale.apply(&event);
            if let FlashSaleEvent::ClaimConfirmed { buyers: Some(now), .. }
            | FlashSaleEvent::ClaimReleased { buyers: Some(now), .. } = event
            {
                buyers.push(now);
            }
        }
    };
    for (number, customer) in [(1, ADA), (2, ADA), (3, BEN)] {
        let decision = claimed(&sale, number, customer);
        decide(&mut sale, decision);
        let decision = confirm(&sale, number, customer);
        decide(&mut sale, decision);
    }
    for number in [1, 2] {
        let decision = sale.release(order(number));
        decide(&mut sale, decision);
    }
    assert_eq!(buyers, [1, 1, 2, 2, 1]);
}
