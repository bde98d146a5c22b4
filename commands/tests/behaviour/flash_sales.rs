//! Flash sales: orders in the window, the limit per customer, units that come back, and the recorded window.

use commands::flash_sales::{CancelFlashSale, ChangeFlashSale, EndFlashSale, ScheduleFlashSale};
use commands::inventory::CountStock;
use commands::kernel::{Refusal, Rejected};
use commands::orders::{AcceptOrder, MarkInTransit, MarkReady, PlaceOrder};
use domain::flash_sales::{FlashSale, SaleTerms};
use domain::inventory::StockItem;
use domain::kernel::{Actor, Encoded, Recorded};
use domain::orders::OrderStatus;
use domain::shared::{CustomerId, FlashSaleId, Seconds};
use uuid::Uuid;

use crate::shop::{
    ADA, BEN, COFFEE, MUG, STORE, Shop, TENANT, customer, is_not_due, order, pieces, product, rejected, units, usd,
};

const SALE: FlashSaleId = FlashSaleId::new(Uuid::from_u128(0x5a1e));
/// One second longer than stock is held for an order of a sale, in seconds.
const EXPIRED_AFTER: i64 = 5 * 60 + 1;

/// Four mugs at 5.00 USD from one to two hours after the start of the shop, at most three for a customer.
fn terms(shop: &Shop) -> SaleTerms {
    let (starts_at, ends_at) = (shop.now.after(Seconds(3_600)), shop.now.after(Seconds(7_200)));
    SaleTerms { starts_at, ends_at, allotment: pieces(4), price: usd(500), limit: Some(pieces(3)) }
}

fn schedule(terms: SaleTerms) -> ScheduleFlashSale {
    ScheduleFlashSale { sale: SALE, product: product(MUG), store: *STORE, terms }
}

/// Ten mugs in stock, four of them in a sale that has not started.
fn scheduled() -> Shop {
    let mut shop = Shop::stocked();
    let terms = terms(&shop);
    assert_eq!(shop.done(schedule(terms)), ["flash_sale.scheduled", "stock.allotted"]);
    shop
}

fn running() -> Shop {
    let mut shop = scheduled();
    shop.pass(3_600);
    assert_eq!(shop.count("flash_sale.started"), 1);
    shop
}

fn buy(shop: &mut Shop, who: CustomerId, number: u128, count: i64) -> Result<Vec<Recorded<Encoded>>, Refusal> {
    let place = PlaceOrder { customer: who, ..Shop::purchase(number, [(MUG, count)]) };
    shop.send_as(Actor::Customer(who), TENANT, place)
}

#[track_caller]
fn refused(shop: &mut Shop, who: CustomerId, number: u128, count: i64) -> Rejected {
    rejected(buy(shop, who, number, count))
}

/// Units left in the sale by its claims, and units of the allotment in stock. They are equal once expiries are recorded.
fn left(shop: &Shop) -> (i64, i64) {
    (shop.state::<FlashSale>(SALE).left(shop.now).expect("a sale"), shop.item(product(MUG)).allotted())
}

#[test]
fn a_scheduled_sale_sets_its_units_aside_and_the_normal_price_holds_until_it_starts() {
    let mut shop = scheduled();
    assert_eq!((shop.free(MUG), left(&shop)), (6, (4, 4)));
    assert_eq!(refused(&mut shop, ADA, 1, 7).code, "OUT_OF_STOCK");
    buy(&mut shop, ADA, 2, 1).expect("an order");
    assert_eq!((shop.order(2).total(), shop.order(2).sales().len()), (Ok(usd(900)), 0));
    let terms = terms(&shop);
    assert!(shop.done(schedule(terms)).is_empty(), "a repeat changes nothing");
}

#[test]
fn an_order_in_the_window_buys_at_the_price_of_the_sale_from_its_units() {
    let mut shop = running();
    shop.place(1, [(MUG, 2), (COFFEE, 1), (MUG, 1)]).expect("an order");
    assert_eq!(shop.order(1).total(), Ok(usd(3 * 500 + 1250)));
    assert_eq!((shop.free(MUG), left(&shop)), (6, (1, 1)));
    let payment = shop.payment(1);
    let paid =
        ["order.paid", "flash_sale.claim_confirmed", "stock.reservation_confirmed", "stock.reservation_confirmed"];
    assert_eq!(shop.done(payment), paid);
    shop.done(AcceptOrder { order: order(1) });
    shop.done(MarkReady { order: order(1) });
    shop.done(MarkInTransit { order: order(1) });
    assert_eq!((shop.item(product(MUG)).on_hand(), left(&shop)), (7, (1, 1)));
    // A repeat of a placed order is accepted, also after the sale.
    shop.pass(3_600);
    assert!(shop.place(1, [(MUG, 2), (COFFEE, 1), (MUG, 1)]).is_ok_and(|events| events.is_empty()));
}

