//! Reviews with their ratings and reports, and questions with their answers.

mod answer;
mod question;
mod rating;
mod review;
mod review_report;

pub use answer::{Answer, AnswerStatus};
pub use question::Question;
pub use rating::Rating;
pub use review::{Review, ReviewStatus};
pub use review_report::{ReportStatus, ReviewReport};

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.read_model::<Answer>();
    each.read_model::<Question>();
    each.read_model::<Rating>();
    each.read_model::<Review>();
    each.read_model::<ReviewReport>();
}
