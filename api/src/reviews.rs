//! Relations of the review read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.one("Review", "product", "Product", &["product"]);
    of.one("Review", "customer", "Customer", &["customer"]);
    of.many("Review", "reports", "ReviewReport", "review");
    of.one("ReviewReport", "review", "Review", &["review"]);
    of.one("Question", "product", "Product", &["product"]);
    of.many("Question", "answers", "Answer", "question");
    of.one("Answer", "question", "Question", &["question"]);
}
