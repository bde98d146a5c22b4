//! Points: accrual, reversal and redemption.

use commands::customers::{ImportCustomer, RegisterCustomer};
use commands::loyalty::{
    AddReward, AdjustPoints, ApplyRewardCode, CancelRedemption, DisableProgram, EarnForOrder, EarnPoints,
    EnableProgram, ExpireRedemption, MarkRedemptionApplied, RedeemReward, RetireReward, ReverseForOrder,
};
use commands::orders::{CancelImportedOrder, CancelOrder, ImportOrder, RecordRefund};
use commands::referrals::{IssueReferralCode, SetReferralRules, StartReferral};
use commands::reviews::{RemoveReview, ReviewProduct};
use domain::kernel::Retry;
use domain::loyalty::{EntryKind, Redemption};
use domain::referrals::{Advocate, Condition, ReferralRules};
use domain::reviews::{Review, ReviewSubject};
use domain::shared::{Price, Units};
use serde_json::json;

use crate::shop::{
    ADA, BEN, COFFEE, MUG, STORE, Shop, change, instant, it, misuse, open, order, pieces, points, product, redemption,
    reward, usd,
};

fn refund(minor: i64, reference: &str) -> RecordRefund {
    RecordRefund { order: order(1), amount: usd(minor), reference: it(reference) }
}

fn mug_reward(cost: i64) -> AddReward {
    let (reward, name, cost, value) = (reward(1), it("Mug"), points(cost), usd(900));
    AddReward { reward, name, cost, value, kind: None, valid_days: None }
}

#[test]
fn a_paid_order_earns_points_once() {
    let mut shop = Shop::with_points();
    shop.paid(1, [(MUG, 2), (COFFEE, 3)]);
    assert_eq!((shop.balance(ADA), shop.count("points.earned")), (55, 1));
    let on = it("2026-11-20");
    assert_eq!(shop.send_as_engine(EarnForOrder { order: order(1), customer: ADA, on }).expect("a repeat"), []);
    assert_eq!(shop.engine_rejections, []);
}

#[test]
fn an_unpaid_order_earns_no_points() {
    let mut shop = Shop::with_points();
    shop.place(1, [(MUG, 2)]).expect("an order");
    let on = it("2026-11-20");
    assert_eq!(shop.send_as_engine(EarnForOrder { order: order(1), customer: ADA, on }).expect("nothing"), []);
    assert_eq!(shop.balance(ADA), 0);
}

#[test]
fn a_refund_reverses_its_part_of_the_points_and_the_last_one_the_rest() {
    let mut shop = Shop::with_points();
    shop.paid(1, [(MUG, 2), (COFFEE, 3)]);
    shop.done(refund(1000, "a"));
    // 9.9 of 55 points, rounded in favour of the customer.
    assert_eq!(shop.balance(ADA), 46);
    shop.done(refund(1000, "a"));
    assert_eq!(shop.balance(ADA), 46);
    shop.done(refund(4550, "b"));
    assert_eq!((shop.balance(ADA), shop.count("points.reversed")), (0, 2));
}

#[test]
fn a_cancelled_order_keeps_no_points_and_its_refund_reverses_none() {
    let mut shop = Shop::with_points();
    shop.paid(1, [(MUG, 2)]);
    shop.paid(2, [(MUG, 1)]);
    shop.done(CancelOrder { order: order(1), customer: ADA, reason: it("changed my mind") });
    assert_eq!(shop.balance(ADA), 9);
    shop.done(refund(1800, "a"));
    assert_eq!((shop.balance(ADA), shop.count("points.reversed")), (9, 1));
}

#[test]
fn the_order_of_accrual_and_reversal_does_not_change_the_balance() {
    let mut shop = Shop::with_points();
    shop.runs_policies = false;
    shop.paid(1, [(MUG, 10)]);
    shop.done(refund(4500, "a"));
    let on = it("2026-11-20");
    shop.send_as_engine(ReverseForOrder { order: order(1), customer: ADA, on }).expect("no points yet");
    assert_eq!((shop.balance(ADA), shop.count("points.reversed")), (0, 0));
    shop.send_as_engine(EarnForOrder { order: order(1), customer: ADA, on }).expect("points");
    assert_eq!(shop.balance(ADA), 45);
    shop.send_as_engine(ReverseForOrder { order: order(1), customer: ADA, on }).expect("a repeat");
    assert_eq!(shop.balance(ADA), 45);
}

