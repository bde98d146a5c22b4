//! Reservations of orders and reservations by hand.

use commands::inventory::{CommitReservation, ConfirmReservation, ReleaseReservation, ReserveStock};
use commands::orders::{AcceptOrder, MarkInTransit, MarkReady};
use domain::inventory::StockItem;
use domain::kernel::Retry;
use domain::orders::OrderStatus;
use domain::shared::{ReservationId, StockItemId};
use serde_json::json;

use crate::shop::{MUG, STORE, Shop, order, pieces, product, rejected};

/// One second longer than stock is held, in seconds.
const EXPIRED_AFTER: i64 = 15 * 60 + 1;

fn mugs() -> StockItemId {
    StockItem::id(product(MUG), *STORE)
}

#[test]
fn units_of_a_paid_order_cannot_be_released_by_hand_and_sold_again() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 10)]);
    let own = ReservationId::of_order(order(1));
    for reservation in [own, ReservationId::new(order(1).uuid())] {
        let no = [
            shop.refused(ReleaseReservation { item: mugs(), reservation }),
            shop.refused(CommitReservation { item: mugs(), reservation }),
            shop.refused(ConfirmReservation { item: mugs(), reservation }),
        ];
        for no in no {
            assert_eq!((no.code.as_str(), no.retry), ("RESERVATION_OF_ORDER", Retry::Never));
            assert_eq!(no.details, json!({ "reservation": own.to_string(), "order": order(1).to_string() }));
        }
    }
    assert_eq!(rejected(shop.place(2, [(MUG, 1)])).code, "OUT_OF_STOCK");
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    assert_eq!(shop.done(MarkInTransit { order: order(1) }), ["order.in_transit", "stock.reservation_committed"]);
    assert_eq!((shop.status(1), shop.free(MUG)), (Some(OrderStatus::InTransit), 0));
}

#[test]
fn an_order_and_a_reservation_with_the_same_id_hold_their_own_units() {
    let mut shop = Shop::stocked();
    let reservation = ReservationId::new(order(1).uuid());
    shop.done(ReserveStock { item: mugs(), reservation, units: pieces(2) });
    shop.paid(1, [(MUG, 3)]);
    assert_eq!(shop.free(MUG), 5);
    assert_eq!(shop.done(ReleaseReservation { item: mugs(), reservation }), ["stock.reservation_released"]);
    assert_eq!(shop.free(MUG), 7);
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    shop.done(MarkInTransit { order: order(1) });
    assert_eq!((shop.free(MUG), shop.item(product(MUG)).on_hand()), (7, 7));
}

#[test]
fn an_order_from_before_holders_were_recorded_is_shipped_and_its_reservation_is_not_changed_by_hand() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 3)]).expect("an order");
    let shared = ReservationId::new(order(1).uuid());
    shop.forget_holder(mugs(), ReservationId::of_order(order(1)), shared);
    let payment = shop.payment(1);
    assert_eq!(shop.done(payment), ["order.paid", "stock.reservation_confirmed"]);
    let no = shop.refused(ReleaseReservation { item: mugs(), reservation: shared });
    assert_eq!(no.code, "RESERVATION_OF_ORDER");
    assert_eq!(shop.refused(ReserveStock { item: mugs(), reservation: shared, units: pieces(3) }).code, no.code);
    shop.pass(EXPIRED_AFTER);
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    shop.done(MarkInTransit { order: order(1) });
    assert_eq!(shop.free(MUG), 7);
}
