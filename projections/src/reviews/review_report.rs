//! Reports of reviews (REV-04).

use domain::kernel::Recorded;
use domain::reviews::ReviewReportEvent;
use domain::shared::{CustomerId, Permission, Reason, ReviewId, ReviewReportId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Report of a review by a customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReviewReport {
    /// Id of the report, chosen by the caller.
    pub report: ReviewReportId,
    /// Reported review.
    pub review: ReviewId,
    /// Customer who reported it.
    pub customer: CustomerId,
    /// Reason that the customer gave.
    pub reason: Reason,
    /// Current status.
    pub status: ReportStatus,
    /// Time of the report.
    pub filed_at: Timestamp,
    /// Time of the decision.
    pub decided_at: Option<Timestamp>,
}

/// Status of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    Open,
    /// The review was hidden.
    Upheld,
    /// The review stayed.
    Dismissed,
}

impl ReadModel for ReviewReport {
    const NEEDS: Permission = Permission::ModerateContent;
    const KEY: &'static [&'static str] = &["report"];
    const INDEXED: &'static [&'static str] = &["review", "status", "filed_at"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::reviews::ReviewReport>(Self::on_report);
    }
}

impl ReviewReport {
    fn on_report(row: Option<Self>, event: &Recorded<ReviewReportEvent>) -> Folded<Self> {
        let status = match event.event.clone() {
            ReviewReportEvent::Filed { review, customer, reason } => {
                return Ok(Some(Self {
                    report: ReviewReportId::new(event.stream),
                    review,
                    customer,
                    reason,
                    status: ReportStatus::Open,
                    filed_at: event.occurred_at,
                    decided_at: None,
                }));
            }
            ReviewReportEvent::Upheld { .. } => ReportStatus::Upheld,
            ReviewReportEvent::Dismissed { .. } => ReportStatus::Dismissed,
        };
        let row = row.ok_or_else(Unfoldable::no_row)?;
        Ok(Some(Self { status, decided_at: Some(event.occurred_at), ..row }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn report_is_open_until_it_is_decided() {
        let review = ReviewId::new(Uuid::from_u128(4));
        let then = |story: Story, event| {
            story.then::<domain::reviews::ReviewReport>(ReviewReportId::new(Uuid::from_u128(9)), event)
        };
        let (customer, reason) = (CustomerId::new(Uuid::from_u128(5)), "spam".parse().expect("a reason"));
        let filed = then(Story::new(), ReviewReportEvent::Filed { review, customer, reason });
        let row: ReviewReport = filed.row();
        assert_eq!((row.status, row.decided_at), (ReportStatus::Open, None));
        for (event, status) in [
            (ReviewReportEvent::Upheld { review }, ReportStatus::Upheld),
            (ReviewReportEvent::Dismissed { review }, ReportStatus::Dismissed),
        ] {
            let row: ReviewReport = then(filed.clone(), event).row();
            assert_eq!((row.status, row.decided_at), (status, Some(Story::at(2))));
        }
    }
}