#[test]
fn an_imported_order_earns_on_its_order_day_and_loses_the_points_when_cancelled() {
    let mut shop = Shop::with_points();
    let import = || ImportOrder {
        order: order(1),
        customer: ADA,
        store: *STORE,
        total: usd(5700),
        units: Units::from(pieces(1)),
        ordered_at: instant("2026-03-29T22:30:00Z"),
        source: it("shopify 4711"),
    };
    (0..3).for_each(|_| assert!(shop.send(import()).is_ok()));
    assert_eq!((shop.balance(ADA), shop.count("points.earned")), (57, 1));
    let earned = shop.log.iter().find(|event| event.event.name == "points.earned").expect("an event");
    assert!(earned.event.body.contains(r#""on":"2026-03-30""#), "{}", earned.event.body);
    shop.done(CancelImportedOrder { order: order(1), reason: it("sold out"), reference: it("a") });
    assert_eq!((shop.balance(ADA), shop.count("points.reversed")), (0, 1));
}

#[test]
fn a_disabled_programme_awards_no_points_and_keeps_balances() {
    let mut shop = Shop::with_points();
    shop.paid(1, [(MUG, 1)]);
    shop.done(DisableProgram {});
    shop.paid(2, [(MUG, 1)]);
    let review = || EarnPoints { customer: ADA, kind: EntryKind::Review, source: it("review 1"), points: points(100) };
    assert_eq!(shop.refused(review()).code, "PROGRAM_OFF");
    assert_eq!(shop.balance(ADA), 9);
    shop.done(EnableProgram {});
    shop.done(review());
    assert_eq!(shop.balance(ADA), 109);
}

#[test]
fn a_cause_counts_once_and_purchases_cannot_be_awarded_manually() {
    let mut shop = Shop::with_points();
    let earn = |kind, source: &str| EarnPoints { customer: ADA, kind, source: it(source), points: points(100) };
    shop.done(earn(EntryKind::Review, "1"));
    assert_eq!(shop.done(earn(EntryKind::Review, "1")), [""; 0]);
    let no = shop.refused(EarnPoints { points: points(99), ..earn(EntryKind::Review, "1") });
    assert_eq!((no.code.as_str(), no.retry), ("EARNING_DIFFERS", Retry::Never));
    assert_eq!(no.details, json!({ "recorded": 100, "wanted": 99 }));
    shop.done(earn(EntryKind::Review, "2"));
    shop.done(earn(EntryKind::Birthday, "1"));
    assert_eq!(shop.balance(ADA), 300);
    assert_eq!(misuse(shop.send(earn(EntryKind::Purchase, "1"))), "INVALID_FIELD");
}

#[test]
fn a_sign_up_earns_points_once_and_an_import_none() {
    let mut shop = Shop::with_points();
    shop.done(ImportCustomer { customer: ADA, name: None, email: None, source: it("till 1") });
    assert_eq!(shop.balance(ADA), 0);
    let register = || RegisterCustomer { customer: ADA, name: open("Ada"), email: None, phone: None };
    shop.done(register());
    shop.done(register());
    assert_eq!((shop.balance(ADA), shop.count("points.earned")), (200, 1));
}

#[test]
fn points_are_redeemed_for_a_reward_and_returned_on_cancellation() {
    let mut shop = Shop::with_points();
    let offer = |value: Price| AddReward { value, ..mug_reward(500) };
    let euros = serde_json::from_str(r#"{"minor":500,"currency":"EUR"}"#).expect("a price");
    assert_eq!(shop.refused(offer(euros)).code, "OTHER_CURRENCY");
    shop.done(offer(usd(500)));
    let redeem = |number| RedeemReward { customer: ADA, redemption: redemption(number), reward: reward(1) };
    shop.done(AdjustPoints { customer: ADA, change: change(999), reason: it("welcome") });
    shop.done(redeem(1));
    assert_eq!(shop.done(redeem(1)), [""; 0]);
    assert_eq!(shop.refused(redeem(2)).code, "INSUFFICIENT_POINTS");
    shop.done(CancelRedemption { customer: ADA, redemption: redemption(1) });
    shop.done(redeem(2));
    let applied = || MarkRedemptionApplied { customer: ADA, redemption: redemption(2) };
    assert_eq!(shop.done(applied()), ["redemption.applied"]);
    assert_eq!(shop.done(applied()), [""; 0]);
    assert_eq!(shop.refused(CancelRedemption { customer: ADA, redemption: redemption(2) }).code, "REDEMPTION_GONE");
    assert_eq!(shop.done(ExpireRedemption { customer: ADA, redemption: redemption(2) }), [""; 0]);
    shop.done(RetireReward { reward: reward(1) });
    assert_eq!(shop.refused(redeem(3)).code, "REWARD_UNAVAILABLE");
    assert_eq!(shop.balance(ADA), 499);
}

#[test]
fn a_reversal_of_spent_points_makes_the_balance_negative_and_blocks_redemption() {
    let mut shop = Shop::with_points();
    shop.paid(1, [(MUG, 10)]);
    shop.done(mug_reward(50));
    shop.done(RedeemReward { customer: ADA, redemption: redemption(1), reward: reward(1) });
    shop.done(refund(9000, "a"));
    assert_eq!(shop.balance(ADA), -50);
    let again = RedeemReward { customer: ADA, redemption: redemption(2), reward: reward(1) };
    assert_eq!(shop.refused(again).code, "INSUFFICIENT_POINTS");
}

#[test]
fn a_cancelled_redemption_cannot_be_reopened_and_returns_its_points_once() {
    let mut shop = Shop::with_points();
    shop.done(mug_reward(50));
    shop.done(AdjustPoints { customer: ADA, change: change(100), reason: it("welcome") });
    let redeem = |customer| RedeemReward { customer, redemption: redemption(1), reward: reward(1) };
    let cancel = |customer| CancelRedemption { customer, redemption: redemption(1) };
    assert_eq!(shop.refused(cancel(ADA)).code, "REDEMPTION_UNKNOWN");
    assert_eq!(shop.done(redeem(ADA)), ["name.claimed", "redemption.opened", "points.redeemed"]);
    assert_eq!(shop.refused(redeem(BEN)).code, "REDEMPTION_DIFFERS");
    assert_eq!(shop.refused(cancel(BEN)).code, "REDEMPTION_UNKNOWN");
    assert_eq!(shop.done(cancel(ADA)), ["redemption.cancelled", "points.returned"]);
    assert_eq!(shop.done(cancel(ADA)), [""; 0]);
    assert_eq!(shop.done(redeem(ADA)), [""; 0]);
    assert_eq!(shop.balance(ADA), 100);
    shop.done(RetireReward { reward: reward(1) });
    assert_eq!(shop.done(redeem(ADA)), [""; 0]);
}

#[test]
fn an_unused_redemption_expires_after_the_days_of_its_reward_and_a_used_one_does_not() {
    const DAY: i64 = 24 * 60 * 60;
    let mut shop = Shop::with_points();
    shop.done(AddReward { valid_days: Some(30), ..mug_reward(50) });
    shop.done(AdjustPoints { customer: ADA, change: change(100), reason: it("welcome") });
    for number in 1..=2 {
        shop.done(RedeemReward { customer: ADA, redemption: redemption(number), reward: reward(1) });
    }
    let code = Redemption::code(redemption(1));
    shop.done(ApplyRewardCode { code, reference: it("till 4") });
    shop.pass(30 * DAY - 1);
    assert_eq!(shop.count("redemption.expired"), 0);
    shop.pass(1);
    assert_eq!((shop.count("redemption.expired"), shop.count("redemption.applied")), (1, 1));
    let cancel = shop.refused(CancelRedemption { customer: ADA, redemption: redemption(2) });
    assert_eq!((cancel.code.as_str(), cancel.details), ("REDEMPTION_GONE", json!({ "status": "expired" })));
    assert_eq!(shop.balance(ADA), 0);
    proofs::proven("LOY-13 an unused redemption expires after the days of its reward, and a used one does not");
}

#[test]
fn a_removed_review_loses_its_points_and_earns_none_again() {
    let mut shop = Shop::with_points();
    shop.paid(1, [(MUG, 1)]);
    let before = shop.balance(ADA);
    let review = ReviewProduct {
        customer: ADA,
        order: order(1),
        product: product(MUG),
        stars: 5.try_into().expect("stars"),
        text: it("Keeps tea warm"),
    };
    let other = ReviewProduct { product: product(COFFEE), text: it("Never bought"), ..review };
    assert_eq!(shop.refused(other).code, "NOT_ORDERED");
    shop.done(review);
    assert_eq!(shop.balance(ADA), before + 100);
    let review = Review::id(order(1), ReviewSubject::Product(product(MUG)));
    shop.done(RemoveReview { review, customer: ADA });
    assert_eq!(shop.balance(ADA), before);
}

#[test]
fn a_referral_is_completed_at_the_end_of_its_window() {
    const DAY: i64 = 24 * 60 * 60;
    let mut shop = Shop::with_points();
    let rules = ReferralRules {
        enabled: true,
        condition: Condition::Purchase,
        advocate_points: Some(points(100)),
        friend_points: None,
        goal: 3,
        window_days: 14,
    };
    shop.done(SetReferralRules { rules });
    shop.done(IssueReferralCode { customer: BEN });
    let unknown = StartReferral { code: Advocate::code(ADA), friend: ADA };
    assert_eq!(shop.refused(unknown).code, "CODE_UNKNOWN");
    shop.done(StartReferral { code: Advocate::code(BEN), friend: ADA });
    shop.paid(1, [(MUG, 1)]);
    shop.pass(14 * DAY - 1);
    assert_eq!((shop.count("referral.qualified"), shop.balance(BEN)), (1, 0));
    shop.pass(1);
    assert_eq!((shop.count("referral.completed"), shop.balance(BEN)), (1, 100));
    shop.done(CancelOrder { order: order(1), customer: ADA, reason: it("changed my mind") });
    assert_eq!((shop.count("referral.refused"), shop.balance(BEN)), (0, 100));
}
