//! Report of a review by a customer, and its moderation (REV-04).
//!
//! Invariant: a report is filed once and decided once. A command that upholds it hides the review too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Reason, ReviewId, ReviewReportId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReviewReport {
    filed: Option<(ReviewId, CustomerId)>,
    /// True if it was upheld, false if it was dismissed.
    upheld: Option<bool>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReviewReportEvent {
    /// A customer reported a review.
    #[serde(rename = "review_report.filed")]
    Filed { review: ReviewId, customer: CustomerId, reason: Reason },
    /// The review breaks the rules; it was hidden.
    #[serde(rename = "review_report.upheld")]
    Upheld { review: ReviewId },
    /// The review may stay.
    #[serde(rename = "review_report.dismissed")]
    Dismissed { review: ReviewId },
}

/// Rejections of a report.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReviewReportRejection {
    #[error("there is no such report")]
    ReportUnknown {},
    #[error("this report was filed already, about another review or by another customer")]
    ReportExists {},
    #[error("this report was decided already")]
    ReportDecided {},
}

impl Rejection for ReviewReportRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::ReportUnknown {} => Retry::NewId,
            Self::ReportExists {} | Self::ReportDecided {} => Retry::Never,
        }
    }
}

impl ReviewReport {
    /// Files the report. A repeat changes nothing.
    pub fn file(&self, review: ReviewId, customer: CustomerId, reason: Reason) -> Decision<Self> {
        match self.filed {
            None => Ok(vec![ReviewReportEvent::Filed { review, customer, reason }]),
            Some(known) if known == (review, customer) => Ok(vec![]),
            Some(_) => Err(ReviewReportRejection::ReportExists {}),
        }
    }

    /// Decides that the review breaks the rules.
    pub fn uphold(&self) -> Decision<Self> {
        self.decide(true, |review| ReviewReportEvent::Upheld { review })
    }

    /// Decides that the review may stay.
    pub fn dismiss(&self) -> Decision<Self> {
        self.decide(false, |review| ReviewReportEvent::Dismissed { review })
    }

    /// The reported review.
    pub fn review(&self) -> Result<ReviewId, ReviewReportRejection> {
        self.filed.map(|(review, _)| review).ok_or(ReviewReportRejection::ReportUnknown {})
    }

    fn decide(&self, upheld: bool, event: fn(ReviewId) -> ReviewReportEvent) -> Decision<Self> {
        let review = self.review()?;
        match self.upheld {
            None => Ok(vec![event(review)]),
            Some(known) if known == upheld => Ok(vec![]),
            Some(_) => Err(ReviewReportRejection::ReportDecided {}),
        }
    }
}

impl Aggregate for ReviewReport {
    const TYPE: &'static str = "ReviewReport";
    type Id = ReviewReportId;
    type Event = ReviewReportEvent;
    type Rejection = ReviewReportRejection;

    fn apply(&mut self, event: &ReviewReportEvent) {
        match *event {
            ReviewReportEvent::Filed { review, customer, .. } => self.filed = Some((review, customer)),
            ReviewReportEvent::Upheld { .. } => self.upheld = Some(true),
            ReviewReportEvent::Dismissed { .. } => self.upheld = Some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{ADA, BEN, id, parsed};
    use crate::testing::{Given, given};

    const REVIEW: ReviewId = ReviewId::new(id(5));

    fn filed() -> Given<ReviewReport> {
        let reason: Reason = parsed("an insult");
        given([])
            .when(|report: &ReviewReport| report.file(REVIEW, ADA, reason.clone()))
            .then_once([ReviewReportEvent::Filed { review: REVIEW, customer: ADA, reason: reason.clone() }])
    }

    #[test]
    fn report_is_filed_once_and_decided_once() {
        filed()
            .when(|report| report.file(REVIEW, BEN, parsed("spam")))
            .then_rejected(ReviewReportRejection::ReportExists {});
        filed()
            .when(ReviewReport::uphold)
            .then_once([ReviewReportEvent::Upheld { review: REVIEW }])
            .when(ReviewReport::dismiss)
            .then_rejected(ReviewReportRejection::ReportDecided {});
        filed().when(ReviewReport::dismiss).then_once([ReviewReportEvent::Dismissed { review: REVIEW }]);
        given([]).when(ReviewReport::uphold).then_rejected(ReviewReportRejection::ReportUnknown {});
    }
}
