//! Webhook subscriptions.

use commands::integrations::{
    ChangeSubscription, PauseSubscription, ReplayEvents, ResumeSubscription, RotateSecret, ShowSecret, Subscribe,
    Unsubscribe,
};
use commands::kernel::{Effect, Policy, Reactions};
use domain::integrations::{SUBSCRIPTIONS_MOST, WebhookSubscription};
use domain::shared::WebhookSubscriptionId;
use uuid::Uuid;

use crate::shop::{Shop, it, misuse};

fn hook(number: usize) -> WebhookSubscriptionId {
    WebhookSubscriptionId::new(Uuid::from_u128(0x400c_0000 + number as u128))
}

fn subscribe(number: usize) -> Subscribe {
    let url = it("https://hooks.example.org/shop");
    Subscribe { subscription: hook(number), url, events: vec![it("order.placed")], description: None }
}

#[test]
fn a_subscription_is_created_paused_resumed_and_ended() {
    let mut shop = Shop::opened();
    assert_eq!(shop.done(subscribe(1)), ["webhook.subscribed", "webhooks.added"]);
    assert_eq!(shop.done(subscribe(1)), [""; 0]);
    let pause = || PauseSubscription { subscription: hook(1), reason: it("relocation") };
    assert_eq!(shop.done(pause()), ["webhook.paused"]);
    assert_eq!(shop.done(pause()), [""; 0]);
    assert_eq!(shop.done(ResumeSubscription { subscription: hook(1) }), ["webhook.resumed"]);
    assert_eq!(shop.done(Unsubscribe { subscription: hook(1) }), ["webhook.unsubscribed", "webhooks.removed"]);
    assert_eq!(shop.refused(subscribe(1)).code, "SUBSCRIPTION_ENDED");
    assert_eq!(shop.refused(pause()).code, "SUBSCRIPTION_ENDED");
}

#[test]
fn an_unknown_subscription_cannot_be_changed() {
    let mut shop = Shop::opened();
    let subscription = hook(9);
    assert_eq!(shop.refused(ResumeSubscription { subscription }).code, "SUBSCRIPTION_UNKNOWN");
    assert_eq!(shop.refused(ShowSecret { subscription }).code, "SUBSCRIPTION_UNKNOWN");
    assert_eq!(shop.refused(Unsubscribe { subscription }).code, "SUBSCRIPTION_UNKNOWN");
}

#[test]
fn the_same_events_in_another_order_are_the_same_terms() {
    let mut shop = Shop::opened();
    let terms = |events: &[&str]| ChangeSubscription {
        subscription: hook(1),
        url: it("https://hooks.example.org/shop"),
        events: events.iter().map(|name| it(name)).collect(),
        description: None,
    };
    shop.done(subscribe(1));
    assert_eq!(shop.done(terms(&["order.paid", "order.placed"])), ["webhook.changed"]);
    assert_eq!(shop.done(terms(&["order.placed", "order.paid", "order.placed"])), [""; 0]);
}

#[test]
fn the_number_of_subscriptions_of_a_tenant_is_limited() {
    let mut shop = Shop::opened();
    for number in 0..SUBSCRIPTIONS_MOST {
        shop.done(subscribe(number));
    }
    assert_eq!(shop.refused(subscribe(SUBSCRIPTIONS_MOST)).code, "TOO_MANY_SUBSCRIPTIONS");
    shop.done(Unsubscribe { subscription: hook(0) });
    shop.done(subscribe(SUBSCRIPTIONS_MOST));
}

#[test]
fn a_rotated_secret_signs_for_one_more_day_unless_ended_at_once() {
    let mut shop = Shop::opened();
    shop.done(subscribe(1));
    let generations = |shop: &Shop| -> Vec<u32> {
        let signing = shop.state::<WebhookSubscription>(hook(1)).generations(shop.now);
        signing.into_iter().map(|(generation, _)| generation).collect()
    };
    assert_eq!(shop.done(RotateSecret { subscription: hook(1), at_once: false }), ["webhook.secret_rotated"]);
    assert_eq!(generations(&shop), [1, 0]);
    shop.pass(24 * 60 * 60);
    assert_eq!(generations(&shop), [1]);
    shop.done(RotateSecret { subscription: hook(1), at_once: true });
    assert_eq!(generations(&shop), [2]);
    assert_eq!(shop.done(ShowSecret { subscription: hook(1) }), ["webhook.secret_shown"]);
}

#[test]
fn a_replay_range_starts_at_one_or_later_and_is_not_reversed() {
    let mut shop = Shop::opened();
    shop.done(subscribe(1));
    let range = |from, to| ReplayEvents { subscription: hook(1), from, to };
    assert_eq!(shop.done(range(1, 1)), ["webhook.replay_ordered"]);
    for (from, to) in [(0, 1), (-1, 1), (1, 0), (3, 2)] {
        assert_eq!(misuse(shop.send(range(from, to))), "INVALID_FIELD", "{from} to {to}");
    }
}

#[test]
fn only_events_that_move_cursors_request_the_cursor_effect() {
    let mut shop = Shop::opened();
    shop.done(subscribe(1));
    shop.done(RotateSecret { subscription: hook(1), at_once: false });
    shop.done(Unsubscribe { subscription: hook(1) });
    let targets = |name: &str| -> Vec<&'static str> {
        let event = shop.log.iter().find(|event| event.event.name == name).expect("the event was written");
        if !commands::integrations::KeepCursorsOfWebhooks::EVENTS.contains(&name) {
            return vec![];
        }
        let read = domain::kernel::decode(name, &event.event.body).expect("a written event reads");
        let event = event.clone().map(read);
        let mut reactions = Reactions::new(commands::integrations::KeepCursorsOfWebhooks::ID, &event);
        commands::integrations::KeepCursorsOfWebhooks::react(&event, &mut reactions);
        reactions.into_requests().effects.iter().map(|effect| effect.target).collect()
    };
    assert_eq!(targets("webhook.subscribed"), [commands::integrations::KeepCursors::TARGET]);
    assert_eq!(targets("webhook.secret_rotated"), [""; 0]);
    assert_eq!(targets("webhook.unsubscribed"), ["webhooks"]);
}
