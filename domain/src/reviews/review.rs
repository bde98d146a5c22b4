//! Review of a product or a store by a customer who ordered there (REV-01, REV-02, REV-04, REV-05).
//!
//! Invariants: a customer writes one review per order line and one of the store per order; it counts towards the rating
//! while it is published; a removed or hidden review stays so; it has at most one response.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Stars;
use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Fingerprint, OrderId, ProductId, ReviewId, StoreId, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Review {
    terms: Option<Terms>,
    /// Digest of rating and text, to recognise a repeat.
    content: Option<Fingerprint>,
    /// Digest of the response.
    response: Option<Fingerprint>,
    verified: bool,
    gone: bool,
}

/// Data of a review that an event about it repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Terms {
    customer: CustomerId,
    subject: ReviewSubject,
    stars: Stars,
}

/// Reviewed product or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReviewSubject {
    Product(ProductId),
    Store(StoreId),
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReviewEvent {
    /// A customer published a review.
    #[serde(rename = "review.published")]
    Published { customer: CustomerId, order: OrderId, subject: ReviewSubject, stars: Stars, text: Text<5000> },
    /// The customer changed the review; `before` is the previous rating.
    #[serde(rename = "review.edited")]
    Edited { customer: CustomerId, subject: ReviewSubject, stars: Stars, before: Stars, text: Text<5000> },
    /// The order of the review was delivered.
    #[serde(rename = "review.verified")]
    Verified {},
    /// The seller responded; an earlier response is replaced.
    #[serde(rename = "review.answered")]
    Answered { text: Text<5000> },
    /// The customer removed the review.
    #[serde(rename = "review.removed")]
    Removed { customer: CustomerId, subject: ReviewSubject, stars: Stars },
    /// The review was hidden after a report.
    #[serde(rename = "review.hidden")]
    Hidden { customer: CustomerId, subject: ReviewSubject, stars: Stars },
}

/// Rejections of a review.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReviewRejection {
    #[error("this customer has no such review")]
    ReviewUnknown {},
    #[error("this order line was reviewed already, with other content")]
    ReviewExists {},
    #[error("this review was removed")]
    ReviewGone {},
    #[error("this order does not contain the product")]
    NotOrdered {},
}

impl Rejection for ReviewRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::ReviewUnknown {} => Retry::NewId,
            Self::ReviewExists {} | Self::ReviewGone {} | Self::NotOrdered {} => Retry::Never,
        }
    }
}

impl ReviewSubject {
    /// Id of the product or the store.
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::Product(product) => product.uuid(),
            Self::Store(store) => store.uuid(),
        }
    }
}

impl Review {
    /// Stream id of the review of one part of an order.
    pub fn id(order: OrderId, subject: ReviewSubject) -> ReviewId {
        ReviewId::derived(order.uuid(), &format!("review:{}", subject.uuid()))
    }

    /// Publishes the review, verified if the order is delivered. A repeat with the same content changes nothing.
    pub fn publish(
        &self,
        customer: CustomerId,
        order: OrderId,
        subject: ReviewSubject,
        stars: Stars,
        text: Text<5000>,
        delivered: bool,
    ) -> Decision<Self> {
        match (self.terms, self.content) {
            (Some(_), _) if self.gone => Err(ReviewRejection::ReviewGone {}),
            (Some(_), known) if known == Some(content(stars, &text)) => Ok(vec![]),
            (Some(_), _) => Err(ReviewRejection::ReviewExists {}),
            (None, _) => {
                let published = ReviewEvent::Published { customer, order, subject, stars, text };
                Ok(std::iter::once(published).chain(delivered.then_some(ReviewEvent::Verified {})).collect())
            }
        }
    }

    /// Changes rating and text.
    pub fn edit(&self, customer: CustomerId, stars: Stars, text: Text<5000>) -> Decision<Self> {
        let Terms { subject, stars: before, .. } = self.terms_of(customer)?;
        if self.content == Some(content(stars, &text)) {
            return Ok(vec![]);
        }
        Ok(vec![ReviewEvent::Edited { customer, subject, stars, before, text }])
    }

    /// Removes the review on behalf of its customer. A repeat changes nothing.
    pub fn remove(&self, customer: CustomerId) -> Decision<Self> {
        match self.terms_of(customer) {
            Ok(Terms { subject, stars, .. }) => Ok(vec![ReviewEvent::Removed { customer, subject, stars }]),
            Err(ReviewRejection::ReviewGone {}) => Ok(vec![]),
            Err(rejection) => Err(rejection),
        }
    }

    /// Records that the order was delivered. Does nothing for a review that does not exist.
    pub fn verify(&self) -> Decision<Self> {
        match self.terms {
            Some(_) if !self.verified && !self.gone => Ok(vec![ReviewEvent::Verified {}]),
            _ => Ok(vec![]),
        }
    }

    /// Responds on behalf of the seller; replaces an earlier response.
    pub fn respond(&self, text: Text<5000>) -> Decision<Self> {
        self.require_published()?;
        match self.response {
            Some(known) if known == Fingerprint::of(&text) => Ok(vec![]),
            _ => Ok(vec![ReviewEvent::Answered { text }]),
        }
    }

