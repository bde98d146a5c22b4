//! The rules of a stock item, one test each.

use super::*;
use crate::testing::values::{at, id, parsed, quantity, units};
use crate::testing::{Given, given};

fn hold(number: u128) -> ReservationId {
    ReservationId::new(id(number))
}

fn reserved(number: u128, pieces: i64, until: i64) -> StockEvent {
    StockEvent::Reserved { reservation: hold(number), units: quantity(pieces), until: at(until) }
}

/// An item with so many units on hand, alert at 5.
fn stocked(on_hand: i64) -> Given<StockItem> {
    let (product, store) = (ProductId::new(id(7)), StoreId::new(id(8)));
    given([])
        .when(|item: &StockItem| item.open(product, store))
        .then_once([StockEvent::Opened { product, store }])
        .when(|item| item.set_threshold(units(5)))
        .then_once([StockEvent::ThresholdSet { low_at: units(5) }])
        .when(|item| item.receive(quantity(on_hand)))
        .then([StockEvent::Received { units: quantity(on_hand) }, StockEvent::Restored { available: on_hand }])
}

#[test]
fn nothing_happens_to_a_product_that_is_not_stocked() {
    given([]).when(|item: &StockItem| item.receive(quantity(1))).then_rejected(StockRejection::NotStocked {});
}

#[test]
fn a_reservation_sets_units_aside_once() {
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(3), at(900), at(0)))
        .then_once([reserved(1, 3, 900)])
        .when(|item| item.reserve(hold(1), quantity(4), at(900), at(0)))
        .then_rejected(StockRejection::ReservationDiffers { held: 3, wanted: 4 });
}

#[test]
fn more_than_is_free_is_refused_and_everything_that_is_free_can_be_had() {
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(10), at(900), at(0)))
        .then_once([reserved(1, 10, 900), StockEvent::Depleted {}]);
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(11), at(900), at(0)))
        .then_rejected(StockRejection::OutOfStock { free: 10, wanted: 11 });
}

#[test]
fn a_passed_hold_is_free_at_once_and_is_written_down_by_whoever_needs_it() {
    let full = || {
        stocked(10)
            .when(|item| item.reserve(hold(1), quantity(10), at(900), at(0)))
            .then([reserved(1, 10, 900), StockEvent::Depleted {}])
    };
    full().holds(|item| item.free(at(899)) == 0 && item.free(at(900)) == 10);
    full()
        .when(|item| item.reserve(hold(2), quantity(1), at(1800), at(900)))
        .then_once([
            StockEvent::ReservationExpired { reservation: hold(1), units: 10 },
            reserved(2, 1, 1800),
            StockEvent::Restored { available: 9 },
        ])
        .when(|item| item.expire(hold(1), at(901)))
        .then_nothing();
}

#[test]
fn a_confirmed_hold_never_passes_and_leaves_the_house_once() {
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(3), at(900), at(0)))
        .then([reserved(1, 3, 900)])
        .when(|item| item.confirm(hold(1), at(899)))
        .then_once([StockEvent::ReservationConfirmed { reservation: hold(1) }])
        .when(|item| item.expire(hold(1), at(5000)))
        .then([])
        .when(|item| item.commit(hold(1)))
        .then([StockEvent::ReservationCommitted { reservation: hold(1), units: 3 }])
        .when(|item| item.commit(hold(1)))
        .then_rejected(StockRejection::ReservationGone { reservation: hold(1) });
}

#[test]
fn a_hold_that_passed_cannot_be_confirmed() {
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(3), at(900), at(0)))
        .then([reserved(1, 3, 900)])
        .when(|item| item.confirm(hold(1), at(900)))
        .then_rejected(StockRejection::ReservationGone { reservation: hold(1) });
}

#[test]
fn a_release_gives_back_exactly_what_was_held_once() {
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(10), at(900), at(0)))
        .then([reserved(1, 10, 900), StockEvent::Depleted {}])
        .when(|item| item.release(hold(1)))
        .then_once([
            StockEvent::ReservationReleased { reservation: hold(1), units: 10 },
            StockEvent::Restored { available: 10 },
        ])
        .holds(|item| item.free(at(0)) == 10);
}

#[test]
fn an_alert_is_raised_on_crossing_only() {
    stocked(10)
        .when(|item| item.reserve(hold(1), quantity(5), at(900), at(0)))
        .then([reserved(1, 5, 900), StockEvent::LowReached { available: 5, low_at: units(5) }])
        .when(|item| item.reserve(hold(2), quantity(1), at(900), at(0)))
        .then([reserved(2, 1, 900)])
        .when(|item| item.receive(quantity(2)))
        .then([StockEvent::Received { units: quantity(2) }, StockEvent::Recovered { available: 6 }]);
}

#[test]
fn a_correction_below_what_is_held_must_be_forced() {
    let reason: Reason = parsed("broken");
    let held =
        || stocked(10).when(|item| item.reserve(hold(1), quantity(4), at(900), at(0))).then([reserved(1, 4, 900)]);
    let (plain, forced) = (reason.clone(), reason.clone());
    held()
        .when(move |item| item.adjust(-7, plain.clone(), false))
        .then_rejected(StockRejection::BelowReserved { on_hand: 3, held: 4 });
    held()
        .when(move |item| item.adjust(-7, forced.clone(), true))
        .then([StockEvent::Adjusted { change: -7, reason: reason.clone() }, StockEvent::Depleted {}]);
    held().when(move |item| item.adjust(-11, parsed("lost"), true)).then_rejected(StockRejection::BelowZero {});
}

#[test]
fn a_count_is_the_truth() {
    let seven = units(7);
    stocked(10).when(|item| item.count(seven)).then_once([StockEvent::Counted { on_hand: seven, change: -3 }]);
}

#[test]
fn finished_reservations_leave_nothing_behind() {
    let mut item = stocked(100_000).into_state();
    for number in 1..=100_000_u128 {
        item.apply(&reserved(number, 1, 900));
        item.apply(&StockEvent::ReservationReleased { reservation: hold(number), units: 1 });
    }
    assert!(serde_json::to_string(&item).expect("JSON").len() < 64 * 1024);
}
