//! Tenants: registration, opening, suspension and reinstatement.

use commands::kernel::Command;
use commands::tenancy::{FollowSuspension, OpenStore, OpenTenant, RegisterTenant, ReinstateTenant, SuspendTenant};
use domain::kernel::{Actor, Retry};
use domain::shared::{Permission, Principal, Role, StoreId, TenantId};
use domain::tenancy::{Tenant, TenantState};
use uuid::Uuid;

use crate::shop::{STORE, Shop, TENANT, it, misuse, rejected};

fn operator() -> Actor {
    Actor::Operator(Principal::new(Uuid::from_u128(99)))
}

#[test]
fn a_registered_tenant_is_opened_with_a_first_store_in_a_stream_of_its_own() {
    let shop = Shop::opened();
    let opened: Vec<_> = shop.log.iter().filter(|event| event.event.name == "tenant.opened").collect();
    assert_eq!(opened.len(), 1);
    assert_eq!((opened[0].tenant, opened[0].stream), (TENANT, TENANT.uuid()));
    assert_eq!(shop.state::<Tenant>(TENANT).zone_of(*STORE).map(ToString::to_string), Ok("Europe/Berlin".into()));
    assert!(shop.log.iter().all(|event| event.tenant == TENANT || event.tenant == TenantId::PLATFORM));
}

#[test]
fn a_repeated_registration_yields_no_event() {
    let mut shop = Shop::opened();
    let before = shop.log.len();
    shop.send_as(operator(), TenantId::PLATFORM, Shop::registration()).expect("a repeat");
    assert_eq!(shop.log.len(), before);
}

#[test]
fn tenants_are_registered_at_the_platform_which_cannot_be_a_tenant() {
    let mut shop = Shop::empty();
    assert_eq!(misuse(shop.send_as(operator(), TENANT, Shop::registration())), "NOT_THE_PLATFORM");
    let platform = RegisterTenant { tenant: TenantId::PLATFORM, ..Shop::registration() };
    assert_eq!(misuse(shop.send_as(operator(), TenantId::PLATFORM, platform)), "INVALID_FIELD");
    assert!(shop.log.is_empty());
}

#[test]
fn commands_in_a_tenant_that_is_not_open_can_be_sent_again_with_the_same_id() {
    let mut shop = Shop::empty();
    let store = StoreId::new(Uuid::from_u128(5));
    let opening = shop.refused(OpenStore { store, name: it("Fair"), zone: it("UTC") });
    for no in [opening, rejected(shop.place(1, [(1, 1)]))] {
        assert_eq!((no.code.as_str(), no.retry), ("TENANT_NOT_OPEN", Retry::SameId));
    }
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

#[test]
fn a_tenant_cannot_be_opened_again_with_other_data() {
    let mut shop = Shop::opened();
    let open = |name: &str| {
        let (subdomain, currency, zone) = (it("adas-mugs"), it("USD"), it("Europe/Berlin"));
        OpenTenant { name: it(name), subdomain, currency, zone }
    };
    assert_eq!(shop.send_as_engine(open("Ada's Mugs")).expect("a repeat"), []);
    assert_eq!(rejected(shop.send_as_engine(open("Ben's Mugs"))).code, "TENANT_EXISTS");
}

#[test]
fn the_team_may_open_stores_and_an_operator_may_suspend() {
    for role in [Role::Admin, Role::Owner] {
        assert!(role.permits(OpenStore::NEEDS) && !role.permits(SuspendTenant::NEEDS));
    }
    assert!(!Role::Operator.permits(OpenStore::NEEDS) && Role::Operator.permits(SuspendTenant::NEEDS));
    assert_eq!(FollowSuspension::NEEDS, Permission::RunEngine);
}

#[test]
fn a_suspension_at_the_platform_is_applied_in_the_stream_of_the_tenant() {
    let mut shop = Shop::opened();
    let suspend = || SuspendTenant { tenant: TENANT, reason: it("fraud") };
    let mut platform = |command: SuspendTenant| shop.send_as(operator(), TenantId::PLATFORM, command);
    assert_eq!(platform(suspend()).expect("a suspension").len(), 1);
    assert_eq!(platform(suspend()).expect("a repeat"), []);
    let applied: Vec<_> = shop.log.iter().filter(|event| event.event.name == "tenant.suspended").collect();
    assert_eq!(applied.len(), 1);
    assert_eq!((applied[0].tenant, applied[0].stream), (TENANT, TENANT.uuid()));
    let reinstate = || ReinstateTenant { tenant: TENANT };
    shop.send_as(operator(), TenantId::PLATFORM, reinstate()).expect("a reinstatement");
    assert_eq!(shop.state::<Tenant>(TENANT).state(), Some(TenantState::Active));
    assert_eq!(shop.engine_rejections, []);
}

#[test]
fn a_suspension_that_arrives_after_its_reinstatement_is_ignored() {
    let mut shop = Shop::opened();
    let suspend = SuspendTenant { tenant: TENANT, reason: it("fraud") };
    shop.send_as(operator(), TenantId::PLATFORM, suspend).expect("a suspension");
    shop.send_as(operator(), TenantId::PLATFORM, ReinstateTenant { tenant: TENANT }).expect("a reinstatement");
    let late = FollowSuspension { reason: it("fraud"), decision: 2 };
    assert_eq!(shop.send_as_engine(late).expect("nothing"), []);
    assert_eq!(shop.state::<Tenant>(TENANT).state(), Some(TenantState::Active));
}

#[test]
fn only_a_registered_tenant_can_be_suspended_and_only_at_the_platform() {
    let mut shop = Shop::opened();
    let suspend = |number| SuspendTenant { tenant: TenantId::new(Uuid::from_u128(number)), reason: it("fraud") };
    assert_eq!(rejected(shop.send_as(operator(), TenantId::PLATFORM, suspend(5))).code, "TENANT_UNKNOWN");
    assert_eq!(misuse(shop.send_as(operator(), TENANT, suspend(5))), "NOT_THE_PLATFORM");
}
