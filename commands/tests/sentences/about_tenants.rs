//! How a tenant comes to be.

use commands::tenancy::{OpenStore, RegisterTenant, SuspendTenant};
use domain::kernel::Actor;
use domain::shared::{Principal, StoreId, TenantId};
use domain::tenancy::Tenant;
use uuid::Uuid;

use crate::shop::{STORE, Shop, TENANT, it, misuse, rejected};

fn operator() -> Actor {
    Actor::Operator(Principal::new(Uuid::from_u128(99)))
}

#[test]
fn a_registered_tenant_is_opened_in_its_own_lane_with_a_first_store() {
    let shop = Shop::opened();
    let opened: Vec<_> = shop.log.iter().filter(|event| event.event.name == "tenant.opened").collect();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].tenant, opened[0].stream), (TENANT, TENANT.uuid()));
    assert_eq!(shop.state::<Tenant>(TENANT).zone_of(*STORE).map(ToString::to_string), Ok("Europe/Berlin".into()));
    assert!(shop.log.iter().all(|event| event.tenant == TENANT || event.tenant == TenantId::PLATFORM));
}

#[test]
fn registering_again_opens_nothing_more() {
    let mut shop = Shop::opened();
    let before = shop.log.len();
    shop.send_as(operator(), TenantId::PLATFORM, Shop::registration()).expect("a repeat");
    assert_eq!(shop.log.len(), before);
}

#[test]
fn tenants_are_registered_at_the_platform_and_the_platform_is_none() {
    let mut shop = Shop::empty();
    assert_eq!(misuse(shop.send_as(operator(), TENANT, Shop::registration())), "NOT_THE_PLATFORM");
    let platform = RegisterTenant { tenant: TenantId::PLATFORM, ..Shop::registration() };
    assert_eq!(misuse(shop.send_as(operator(), TenantId::PLATFORM, platform)), "INVALID_FIELD");
    assert!(shop.log.is_empty());
}

#[test]
fn nothing_is_done_in_a_tenant_that_is_not_open() {
    let mut shop = Shop::empty();
    assert_eq!(shop.refused(SuspendTenant { reason: it("fraud") }).code, "TENANT_NOT_OPEN");
    let store = StoreId::new(Uuid::from_u128(5));
    assert_eq!(shop.refused(OpenStore { store, name: it("Fair"), zone: it("UTC") }).code, "TENANT_NOT_OPEN");
    assert_eq!(rejected(shop.place(1, [(1, 1)])).code, "TENANT_NOT_OPEN");
}

#[test]
fn prices_are_in_the_currency_of_the_tenant() {
    let mut shop = Shop::opened();
    let create = |currency: &str| {
        let price = serde_json::from_str(&format!(r#"{{"minor":900,"currency":"{currency}"}}"#)).expect("a price");
        let product = crate::shop::product(1);
        commands::catalogue::CreateProduct { product, name: it("Mug"), sku: it("MUG"), price, description: None }
    };
    assert_eq!(shop.refused(create("EUR")).code, "OTHER_CURRENCY");
    shop.done(create("USD"));
}