    /// Hides the review after a report. Does nothing if it is gone already.
    pub fn hide(&self) -> Decision<Self> {
        match self.terms.filter(|_| !self.gone) {
            Some(Terms { customer, subject, stars }) => Ok(vec![ReviewEvent::Hidden { customer, subject, stars }]),
            None => Ok(vec![]),
        }
    }

    /// Rejects unless the review is published.
    pub fn require_published(&self) -> Result<(), ReviewRejection> {
        match self.terms {
            None => Err(ReviewRejection::ReviewUnknown {}),
            Some(_) if self.gone => Err(ReviewRejection::ReviewGone {}),
            Some(_) => Ok(()),
        }
    }

    fn terms_of(&self, customer: CustomerId) -> Result<Terms, ReviewRejection> {
        let terms = self.terms.filter(|terms| terms.customer == customer);
        let terms = terms.ok_or(ReviewRejection::ReviewUnknown {})?;
        self.require_published().map(|()| terms)
    }
}

fn content(stars: Stars, text: &Text<5000>) -> Fingerprint {
    Fingerprint::of(&(stars, text))
}

impl Aggregate for Review {
    const TYPE: &'static str = "Review";
    type Id = ReviewId;
    type Event = ReviewEvent;
    type Rejection = ReviewRejection;

    fn apply(&mut self, event: &ReviewEvent) {
        match event {
            ReviewEvent::Published { customer, subject, stars, text, .. }
            | ReviewEvent::Edited { customer, subject, stars, text, .. } => {
                self.terms = Some(Terms { customer: *customer, subject: *subject, stars: *stars });
                self.content = Some(content(*stars, text));
            }
            ReviewEvent::Verified {} => self.verified = true,
            ReviewEvent::Answered { text } => self.response = Some(Fingerprint::of(text)),
            ReviewEvent::Removed { .. } | ReviewEvent::Hidden { .. } => self.gone = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, id, parsed};
    use crate::testing::{Given, given};

    const ORDER: OrderId = OrderId::new(id(1));
    const MUG: ReviewSubject = ReviewSubject::Product(ProductId::new(id(3)));

    fn stars(number: i64) -> Stars {
        number.try_into().expect("stars")
    }

    fn publish(review: &Review, number: i64, delivered: bool) -> Decision<Review> {
        review.publish(ADA, ORDER, MUG, stars(number), parsed("Keeps tea warm"), delivered)
    }

    fn published(delivered: bool) -> Given<Review> {
        let (customer, subject, text) = (ADA, MUG, parsed("Keeps tea warm"));
        let event = ReviewEvent::Published { customer, order: ORDER, subject, stars: stars(4), text };
        let events = std::iter::once(event).chain(delivered.then_some(ReviewEvent::Verified {}));
        given([]).when(|review: &Review| publish(review, 4, delivered)).then_once(events)
    }

    #[test]
    fn order_line_is_reviewed_once() {
        published(false).when(|review| publish(review, 5, false)).then_rejected(ReviewRejection::ReviewExists {});
    }

    #[test]
    fn review_is_verified_once_its_order_is_delivered() {
        published(true).when(Review::verify).then_nothing();
        published(false).when(Review::verify).then_once([ReviewEvent::Verified {}]);
        given([]).when(Review::verify).then_nothing();
    }

    #[test]
    fn only_its_customer_edits_and_removes_a_review() {
        let text: Text<5000> = parsed("It broke");
        published(false)
            .when(|review| review.edit(BEN, stars(1), text.clone()))
            .then_rejected(ReviewRejection::ReviewUnknown {});
        published(false).when(|review| review.remove(BEN)).then_rejected(ReviewRejection::ReviewUnknown {});
        let edited =
            ReviewEvent::Edited { customer: ADA, subject: MUG, stars: stars(1), before: stars(4), text: text.clone() };
        published(false)
            .when(|review| review.edit(ADA, stars(1), text.clone()))
            .then_once([edited])
            .when(|review| review.remove(ADA))
            .then_once([ReviewEvent::Removed { customer: ADA, subject: MUG, stars: stars(1) }])
            .when(|review| review.edit(ADA, stars(2), text.clone()))
            .then_rejected(ReviewRejection::ReviewGone {});
    }

    #[test]
    fn second_response_replaces_the_first() {
        let text = parsed::<Text<5000>>;
        published(false)
            .when(|review| review.respond(text("Thank you")))
            .then_once([ReviewEvent::Answered { text: text("Thank you") }])
            .when(|review| review.respond(text("Thanks a lot")))
            .then_once([ReviewEvent::Answered { text: text("Thanks a lot") }]);
    }

    #[test]
    fn hidden_review_stays_hidden() {
        published(false)
            .when(Review::hide)
            .then_once([ReviewEvent::Hidden { customer: ADA, subject: MUG, stars: stars(4) }])
            .when(|review| publish(review, 4, false))
            .then_rejected(ReviewRejection::ReviewGone {});
        given([]).when(Review::hide).then_nothing();
    }
}
