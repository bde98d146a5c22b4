//! Tiers and their entry rewards.

use commands::loyalty::{AddReward, AddTier};
use commands::orders::{PlaceOrder, RecordRefund};
use domain::kernel::Actor;
use domain::loyalty::{Multiplier, Tier};
use domain::shared::{CustomerId, TierId};
use serde_json::Value;
use uuid::Uuid;

use crate::shop::{ADA, BEN, MUG, Shop, TENANT, it, order, points, reward, usd};

/// Places an order of one mug for a customer and pays it.
fn buys(shop: &mut Shop, customer: CustomerId, number: u128) {
    let placed = PlaceOrder { customer, ..Shop::purchase(number, [(MUG, 1)]) };
    shop.send_as(Actor::Customer(customer), TENANT, placed).expect("an order");
    let payment = shop.payment(number);
    shop.done(payment);
}

/// Customers who were granted a reward, in order.
fn granted(shop: &Shop) -> Vec<Value> {
    let granted = shop.log.iter().filter(|event| event.event.name == "redemption.granted");
    granted.map(|event| serde_json::from_str::<Value>(&event.event.body).expect("JSON")["customer"].clone()).collect()
}

#[test]
fn entry_reward_is_granted_once_per_tier_and_customer() {
    let mut shop = Shop::with_points();
    let (name, cost, value) = (it("Mug"), points(500), usd(900));
    shop.done(AddReward { reward: reward(1), name, cost, value, kind: None, valid_days: None });
    for (number, name, threshold) in [(1, "Silver", 900), (2, "Gold", 1_800)] {
        let multiplier_percent = Multiplier::try_from(100).expect("a multiplier");
        let (name, threshold, entry_reward) = (it(name), usd(threshold), Some(reward(1)));
        let terms = Tier { name, threshold, multiplier_percent, perks: [].into(), entry_reward };
        shop.done(AddTier { tier: TierId::new(Uuid::from_u128(number)), terms });
    }
    let (ada, ben) = (Value::from(ADA.to_string()), Value::from(BEN.to_string()));
    buys(&mut shop, ADA, 1);
    assert_eq!(granted(&shop), std::slice::from_ref(&ada));
    shop.done(RecordRefund { order: order(1), amount: usd(900), reference: it("back") });
    buys(&mut shop, ADA, 2);
    assert_eq!((granted(&shop), shop.count("membership.tier_changed")), (vec![ada.clone()], 3));
    buys(&mut shop, ADA, 3);
    assert_eq!(granted(&shop), [ada.clone(), ada.clone()], "the next tier has its own");
    buys(&mut shop, BEN, 4);
    assert_eq!(granted(&shop), [ada.clone(), ada, ben], "so has another customer");
    assert_eq!(shop.engine_rejections, []);
    proofs::proven("VIP-06 it is granted once per tier and customer");
}
