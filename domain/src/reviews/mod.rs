//! Reviews of products and stores, and questions about products.

mod answer;
mod question;
mod report;
mod review;
mod stars;

pub use answer::{Answer, AnswerEvent, AnswerRejection};
pub use question::{Question, QuestionEvent, QuestionRejection};
pub use report::{ReviewReport, ReviewReportEvent, ReviewReportRejection};
pub use review::{Review, ReviewEvent, ReviewRejection, ReviewSubject};
pub use stars::Stars;

use crate::kernel::Visitor;

pub fn visit(each: &mut impl Visitor) {
    each.aggregate::<Answer>();
    each.aggregate::<Question>();
    each.aggregate::<Review>();
    each.aggregate::<ReviewReport>();
}
