//! Ratings of products and stores (REV-05): the mean over published reviews.

use domain::kernel::Recorded;
use domain::reviews::{Review, ReviewEvent, ReviewSubject, Stars};
use domain::shared::Permission;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Rating of a product or a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rating {
    /// Rated product or store.
    #[schemars(with = "String", extend("format" = "uuid"))]
    pub subject: Uuid,
    /// Number of published reviews.
    pub reviews: i64,
    /// Sum of their stars.
    pub stars: i64,
    /// Mean of their stars in hundredths, rounded down: 450 for four and a half stars. 0 without reviews.
    pub average_hundredths: i64,
}

impl ReadModel for Rating {
    const NEEDS: Permission = Permission::SeeProducts;
    const KEY: &'static [&'static str] = &["subject"];
    const INDEXED: &'static [&'static str] = &["average_hundredths", "reviews"];
    const PUBLIC: &'static [&'static str] = &["subject", "reviews", "stars", "average_hundredths"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Review>(|event| change(&event.event).map(|change| key![change.subject.uuid()]), Self::on_review);
    }
}

impl Rating {
    fn on_review(row: Option<Self>, event: &Recorded<ReviewEvent>) -> Folded<Self> {
        let Some(Change { subject, reviews, stars }) = change(&event.event) else { return Ok(row) };
        let empty = Self { subject: subject.uuid(), reviews: 0, stars: 0, average_hundredths: 0 };
        let mut row = row.unwrap_or(empty);
        add(&mut row.reviews, reviews, "reviews")?;
        add(&mut row.stars, stars, "stars")?;
        row.average_hundredths = row.stars.saturating_mul(100).checked_div(row.reviews).unwrap_or(0);
        Ok(Some(row))
    }
}

/// Change of the numbers of a subject.
struct Change {
    subject: ReviewSubject,
    reviews: i64,
    stars: i64,
}

fn change(event: &ReviewEvent) -> Option<Change> {
    let number = |stars: Stars| i64::from(stars);
    match *event {
        ReviewEvent::Published { subject, stars, .. } => Some(Change { subject, reviews: 1, stars: number(stars) }),
        ReviewEvent::Edited { subject, stars, before, .. } => {
            Some(Change { subject, reviews: 0, stars: number(stars) - number(before) })
        }
        ReviewEvent::Removed { subject, stars, .. } | ReviewEvent::Hidden { subject, stars, .. } => {
            Some(Change { subject, reviews: -1, stars: -number(stars) })
        }
        ReviewEvent::Verified {} | ReviewEvent::Answered { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::review::tests::{edited, hidden, published};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn rating_is_the_mean_over_published_reviews() {
        let story = published(published(published(Story::new(), 1, 5), 2, 4), 3, 1);
        let row: Rating = story.row();
        assert_eq!((row.reviews, row.average_hundredths), (3, 333));
        let row: Rating = hidden(edited(story.clone(), 2, 4, 2), 3, 1).row();
        assert_eq!((row.reviews, row.stars, row.average_hundredths), (2, 7, 350));
        let row: Rating = hidden(hidden(hidden(story, 1, 5), 2, 4), 3, 1).row();
        assert_eq!((row.reviews, row.average_hundredths), (0, 0));
    }
}
