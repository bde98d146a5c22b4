//! Unique names: SKUs, email addresses and subdomains.

use commands::catalogue::{ArchiveProduct, CreateProduct};
use commands::customers::{ImportCustomer, RegisterCustomer, UpdateProfile};
use commands::tenancy::RegisterTenant;
use domain::kernel::Actor;
use domain::shared::{CustomerId, Principal, TenantId};
use serde_json::json;
use uuid::Uuid;

use crate::shop::{ADA, BEN, Shop, it, open, product, rejected, usd};

fn create(number: u128, sku: &str) -> CreateProduct {
    CreateProduct { product: product(number), name: it("Mug"), sku: it(sku), price: usd(900), description: None }
}

fn register(customer: CustomerId, email: &str) -> RegisterCustomer {
    RegisterCustomer { customer, name: open("Ada"), email: Some(open(email)), phone: None }
}

fn update(customer: CustomerId, email: &str) -> UpdateProfile {
    UpdateProfile { customer, name: open("Ada"), email: Some(open(email)), phone: Some(open("+4930123456")) }
}

#[test]
fn a_sku_stays_taken_after_its_product_is_archived() {
    let mut shop = Shop::opened();
    shop.done(create(1, "MUG"));
    assert_eq!(shop.done(create(1, "MUG")), [""; 0]);
    shop.done(ArchiveProduct { product: product(1) });
    let no = shop.refused(create(2, "mug"));
    assert_eq!((no.code.as_str(), no.message.as_str()), ("NAME_TAKEN", "this sku is taken"));
    assert_eq!(no.details, json!({ "kind": "sku" }));
    assert!(shop.log.iter().all(|event| event.stream != product(2).uuid()));
}

#[test]
fn an_address_belongs_to_one_customer_ignoring_case() {
    let mut shop = Shop::opened();
    shop.done(register(ADA, "ada@example.org"));
    assert_eq!(shop.done(register(ADA, "ada@example.org")), [""; 0]);
    assert_eq!(shop.refused(register(BEN, "Ada@Example.org")).code, "NAME_TAKEN");
    let import =
        ImportCustomer { customer: BEN, name: None, email: Some(open("ada@example.org")), source: it("till 1") };
    assert_eq!(shop.refused(import).code, "NAME_TAKEN");
}

#[test]
fn a_repeated_profile_or_import_yields_no_event() {
    let mut shop = Shop::opened();
    shop.done(register(ADA, "ada@example.org"));
    let import = |name: &str| {
        let email = Some(open("ada@example.org"));
        ImportCustomer { customer: ADA, name: Some(open(name)), email, source: it("till 1") }
    };
    // The first import claims its source.
    assert_eq!(shop.done(import("Ada")), ["name.claimed"]);
    assert_eq!(shop.done(import("Ada")), [""; 0]);
    assert_eq!(shop.done(update(ADA, "ada@example.org")), ["customer.profile_updated"]);
    assert_eq!(shop.done(update(ADA, "ada@example.org")), [""; 0]);
    assert_eq!(shop.done(import("Ada L.")), ["customer.imported"]);
    assert_eq!(shop.done(import("Ada L.")), [""; 0]);
}

#[test]
fn a_replaced_address_is_free_for_another_customer() {
    let mut shop = Shop::opened();
    shop.done(register(ADA, "ada@example.org"));
    assert_eq!(
        shop.done(update(ADA, "ada@example.com")),
        ["customer.profile_updated", "name.claimed", "name.released"]
    );
    shop.done(register(BEN, "ada@example.org"));
    assert_eq!(shop.refused(update(ADA, "ada@example.org")).code, "NAME_TAKEN");
    shop.done(UpdateProfile { customer: ADA, name: open("Ada"), email: None, phone: None });
    assert_eq!(shop.done(update(BEN, "ada@example.com")).len(), 3);
}

#[test]
fn an_import_without_an_address_keeps_the_claim() {
    let mut shop = Shop::opened();
    shop.done(register(ADA, "ada@example.org"));
    shop.done(ImportCustomer { customer: ADA, name: Some(open("Ada L.")), email: None, source: it("till 1") });
    assert_eq!(shop.count("name.released"), 0);
    assert_eq!(shop.refused(register(BEN, "ada@example.org")).code, "NAME_TAKEN");
}

#[test]
fn a_subdomain_and_a_contact_address_belong_to_one_tenant() {
    let mut shop = Shop::opened();
    let mut another = |subdomain: &str, email: &str| {
        let tenant = TenantId::new(Uuid::from_u128(0x7e4a_0002));
        let command =
            RegisterTenant { tenant, subdomain: it(subdomain), contact_email: open(email), ..Shop::registration() };
        let operator = Actor::Operator(Principal::new(Uuid::from_u128(99)));
        shop.send_as(operator, TenantId::PLATFORM, command)
    };
    assert_eq!(rejected(another("adas-mugs", "ben@example.org")).details, json!({ "kind": "subdomain" }));
    assert_eq!(rejected(another("bens-mugs", "Office@adas-mugs.example")).details, json!({ "kind": "email" }));
    assert!(another("bens-mugs", "ben@example.org").is_ok());
}

#[test]
fn personal_fields_are_sealed_in_events() {
    let mut shop = Shop::opened();
    shop.done(register(ADA, "ada@example.org"));
    shop.done(update(ADA, "ada@example.com"));
    for event in &shop.log {
        let body = &event.event.body;
        assert!(!body.contains("@example") && !body.contains("+4930"), "{body}");
    }
}
