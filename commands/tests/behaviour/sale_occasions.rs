//! Sale occasions: flash sales of several products that are scheduled, started, ended and cancelled together.

use commands::flash_sales::{
    CancelFlashSale, CancelSaleOccasion, ChangeFlashSale, OccasionItem, ScheduleFlashSale, ScheduleSaleOccasion,
};
use domain::flash_sales::{FlashSale, SaleOccasion, SaleTerms};
use domain::shared::{FlashSaleId, SaleOccasionId, Seconds};
use uuid::Uuid;

use crate::shop::{COFFEE, MUG, STORE, Shop, it, pieces, product, rejected, usd};

const OCCASION: SaleOccasionId = SaleOccasionId::new(Uuid::from_u128(0x0cca));

fn item(number: u128, allotment: i64, minor: i64) -> OccasionItem {
    OccasionItem { product: product(number), allotment: pieces(allotment), price: usd(minor), limit: None }
}

/// An occasion from one to two hours after the start of the shop.
fn occasion(shop: &Shop, items: impl IntoIterator<Item = OccasionItem>) -> ScheduleSaleOccasion {
    let (starts_at, ends_at) = (shop.now.after(Seconds(3_600)), shop.now.after(Seconds(7_200)));
    let (occasion, name, items) = (OCCASION, it("Black Friday"), items.into_iter().collect());
    ScheduleSaleOccasion { occasion, name, store: *STORE, starts_at, ends_at, items }
}

/// Four mugs at 5.00 USD and two packets of coffee at 10.00 USD.
fn scheduled() -> Shop {
    let mut shop = Shop::stocked();
    let schedule = occasion(&shop, [item(MUG, 4, 500), item(COFFEE, 2, 1_000)]);
    let events = shop.done(schedule);
    assert_eq!(events.iter().filter(|name| *name == "flash_sale.scheduled").count(), 2, "{events:?}");
    assert_eq!((shop.free(MUG), shop.free(COFFEE)), (6, 8));
    shop
}

fn sale(number: u128) -> FlashSaleId {
    SaleOccasion::sale(OCCASION, product(number))
}

fn is_running(shop: &Shop, number: u128) -> bool {
    shop.state::<FlashSale>(sale(number)).is_running(shop.now).expect("a sale")
}

#[test]
fn occasion_is_scheduled_as_a_whole_or_not_at_all() {
    let mut shop = Shop::stocked();
    for (items, code) in [
        ([item(MUG, 4, 500), item(COFFEE, 11, 1_000)], "OUT_OF_STOCK"),
        ([item(MUG, 4, 500), item(COFFEE, 2, 1_250)], "SALE_PRICE_NOT_REDUCED"),
        ([item(MUG, 4, 500), item(MUG, 2, 400)], "PRODUCT_TWICE"),
    ] {
        let schedule = occasion(&shop, items);
        assert_eq!(shop.refused(schedule).code, code);
        assert_eq!((shop.free(MUG), shop.free(COFFEE), shop.count("flash_sale.scheduled")), (10, 10, 0), "{code}");
    }
}

#[test]
fn sales_of_an_occasion_start_and_end_together() {
    let mut shop = scheduled();
    let again = occasion(&shop, [item(MUG, 4, 500), item(COFFEE, 2, 1_000)]);
    assert!(shop.done(again).is_empty(), "a repeat changes nothing");
    shop.pass(3_600);
    assert_eq!((shop.count("flash_sale.started"), shop.count("flash_sale.ended")), (2, 0));
    shop.place(1, [(MUG, 1), (COFFEE, 2)]).expect("an order");
    assert_eq!(shop.order(1).total(), Ok(usd(2_500)));
    assert_eq!(rejected(shop.place(2, [(COFFEE, 1)])).code, "SALE_SOLD_OUT");
    shop.pass(3_600);
    assert_eq!((shop.count("flash_sale.started"), shop.count("flash_sale.ended")), (2, 2));
}

#[test]
fn sales_of_an_occasion_are_cancelled_together() {
    let mut shop = scheduled();
    shop.pass(3_600);
    // One of them was cancelled before.
    shop.done(CancelFlashSale { sale: sale(MUG) });
    assert!(!is_running(&shop, MUG) && is_running(&shop, COFFEE));
    let events = shop.done(CancelSaleOccasion { occasion: OCCASION });
    assert_eq!(events.iter().filter(|name| *name == "flash_sale.cancelled").count(), 1, "{events:?}");
    assert_eq!((shop.free(MUG), shop.free(COFFEE)), (10, 10));
    assert!(!is_running(&shop, COFFEE));
    assert!(shop.done(CancelSaleOccasion { occasion: OCCASION }).is_empty(), "a repeat changes nothing");
    let unknown = CancelSaleOccasion { occasion: SaleOccasionId::new(Uuid::from_u128(1)) };
    assert_eq!(shop.refused(unknown).code, "OCCASION_UNKNOWN");
}

#[test]
fn occasion_that_is_over_is_not_cancelled() {
    let mut shop = scheduled();
    shop.pass(7_200);
    assert_eq!(shop.refused(CancelSaleOccasion { occasion: OCCASION }).code, "SALE_OVER");
    assert_eq!(shop.count("sale_occasion.cancelled"), 0);
}

#[test]
fn window_of_one_sale_of_an_occasion_is_not_changed() {
    let mut shop = scheduled();
    let (starts_at, ends_at) = (shop.now.after(Seconds(3_600)), shop.now.after(Seconds(7_200)));
    let terms = |ends_at| SaleTerms { starts_at, ends_at, allotment: pieces(5), price: usd(450), limit: None };
    let longer = ChangeFlashSale { sale: sale(MUG), terms: terms(ends_at.after(Seconds(1))) };
    assert_eq!(shop.refused(longer).code, "SALE_IN_OCCASION");
    shop.done(ChangeFlashSale { sale: sale(MUG), terms: terms(ends_at) });
    assert_eq!(shop.free(MUG), 5);
    // Its product has no second sale meanwhile.
    let other = ScheduleFlashSale {
        sale: FlashSaleId::new(Uuid::from_u128(3)),
        product: product(MUG),
        store: *STORE,
        terms: terms(ends_at),
    };
    assert_eq!(shop.refused(other).code, "ALLOTTED_TO_SALE");
}
