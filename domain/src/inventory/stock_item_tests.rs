//! Tests of stock items.

use super::*;
use crate::kernel::{Rejection, Retry, decode};
use crate::testing::values::{at, id, parsed, quantity, units};
use crate::testing::{Given, given};

fn reservation(number: u128) -> ReservationId {
    ReservationId::new(id(number))
}

fn reserved(number: u128, count: i64, until: i64) -> StockEvent {
    let (reservation, holder) = (reservation(number), Some(Holder::Hand));
    StockEvent::Reserved { reservation, units: quantity(count), until: at(until), holder }
}

/// An item with this many units on hand and an alert threshold of 5.
fn stocked(on_hand: i64) -> Given<StockItem> {
    let (product, store) = (ProductId::new(id(7)), StoreId::new(id(8)));
    given([])
        .when(|item: &StockItem| item.open(product, store))
        .then_once([StockEvent::Opened { product, store }])
        .when(|item| item.set_threshold(units(5)))
        .then_once([StockEvent::ThresholdSet { low_at: units(5) }])
        .when(|item| item.receive(quantity(on_hand), None))
        .then([
            StockEvent::Received { units: quantity(on_hand), reason: None },
            StockEvent::Restored { available: on_hand },
        ])
}

#[test]
fn product_that_is_not_stocked_rejects_changes() {
    given([]).when(|item: &StockItem| item.receive(quantity(1), None)).then_rejected(StockRejection::NotStocked {});
}

#[test]
fn item_is_closed_when_nothing_is_on_hand_or_reserved_and_can_be_opened_again() {
    given([]).when(|item: &StockItem| item.close(at(0))).then_nothing();
    stocked(10).when(|item| item.close(at(0))).then_rejected(StockRejection::UnitsOnHand { on_hand: 10 });
    let emptied = || {
        stocked(10)
            .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(1), at(900), at(0)))
            .then([reserved(1, 1, 900)])
            .when(|item| item.adjust(-10, parsed("opened by mistake"), true))
            .then([
                StockEvent::Adjusted { change: -10, reason: parsed("opened by mistake") },
                StockEvent::Depleted {},
                StockEvent::ShortageRecorded { missing: 1, orders: vec![], reason: Some(parsed("opened by mistake")) },
            ])
    };
    emptied().when(|item| item.close(at(899))).then_rejected(StockRejection::UnitsReserved { held: 1 });
    let (product, store) = (ProductId::new(id(7)), StoreId::new(id(8)));
    emptied()
        .when(|item| item.close(at(900)))
        .then_once([
            StockEvent::ReservationExpired { reservation: reservation(1), units: 1 },
            StockEvent::ShortageResolved {},
            StockEvent::Closed {},
        ])
        .when(|item| item.receive(quantity(1), None))
        .then_rejected(StockRejection::NotStocked {});
    given([StockEvent::Opened { product, store }, StockEvent::Closed {}])
        .when(|item: &StockItem| item.open(product, store))
        .then_once([StockEvent::Opened { product, store }]);
}

#[test]
fn repeated_reservation_reserves_its_units_once() {
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(3), at(900), at(0)))
        .then_once([reserved(1, 3, 900)])
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(4), at(900), at(0)))
        .then_rejected(StockRejection::ReservationDiffers { held: 3, wanted: 4 });
}

#[test]
fn all_free_units_can_be_reserved_and_not_one_more() {
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(10), at(900), at(0)))
        .then_once([reserved(1, 10, 900), StockEvent::Depleted {}]);
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(11), at(900), at(0)))
        .then_rejected(StockRejection::OutOfStock { free: 10, wanted: 11 });
}

#[test]
fn units_of_an_expired_reservation_are_free_at_once_and_the_next_reservation_records_the_expiry() {
    let full = || {
        stocked(10)
            .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(10), at(900), at(0)))
            .then([reserved(1, 10, 900), StockEvent::Depleted {}])
    };
    full().holds(|item| item.free(at(899)) == 0 && item.free(at(900)) == 10);
    full()
        .when(|item| item.reserve(reservation(2), Holder::Hand, quantity(1), at(1800), at(900)))
        .then_once([
            StockEvent::ReservationExpired { reservation: reservation(1), units: 10 },
            reserved(2, 1, 1800),
            StockEvent::Restored { available: 9 },
        ])
        .when(|item| item.expire(reservation(1), at(901)))
        .then_nothing();
}

