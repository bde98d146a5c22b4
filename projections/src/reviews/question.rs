//! Questions about products (REV-07).

use domain::kernel::Recorded;
use domain::reviews::QuestionEvent;
use domain::shared::{CustomerId, Permission, ProductId, QuestionId, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};

/// Question of a customer about a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// Id of the question, chosen by the caller.
    pub question: QuestionId,
    /// Customer who asked.
    pub customer: CustomerId,
    /// Product in question.
    pub product: ProductId,
    /// Text of the question.
    pub text: Text<2000>,
    /// Time of the question.
    pub asked_at: Timestamp,
}

impl ReadModel for Question {
    const NEEDS: Permission = Permission::AnswerCustomers;
    const KEY: &'static [&'static str] = &["question"];
    const INDEXED: &'static [&'static str] = &["customer", "product", "asked_at"];
    const PUBLIC: &'static [&'static str] = &["question", "product", "text", "asked_at"];

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::reviews::Question>(Self::on_question);
    }
}

impl Question {
    fn on_question(_: Option<Self>, event: &Recorded<QuestionEvent>) -> Folded<Self> {
        let QuestionEvent::Asked { customer, product, text } = event.event.clone();
        let (question, asked_at) = (QuestionId::new(event.stream), event.occurred_at);
        Ok(Some(Self { question, customer, product, text, asked_at }))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn question_has_its_product_and_its_text() {
        let (customer, product) = (CustomerId::new(Uuid::from_u128(5)), ProductId::new(Uuid::from_u128(3)));
        let event = QuestionEvent::Asked { customer, product, text: "How large is it?".parse().expect("a text") };
        let question = QuestionId::new(Uuid::from_u128(9));
        let row: Question = Story::new().then::<domain::reviews::Question>(question, event).row();
        assert_eq!((row.question, row.product, row.asked_at), (question, product, Story::at(1)));
    }
}
