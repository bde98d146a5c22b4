//! Referral codes.

use commands::referrals::{IssueReferralCode, SetReferralRules};
use domain::referrals::{Advocate, Condition, ReferralRules};
use serde_json::Value;

use crate::shop::{ADA, BEN, Shop};

#[test]
fn every_customer_has_one_code_of_their_own() {
    let mut shop = Shop::with_points();
    let rules = ReferralRules {
        enabled: true,
        condition: Condition::Signup,
        advocate_points: None,
        friend_points: None,
        goal: 3,
        window_days: 0,
    };
    shop.done(SetReferralRules { rules });
    for customer in [ADA, BEN, ADA] {
        shop.done(IssueReferralCode { customer });
    }
    let issued = shop.log.iter().filter(|event| event.event.name == "referral.created");
    let codes: Vec<String> = issued
        .map(|event| serde_json::from_str::<Value>(&event.event.body).expect("JSON")["code"].to_string())
        .collect();
    assert_eq!(codes, [ADA, BEN].map(|customer| format!("{:?}", Advocate::code(customer).to_string())));
    assert_ne!(codes[0], codes[1]);
    proofs::proven("REF-01 asking twice returns the same code");
}