#[test]
fn confirmed_reservation_never_expires_and_is_committed_once() {
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(3), at(900), at(0)))
        .then([reserved(1, 3, 900)])
        .when(|item| item.confirm(reservation(1), Holder::Hand, at(899)))
        .then_once([StockEvent::ReservationConfirmed { reservation: reservation(1) }])
        .when(|item| item.expire(reservation(1), at(5000)))
        .then([])
        .when(|item| item.commit(reservation(1), Holder::Hand))
        .then([StockEvent::ReservationCommitted { reservation: reservation(1), units: 3 }])
        .when(|item| item.commit(reservation(1), Holder::Hand))
        .then_rejected(StockRejection::ReservationGone { reservation: reservation(1) });
}

#[test]
fn expired_reservation_cannot_be_confirmed() {
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(3), at(900), at(0)))
        .then([reserved(1, 3, 900)])
        .when(|item| item.confirm(reservation(1), Holder::Hand, at(900)))
        .then_rejected(StockRejection::ReservationGone { reservation: reservation(1) });
}

#[test]
fn release_frees_the_reserved_units_once() {
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(10), at(900), at(0)))
        .then([reserved(1, 10, 900), StockEvent::Depleted {}])
        .when(|item| item.release(reservation(1), Holder::Hand))
        .then_once([
            StockEvent::ReservationReleased { reservation: reservation(1), units: 10 },
            StockEvent::Restored { available: 10 },
        ])
        .holds(|item| item.free(at(0)) == 10);
}

#[test]
fn reservation_of_an_order_is_not_changed_by_hand() {
    let order = OrderId::new(id(1));
    let (own, holder) = (ReservationId::of_order(order), Holder::Order(order));
    let held = || {
        stocked(10).when(|item| item.reserve(own, holder, quantity(3), at(900), at(0))).then_once([
            StockEvent::Reserved { reservation: own, units: quantity(3), until: at(900), holder: Some(holder) },
        ])
    };
    // By hand, the id of the order names the same reservation as its own id.
    for named in [own, reservation(1)] {
        let refused = StockRejection::ReservationOfOrder { reservation: own, order };
        assert_eq!(refused.retry(), Retry::Never);
        held().when(|item| item.confirm(named, Holder::Hand, at(1))).then_rejected(refused.clone());
        held().when(|item| item.release(named, Holder::Hand)).then_rejected(refused.clone());
        held().when(|item| item.commit(named, Holder::Hand)).then_rejected(refused);
    }
    held()
        .when(|item| item.reserve(own, Holder::Hand, quantity(3), at(900), at(0)))
        .then_rejected(StockRejection::ReservationOfOrder { reservation: own, order });
    held()
        .when(|item| item.release(own, Holder::Order(OrderId::new(id(2)))))
        .then_rejected(StockRejection::ReservationOfOrder { reservation: own, order });
    held()
        .when(|item| item.release(own, holder))
        .then_once([StockEvent::ReservationReleased { reservation: own, units: 3 }]);
}

#[test]
fn order_and_reservation_by_hand_with_one_id_hold_their_own_units() {
    let order = OrderId::new(id(1));
    let (own, holder) = (ReservationId::of_order(order), Holder::Order(order));
    let of_order = StockEvent::Reserved { reservation: own, units: quantity(2), until: at(900), holder: Some(holder) };
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(3), at(900), at(0)))
        .then_once([reserved(1, 3, 900)])
        .when(|item| item.reserve(item.reservation_of(order), holder, quantity(2), at(900), at(0)))
        .then_once([of_order.clone(), StockEvent::LowReached { available: 5, low_at: units(5) }])
        .when(|item| item.release(reservation(1), Holder::Hand))
        .then([
            StockEvent::ReservationReleased { reservation: reservation(1), units: 3 },
            StockEvent::Recovered { available: 8 },
        ])
        .holds(|item| item.free(at(0)) == 8);
    stocked(10)
        .when(|item| item.reserve(own, Holder::Hand, quantity(3), at(900), at(0)))
        .then_once([StockEvent::Reserved {
            reservation: own,
            units: quantity(3),
            until: at(900),
            holder: Some(Holder::Hand),
        }])
        .when(|item| item.reserve(own, holder, quantity(2), at(900), at(0)))
        .then_rejected(StockRejection::ReservationByHand { reservation: own });
}

