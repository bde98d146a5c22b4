//! Scripts of points accounts and redemptions.

use std::num::NonZeroU32;

use anyhow::Result;
use domain::loyalty::{Earned, EntryKind, LoyaltyAccount, Redemption, Reward, RewardKind};
use domain::shared::{CustomerId, Money, Points, PositivePoints, Price, Reason, RedemptionId, RewardId, Text};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Dice, Pair, STEPS, Step};

const REWARD: RewardId = RewardId::new(Uuid::from_u128(0x7000_8000_0000_0000_0009));
/// A customer with enough points for every redemption.
const RICH: CustomerId = CustomerId::new(Uuid::from_u128(0x7000_8000_0000_0000_0007));

#[tokio::test]
async fn points_accounts_have_the_same_events_in_both() -> Result<()> {
    let pair = Pair::open().await?;
    let reward = offer(&pair).await?;
    let mut dice = Dice(3);
    let script = (0..STEPS).map(|number| on_account(&mut dice, &pair, &reward, number)).collect::<Result<_>>()?;
    pair.play(script).await
}

#[tokio::test]
async fn redemptions_have_the_same_events_in_both() -> Result<()> {
    let pair = Pair::open().await?;
    let reward = offer(&pair).await?;
    let welcome = json!({ "customer": RICH, "change": 1_000_000, "reason": "welcome" });
    pair.backend.execute(pair.tenant(), "AdjustPoints", &welcome).await?;
    let mut dice = Dice(5);
    let script = (0..STEPS).map(|number| on_redemption(&mut dice, &pair, &reward, number)).collect();
    pair.play(script).await
}

/// Sets up the programme: rules and a reward.
async fn offer(pair: &Pair) -> Result<Reward> {
    let value = Price::try_from(Money { minor: 500, currency: "USD".parse()? })?;
    let reward = Reward {
        name: "5 off".parse()?,
        cost: PositivePoints::try_from(60)?,
        value,
        kind: RewardKind::Discount,
        valid_days: None,
    };
    for (command, body) in programme(&reward)? {
        pair.backend.execute(pair.tenant(), command, &body).await?;
    }
    Ok(reward)
}

fn programme(reward: &Reward) -> Result<Vec<(&'static str, Value)>> {
    let Reward { name, cost, value, .. } = reward;
    let rate = domain::loyalty::Rate { points: PositivePoints::try_from(1)?, per_minor: NonZeroU32::MIN };
    Ok(vec![
        ("SetEarningRules", json!({ "purchase": rate, "signup": null })),
        ("EnableProgram", json!({})),
        ("AddReward", json!({ "reward": REWARD, "name": name, "cost": cost, "value": value })),
    ])
}

fn on_account(dice: &mut Dice, pair: &Pair, reward: &Reward, number: usize) -> Result<Step<LoyaltyAccount>> {
    let customer = CustomerId::new(dice.id(5));
    let account = LoyaltyAccount::id(customer);
    let day = pair.day();
    Ok(match dice.below(10) {
        0..3 => {
            let (kind, source) = (EntryKind::Review, format!("review {number}").parse::<Text<100>>()?);
            let points = PositivePoints::try_from(10 * dice.units())?;
            let body = json!({ "customer": customer, "kind": kind, "source": source, "points": points });
            Step::<LoyaltyAccount>::new(("EarnPoints", body), account, move |state, now| {
                let earned = Earned { points, kind, source: source.clone(), rule_version: 1, base: None };
                state.credit(customer, earned, day(now))
            })
        }
        3..5 => {
            let (change, reason) = (Points::try_from(10 * dice.units() - 60)?, "a mistake".parse::<Reason>()?);
            let body = json!({ "customer": customer, "change": change, "reason": reason });
            Step::<LoyaltyAccount>::new(("AdjustPoints", body), account, move |state, now| {
                state.adjust(customer, change, reason.clone(), day(now))
            })
        }
        _ => {
            // Each one is new, so that the account alone decides.
            let (cost, redemption) = (reward.cost, RedemptionId::new(dice.id(0x1000 + number as u128)));
            let body = json!({ "customer": customer, "redemption": redemption, "reward": REWARD });
            Step::<LoyaltyAccount>::new(("RedeemReward", body), account, move |state, now| {
                state.redeem(redemption, REWARD, cost, day(now))
            })
        }
    })
}

fn on_redemption(dice: &mut Dice, pair: &Pair, reward: &Reward, number: usize) -> Step<Redemption> {
    let redemption = RedemptionId::new(dice.id(0x60 + number as u128 / 10));
    let (day, bought) = (pair.day(), json!({ "customer": RICH, "redemption": redemption }));
    match dice.below(10) {
        0..5 => {
            let (reward, body) =
                (reward.clone(), json!({ "customer": RICH, "redemption": redemption, "reward": REWARD }));
            Step::<Redemption>::new(("RedeemReward", body), redemption, move |state, now| {
                state.open(RICH, REWARD, &reward, Redemption::code(redemption), now, day(now))
            })
        }
        5 | 6 => Step::<Redemption>::new(("MarkRedemptionApplied", bought), redemption, move |state, now| {
            state.mark_applied(RICH, day(now))
        }),
        7 | 8 => Step::<Redemption>::new(("CancelRedemption", bought), redemption, move |state, now| {
            state.cancel(RICH, day(now))
        }),
        _ => Step::<Redemption>::new(("ExpireRedemption", bought), redemption, move |state, now| {
            state.expire(RICH, day(now))
        }),
    }
}
