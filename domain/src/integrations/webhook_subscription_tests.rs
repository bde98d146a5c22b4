//! The rules of a subscription as sentences.

use super::*;
use crate::testing::values::{at, parsed};
use crate::testing::{Given, given};

fn terms(url: &str, events: &[&str]) -> WebhookTerms {
    let events = events.iter().map(|name| parsed(name)).collect();
    WebhookTerms { url: parsed(url), events, description: None }
}

fn ours() -> WebhookTerms {
    terms("https://hooks.example.org/shop", &["order.placed"])
}

fn why() -> Reason {
    parsed("it answers nothing")
}

fn subscribed() -> Given<WebhookSubscription> {
    let WebhookTerms { url, events, description } = ours();
    given([])
        .when(|subscription: &WebhookSubscription| subscription.subscribe(ours()))
        .then_once([WebhookSubscriptionEvent::Subscribed { url, events, description }])
}

fn paused() -> Given<WebhookSubscription> {
    subscribed()
        .when(|subscription| subscription.pause(why()))
        .then_once([WebhookSubscriptionEvent::Paused { reason: why() }])
}

#[test]
fn a_subscription_is_made_once() {
    subscribed().when(|subscription| subscription.subscribe(ours())).then_nothing();
    subscribed()
        .when(|subscription| subscription.subscribe(terms("https://other.example.org", &[])))
        .then_rejected(WebhookSubscriptionRejection::SubscriptionExists {});
    given([]).when(WebhookSubscription::resume).then_rejected(WebhookSubscriptionRejection::SubscriptionUnknown {});
}

#[test]
fn what_is_paused_is_sent_nothing_and_goes_on_when_it_is_resumed() {
    subscribed().holds(|subscription| subscription.in_force() == Some(&ours()));
    paused().holds(|subscription| subscription.in_force().is_none() && subscription.stands());
    paused()
        .when(WebhookSubscription::resume)
        .then_once([WebhookSubscriptionEvent::Resumed {}])
        .holds(|subscription| subscription.in_force() == Some(&ours()));
    paused()
        .when(|subscription| subscription.replay(1, 2))
        .then_rejected(WebhookSubscriptionRejection::SubscriptionPaused {});
}

#[test]
fn terms_change_only_where_something_differs() {
    let all = terms("https://hooks.example.org/shop", &[]);
    let WebhookTerms { url, events, description } = all.clone();
    subscribed().when(|subscription| subscription.change(ours())).then_nothing();
    subscribed()
        .when(|subscription| subscription.change(all.clone()))
        .then_once([WebhookSubscriptionEvent::Changed { url, events, description }])
        .holds(|subscription| subscription.in_force() == Some(&all));
}

#[test]
fn for_a_while_two_secrets_sign_and_never_three() {
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
fn what_has_ended_stays_ended() {
    let ended =
        || subscribed().when(WebhookSubscription::unsubscribe).then_once([WebhookSubscriptionEvent::Unsubscribed {}]);
    ended().holds(|subscription| subscription.in_force().is_none() && !subscription.stands());
    let over = WebhookSubscriptionRejection::SubscriptionEnded {};
    ended().when(WebhookSubscription::resume).then_rejected(over.clone());
    ended().when(|subscription| subscription.subscribe(ours())).then_rejected(over.clone());
    ended().when(|subscription| subscription.rotate_secret(at(1), Seconds(1))).then_rejected(over);
}

#[test]
fn showing_the_secret_and_asking_again_are_written_down_every_time() {
    subscribed()
        .when(WebhookSubscription::show_secret)
        .then([WebhookSubscriptionEvent::SecretShown { generation: 0 }])
        .when(WebhookSubscription::show_secret)
        .then([WebhookSubscriptionEvent::SecretShown { generation: 0 }]);
    subscribed()
        .when(|subscription| subscription.replay(3, 9))
        .then([WebhookSubscriptionEvent::ReplayOrdered { from: 3, to: 9 }])
        .holds(|subscription| subscription.replayed() == Some((3, 9)));
}
