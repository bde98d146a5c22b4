//! The life of points accounts.

use std::num::NonZeroU32;

use anyhow::Result;
use domain::loyalty::{EntryKind, LoyaltyAccount, Reward};
use domain::shared::{CustomerId, Money, Points, PositivePoints, Price, Reason, RedemptionId, RewardId, Text};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Dice, Pair, STEPS, Step};

const REWARD: RewardId = RewardId::new(Uuid::from_u128(0x7000_8000_0000_0000_0009));

#[tokio::test]
async fn points_accounts_live_the_same_lives_in_both() -> Result<()> {
    let pair = Pair::open().await?;
    let value = Price::try_from(Money { minor: 500, currency: "USD".parse()? })?;
    let reward = Reward { name: "5 off".parse()?, cost: PositivePoints::try_from(60)?, value };
    for (command, body) in programme(&reward)? {
        pair.house.done(pair.tenant(), command, &body).await?;
    }
    let mut dice = Dice(3);
    let script = (0..STEPS).map(|number| step(&mut dice, &pair, &reward, number)).collect::<Result<_>>()?;
    pair.play(script).await
}

/// What must hold before points are earned and spent.
fn programme(reward: &Reward) -> Result<Vec<(&'static str, Value)>> {
    let Reward { name, cost, value } = reward;
    let rate = domain::loyalty::Rate { points: PositivePoints::try_from(1)?, per_minor: NonZeroU32::MIN };
    Ok(vec![
        ("SetEarningRules", json!({ "purchase": rate, "signup": null })),
        ("EnableProgram", json!({})),
        ("AddReward", json!({ "reward": REWARD, "name": name, "cost": cost, "value": value })),
    ])
}

fn step(dice: &mut Dice, pair: &Pair, reward: &Reward, number: usize) -> Result<Step<LoyaltyAccount>> {
    let customer = CustomerId::new(dice.id(5));
    let account = LoyaltyAccount::id(customer);
    let (day, redemption) = (pair.day(), RedemptionId::new(dice.id(6)));
    let bought = json!({ "customer": customer, "redemption": redemption });
    Ok(match dice.below(10) {
        0..3 => {
            let (kind, source) = (EntryKind::Review, format!("review {number}").parse::<Text<100>>()?);
            let points = PositivePoints::try_from(10 * dice.units())?;
            let body = json!({ "customer": customer, "kind": kind, "source": source, "points": points });
            Step::<LoyaltyAccount>::new(("EarnPoints", body), account, move |state, now| {
                state.credit(customer, points, kind, source.clone(), 1, day(now))
            })
        }
        3 => {
            let (change, reason) = (Points::try_from(10 * dice.units() - 60)?, "a mistake".parse::<Reason>()?);
            let body = json!({ "customer": customer, "change": change, "reason": reason });
            Step::<LoyaltyAccount>::new(("AdjustPoints", body), account, move |state, now| {
                state.adjust(customer, change, reason.clone(), day(now))
            })
        }
        4..7 => {
            let (reward, body) =
                (reward.clone(), json!({ "customer": customer, "redemption": redemption, "reward": REWARD }));
            Step::<LoyaltyAccount>::new(("RedeemReward", body), account, move |state, now| {
                state.redeem(redemption, REWARD, &reward, day(now))
            })
        }
        7 => Step::<LoyaltyAccount>::new(("MarkRedemptionApplied", bought), account, move |state, now| {
            state.mark_applied(redemption, day(now))
        }),
        8 => Step::<LoyaltyAccount>::new(("CancelRedemption", bought), account, move |state, now| {
            state.cancel_redemption(redemption, day(now))
        }),
        _ => Step::<LoyaltyAccount>::new(("ExpireRedemption", bought), account, move |state, now| {
            state.expire_redemption(redemption, day(now))
        }),
    })
}
