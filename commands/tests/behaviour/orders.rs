//! Orders: placement, status changes, cancellation and import.

use commands::catalogue::{ChangePrice, UnpublishProduct};
use commands::customers::ImportCustomer;
use commands::inventory::ReserveStock;
use commands::kernel::{Command, Demands};
use commands::orders::{
    AcceptOrder, CancelImportedOrder, CancelOrder, ImportOrder, MarkDelivered, MarkInTransit, MarkReady, MoveOrder,
    PlaceOrder, RejectOrder, WantedLine,
};
use commands::tenancy::{ReinstateTenant, SuspendTenant};
use domain::inventory::StockItem;
use domain::kernel::{Actor, Retry};
use domain::orders::OrderStatus;
use domain::shared::{Principal, ReservationId, Sku, StoreId, TenantId, Units};
use serde_json::json;
use uuid::Uuid;

use crate::shop::{
    ADA, BEN, COFFEE, MUG, STORE, Shop, TENANT, customer, instant, it, misuse, order, pieces, product, rejected, units,
    usd,
};

fn cancel(number: u128) -> CancelOrder {
    CancelOrder { order: order(number), customer: ADA, reason: it("changed my mind") }
}

#[test]
fn a_placed_order_reserves_its_units() {
    let mut shop = Shop::stocked();
    let events = shop.place(1, [(MUG, 3), (COFFEE, 1)]).expect("an order");
    let names: Vec<_> = events.iter().map(|event| event.event.name.as_str()).collect();
    assert_eq!(names, ["order.placed", "stock.reserved", "stock.reserved"]);
    assert_eq!((shop.free(MUG), shop.free(COFFEE)), (7, 9));
    assert_eq!(shop.order(1).total(), Ok(usd(3 * 900 + 1250)));
}

#[test]
fn lines_of_one_product_are_checked_against_stock_by_their_sum() {
    let mut shop = Shop::stocked();
    let no = rejected(shop.place(1, [(MUG, 6), (MUG, 5)]));
    assert_eq!(no.code, "OUT_OF_STOCK");
    assert_eq!(no.details, json!({ "free": 10, "wanted": 11, "product": product(MUG).to_string() }));
    assert!(shop.place(1, [(MUG, 5), (MUG, 5)]).is_ok());
    assert_eq!(shop.count("stock.reserved"), 1);
}

#[test]
fn a_rejected_order_writes_no_event() {
    let mut shop = Shop::stocked();
    let before = shop.log.len();
    assert_eq!(rejected(shop.place(1, [(MUG, 3), (COFFEE, 11)])).code, "OUT_OF_STOCK");
    assert_eq!((shop.log.len(), shop.status(1), shop.free(MUG)), (before, None, 10));
}

/// The streams that the rejection of a command reports as sold out, according to its demands.
fn sold_out(shop: &mut Shop, command: impl Command) -> Vec<Uuid> {
    let mut demands = Demands::default();
    command.demands(&mut demands);
    let no = shop.refused(command);
    demands.into_demands().iter().filter(|demand| demand.is_sold_out(&no)).map(|demand| demand.stream.id).collect()
}

#[test]
fn the_rejection_of_a_sold_out_product_matches_the_demand_on_its_stock() {
    let mut shop = Shop::stocked();
    let wanted = |number, lines: &[(u128, i64)]| {
        let line = |(thing, units): &(u128, i64)| WantedLine { product: product(*thing), quantity: pieces(*units) };
        PlaceOrder { order: order(number), customer: ADA, store: *STORE, lines: lines.iter().map(line).collect() }
    };
    assert!(sold_out(&mut shop, wanted(1, &[(COFFEE, 1), (MUG, 11)])).is_empty(), "some are left");
    shop.done(wanted(2, &[(MUG, 10)]));
    let mugs = StockItem::id(product(MUG), *STORE);
    assert_eq!(sold_out(&mut shop, wanted(3, &[(COFFEE, 1), (MUG, 1)])), [mugs.uuid()]);
    assert_eq!(sold_out(&mut shop, wanted(5, &[(MUG, 1), (COFFEE, 3), (MUG, 2)])), [mugs.uuid()], "lines are summed");
    let reservation = ReservationId::new(Uuid::from_u128(4));
    assert_eq!(sold_out(&mut shop, ReserveStock { item: mugs, reservation, units: pieces(1) }), [mugs.uuid()]);
}

