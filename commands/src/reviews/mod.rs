//! Review and question commands and policies.

mod policies;
mod question;
mod report;
mod review;

pub use policies::*;
pub use question::*;
pub use report::*;
pub use review::*;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.command::<ReviewProduct>();
    each.command::<ReviewStore>();
    each.command::<EditReview>();
    each.command::<RemoveReview>();
    each.command::<RespondToReview>();
    each.command::<VerifyReviews>();
    each.command::<VoteForReview>();
    each.command::<WithdrawReviewVote>();
    each.command::<ReportReview>();
    each.command::<UpholdReport>();
    each.command::<DismissReport>();
    each.command::<AskQuestion>();
    each.command::<AnswerQuestion>();
    each.command::<AnswerAsSeller>();
    each.command::<RemoveAnswer>();
    each.command::<VoteForAnswer>();
    each.command::<WithdrawAnswerVote>();
    each.policy::<VerifyOnOrderDelivered>();
}