#[test]
fn order_from_before_holders_were_recorded_keeps_its_reservation() {
    let order = OrderId::new(id(1));
    let (reservation, holder) = (reservation(1), Holder::Order(order));
    let old: StockEvent = decode(
        "stock.reserved",
        r#"{"reservation":"00000000-0000-0000-0000-000000000001","units":3,"until":"1970-01-01T00:15:00Z"}"#,
    )
    .expect("a stored event");
    let mut item = stocked(10).into_state();
    item.apply(&old);
    assert!(item.has_unrecorded_holder(reservation) && item.reservation_of(order) == reservation);
    assert_eq!(item.free(at(0)), 7);
    let confirmed = StockEvent::ReservationConfirmed { reservation };
    assert_eq!(item.confirm(reservation, holder, at(1)), Ok(vec![confirmed.clone()]));
    item.apply(&confirmed);
    let committed = StockEvent::ReservationCommitted { reservation, units: 3 };
    assert_eq!(item.commit(item.reservation_of(order), holder), Ok(vec![committed]));
}

#[test]
fn alert_is_raised_only_when_the_level_changes() {
    stocked(10)
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(5), at(900), at(0)))
        .then([reserved(1, 5, 900), StockEvent::LowReached { available: 5, low_at: units(5) }])
        .when(|item| item.reserve(reservation(2), Holder::Hand, quantity(1), at(900), at(0)))
        .then([reserved(2, 1, 900)])
        .when(|item| item.receive(quantity(2), None))
        .then([StockEvent::Received { units: quantity(2), reason: None }, StockEvent::Recovered { available: 6 }]);
}

#[test]
fn adjustment_below_the_reserved_units_requires_force() {
    let reason: Reason = parsed("broken");
    let held = || {
        stocked(10)
            .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(4), at(900), at(0)))
            .then([reserved(1, 4, 900)])
    };
    let (plain, forced) = (reason.clone(), reason.clone());
    held()
        .when(move |item| item.adjust(-7, plain.clone(), false))
        .then_rejected(StockRejection::BelowReserved { on_hand: 3, held: 4 });
    held().when(move |item| item.adjust(-7, forced.clone(), true)).then([
        StockEvent::Adjusted { change: -7, reason: reason.clone() },
        StockEvent::Depleted {},
        StockEvent::ShortageRecorded { missing: 1, orders: vec![], reason: Some(reason.clone()) },
    ]);
    held().when(move |item| item.adjust(-11, parsed("lost"), true)).then_rejected(StockRejection::BelowZero {});
}

#[test]
fn count_sets_the_number_on_hand() {
    let seven = units(7);
    stocked(10).when(|item| item.count(seven, None)).then_once([StockEvent::Counted {
        on_hand: seven,
        change: -3,
        reason: None,
    }]);
}

fn of_order(number: u128, count: i64) -> StockEvent {
    let order = OrderId::new(id(number));
    StockEvent::Reserved {
        reservation: ReservationId::of_order(order),
        units: quantity(count),
        until: at(900),
        holder: Some(Holder::Order(order)),
    }
}

#[test]
fn count_below_the_reserved_units_records_which_orders_are_short_and_nothing_goes_below_zero() {
    let (one, two, three) = (OrderId::new(id(1)), OrderId::new(id(2)), OrderId::new(id(3)));
    let paid = StockEvent::ReservationConfirmed { reservation: ReservationId::of_order(three) };
    let mut before = stocked(10).into_state();
    for event in [of_order(1, 4), of_order(2, 3), of_order(3, 2), reserved(4, 1, 900), paid, StockEvent::Depleted {}] {
        before.apply(&event);
    }
    assert_eq!(before.count(units(5), None), Err(StockRejection::ReasonMissing { on_hand: 5, held: 10 }));
    let reason: Reason = parsed("water damage");
    // The paid order and one unit by hand are served; four and three units are too many for the rest.
    let found = |missing, orders: &[OrderId]| StockEvent::ShortageRecorded {
        missing,
        orders: orders.to_vec(),
        reason: Some(reason.clone()),
    };
    let counted = vec![
        StockEvent::Counted { on_hand: units(3), change: -7, reason: Some(reason.clone()) },
        found(7, &[one, two]),
    ];
    assert_eq!(before.count(units(3), Some(reason.clone())), Ok(counted.clone()));
    counted.iter().for_each(|event| before.apply(event));
    let short = StockRejection::StockShort { on_hand: 3, wanted: 4 };
    assert_eq!(before.commit(ReservationId::of_order(one), Holder::Order(one)), Err(short));
    let released =
        |order, units| StockEvent::ReservationReleased { reservation: ReservationId::of_order(order), units };
    let fewer = vec![released(one, 4), StockEvent::ShortageRecorded { missing: 3, orders: vec![two], reason: None }];
    assert_eq!(before.release(ReservationId::of_order(one), Holder::Order(one)), Ok(fewer.clone()));
    fewer.iter().for_each(|event| before.apply(event));
    let delivered = before.receive(quantity(3), None).expect("a delivery");
    assert_eq!(delivered, [StockEvent::Received { units: quantity(3), reason: None }, StockEvent::ShortageResolved {}]);
    delivered.iter().for_each(|event| before.apply(event));
    let committed = StockEvent::ReservationCommitted { reservation: ReservationId::of_order(two), units: 3 };
    assert_eq!(before.commit(ReservationId::of_order(two), Holder::Order(two)), Ok(vec![committed]));
}

