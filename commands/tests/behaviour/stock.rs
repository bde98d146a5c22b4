//! Stock of a product at a store: opening and closing, counts, shortages and returns.

use commands::catalogue::{ArchiveProduct, CreateProduct};
use commands::inventory::{AdjustStock, CloseStockItem, CountStock, OpenStockItem, ReceiveStock, RestockReturn};
use commands::orders::{AcceptOrder, MarkInTransit, MarkReady, RejectOrder};
use domain::inventory::StockItem;
use domain::kernel::Retry;
use domain::orders::OrderStatus;
use domain::shared::{ProductId, StoreId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{COFFEE, MUG, STORE, Shop, it, order, pieces, product, rejected, units, usd};

#[test]
fn only_a_product_of_the_catalogue_is_stocked_and_only_at_a_store_of_the_tenant() {
    let mut shop = Shop::stocked();
    let (nowhere, nothing) = (StoreId::new(Uuid::from_u128(5)), ProductId::new(Uuid::from_u128(6)));
    let swapped = OpenStockItem { product: ProductId::new(STORE.uuid()), store: StoreId::new(product(MUG).uuid()) };
    assert_eq!(shop.refused(swapped).code, "STORE_UNKNOWN");
    assert_eq!(shop.refused(OpenStockItem { product: product(MUG), store: nowhere }).code, "STORE_UNKNOWN");
    assert_eq!(shop.refused(OpenStockItem { product: nothing, store: *STORE }).code, "PRODUCT_UNKNOWN");
    let archived = product(9);
    let (name, sku, price) = (it("Vase"), it("VASE"), usd(100));
    shop.done(CreateProduct { product: archived, name, sku, price, description: None });
    shop.done(ArchiveProduct { product: archived });
    assert_eq!(shop.refused(OpenStockItem { product: archived, store: *STORE }).code, "PRODUCT_ARCHIVED");
    // A repeat changes nothing, whatever became of the product.
    shop.done(ArchiveProduct { product: product(MUG) });
    assert_eq!(shop.done(OpenStockItem { product: product(MUG), store: *STORE }), [""; 0]);
}

#[test]
fn a_stock_item_that_was_opened_by_mistake_is_closed_once_it_is_empty() {
    let mut shop = Shop::stocked();
    let item = StockItem::id(product(COFFEE), *STORE);
    assert_eq!(shop.refused(CloseStockItem { item }).code, "UNITS_ON_HAND");
    let change = (-10).try_into().expect("a change");
    shop.done(AdjustStock { item, change, reason: it("opened by mistake"), force: false });
    assert_eq!(shop.done(CloseStockItem { item }), ["stock.closed"]);
    assert_eq!(shop.done(CloseStockItem { item }), [""; 0]);
    assert_eq!(rejected(shop.place(1, [(COFFEE, 1)])).code, "NOT_STOCKED");
    assert_eq!(shop.done(OpenStockItem { product: product(COFFEE), store: *STORE }), ["stock.opened"]);
}

#[test]
fn a_count_below_the_reserved_units_is_a_shortage_until_an_order_is_cancelled() {
    let mut shop = Shop::stocked();
    let item = StockItem::id(product(MUG), *STORE);
    shop.paid(1, [(MUG, 4)]);
    shop.paid(2, [(MUG, 5)]);
    for number in [1, 2] {
        shop.done(AcceptOrder { order: order(number) });
        shop.done(MarkReady { order: order(number) });
    }
    let counted = |reason: Option<&str>| CountStock { item, on_hand: units(4), reason: reason.map(it) };
    assert_eq!(shop.refused(counted(None)).code, "REASON_MISSING");
    let events = shop.done(counted(Some("water damage")));
    assert_eq!(events, ["stock.counted", "stock.depleted", "stock.shortage_recorded"]);
    let found = &shop.log.last().expect("an event").event.body;
    let found: Value = serde_json::from_str(found).expect("JSON");
    let second = order(2).to_string();
    assert_eq!(found, json!({ "missing": 5, "orders": [second], "reason": "water damage" }));
    let no = shop.refused(MarkInTransit { order: order(2) });
    assert_eq!((no.code.as_str(), no.retry), ("STOCK_SHORT", Retry::NewId));
    assert_eq!(no.details, json!({ "on_hand": 4, "wanted": 5, "product": product(MUG).to_string() }));
    shop.done(RejectOrder { order: order(2), reason: it("sold out") });
    assert_eq!(shop.count("stock.shortage_resolved"), 1);
    shop.done(MarkInTransit { order: order(1) });
    assert_eq!((shop.item(product(MUG)).on_hand(), shop.free(MUG)), (0, 0));
}

#[test]
fn stock_counted_as_zero_does_not_go_below_zero_when_a_paid_order_is_shipped() {
    let mut shop = Shop::opened();
    shop.sell(MUG, 900, 5);
    shop.paid(1, [(MUG, 4)]);
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    let item = StockItem::id(product(MUG), *STORE);
    shop.done(CountStock { item, on_hand: units(0), reason: Some(it("stolen")) });
    assert_eq!(shop.refused(MarkInTransit { order: order(1) }).code, "STOCK_SHORT");
    assert_eq!(shop.item(product(MUG)).on_hand(), 0);
    shop.done(ReceiveStock { item, units: pieces(4), reason: None });
    shop.done(MarkInTransit { order: order(1) });
    assert_eq!((shop.item(product(MUG)).on_hand(), shop.status(1)), (0, Some(OrderStatus::InTransit)));
}

#[test]
fn no_more_units_come_back_from_an_order_than_were_shipped() {
    let mut shop = Shop::stocked();
    let (mugs, coffee) = (StockItem::id(product(MUG), *STORE), StockItem::id(product(COFFEE), *STORE));
    let back = |item, count| RestockReturn { item, order: order(1), units: pieces(count) };
    assert_eq!(shop.refused(back(mugs, 1)).code, "ORDER_UNKNOWN");
    shop.paid(1, [(MUG, 1), (MUG, 1)]);
    assert_eq!(shop.refused(back(mugs, 1)).code, "NOT_SHIPPED");
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    shop.done(MarkInTransit { order: order(1) });
    let no = shop.refused(back(mugs, 500));
    assert_eq!((no.code.as_str(), no.retry), ("RETURN_ABOVE_SHIPPED", Retry::Never));
    assert_eq!(no.details, json!({ "left": 2, "wanted": 500 }));
    assert_eq!(shop.refused(back(coffee, 1)).code, "RETURN_ABOVE_SHIPPED");
    assert_eq!(shop.done(back(mugs, 2)), ["order.units_returned", "stock.returned"]);
    assert_eq!(shop.refused(back(mugs, 1)).code, "RETURN_ABOVE_SHIPPED");
    assert_eq!((shop.item(product(MUG)).on_hand(), shop.free(COFFEE)), (10, 10));
}