#[test]
fn a_rejection_names_the_product_that_is_not_available() {
    let mut shop = Shop::stocked();
    shop.done(UnpublishProduct { product: product(COFFEE) });
    let no = rejected(shop.place(1, [(MUG, 1), (COFFEE, 1)]));
    assert_eq!((no.code.as_str(), &no.details["product"]), ("NOT_FOR_SALE", &json!(product(COFFEE).to_string())));
}

#[test]
fn a_product_that_a_store_does_not_stock_cannot_be_bought_there() {
    let mut shop = Shop::stocked();
    let elsewhere = StoreId::new(Uuid::from_u128(5));
    let mut purchase = Shop::purchase(1, [(MUG, 1)]);
    purchase.store = elsewhere;
    assert_eq!(shop.refused(purchase).code, "STORE_UNKNOWN");
    shop.done(commands::tenancy::OpenStore { store: elsewhere, name: it("Fair"), zone: it("Asia/Tokyo") });
    let mut purchase = Shop::purchase(1, [(MUG, 1)]);
    purchase.store = elsewhere;
    assert_eq!(shop.refused(purchase).code, "NOT_STOCKED");
}

#[test]
fn an_order_has_1_to_100_lines() {
    let mut shop = Shop::stocked();
    assert_eq!(rejected(shop.place(1, [])).code, "EMPTY_ORDER");
    let many = |count: usize| (0..count).map(|number| (100 + number as u128, 1));
    assert_eq!(rejected(shop.place(1, many(101))).code, "TOO_MANY_LINES");
    assert_eq!(rejected(shop.place(1, many(100_000))).code, "TOO_MANY_LINES");
    (0..100).for_each(|number| shop.sell(100 + number, 100, 1));
    assert!(shop.place(1, many(100)).is_ok());
}

#[test]
fn an_order_keeps_its_prices_and_a_repeat_yields_no_event() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 2)]).expect("an order");
    shop.done(ChangePrice { product: product(MUG), price: usd(5000) });
    shop.done(UnpublishProduct { product: product(MUG) });
    assert_eq!(shop.place(1, [(MUG, 2)]).expect("the same order"), []);
    assert_eq!(rejected(shop.place(1, [(MUG, 3)])).code, "ORDER_EXISTS");
    assert_eq!((shop.order(1).total(), shop.free(MUG)), (Ok(usd(1800)), 8));
    shop.done(cancel(1));
    assert_eq!(shop.place(1, [(MUG, 2)]).expect("the same order"), []);
    assert_eq!(shop.free(MUG), 10);
}

#[test]
fn a_suspended_tenant_takes_no_new_orders_and_can_finish_existing_ones() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 1)]);
    let operator = || Actor::Operator(Principal::new(Uuid::from_u128(99)));
    let suspend = SuspendTenant { tenant: TENANT, reason: it("fraud") };
    shop.send_as(operator(), TenantId::PLATFORM, suspend).expect("a suspension");
    assert_eq!(rejected(shop.place(2, [(MUG, 1)])).code, "TENANT_SUSPENDED");
    assert_eq!(shop.done(AcceptOrder { order: order(1) }), ["order.accepted"]);
    let reinstate = ReinstateTenant { tenant: TENANT };
    shop.send_as(operator(), TenantId::PLATFORM, reinstate).expect("a reinstatement");
    assert!(shop.place(2, [(MUG, 1)]).is_ok());
}

