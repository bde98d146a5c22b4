//! Tests of orders.

use super::*;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Date, Price, PriceBreakdown, ProductId, Reason};
use crate::testing::values::{ADA, STORE, at, eur, id, parsed, price, quantity, today, units, usd};
use crate::testing::{Given, given};

fn reference(text: &str) -> Reference {
    parsed(text)
}

fn reason() -> Reason {
    parsed("no longer wanted")
}

fn line(product: u128, count: i64, unit_price: Price) -> OrderLine {
    let (sku, name) = (parsed("MUG"), parsed("Mug"));
    OrderLine::new(ProductId::new(id(product)), sku, name, quantity(count), unit_price).expect("a line")
}

fn placement(lines: Vec<OrderLine>) -> Placement {
    Placement { customer: ADA, store: STORE, lines, currency: usd(), placed_on: today(), placed_at: at(0) }
}

fn placed_event() -> OrderEvent {
    OrderEvent::Placed {
        customer: ADA,
        store: STORE,
        lines: vec![line(1, 2, price(400)), line(2, 1, price(200))],
        price: PriceBreakdown::of_goods(price(1000)),
        placed_on: today(),
        placed_at: Some(at(0)),
    }
}

fn paid_event() -> OrderEvent {
    let (amount, reference) = (price(1000), reference("pay-1"));
    OrderEvent::Paid { customer: ADA, store: STORE, amount, reference, on: today() }
}

fn refunded_event(amount: i64, refunded: i64, name: &str) -> OrderEvent {
    OrderEvent::Refunded {
        customer: ADA,
        store: STORE,
        amount: price(amount),
        refunded: price(refunded),
        total: price(1000),
        reference: reference(name),
        on: today(),
    }
}

fn cancelled_event(by: CancelledBy, refund_due: Option<Price>) -> OrderEvent {
    let (customer, store, total, on) = (ADA, STORE, price(1000), today());
    OrderEvent::Cancelled { by, reason: reason(), customer, store, total, refund_due, on }
}

fn import() -> Import {
    Import {
        customer: ADA,
        store: STORE,
        total: price(1000),
        units: units(3),
        ordered_on: today(),
        source: parsed("shopify 4711"),
    }
}

fn placed() -> Given<Order> {
    let lines = vec![line(1, 2, price(400)), line(2, 1, price(200))];
    given([]).when(|order: &Order| order.place(placement(lines.clone()))).then_once([placed_event()])
}

fn paid() -> Given<Order> {
    placed().when(|order| order.record_payment(price(1000), reference("pay-1"), today())).then_once([paid_event()])
}

fn imported() -> Given<Order> {
    let Import { customer, store, total, units, ordered_on, source } = import();
    given([]).when(|order: &Order| order.import(import())).then_once([OrderEvent::Imported {
        customer,
        store,
        total,
        units,
        ordered_on,
        source,
    }])
}

/// A paid order with this status.
fn paid_and(status: OrderStatus) -> Order {
    let (customer, store) = (ADA, STORE);
    let steps = [
        OrderEvent::Accepted { customer, store },
        OrderEvent::Ready { customer, store },
        OrderEvent::InTransit { customer, store },
        OrderEvent::Delivered { customer, store },
    ];
    let taken = match status {
        OrderStatus::Pending | OrderStatus::Cancelled => 0,
        OrderStatus::Processing => 1,
        OrderStatus::Ready => 2,
        OrderStatus::InTransit => 3,
        OrderStatus::Delivered => 4,
    };
    let mut order = paid().into_state();
    steps.iter().take(taken).for_each(|event| order.apply(event));
    if status == OrderStatus::Cancelled {
        order.apply(&cancelled_event(CancelledBy::Seller, Some(price(1000))));
    }
    order
}

#[test]
fn total_is_the_sum_of_the_lines() {
    placed().holds(|order| order.total() == Ok(price(1000)) && order.lines().count() == 2);
}

#[test]
fn order_has_one_to_one_hundred_lines() {
    given([]).when(|order: &Order| order.place(placement(vec![]))).then_rejected(OrderRejection::EmptyOrder {});
    given([])
        .when(|order: &Order| order.place(placement(vec![line(1, 1, price(1)); 101])))
        .then_rejected(OrderRejection::TooManyLines { most: 100 });
}

