//! Stock of a product at a store: opening and closing.

use commands::catalogue::{ArchiveProduct, CreateProduct};
use commands::inventory::{AdjustStock, CloseStockItem, OpenStockItem};
use domain::inventory::StockItem;
use domain::shared::{ProductId, StoreId};
use uuid::Uuid;

use crate::shop::{COFFEE, MUG, STORE, Shop, it, product, rejected, usd};

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
