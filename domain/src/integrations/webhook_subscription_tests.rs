//! Tests of webhook subscriptions.

use super::*;
use crate::testing::values::{at, parsed};
use crate::testing::{Given, given};

fn terms(url: &str, events: &[&str]) -> WebhookTerms {
    let events = events.iter().map(|name| parsed(name)).collect();
    WebhookTerms { url: parsed(url), events, description: None }
}

fn order_terms() -> WebhookTerms {
    terms("https://hooks.example.org/shop", &["order.placed"])
}

fn reason() -> Reason {
    parsed("no response")
}

fn subscribed() -> Given<WebhookSubscription> {
    let WebhookTerms { url, events, description } = order_terms();
    given([])
        .when(|subscription: &WebhookSubscription| subscription.subscribe(order_terms()))
        .then_once([WebhookSubscriptionEvent::Subscribed { url, events, description }])
}

fn paused() -> Given<WebhookSubscription> {
    subscribed()
        .when(|subscription| subscription.pause(reason()))
        .then_once([WebhookSubscriptionEvent::Paused { reason: reason() }])
}

#[test]
fn subscription_is_created_once() {
    subscribed().when(|subscription| subscription.subscribe(order_terms())).then_nothing();
    subscribed()
        .when(|subscription| subscription.subscribe(terms("https://other.example.org", &[])))
        .then_rejected(WebhookSubscriptionRejection::SubscriptionExists {});
    given([]).when(WebhookSubscription::resume).then_rejected(WebhookSubscriptionRejection::SubscriptionUnknown {});
}

#[test]
fn paused_subscription_has_no_active_terms_until_it_is_resumed() {
    subscribed().holds(|subscription| subscription.active_terms() == Some(&order_terms()));
    paused().holds(|subscription| subscription.active_terms().is_none() && subscription.is_open());
    paused()
        .when(WebhookSubscription::resume)
        .then_once([WebhookSubscriptionEvent::Resumed {}])
        .holds(|subscription| subscription.active_terms() == Some(&order_terms()));
    paused()
        .when(|subscription| subscription.replay(1, 2))
        .then_rejected(WebhookSubscriptionRejection::SubscriptionPaused {});
}

#[test]
fn change_to_the_same_terms_is_not_recorded() {
    let all = terms("https://hooks.example.org/shop", &[]);
    let WebhookTerms { url, events, description } = all.clone();
    subscribed().when(|subscription| subscription.change(order_terms())).then_nothing();
    subscribed()
        .when(|subscription| subscription.change(all.clone()))
        .then_once([WebhookSubscriptionEvent::Changed { url, events, description }])
        .holds(|subscription| subscription.active_terms() == Some(&all));
}

#[test]
fn at_most_two_secrets_sign_after_a_rotation() {
    let rotated =
        |generation, until| WebhookSubscriptionEvent::SecretRotated { generation, old_valid_until: at(until) };
    subscribed().holds(|subscription| subscription.generations(at(0)) == [(0, None)]);
    subscribed().when(|subscription| subscription.rotate_secret(at(10), Seconds(5))).then([rotated(1, 15)]).holds(
        |subscription| {
            let (during, after) = (subscription.generations(at(14)), subscription.generations(at(15)));
            (during, after) == (vec![(1, None), (0, Some(at(15)))], vec![(1, None)])
        },
    );
    let twice = [rotated(1, 15), rotated(2, 16)];
    let state = twice.iter().fold(subscribed().into_state(), |mut state, event| {
        state.apply(event);
        state
    });
    assert_eq!(state.generations(at(14)), [(2, None), (1, Some(at(16)))]);
}

#[test]
fn ended_subscription_stays_ended() {
    let ended =
        || subscribed().when(WebhookSubscription::unsubscribe).then_once([WebhookSubscriptionEvent::Unsubscribed {}]);
    ended().holds(|subscription| subscription.active_terms().is_none() && !subscription.is_open());
    let over = WebhookSubscriptionRejection::SubscriptionEnded {};
    ended().when(WebhookSubscription::resume).then_rejected(over.clone());
    ended().when(|subscription| subscription.subscribe(order_terms())).then_rejected(over.clone());
    ended().when(|subscription| subscription.rotate_secret(at(1), Seconds(1))).then_rejected(over);
}

#[test]
fn secret_shown_and_replay_are_recorded_every_time() {
    subscribed()
        .when(WebhookSubscription::show_secret)
        .then([WebhookSubscriptionEvent::SecretShown { generation: 0 }])
        .when(WebhookSubscription::show_secret)
        .then([WebhookSubscriptionEvent::SecretShown { generation: 0 }]);
    subscribed()
        .when(|subscription| subscription.replay(3, 9))
        .then([WebhookSubscriptionEvent::ReplayOrdered { from: 3, to: 9 }])
        .holds(|subscription| subscription.replay_range() == Some((3, 9)));
}