#[test]
fn order_has_one_currency_and_a_bounded_total() {
    given([])
        .when(|order: &Order| order.place(placement(vec![line(1, 1, price(1)), line(2, 1, Price::zero(eur()))])))
        .then_rejected(OrderRejection::MixedCurrency { expected: usd(), found: eur() });
    given([])
        .when(|order: &Order| order.place(placement(vec![line(1, 1, price(1_000_000_000_000_000)); 2])))
        .then_rejected(OrderRejection::TotalTooLarge {});
}

#[test]
fn order_is_placed_once() {
    placed()
        .when(|order| order.place(placement(vec![line(1, 1, price(400))])))
        .then_rejected(OrderRejection::OrderExists {});
    placed().when(|order| order.import(import())).then_rejected(OrderRejection::OrderExists {});
}

#[test]
fn placing_again_at_other_prices_is_rejected_even_with_the_same_total() {
    let shifted = || vec![line(1, 2, price(450)), line(2, 1, price(100))];
    placed().when(|order| order.place(placement(shifted()))).then_rejected(OrderRejection::OrderExists {});
}

#[test]
fn placing_again_on_the_next_day_changes_nothing() {
    let lines = || vec![line(1, 2, price(400)), line(2, 1, price(200))];
    let placed_on: Date = parsed("2026-11-21");
    placed().when(|order| order.place(Placement { placed_on, ..placement(lines()) })).then_nothing();
}

#[test]
fn importing_again_with_another_source_or_other_units_is_rejected() {
    let source = parsed("shopify 4712");
    let units = units(4);
    for other in [Import { source, ..import() }, Import { units, ..import() }] {
        imported().when(|order| order.import(other.clone())).then_rejected(OrderRejection::OrderExists {});
    }
}

#[test]
fn status_changes_are_allowed_as_listed() {
    use OrderStatus::*;
    type Verb = fn(&Order) -> Decision<Order>;
    let verbs: [(OrderStatus, Verb); 6] = [
        (Processing, Order::accept),
        (Ready, Order::mark_ready),
        (InTransit, Order::mark_in_transit),
        (Delivered, Order::mark_delivered),
        (Cancelled, |order| order.cancel(CancelledBy::Customer, reason(), today())),
        (Cancelled, |order| order.cancel(CancelledBy::Seller, reason(), today())),
    ];
    // o: allowed; =: has this status already; x: rejected. In the order of the verbs.
    let table = [
        (Pending, "oxxxoo"),
        (Processing, "=oxxoo"),
        (Ready, "x=oxoo"),
        (InTransit, "xx=oxx"),
        (Delivered, "xxx=xx"),
        (Cancelled, "xxxx=="),
    ];
    for (from, row) in table {
        for ((to, verb), mark) in verbs.into_iter().zip(row.chars()) {
            let mut order = paid_and(from);
            let outcome = match verb(&order) {
                Ok(events) if events.is_empty() => '=',
                Ok(events) => {
                    events.iter().for_each(|event| order.apply(event));
                    assert_eq!((order.status(), verb(&order)), (Ok(to), Ok(vec![])));
                    'o'
                }
                Err(rejection) => {
                    let allowed = from.next().to_vec();
                    assert_eq!(rejection, OrderRejection::IllegalMove { from, to, allowed });
                    'x'
                }
            };
            assert_eq!(outcome, mark, "from {from} to {to}");
        }
    }
    proofs::proven("ORD-03 of all moves from each status only the listed ones pass");
}

#[test]
fn payment_and_refund_change_no_status() {
    use OrderStatus::*;
    for status in [Pending, Processing, Ready, InTransit, Delivered, Cancelled] {
        let mut order = paid_and(status);
        assert_eq!(
            order.record_payment(price(1000), reference("pay-2"), today()),
            Err(OrderRejection::AlreadyPaid {}),
            "{status}"
        );
        for event in order.record_refund(price(1), reference("back-1"), today()).expect("a refund") {
            order.apply(&event);
        }
        assert_eq!((order.status(), order.payment_status()), (Ok(status), Ok(PaymentStatus::PartRefunded)));
    }
    proofs::proven("ORD-03 payment is an axis of its own");
}

