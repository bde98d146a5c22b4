//! Activity: facts of customers and of the team.

use commands::analytics::TrackActivity;
use commands::kernel::{Command, Subject};
use domain::kernel::Actor;
use serde_json::json;

use crate::shop::{ADA, Shop, TENANT, it};

fn viewed() -> TrackActivity {
    TrackActivity { kind: it("product_viewed"), subject: Some(it("mug")), customer: Some(ADA) }
}

#[test]
fn each_activity_is_a_stream_of_one_event_with_the_business_day() {
    let mut shop = Shop::opened();
    for _ in 0..2 {
        shop.send_as(Actor::Customer(ADA), TENANT, viewed()).expect("a fact");
    }
    let tracked: Vec<_> = shop.log.iter().filter(|event| event.event.name == "activity.tracked").collect();
    assert_eq!(tracked.len(), 2);
    assert_ne!(tracked[0].stream, tracked[1].stream);
    for event in tracked {
        assert_eq!((event.stream, event.sequence), (event.id(), 1));
        let body: serde_json::Value = serde_json::from_str(&event.event.body).expect("JSON");
        let expected = json!({ "kind": "product_viewed", "subject": "mug", "customer": ADA, "on": "2026-11-20" });
        assert_eq!(body, expected);
    }
}

#[test]
fn activity_of_a_customer_is_recorded_for_that_customer_only() {
    assert_eq!(viewed().subject(), Subject::Customer(ADA));
    assert_eq!(TrackActivity { customer: None, ..viewed() }.subject(), Subject::Tenant);
}
