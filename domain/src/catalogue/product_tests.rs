//! Tests of products.

use super::*;
use crate::testing::values::{eur, id, parsed, price, usd};
use crate::testing::{Given, given};

fn name() -> Title {
    parsed("Mug")
}

fn sku() -> Sku {
    parsed("MUG-1")
}

fn mug() -> Given<Product> {
    given([])
        .when(|product: &Product| product.create(name(), sku(), price(900), None))
        .then_once([ProductEvent::Created { name: name(), sku: sku(), price: price(900), description: None }])
}

fn published() -> Given<Product> {
    mug().when(Product::publish).then_once([ProductEvent::Published {}])
}

fn archived() -> Given<Product> {
    published().when(Product::archive).then_once([ProductEvent::Archived {}])
}

#[test]
fn unknown_product_rejects_every_change() {
    given([]).when(Product::publish).then_rejected(ProductRejection::ProductUnknown {});
    given([]).when(Product::archive).then_rejected(ProductRejection::ProductUnknown {});
}

#[test]
fn product_is_created_once() {
    mug()
        .when(|product| product.create(name(), sku(), price(901), None))
        .then_rejected(ProductRejection::ProductExists {});
}

#[test]
fn revision_without_a_change_is_not_recorded() {
    let description: Option<Text<5000>> = Some(parsed("Holds 0.3 l"));
    mug().when(|product| product.revise(name(), None)).then_nothing();
    mug()
        .when(|product| product.revise(name(), description.clone()))
        .then_once([ProductEvent::Revised { name: name(), description: description.clone() }])
        .holds(|product| product.name() == Ok(&name()) && product.sku() == Ok(&sku()));
}

#[test]
fn price_changes_within_its_currency() {
    published()
        .when(|product| product.change_price(price(950)))
        .then_once([ProductEvent::PriceChanged { from: price(900), to: price(950) }])
        .holds(|product| product.sale_price() == Ok(price(950)));
    mug()
        .when(|product| product.change_price(Price::zero(eur())))
        .then_rejected(ProductRejection::CurrencyFixed { currency: usd() });
}

#[test]
fn only_a_published_product_is_for_sale() {
    let not_for_sale = Err(ProductRejection::NotForSale {});
    given([]).holds(|product: &Product| product.sale_price() == not_for_sale);
    mug().holds(|product| product.sale_price() == not_for_sale);
    published().holds(|product| product.sale_price() == Ok(price(900)));
    published()
        .when(Product::unpublish)
        .then_once([ProductEvent::Unpublished {}])
        .holds(|product| product.sale_price() == not_for_sale);
    archived().holds(|product| product.sale_price() == not_for_sale);
}

#[test]
fn archived_product_cannot_be_changed() {
    archived().when(Product::publish).then_rejected(ProductRejection::ProductArchived {});
    archived().when(|product| product.change_price(price(1))).then_rejected(ProductRejection::ProductArchived {});
    archived().when(Product::unpublish).then_nothing();
}

#[test]
fn restored_product_is_a_draft() {
    mug().when(Product::restore).then_nothing();
    archived()
        .when(Product::restore)
        .then_once([ProductEvent::Restored {}])
        .holds(|product| product.sale_price() == Err(ProductRejection::NotForSale {}));
}

const MUGS: CategoryId = CategoryId::new(id(20));
const CUPS: CategoryId = CategoryId::new(id(21));
const LARGE: VariantId = VariantId::new(id(30));

fn adjustment(minor: i64) -> PriceAdjustment {
    PriceAdjustment::try_from(minor).expect("an adjustment")
}

#[test]
fn published_product_is_listed_in_its_category_and_a_draft_is_not() {
    mug()
        .when(|product| product.categorize(Some(MUGS)))
        .then_once([ProductEvent::Categorized { category: Some(MUGS) }])
        .when(Product::publish)
        .then_once([ProductEvent::Published {}, ProductEvent::Listed { category: MUGS }])
        .when(|product| product.categorize(Some(CUPS)))
        .then_once([
            ProductEvent::Categorized { category: Some(CUPS) },
            ProductEvent::Unlisted { category: MUGS },
            ProductEvent::Listed { category: CUPS },
        ])
        .when(Product::archive)
        .then_once([ProductEvent::Archived {}, ProductEvent::Unlisted { category: CUPS }])
        .when(Product::restore)
        .then_once([ProductEvent::Restored {}])
        .holds(|product| product.category() == Some(CUPS));
}