#[test]
fn another_attempt_is_advised_only_where_it_can_succeed() {
    use OrderStatus::*;
    let rejected = |from: OrderStatus, to| OrderRejection::IllegalMove { from, to, allowed: from.next().to_vec() };
    for (from, to) in [(Pending, Ready), (Pending, Delivered), (Processing, InTransit)] {
        assert_eq!(rejected(from, to).retry(), Retry::NewId, "from {from} to {to}");
    }
    for (from, to) in [(Delivered, Cancelled), (InTransit, Cancelled), (Ready, Processing), (Processing, Pending)] {
        assert_eq!(rejected(from, to).retry(), Retry::Never, "from {from} to {to}");
    }
    assert_eq!(OrderRejection::NotPaid {}.retry(), Retry::NewId);
    let above = OrderRejection::RefundAbovePaid { left: price(1), wanted: price(2) };
    assert_eq!((above.retry(), OrderRejection::OrderRefunded {}.retry()), (Retry::Never, Retry::Never));
}

#[test]
fn unknown_order_rejects_every_change() {
    given([]).when(Order::accept).then_rejected(OrderRejection::OrderUnknown {});
    given([]).holds(|order: &Order| order.status() == Err(OrderRejection::OrderUnknown {}));
}

#[test]
fn unpaid_order_can_be_accepted_but_not_made_ready() {
    placed()
        .when(Order::accept)
        .then_once([OrderEvent::Accepted { customer: ADA, store: STORE }])
        .when(Order::mark_ready)
        .then_rejected(OrderRejection::NotPaid {});
}

#[test]
fn payment_is_the_exact_total_and_is_recorded_once() {
    placed()
        .when(|order| order.record_payment(price(999), reference("pay-1"), today()))
        .then_rejected(OrderRejection::PaymentDiffers { due: price(1000), paid: price(999) });
    paid()
        .when(|order| order.record_payment(price(1000), reference("pay-2"), today()))
        .then_rejected(OrderRejection::AlreadyPaid {});
}

fn paid_late_event() -> OrderEvent {
    let (amount, reference) = (price(1000), reference("pay-1"));
    OrderEvent::PaidLate { customer: ADA, store: STORE, amount, reference, on: today() }
}

fn cancelled_by(by: CancelledBy) -> Given<Order> {
    placed().when(move |order| order.cancel(by, reason(), today())).then_once([cancelled_event(by, None)])
}

#[test]
fn payment_of_a_cancelled_order_is_recorded_and_due_for_refund() {
    for by in [CancelledBy::Customer, CancelledBy::Seller, CancelledBy::Engine] {
        cancelled_by(by)
            .when(|order| order.record_payment(price(1000), reference("pay-1"), today()))
            .then_once([paid_late_event()])
            .when(|order| order.record_payment(price(1000), reference("pay-2"), today()))
            .then_rejected(OrderRejection::AlreadyPaid {});
        cancelled_by(by)
            .when(|order| order.record_payment(price(1000), reference("pay-1"), today()))
            .then_once([paid_late_event()])
            .when(|order| order.record_refund(price(1000), reference("back-1"), today()))
            .then_once([refunded_event(1000, 1000, "back-1")])
            .holds(|order| {
                order.payment_status() == Ok(PaymentStatus::Refunded) && order.status() == Ok(OrderStatus::Cancelled)
            });
    }
}

#[test]
fn only_an_unpaid_order_that_was_not_paid_in_time_is_reinstated() {
    let reinstated = || OrderEvent::Reinstated { customer: ADA, store: STORE };
    cancelled_by(CancelledBy::Engine)
        .when(Order::reinstate)
        .then_once([reinstated()])
        .when(|order| order.record_payment(price(1000), reference("pay-1"), today()))
        .then_once([paid_event()])
        .when(Order::accept)
        .then_once([OrderEvent::Accepted { customer: ADA, store: STORE }]);
    for by in [CancelledBy::Customer, CancelledBy::Seller] {
        cancelled_by(by).when(Order::reinstate).then_rejected(OrderRejection::OrderCancelled {});
    }
    cancelled_by(CancelledBy::Engine)
        .when(|order| order.record_payment(price(1000), reference("pay-1"), today()))
        .then_once([paid_late_event()])
        .when(Order::reinstate)
        .then_rejected(OrderRejection::OrderCancelled {});
    placed().when(Order::reinstate).then_nothing();
    cancelled_by(CancelledBy::Engine).when(Order::accept).then_rejected(OrderRejection::OrderExpired {});
    assert_eq!(OrderRejection::OrderExpired {}.retry(), Retry::NewId);
}

#[test]
fn rejected_paid_order_is_due_for_refund_of_the_rest() {
    paid()
        .when(|order| order.record_refund(price(300), reference("back-1"), today()))
        .then_once([refunded_event(300, 300, "back-1")])
        .when(|order| order.reject(reason(), today()))
        .then_once([cancelled_event(CancelledBy::Seller, Some(price(700)))]);
}