#[test]
fn ended_reservations_do_not_grow_the_state() {
    let mut item = stocked(100_000).into_state();
    for number in 1..=100_000_u128 {
        item.apply(&reserved(number, 1, 900));
        item.apply(&StockEvent::ReservationReleased { reservation: reservation(number), units: 1 });
    }
    assert!(serde_json::to_string(&item).expect("JSON").len() < 64 * 1024);
}

const SALE: FlashSaleId = FlashSaleId::new(id(5));

fn drawn(number: u128, units: i64) -> StockEvent {
    StockEvent::AllotmentDrawn { sale: SALE, reservation: reservation(number), units }
}

fn refilled(number: u128, units: i64) -> StockEvent {
    StockEvent::AllotmentRefilled { sale: SALE, reservation: reservation(number), units }
}

fn reserve_in_sale(item: &StockItem, number: u128, count: i64, now: i64) -> Decision<StockItem> {
    item.reserve_allotted(
        SALE,
        reservation(number),
        Holder::Hand,
        quantity(count),
        at(now.saturating_add(900)),
        at(now),
    )
}

/// Twenty units, four of them set aside for a sale from second 100 to second 2,000.
fn allotted() -> Given<StockItem> {
    stocked(20)
        .when(|item| item.allot(SALE, quantity(4), at(100), at(2_000), at(0)))
        .then_once([StockEvent::Allotted { sale: SALE, units: quantity(4), from: at(100), until: at(2_000) }])
}

#[test]
fn allotted_units_are_reserved_only_in_the_sale() {
    allotted().holds(|item| item.free(at(0)) == 16 && item.allotted() == 4);
    allotted()
        .when(|item| item.reserve(reservation(1), Holder::Hand, quantity(17), at(900), at(0)))
        .then_rejected(StockRejection::OutOfStock { free: 16, wanted: 17 });
    allotted()
        .when(|item| reserve_in_sale(item, 1, 5, 100))
        .then_rejected(StockRejection::OutOfStock { free: 4, wanted: 5 });
    // The alerts refer to the available units, which the reservation does not change.
    allotted()
        .when(|item| reserve_in_sale(item, 1, 4, 100))
        .then_once([drawn(1, 4), reserved(1, 4, 1_000)])
        .holds(|item| item.free(at(100)) == 16 && item.allotted() == 0);
    allotted()
        .when(|item| item.allot(FlashSaleId::new(id(6)), quantity(1), at(100), at(200), at(0)))
        .then_rejected(StockRejection::AllottedToSale { sale: SALE });
    stocked(10)
        .when(|item| item.allot(SALE, quantity(11), at(100), at(200), at(0)))
        .then_rejected(StockRejection::OutOfStock { free: 10, wanted: 11 });
}

#[test]
fn units_of_an_ended_reservation_return_to_the_allotment() {
    let reserved_in_sale =
        || allotted().when(|item| reserve_in_sale(item, 1, 3, 100)).then_once([drawn(1, 3), reserved(1, 3, 1_000)]);
    reserved_in_sale()
        .when(|item| item.release(reservation(1), Holder::Hand))
        .then_once([StockEvent::ReservationReleased { reservation: reservation(1), units: 3 }, refilled(1, 3)])
        .holds(|item| item.allotted() == 4);
    let expired = StockEvent::ReservationExpired { reservation: reservation(1), units: 3 };
    reserved_in_sale().when(|item| item.expire(reservation(1), at(1_000))).then_once([expired.clone(), refilled(1, 3)]);
    // Before the expiry is recorded, the units are free in the sale and only there.
    reserved_in_sale().holds(|item| item.free(at(1_000)) == 16);
    reserved_in_sale().when(|item| reserve_in_sale(item, 2, 2, 1_000)).then_once([
        expired,
        refilled(1, 3),
        drawn(2, 2),
        reserved(2, 2, 1_900),
    ]);
}