#[test]
fn properties_are_replaced_and_have_one_value_each() {
    let material = Specification { name: parsed("Material"), value: parsed("Stoneware") };
    let specifications = vec![material.clone()];
    mug()
        .when(|product| product.set_specifications(vec![material.clone(), material.clone()]))
        .then_rejected(ProductRejection::SpecificationRepeated { name: parsed("Material") });
    mug()
        .when(|product| product.set_specifications(specifications.clone()))
        .then_once([ProductEvent::SpecificationsSet { specifications: specifications.clone() }])
        .holds(|product| {
            let required: [Text<100>; 2] = [parsed("Material"), parsed("Volume")];
            let missing = ProductRejection::SpecificationMissing { name: parsed("Volume") };
            product.require_specifications(required[..1].iter()) == Ok(())
                && product.require_specifications(required.iter()) == Err(missing)
        });
}

#[test]
fn variant_has_a_price_relative_to_the_product_that_is_never_negative() {
    let add = |minor| move |product: &Product| product.add_variant(LARGE, name(), parsed("MUG-L"), adjustment(minor));
    let out_of_range = ProductRejection::VariantPriceOutOfRange { variant: LARGE };
    let large = || {
        let event = ProductEvent::VariantAdded {
            variant: LARGE,
            name: name(),
            sku: parsed("MUG-L"),
            adjustment: adjustment(-400),
        };
        mug().when(add(-400)).then_once([event])
    };
    mug().when(add(-901)).then_rejected(out_of_range.clone());
    large().when(add(-300)).then_rejected(ProductRejection::VariantExists {});
    large().when(|product| product.change_price(price(399))).then_rejected(out_of_range.clone());
    large().when(|product| product.revise_variant(LARGE, name(), adjustment(-901))).then_rejected(out_of_range);
    large()
        .when(|product| product.revise_variant(LARGE, name(), adjustment(200)))
        .then_once([ProductEvent::VariantRevised { variant: LARGE, name: name(), adjustment: adjustment(200) }])
        .when(|product| product.retire_variant(LARGE))
        .then_once([ProductEvent::VariantRetired { variant: LARGE }])
        .when(|product| product.revise_variant(LARGE, name(), adjustment(100)))
        .then_rejected(ProductRejection::VariantIsRetired {});
    mug().when(|product| product.retire_variant(LARGE)).then_rejected(ProductRejection::VariantUnknown {});
}

#[test]
fn product_has_a_limited_number_of_variants() {
    let mut product = mug().into_state();
    for number in 0..VARIANTS_MOST {
        let variant = VariantId::new(id(1_000_u128.saturating_add(number as u128)));
        product.apply(&ProductEvent::VariantAdded { variant, name: name(), sku: sku(), adjustment: adjustment(0) });
    }
    let one_more = product.add_variant(LARGE, name(), sku(), adjustment(0));
    assert_eq!(one_more, Err(ProductRejection::TooManyVariants { most: VARIANTS_MOST }));
}

#[test]
fn restricted_product_is_not_for_sale_until_it_is_published_again() {
    let reason: Reason = parsed("counterfeit");
    published()
        .when(|product| product.restrict(reason.clone(), 3))
        .then_once([ProductEvent::Unpublished {}, ProductEvent::Restricted { reason: reason.clone(), decision: 3 }])
        .when(Product::publish)
        .then_rejected(ProductRejection::ProductRestricted {});
    mug()
        .when(|product| product.restrict(reason.clone(), 3))
        .then_once([ProductEvent::Restricted { reason: reason.clone(), decision: 3 }])
        .when(|product| product.lift_restriction(4))
        .then_once([ProductEvent::RestrictionLifted { decision: 4 }])
        .when(|product| product.restrict(reason.clone(), 3))
        .then_nothing();
}