#[test]
fn refunds_never_exceed_the_payment() {
    placed()
        .when(|order| order.record_refund(price(1), reference("back-1"), today()))
        .then_rejected(OrderRejection::NotPaid {});
    paid()
        .when(|order| order.record_refund(price(1001), reference("back-1"), today()))
        .then_rejected(OrderRejection::RefundAbovePaid { left: price(1000), wanted: price(1001) });
    paid().when(|order| order.record_refund(price(0), reference("back-1"), today())).then_nothing();
}

#[test]
fn payment_status_follows_payment_and_refunds() {
    placed().holds(|order| order.payment_status() == Ok(PaymentStatus::Unpaid));
    paid().holds(|order| order.payment_status() == Ok(PaymentStatus::Paid));
    let part = || {
        paid()
            .when(|order| order.record_refund(price(400), reference("back-1"), today()))
            .then_once([refunded_event(400, 400, "back-1")])
    };
    part().holds(|order| order.payment_status() == Ok(PaymentStatus::PartRefunded));
    part()
        .when(|order| order.record_refund(price(600), reference("back-2"), today()))
        .then_once([refunded_event(600, 1000, "back-2")])
        .holds(|order| order.payment_status() == Ok(PaymentStatus::Refunded) && order.is_paid());
}

#[test]
fn fully_refunded_order_cannot_be_shipped() {
    for (status, step) in [
        (OrderStatus::Processing, Order::mark_ready as fn(&Order) -> Decision<Order>),
        (OrderStatus::Ready, Order::mark_in_transit),
    ] {
        let mut order = paid_and(status);
        order.apply(&refunded_event(400, 400, "back-1"));
        assert_eq!(step(&order).map(|events| events.len()), Ok(1), "a partly refunded order can be shipped");
        order.apply(&refunded_event(600, 1000, "back-2"));
        assert_eq!(step(&order), Err(OrderRejection::OrderRefunded {}));
    }
}

#[test]
fn order_placed_as_version_1_is_read_with_the_parts_of_its_price() {
    let stored = include_str!("../../tests/fossils/order/order.placed.v1.json");
    let read = Order::read("order.placed", 1, stored).expect("a readable event");
    let OrderEvent::Placed { lines, price: breakdown, .. } = &read else { panic!("{read:?}") };
    assert_eq!(breakdown, &PriceBreakdown::of_goods(price(800)));
    assert_eq!(lines.len(), 1);
    assert_eq!((Order::event_version("order.placed"), Order::event_version("order.paid")), (2, 1));
    proofs::proven("ES-10 an event that was stored as version 1 is read as version 2");
}

#[test]
fn refund_with_a_known_reference_and_another_amount_is_rejected() {
    paid()
        .when(|order| order.record_refund(price(400), reference("back-1"), today()))
        .then_once([refunded_event(400, 400, "back-1")])
        .when(|order| order.record_refund(price(500), reference("back-1"), today()))
        .then_rejected(OrderRejection::RefundDiffers { recorded: price(400), wanted: price(500) });
}

#[test]
fn number_of_refunds_is_limited_and_the_state_stays_small_with_the_longest_references() {
    let longest = |number: i64| format!("{number:03}{}", "🧾".repeat(197));
    let mut order = placed().into_state();
    order.apply(&OrderEvent::Placed {
        customer: ADA,
        store: STORE,
        lines: vec![line(1, 1, price(5)); 100],
        price: PriceBreakdown::of_goods(price(1000)),
        placed_on: today(),
        placed_at: Some(at(0)),
    });
    let (amount, paid_as) = (price(1000), reference(&longest(0)));
    order.apply(&OrderEvent::Paid { customer: ADA, store: STORE, amount, reference: paid_as, on: today() });
    for number in 1..=100 {
        order.apply(&refunded_event(1, number, &longest(number)));
    }
    assert_eq!(order.record_refund(price(1), reference(&longest(7)), today()), Ok(vec![]));
    let part = OrderRejection::TooManyRefunds { most: REFUNDS_MOST, left: price(900) };
    assert_eq!(part.retry(), Retry::Never);
    assert_eq!(order.record_refund(price(1), reference(&longest(101)), today()), Err(part));
    let rest = refunded_event(900, 1000, &longest(101));
    assert_eq!(order.record_refund(price(900), reference(&longest(101)), today()), Ok(vec![rest.clone()]));
    order.apply(&rest);
    assert_eq!(order.payment_status(), Ok(PaymentStatus::Refunded));
    let none_left = OrderRejection::RefundAbovePaid { left: price(0), wanted: price(1) };
    assert_eq!(order.record_refund(price(1), reference(&longest(102)), today()), Err(none_left));
    assert!(serde_json::to_string(&order).expect("JSON").len() < 64 * 1024);
}