#[test]
fn a_cancellation_releases_the_units_once() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 2), (COFFEE, 1), (MUG, 1)]).expect("an order");
    let events = shop.done(cancel(1));
    assert_eq!(events, ["order.cancelled", "stock.reservation_released", "stock.reservation_released"]);
    assert_eq!(shop.done(cancel(1)), [""; 0]);
    shop.pass(3600);
    assert_eq!((shop.free(MUG), shop.free(COFFEE)), (10, 10));
    assert_eq!(shop.count("stock.reservation_expired"), 0);
}

#[test]
fn a_cancellation_records_the_party_that_cancelled() {
    let mut shop = Shop::stocked();
    (1..=3).for_each(|number| assert!(shop.place(number, [(MUG, 1)]).is_ok()));
    shop.send_as(Actor::Customer(ADA), TENANT, cancel(1)).expect("a customer may cancel their own order");
    shop.done(cancel(2));
    shop.done(RejectOrder { order: order(3), reason: it("broken") });
    let by: Vec<_> = shop.log.iter().filter(|event| event.event.name == "order.cancelled").collect();
    let by: Vec<_> = by.iter().map(|event| event.event.body.split('"').nth(3)).collect();
    assert_eq!(by, [Some("customer"), Some("seller"), Some("seller")]);
    assert_eq!(shop.free(MUG), 10);
}

#[test]
fn the_order_of_another_customer_is_answered_as_unknown() {
    let mut shop = Shop::stocked();
    shop.place(1, [(MUG, 1)]).expect("an order");
    let theft = CancelOrder { order: order(1), customer: BEN, reason: it("mine") };
    assert_eq!(rejected(shop.send_as(Actor::Customer(BEN), TENANT, theft)).code, "ORDER_UNKNOWN");
    assert_eq!(shop.status(1), Some(OrderStatus::Pending));
}

#[test]
fn units_leave_the_stock_once_when_their_order_is_in_transit() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 4)]);
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    let events = shop.done(MarkInTransit { order: order(1) });
    assert_eq!(events, ["order.in_transit", "stock.reservation_committed"]);
    assert_eq!(shop.done(MarkInTransit { order: order(1) }), [""; 0]);
    let paid_already = shop.payment(1);
    assert_eq!(shop.done(paid_already), [""; 0]);
    shop.done(MarkDelivered { order: order(1) });
    assert_eq!(shop.refused(cancel(1)).code, "ILLEGAL_MOVE");
    assert_eq!(shop.free(MUG), 6);
    let counted = shop.done(commands::inventory::CountStock {
        item: StockItem::id(product(MUG), *STORE),
        on_hand: units(6),
        reason: None,
    });
    assert_eq!(counted, [""; 0]);
}

#[test]
fn a_move_yields_the_same_events_as_the_single_commands() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 1)]);
    let mut to = |to| shop.done(MoveOrder { order: order(1), to, reason: None });
    assert_eq!(to(OrderStatus::Pending), [""; 0]);
    assert_eq!(to(OrderStatus::Processing), ["order.accepted"]);
    assert_eq!(to(OrderStatus::Ready), ["order.ready"]);
    assert_eq!(to(OrderStatus::InTransit), ["order.in_transit", "stock.reservation_committed"]);
    assert_eq!(to(OrderStatus::Delivered), ["order.delivered"]);
}

#[test]
fn an_illegal_move_is_rejected_with_the_list_of_allowed_ones() {
    let mut shop = Shop::stocked();
    shop.paid(1, [(MUG, 1)]);
    let to = |to, reason| MoveOrder { order: order(1), to, reason };
    let no = shop.refused(to(OrderStatus::Delivered, None));
    assert_eq!(no.code, "ILLEGAL_MOVE");
    assert_eq!(no.details["allowed"], json!(["processing", "cancelled"]));
    assert_eq!(misuse(shop.send(to(OrderStatus::Cancelled, None))), "INVALID_FIELD");
    shop.done(to(OrderStatus::Cancelled, Some(it("broken"))));
    assert_eq!(shop.refused(to(OrderStatus::Pending, None)).code, "ILLEGAL_MOVE");
    assert_eq!(shop.free(MUG), 10);
}