#[test]
fn ended_allotment_is_available_and_keeps_nothing_back() {
    let ended = |units| StockEvent::AllotmentEnded { sale: SALE, units };
    allotted().when(|item| item.end_allotment(SALE)).then_once([ended(4)]).holds(|item| item.free(at(0)) == 20);
    allotted().when(|item| item.end_allotment(FlashSaleId::new(id(6)))).then_nothing();
    // After the window, before its end is recorded.
    allotted().holds(|item| item.free(at(2_000)) == 20);
    allotted().when(|item| item.reserve(reservation(1), Holder::Hand, quantity(20), at(2_900), at(2_000))).then_once([
        ended(4),
        reserved(1, 20, 2_900),
        StockEvent::Depleted {},
    ]);
    allotted()
        .when(|item| reserve_in_sale(item, 1, 1, 2_000))
        .then_rejected(StockRejection::OutOfStock { free: 0, wanted: 1 });
    // A reservation of the sale that ends afterwards returns to the stock of all.
    allotted()
        .when(|item| reserve_in_sale(item, 1, 3, 100))
        .then([drawn(1, 3), reserved(1, 3, 1_000)])
        .when(|item| item.end_allotment(SALE))
        .then_once([ended(1)])
        .when(|item| item.release(reservation(1), Holder::Hand))
        .then_once([StockEvent::ReservationReleased { reservation: reservation(1), units: 3 }])
        .holds(|item| item.free(at(0)) == 20);
}

#[test]
fn item_with_an_allotment_is_not_closed_and_its_units_are_not_corrected_away() {
    allotted()
        .when(|item| item.adjust(-17, parsed("broken"), false))
        .then_rejected(StockRejection::BelowReserved { on_hand: 3, held: 4 });
    let lost = || StockEvent::Adjusted { change: -20, reason: parsed("a fire") };
    let missing = StockEvent::ShortageRecorded { missing: 4, orders: vec![], reason: Some(parsed("a fire")) };
    let burnt = || {
        allotted().when(|item| item.adjust(-20, parsed("a fire"), true)).then([
            lost(),
            StockEvent::Depleted {},
            missing.clone(),
        ])
    };
    burnt()
        .when(|item| reserve_in_sale(item, 1, 1, 100))
        .then_rejected(StockRejection::OutOfStock { free: 0, wanted: 1 });
    burnt().when(|item| item.close(at(100))).then_rejected(StockRejection::UnitsReserved { held: 4 });
    let ended = StockEvent::AllotmentEnded { sale: SALE, units: 4 };
    burnt().when(|item| item.close(at(2_000))).then([ended, StockEvent::ShortageResolved {}, StockEvent::Closed {}]);
}

#[test]
fn reservations_beyond_the_limit_are_rejected() {
    let mut item = stocked(i64::try_from(OPEN_RESERVATIONS_MOST).expect("a number") + 1).into_state();
    let most = OPEN_RESERVATIONS_MOST;
    for number in 0..most {
        let reservation = ReservationId::new(id(1_000_u128.saturating_add(number as u128)));
        let (units, until, holder) = (quantity(1), at(900), Some(Holder::Hand));
        item.apply(&StockEvent::Reserved { reservation, units, until, holder });
    }
    let one_more = item.reserve(ReservationId::new(id(1)), Holder::Hand, quantity(1), at(900), at(0));
    assert_eq!(one_more, Err(StockRejection::TooManyReservations { most }));
}

#[test]
fn expired_reservations_do_not_count_towards_the_limit_and_are_dropped_by_the_next_decision() {
    let reservation = |number: usize| ReservationId::new(id(u128::try_from(number).expect("small") + 1));
    let mut item = StockItem::default();
    item.apply(&StockEvent::Opened { product: ProductId::new(id(1)), store: StoreId::new(id(2)) });
    item.apply(&StockEvent::Received { units: quantity(100_000), reason: None });
    item.apply(&StockEvent::Restored { available: 100_000 });
    for number in 0..OPEN_RESERVATIONS_MOST {
        let (reservation, units) = (reservation(number), quantity(1));
        item.apply(&StockEvent::Reserved { reservation, units, until: at(10), holder: Some(Holder::Hand) });
    }
    let reserve =
        |item: &StockItem, number, now| item.reserve(reservation(number), Holder::Hand, quantity(1), at(100), now);
    let full = StockRejection::TooManyReservations { most: OPEN_RESERVATIONS_MOST };
    assert_eq!(reserve(&item, OPEN_RESERVATIONS_MOST, at(9)), Err(full));
    let events = reserve(&item, OPEN_RESERVATIONS_MOST, at(10)).expect("the others have expired");
    let expired = |event: &&StockEvent| matches!(event, StockEvent::ReservationExpired { .. });
    assert_eq!((events.iter().filter(expired).count(), events.len()), (100, 101));
    events.iter().for_each(|event| item.apply(event));
    assert_eq!(reserve(&item, OPEN_RESERVATIONS_MOST + 1, at(10)).map(|events| events.len()), Ok(1));
}