#[test]
fn returned_units_never_exceed_those_that_were_shipped() {
    let back = |product, count| move |order: &Order| order.take_back(ProductId::new(id(product)), quantity(count));
    for (status, retry) in [
        (OrderStatus::Ready, Retry::NewId),
        (OrderStatus::Pending, Retry::NewId),
        (OrderStatus::Cancelled, Retry::Never),
    ] {
        let rejected = OrderRejection::NotShipped { status };
        assert_eq!(rejected.retry(), retry, "{status}");
        assert_eq!(back(1, 1)(&paid_and(status)), Err(rejected));
    }
    for status in [OrderStatus::InTransit, OrderStatus::Delivered] {
        let mut order = paid_and(status);
        let above = |left, wanted| Err(OrderRejection::ReturnAboveShipped { left, wanted });
        assert_eq!(back(1, 500)(&order), above(2, 500));
        assert_eq!(back(9, 1)(&order), above(0, 1), "a product that was not ordered");
        let (product, units) = (ProductId::new(id(1)), quantity(1));
        let returned = OrderEvent::UnitsReturned { customer: ADA, store: STORE, product, units };
        for _ in 0..2 {
            assert_eq!(back(1, 1)(&order), Ok(vec![returned.clone()]));
            order.apply(&returned);
        }
        assert_eq!(back(1, 1)(&order), above(0, 1));
        assert!(back(2, 1)(&order).is_ok(), "the units of another line");
    }
    imported().when(back(1, 1)).then_rejected(OrderRejection::OrderImported {});
}

#[test]
fn imported_order_is_paid_and_cannot_change_status_here() {
    imported().holds(|order| order.is_paid() && order.lines().count() == 0);
    imported().when(Order::mark_ready).then_rejected(OrderRejection::OrderImported {});
    imported()
        .when(|order| order.cancel(CancelledBy::Seller, reason(), today()))
        .then_rejected(OrderRejection::OrderImported {});
    imported()
        .when(|order| order.record_payment(price(1000), reference("pay-1"), today()))
        .then_rejected(OrderRejection::AlreadyPaid {});
}

#[test]
fn cancelled_import_refunds_the_rest() {
    imported()
        .when(|order| order.cancel_imported(reason(), reference("shopify"), today()))
        .then_once([refunded_event(1000, 1000, "shopify"), cancelled_event(CancelledBy::Source, None)]);
    imported()
        .when(|order| order.record_refund(price(400), reference("back-1"), today()))
        .then_once([refunded_event(400, 400, "back-1")])
        .when(|order| order.cancel_imported(reason(), reference("shopify"), today()))
        .then_once([refunded_event(600, 1000, "shopify"), cancelled_event(CancelledBy::Source, None)]);
    imported()
        .when(|order| order.record_refund(price(1000), reference("back-1"), today()))
        .then_once([refunded_event(1000, 1000, "back-1")])
        .when(|order| order.cancel_imported(reason(), reference("shopify"), today()))
        .then_once([cancelled_event(CancelledBy::Source, None)]);
    placed()
        .when(|order| order.cancel_imported(reason(), reference("shopify"), today()))
        .then_rejected(OrderRejection::OrderNotImported {});
}

#[test]
fn cancelled_import_is_recorded_even_if_its_reference_was_used_before() {
    imported()
        .when(|order| order.record_refund(price(400), reference("back-1"), today()))
        .then_once([refunded_event(400, 400, "back-1")])
        .when(|order| order.cancel_imported(reason(), reference("back-1"), today()))
        .then_once([refunded_event(600, 1000, "back-1"), cancelled_event(CancelledBy::Source, None)])
        .when(|order| order.record_refund(price(400), reference("back-1"), today()))
        .then_nothing();
}

#[test]
fn cancelled_import_is_recorded_even_at_the_limit_of_refunds() {
    let mut order = imported().into_state();
    (1..=100).for_each(|number| order.apply(&refunded_event(1, number, &format!("back-{number}"))));
    assert_eq!(
        order.cancel_imported(reason(), reference("shopify"), today()),
        Ok(vec![refunded_event(900, 1000, "shopify"), cancelled_event(CancelledBy::Source, None)])
    );
}
