//! Payments in time, late payments, expiry and refunds.

use commands::inventory::{ExpireReservation, ReserveStock};
use commands::orders::{AcceptOrder, CancelOrder, ExpireOrder, MarkReady, RecordPayment, RecordRefund};
use domain::inventory::StockItem;
use domain::kernel::Actor;
use domain::orders::{OrderStatus, PaymentStatus};
use domain::shared::{ReservationId, Seconds};
use uuid::Uuid;

use crate::shop::{ADA, BEN, COFFEE, MUG, STORE, Shop, TENANT, is_not_due, it, order, pieces, product, usd};

/// One second longer than stock is held, in seconds.
const EXPIRED_AFTER: i64 = 15 * 60 + 1;

#[test]
fn a_paid_order_keeps_its_reservation_without_expiry() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 3)]);
    shop.pass(100 * EXPIRED_AFTER);
    assert_eq!((shop.free(MUG), shop.status(1)), (7, Some(OrderStatus::Pending)));
    assert_eq!(shop.count("stock.reservation_confirmed"), 1);
    assert_eq!(shop.engine_rejections, []);
}

#[test]
fn an_order_is_paid_once_and_in_full() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 1)]).expect("an order");
    let pay = |minor, reference: &str| RecordPayment { order: order(1), amount: usd(minor), reference: it(reference) };
    assert_eq!(shop.refused(pay(899, "a")).code, "PAYMENT_DIFFERS");
    assert_eq!(shop.done(pay(900, "a")), ["order.paid", "stock.reservation_confirmed"]);
    assert_eq!(shop.done(pay(900, "a")), [""; 0]);
    assert_eq!(shop.refused(pay(900, "b")).code, "ALREADY_PAID");
}

#[test]
fn an_unpaid_order_is_cancelled_at_its_deadline() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 3)]).expect("an order");
    shop.pass(EXPIRED_AFTER - 2);
    assert_eq!((shop.status(1), shop.free(MUG)), (Some(OrderStatus::Pending), 7));
    shop.pass(2);
    assert_eq!((shop.status(1), shop.free(MUG), shop.recorded_available(MUG)), (Some(OrderStatus::Cancelled), 10, 10));
    assert_eq!((shop.count("order.cancelled"), shop.count("stock.reservation_expired")), (1, 1));
    let end = shop.log.iter().find(|event| event.event.name == "order.cancelled").expect("an event");
    assert!(end.event.body.starts_with(r#"{"by":"engine""#) && matches!(end.actor, Actor::Engine(_)));
    assert_eq!(shop.engine_rejections, []);
}

#[test]
fn an_expiry_before_its_time_is_answered_with_not_due() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 3)]).expect("an order");
    let until = shop.now.after(Seconds(900));
    let item = StockItem::id(product(MUG), *STORE);
    let reservation = ReservationId::of_order(order(1));
    assert!(is_not_due(&shop.send_as_engine(ExpireOrder { order: order(1), until })));
    assert!(is_not_due(&shop.send_as_engine(ExpireReservation { item, reservation, until })));
}

#[test]
fn a_reservation_without_an_order_expires_too() {
    let mut shop = Shop::stocked();
    let item = StockItem::id(product(MUG), *STORE);
    let reservation = ReservationId::new(Uuid::from_u128(4));
    shop.done(ReserveStock { item, reservation, units: pieces(10) });
    shop.pass(EXPIRED_AFTER);
    assert_eq!((shop.recorded_available(MUG), shop.count("stock.reservation_expired")), (10, 1));
}

#[test]
fn a_late_payment_reserves_the_units_again_if_they_are_free() {
    let mut shop = Shop::stocked();
    shop.runs_policies = false;
    shop.place(1, [(MUG, 3)]).expect("an order");
    shop.pass(EXPIRED_AFTER);
    let payment = shop.payment(1);
    assert_eq!(
        shop.done(payment),
        ["order.paid", "stock.reservation_expired", "stock.reserved", "stock.reservation_confirmed"]
    );
    assert_eq!(shop.free(MUG), 7);
}

