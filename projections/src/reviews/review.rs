//! Reviews of products and stores (REV-01 to REV-03).

use domain::kernel::Recorded;
use domain::reviews::{ReviewEvent, ReviewSubject, Stars};
use domain::shared::{CustomerId, OrderId, Permission, ProductId, ReviewId, StoreId, Text, Timestamp};
use domain::social::{Relation, RelationEvent, RelationKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable, add};
use crate::key;

/// Review of a product or a store. Customers see published ones, without the names of their writers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// Id of the review.
    pub review: ReviewId,
    /// Customer who wrote it.
    pub customer: CustomerId,
    /// Order that it is about.
    pub order: OrderId,
    /// Reviewed product; null for a review of a store.
    pub product: Option<ProductId>,
    /// Reviewed store; null for a review of a product.
    pub store: Option<StoreId>,
    /// Rating, from 1 to 5.
    pub stars: Stars,
    /// Text of the review.
    pub text: Text<5000>,
    /// True once the order was delivered.
    pub verified: bool,
    /// Response of the seller.
    pub response: Option<Text<5000>>,
    /// Number of customers who found it helpful.
    pub helpful: i64,
    /// Current status.
    pub status: ReviewStatus,
    /// Time of publication.
    pub published_at: Timestamp,
    /// Time of the last change of rating or text.
    pub edited_at: Option<Timestamp>,
}

/// Status of a review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReviewStatus {
    Published,
    /// Removed by its writer.
    Removed,
    /// Hidden after a report.
    Hidden,
}

impl ReadModel for Review {
    const NEEDS: Permission = Permission::AnswerCustomers;
    const KEY: &'static [&'static str] = &["review"];
    const INDEXED: &'static [&'static str] =
        &["customer", "product", "store", "stars", "helpful", "status", "published_at"];
    const PUBLIC: &'static [&'static str] = &[
        "review",
        "product",
        "store",
        "stars",
        "text",
        "verified",
        "response",
        "helpful",
        "status",
        "published_at",
        "edited_at",
    ];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "published"));

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::reviews::Review>(Self::on_review).stream::<Relation>(
            |event| match event.event {
                RelationEvent::Established { kind: RelationKind::ReviewVote, to, .. }
                | RelationEvent::Dissolved { kind: RelationKind::ReviewVote, to, .. } => Some(key![to]),
                _ => None,
            },
            Self::on_vote,
        );
    }
}

impl Review {
    fn on_review(row: Option<Self>, event: &Recorded<ReviewEvent>) -> Folded<Self> {
        if let ReviewEvent::Published { customer, order, subject, stars, text } = event.event.clone() {
            let (product, store) = match subject {
                ReviewSubject::Product(product) => (Some(product), None),
                ReviewSubject::Store(store) => (None, Some(store)),
            };
            return Ok(Some(Self {
                review: ReviewId::new(event.stream),
                customer,
                order,
                product,
                store,
                stars,
                text,
                verified: false,
                response: None,
                helpful: 0,
                status: ReviewStatus::Published,
                published_at: event.occurred_at,
                edited_at: None,
            }));
        }
        let row = row.ok_or_else(Unfoldable::no_row)?;
        Ok(Some(match event.event.clone() {
            ReviewEvent::Published { .. } => row,
            ReviewEvent::Edited { stars, text, .. } => Self { stars, text, edited_at: Some(event.occurred_at), ..row },
            ReviewEvent::Verified {} => Self { verified: true, ..row },
            ReviewEvent::Answered { text } => Self { response: Some(text), ..row },
            ReviewEvent::Removed { .. } => Self { status: ReviewStatus::Removed, ..row },
            ReviewEvent::Hidden { .. } => Self { status: ReviewStatus::Hidden, ..row },
        }))
    }

    fn on_vote(row: Option<Self>, event: &Recorded<RelationEvent>) -> Folded<Self> {
        let Some(mut row) = row else { return Ok(None) };
        let change = if matches!(event.event, RelationEvent::Established { .. }) { 1 } else { -1 };
        add(&mut row.helpful, change, "helpful")?;
        Ok(Some(row))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    pub(crate) const MUG: ReviewSubject = ReviewSubject::Product(ProductId::new(Uuid::from_u128(3)));
    const ADA: CustomerId = CustomerId::new(Uuid::from_u128(5));

    pub(crate) fn stars(number: i64) -> Stars {
        number.try_into().expect("stars")
    }

    pub(crate) fn then(story: Story, order: u128, event: ReviewEvent) -> Story {
        let order = OrderId::new(Uuid::from_u128(order));
        story.then::<domain::reviews::Review>(domain::reviews::Review::id(order, MUG), event)
    }

    pub(crate) fn published(story: Story, order: u128, number: i64) -> Story {
        let text = "Keeps tea warm".parse().expect("a text");
        let of = OrderId::new(Uuid::from_u128(order));
        let event = ReviewEvent::Published { customer: ADA, order: of, subject: MUG, stars: stars(number), text };
        then(story, order, event)
    }

    pub(crate) fn edited(story: Story, order: u128, before: i64, after: i64) -> Story {
        let text = "It broke".parse().expect("a text");
        let (before, stars) = (stars(before), stars(after));
        then(story, order, ReviewEvent::Edited { customer: ADA, subject: MUG, stars, before, text })
    }

    pub(crate) fn hidden(story: Story, order: u128, number: i64) -> Story {
        then(story, order, ReviewEvent::Hidden { customer: ADA, subject: MUG, stars: stars(number) })
    }

    #[test]
    fn review_has_its_last_text_its_response_and_its_votes() {
        let story = edited(published(Story::new(), 1, 4), 1, 4, 2);
        let story = then(story, 1, ReviewEvent::Verified {});
        let story = then(story, 1, ReviewEvent::Answered { text: "Sorry".parse().expect("a text") });
        let to = domain::reviews::Review::id(OrderId::new(Uuid::from_u128(1)), MUG).uuid();
        let kind = RelationKind::ReviewVote;
        let vote = RelationEvent::Established { kind, customer: ADA, to };
        let story = story.then::<Relation>(Relation::id(kind, ADA, to), vote);
        let row: Review = story.row();
        assert_eq!((row.stars, row.verified, row.helpful, row.edited_at), (stars(2), true, 1, Some(Story::at(2))));
        assert_eq!(row.response.map(|text| text.to_string()).as_deref(), Some("Sorry"));
        let row: Review = hidden(story, 1, 2).row();
        assert_eq!(row.status, ReviewStatus::Hidden);
    }
}
