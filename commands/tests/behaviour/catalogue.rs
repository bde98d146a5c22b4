//! Products: publication, revision and archiving.

use commands::catalogue::{ArchiveProduct, ChangePrice, CreateProduct, PublishProduct, RestoreProduct, ReviseProduct};

use crate::shop::{MUG, Shop, it, product, rejected, usd};

#[test]
fn a_product_is_for_sale_from_its_publication_until_it_is_archived() {
    let mut shop = Shop::stocked();
    shop.done(ArchiveProduct { product: product(MUG) });
    assert_eq!(rejected(shop.place(1, [(MUG, 1)])).code, "NOT_FOR_SALE");
    assert_eq!(shop.refused(PublishProduct { product: product(MUG) }).code, "PRODUCT_ARCHIVED");
    shop.done(RestoreProduct { product: product(MUG) });
    assert_eq!(rejected(shop.place(1, [(MUG, 1)])).code, "NOT_FOR_SALE");
    shop.done(PublishProduct { product: product(MUG) });
    assert!(shop.place(1, [(MUG, 1)]).is_ok());
}

#[test]
fn a_revision_or_price_change_without_a_difference_yields_no_event() {
    let mut shop = Shop::stocked();
    let revise = |name: &str| ReviseProduct { product: product(MUG), name: it(name), description: None };
    assert_eq!(shop.done(revise("Mug")), ["product.revised"]);
    assert_eq!(shop.done(revise("Mug")), [""; 0]);
    let price = |minor| ChangePrice { product: product(MUG), price: usd(minor) };
    assert_eq!(shop.done(price(950)), ["product.price_changed"]);
    assert_eq!(shop.done(price(950)), [""; 0]);
}

#[test]
fn a_product_id_cannot_be_used_for_another_product() {
    let mut shop = Shop::stocked();
    let another = CreateProduct {
        product: product(MUG),
        name: it("Cup"),
        sku: it("CUP"),
        price: usd(900),
        description: Some(it("Holds 0.2 l")),
    };
    assert_eq!(shop.refused(another).code, "PRODUCT_EXISTS");
}
