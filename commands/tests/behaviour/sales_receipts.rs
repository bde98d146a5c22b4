//! Sales receipts: their numbers, by tenant and year.

use commands::catalogue::{CreateProduct, PublishProduct};
use commands::inventory::{OpenStockItem, ReceiveStock};
use commands::kernel::Command;
use commands::orders::{PlaceOrder, RecordPayment};
use commands::tenancy::RegisterTenant;
use domain::inventory::StockItem;
use domain::kernel::{Actor, Encoded, Recorded};
use domain::shared::{Principal, StoreId, TenantId};
use domain::tenancy::Tenant;
use serde_json::Value;
use uuid::Uuid;

use crate::shop::{MUG, Shop, TENANT, instant, it, open, order, pieces, product, usd};

const OTHER: TenantId = TenantId::new(Uuid::from_u128(0x7e4a_0002));

/// Year and number of each receipt of a tenant, in the order of issue.
fn numbers(shop: &Shop, tenant: TenantId) -> Vec<(i64, i64)> {
    let number = |event: &Recorded<Encoded>| {
        let body: Value = serde_json::from_str(&event.event.body).expect("JSON");
        (body["year"].as_i64().expect("a year"), body["number"].as_i64().expect("a number"))
    };
    let issued = |event: &&Recorded<Encoded>| event.tenant == tenant && event.event.name == "sales_receipt.issued";
    shop.log.iter().filter(issued).map(number).collect()
}

fn done_in(tenant: TenantId, shop: &mut Shop, command: impl Command) {
    let member = Actor::Member(Principal::new(Uuid::from_u128(77)));
    let done = shop.send_as(member, tenant, command);
    assert!(done.is_ok(), "{done:?}");
}

/// Opens another tenant with ten mugs on sale in its store.
fn register_with_mugs(shop: &mut Shop, tenant: TenantId) -> StoreId {
    let operator = Actor::Operator(Principal::new(Uuid::from_u128(99)));
    let (subdomain, contact_email) = (it("other-mugs"), open("office@other-mugs.example"));
    let registration = RegisterTenant { tenant, subdomain, contact_email, ..Shop::registration() };
    let registered = shop.send_as(operator, TenantId::PLATFORM, registration);
    assert!(registered.is_ok(), "{registered:?}");
    let (product, store) = (product(MUG), Tenant::first_store(tenant));
    let (name, sku) = (it("Mug"), it("MUG-1"));
    done_in(tenant, shop, CreateProduct { product, name, sku, price: usd(900), description: None });
    done_in(tenant, shop, PublishProduct { product });
    done_in(tenant, shop, OpenStockItem { product, store });
    done_in(tenant, shop, ReceiveStock { item: StockItem::id(product, store), units: pieces(10), reason: None });
    store
}

#[test]
fn numbers_begin_with_one_in_each_year_of_the_payment() {
    let mut shop = Shop::stocked();
    shop.now = instant("2026-12-31T12:00:00Z");
    shop.paid(1, [(MUG, 1)]);
    shop.paid(2, [(MUG, 1)]);
    // It is the new year in the zone of the store, and not yet in UTC.
    shop.now = instant("2026-12-31T23:30:00Z");
    shop.paid(3, [(MUG, 1)]);
    assert_eq!(numbers(&shop, TENANT), [(2026, 1), (2026, 2), (2027, 1)]);
    assert_eq!(shop.engine_rejections, []);
}

#[test]
fn numbers_of_one_tenant_leave_no_gap_in_those_of_another() {
    let mut shop = Shop::stocked();
    let store = register_with_mugs(&mut shop, OTHER);
    shop.paid(1, [(MUG, 1)]);
    done_in(OTHER, &mut shop, PlaceOrder { store, ..Shop::purchase(2, [(MUG, 1)]) });
    done_in(OTHER, &mut shop, RecordPayment { order: order(2), amount: usd(900), reference: it("paid") });
    shop.paid(3, [(MUG, 1)]);
    assert_eq!(numbers(&shop, TENANT), [(2026, 1), (2026, 2)]);
    assert_eq!(numbers(&shop, OTHER), [(2026, 1)]);
}