#[test]
fn decisions_follow_the_window_and_not_the_recorded_start_and_end() {
    let mut shop = scheduled();
    shop.runs_policies = false;
    // The timers were set before; they have not fired.
    shop.now = shop.now.after(Seconds(3_600));
    buy(&mut shop, ADA, 1, 1).expect("an order");
    assert_eq!((shop.order(1).total(), shop.count("flash_sale.started")), (Ok(usd(500)), 0));
    shop.now = shop.now.after(Seconds(3_600));
    buy(&mut shop, ADA, 2, 9).expect("the unsold units are free, and so are those of the expired order");
    assert_eq!((shop.order(2).total(), shop.count("flash_sale.ended")), (Ok(usd(9 * 900)), 0));
    assert_eq!(shop.count("stock.allotment_ended"), 1);
    shop.pass(0);
    assert_eq!((shop.count("flash_sale.started"), shop.count("flash_sale.ended")), (1, 1));
}

#[test]
fn a_customer_cannot_exceed_the_limit_of_the_sale() {
    let mut shop = running();
    assert_eq!(refused(&mut shop, ADA, 1, 4).code, "SALE_LIMIT_REACHED");
    buy(&mut shop, ADA, 2, 3).expect("an order");
    let no = refused(&mut shop, ADA, 3, 1);
    assert_eq!(no.details["bought"], 3);
    assert_eq!(no.details["product"], product(MUG).to_string());
    buy(&mut shop, BEN, 4, 1).expect("the limit is for each customer");
}

#[test]
fn a_sold_out_sale_is_announced_and_leaves_the_other_units_alone() {
    let mut shop = running();
    buy(&mut shop, ADA, 1, 3).expect("an order");
    assert_eq!(shop.count("flash_sale.sold_out"), 0);
    buy(&mut shop, BEN, 2, 1).expect("an order");
    assert_eq!(shop.count("flash_sale.sold_out"), 1);
    assert_eq!(refused(&mut shop, customer(3), 3, 1).code, "SALE_SOLD_OUT");
    assert_eq!(shop.free(MUG), 6);
    // Of 30 buyers exactly as many buy as units come back.
    shop.pass(EXPIRED_AFTER);
    assert_eq!((left(&shop), shop.count("flash_sale.available_again")), ((4, 4), 1));
    let bought = (10..40).filter(|&number| buy(&mut shop, customer(number), number, 1).is_ok()).count();
    assert_eq!((bought, left(&shop), shop.free(MUG)), (4, (0, 0), 6));
}

#[test]
fn units_of_an_unpaid_or_cancelled_order_are_back_in_the_sale() {
    let mut shop = running();
    buy(&mut shop, ADA, 1, 2).expect("an order");
    buy(&mut shop, BEN, 2, 2).expect("an order");
    let payment = shop.payment(2);
    shop.done(payment);
    // The claim of Ada counts no longer once it has expired, also before that is recorded.
    shop.now = shop.now.after(Seconds(EXPIRED_AFTER));
    buy(&mut shop, customer(3), 3, 2).expect("an order");
    shop.pass(0);
    assert_eq!((left(&shop), shop.free(MUG), shop.status(1)), ((0, 0), 6, Some(OrderStatus::Cancelled)));
    shop.done(commands::orders::RejectOrder { order: order(2), reason: "broken".parse().expect("a reason") });
    assert_eq!((left(&shop), shop.free(MUG)), ((2, 2), 6));
    assert!(shop.engine_rejections.is_empty(), "{:?}", shop.engine_rejections);
    proofs::proven("INV-09 an unpaid order of a flash sale frees its units after 5 minutes");
}