#[test]
fn a_late_payment_for_sold_units_is_recorded_and_refunded() {
    let mut shop = Shop::stocked();
    shop.runs_policies = false;
    shop.place(1, [(MUG, 3)]).expect("an order");
    shop.pass(EXPIRED_AFTER);
    let mut purchase = Shop::purchase(2, [(MUG, 8)]);
    purchase.customer = BEN;
    shop.send_as(Actor::Customer(BEN), TENANT, purchase).expect("an order");
    let payment = shop.payment(1);
    assert_eq!(shop.done(payment), ["order.cancelled", "order.paid_late"]);
    assert_eq!(shop.order(1).payment_status(), Ok(PaymentStatus::Paid));
    assert_eq!((shop.status(1), shop.free(MUG)), (Some(OrderStatus::Cancelled), 2));
    let refund = RecordRefund { order: order(1), amount: usd(2700), reference: it("back") };
    assert_eq!(shop.done(refund), ["order.refunded"]);
}

#[test]
fn a_payment_just_after_the_expiry_opens_the_order_again_while_stock_is_left() {
    let mut shop = Shop::with_points();
    shop.place(1, [(MUG, 3)]).expect("an order");
    shop.pass(EXPIRED_AFTER);
    assert_eq!((shop.status(1), shop.free(MUG)), (Some(OrderStatus::Cancelled), 10));
    let payment = || RecordPayment { order: order(1), amount: usd(2700), reference: it("payment") };
    assert_eq!(
        shop.done(payment()),
        ["order.reinstated", "order.paid", "stock.reserved", "stock.reservation_confirmed"]
    );
    assert_eq!(shop.done(payment()), [""; 0]);
    shop.pass(100 * EXPIRED_AFTER);
    assert_eq!((shop.status(1), shop.free(MUG), shop.balance(ADA)), (Some(OrderStatus::Pending), 7, 27));
    assert_eq!(shop.engine_rejections, []);
}

#[test]
fn a_payment_for_a_cancelled_order_is_recorded_and_due_for_refund() {
    let mut shop = Shop::with_points();
    shop.place(1, [(MUG, 3)]).expect("an order");
    shop.done(CancelOrder { order: order(1), customer: ADA, reason: it("changed my mind") });
    let payment = shop.payment(1);
    assert_eq!(shop.done(payment), ["order.paid_late"]);
    assert_eq!((shop.order(1).payment_status(), shop.free(MUG)), (Ok(PaymentStatus::Paid), 10));
    shop.done(RecordRefund { order: order(1), amount: usd(2700), reference: it("back") });
    assert_eq!((shop.order(1).payment_status(), shop.balance(ADA)), (Ok(PaymentStatus::Refunded), 0));
    assert_eq!(shop.engine_rejections, []);

    // An expired order of which only a part is left is not fulfilled in part.
    shop.place(2, [(MUG, 3), (COFFEE, 2)]).expect("an order");
    shop.pass(EXPIRED_AFTER);
    shop.place(3, [(COFFEE, 9)]).expect("an order");
    let payment = shop.payment(2);
    assert_eq!(shop.done(payment), ["order.paid_late"]);
    assert_eq!((shop.status(2), shop.free(MUG), shop.free(COFFEE)), (Some(OrderStatus::Cancelled), 10, 1));
}

#[test]
fn an_unpaid_order_cannot_be_marked_ready() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 3)]).expect("an order");
    shop.done(AcceptOrder { order: order(1) });
    assert_eq!(shop.refused(MarkReady { order: order(1) }).code, "NOT_PAID");
}

#[test]
fn refunds_cannot_exceed_the_payment() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 1)]);
    let refund =
        |minor, reference: &str| RecordRefund { order: order(1), amount: usd(minor), reference: it(reference) };
    assert_eq!(shop.done(refund(400, "a")), ["order.refunded"]);
    assert_eq!(shop.done(refund(400, "a")), [""; 0]);
    assert_eq!(shop.refused(refund(501, "b")).code, "REFUND_ABOVE_PAID");
    shop.done(refund(500, "b"));
    assert_eq!(shop.order(1).payment_status(), Ok(PaymentStatus::Refunded));
}