fn import(number: u128) -> ImportOrder {
    ImportOrder {
        order: order(number),
        customer: customer(7),
        store: *STORE,
        total: usd(5700),
        units: Units::from(pieces(3)),
        ordered_at: instant("2026-03-29T22:30:00Z"),
        source: it("shopify 4711"),
    }
}

#[test]
fn an_imported_order_keeps_its_order_time_and_is_imported_once() {
    let mut shop = Shop::stocked();
    shop.done(import(1));
    assert_eq!(shop.done(import(1)), [""; 0]);
    let event = shop.log.iter().find(|event| event.event.name == "order.imported").expect("an event");
    assert_eq!(event.occurred_at, instant("2026-03-29T22:30:00Z"));
    assert!(event.event.body.contains(r#""ordered_on":"2026-03-30""#), "{}", event.event.body);
    assert_eq!(shop.refused(AcceptOrder { order: order(1) }).code, "ORDER_IMPORTED");
    assert_eq!(
        misuse(shop.send(ImportOrder { ordered_at: instant("2026-11-22T12:00:00Z"), ..import(2) })),
        "INVALID_FIELD"
    );
}

#[test]
fn an_import_that_differs_from_the_existing_order_is_rejected() {
    let mut shop = Shop::stocked();
    shop.done(import(1));
    assert_eq!(shop.refused(ImportOrder { source: it("shopify 4712"), ..import(1) }).code, "ORDER_EXISTS");
    assert_eq!(shop.refused(ImportOrder { units: Units::from(pieces(4)), ..import(1) }).code, "ORDER_EXISTS");
}

#[test]
fn an_order_of_another_system_is_imported_once_whatever_its_id_here() {
    let mut shop = Shop::stocked();
    assert_eq!(shop.done(import(1)), ["order.imported", "name.claimed"]);
    let no = shop.refused(import(2));
    assert_eq!((no.code.as_str(), no.retry), ("SOURCE_IMPORTED", Retry::Never));
    assert_eq!(no.details, json!({ "order": order(1).to_string() }));
    assert_eq!(shop.status(2), None);
    // Ids of some systems differ in case only.
    shop.done(ImportOrder { source: it("Shopify 4711"), ..import(2) });
    assert_eq!(shop.done(import(1)), [""; 0]);
}

#[test]
fn a_customer_of_another_system_is_imported_under_one_id() {
    let mut shop = Shop::stocked();
    let import = |customer| ImportCustomer { customer, name: None, email: None, source: it("till 1") };
    assert_eq!(shop.done(import(ADA)), ["name.claimed", "customer.imported"]);
    let no = shop.refused(import(BEN));
    assert_eq!((no.code.as_str(), no.retry), ("SOURCE_IMPORTED", Retry::Never));
    assert_eq!(no.details, json!({ "customer": ADA.to_string() }));
    assert_eq!(shop.done(import(ADA)), [""; 0]);
}

#[test]
fn a_cancelled_import_is_refunded_and_cancelled_once() {
    let mut shop = Shop::stocked();
    shop.done(import(1));
    let end = || CancelImportedOrder { order: order(1), reason: it("sold out"), reference: it("refund 1") };
    assert_eq!(shop.done(end()), ["order.refunded", "order.cancelled"]);
    assert_eq!(shop.done(end()), [""; 0]);
}

#[test]
fn an_order_line_takes_a_name_and_sku_in_any_script() {
    let mut shop = Shop::stocked();
    let (product, name) = (product(9), it("قميص 👩‍👩‍👧‍👦"));
    let sku: Sku = it("قميص");
    let price = usd(1);
    shop.done(commands::catalogue::CreateProduct { product, name, sku, price, description: None });
    shop.done(commands::catalogue::PublishProduct { product });
    assert_eq!(rejected(shop.place(1, [(9, 1)])).code, "NOT_STOCKED");
}