#[test]
fn unsold_units_are_available_after_the_end_and_late_claims_are_not() {
    let mut shop = running();
    shop.pass(3_400);
    buy(&mut shop, ADA, 1, 2).expect("an order");
    buy(&mut shop, BEN, 2, 1).expect("an order");
    shop.pass(200);
    assert_eq!(shop.count("flash_sale.ended"), 1);
    assert_eq!((shop.free(MUG), shop.item(product(MUG)).allotted()), (7, 0));
    // An order of the window is paid within its own time.
    let payment = shop.payment(2);
    assert_eq!(shop.done(payment), ["order.paid", "flash_sale.claim_confirmed", "stock.reservation_confirmed"]);
    shop.pass(EXPIRED_AFTER);
    assert_eq!(shop.free(MUG), 9);
    // The price was for the window: a payment after the deadline cannot open the order again.
    let payment = shop.payment(1);
    assert_eq!(shop.done(payment), ["order.paid_late"]);
    assert!(shop.engine_rejections.is_empty(), "{:?}", shop.engine_rejections);
}

#[test]
fn a_late_payment_in_the_window_takes_units_of_the_sale_again() {
    let mut shop = running();
    buy(&mut shop, ADA, 1, 2).expect("an order");
    shop.pass(EXPIRED_AFTER);
    let payment = shop.payment(1);
    shop.done(payment);
    assert_eq!((shop.status(1), left(&shop), shop.free(MUG)), (Some(OrderStatus::Pending), (2, 2), 6));
}

#[test]
fn a_cancelled_sale_ends_at_once_and_a_changed_one_moves_its_units() {
    let mut shop = scheduled();
    let terms = SaleTerms { allotment: pieces(10), price: usd(100), ..terms(&shop) };
    shop.done(ChangeFlashSale { sale: SALE, terms: terms.clone() });
    assert_eq!((shop.free(MUG), left(&shop)), (0, (10, 10)));
    let more = SaleTerms { allotment: pieces(11), ..terms };
    assert_eq!(shop.refused(ChangeFlashSale { sale: SALE, terms: more }).code, "OUT_OF_STOCK");
    shop.pass(3_600);
    assert_eq!(shop.refused(ChangeFlashSale { sale: SALE, terms: self::terms(&shop) }).code, "SALE_STARTED");
    buy(&mut shop, ADA, 1, 1).expect("an order");
    shop.done(CancelFlashSale { sale: SALE });
    assert_eq!((shop.free(MUG), shop.item(product(MUG)).allotted()), (9, 0));
    buy(&mut shop, ADA, 2, 1).expect("an order");
    assert_eq!((shop.order(1).total(), shop.order(2).total()), (Ok(usd(100)), Ok(usd(900))));
}

#[test]
fn a_product_has_one_sale_at_a_time_at_a_store() {
    let mut shop = scheduled();
    let other = ScheduleFlashSale { sale: FlashSaleId::new(Uuid::from_u128(2)), ..schedule(terms(&shop)) };
    assert_eq!(shop.refused(other).code, "ALLOTTED_TO_SALE");
    shop.pass(7_200);
    let terms = SaleTerms { limit: None, ..terms(&shop) };
    shop.done(ScheduleFlashSale { sale: FlashSaleId::new(Uuid::from_u128(2)), ..schedule(terms) });
}

#[test]
fn a_sale_without_product_stock_or_discount_is_rejected() {
    let mut shop = Shop::stocked();
    let good = terms(&shop);
    let code = |shop: &mut Shop, terms: SaleTerms| shop.refused(schedule(terms)).code;
    assert_eq!(code(&mut shop, SaleTerms { allotment: pieces(11), ..good }), "OUT_OF_STOCK");
    assert_eq!(code(&mut shop, SaleTerms { price: usd(900), ..good }), "SALE_PRICE_NOT_REDUCED");
    assert_eq!(code(&mut shop, SaleTerms { ends_at: good.starts_at, ..good }), "SALE_WINDOW_EMPTY");
    let unknown = ScheduleFlashSale { product: product(77), ..schedule(good) };
    assert_eq!(shop.refused(unknown).code, "NOT_FOR_SALE");
}

#[test]
fn the_end_is_not_recorded_early() {
    let mut shop = running();
    let early = EndFlashSale { sale: SALE, at: shop.now.after(Seconds(1)) };
    assert!(is_not_due(&shop.send_as_engine(early)));
}

#[test]
fn units_that_a_count_did_not_find_are_not_sold_in_the_sale() {
    let mut shop = running();
    let item = StockItem::id(product(MUG), *STORE);
    shop.done(CountStock { item, on_hand: units(1), reason: Some("a theft".parse().expect("a reason")) });
    assert_eq!(refused(&mut shop, ADA, 1, 2).code, "OUT_OF_STOCK");
    buy(&mut shop, ADA, 2, 1).expect("an order");
    assert_eq!(refused(&mut shop, BEN, 3, 1).code, "OUT_OF_STOCK");
}
