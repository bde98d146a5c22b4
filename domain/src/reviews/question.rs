//! Question of a customer about a product (REV-07). Invariant: a question is asked once and never changes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Fingerprint, ProductId, QuestionId, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Question {
    /// Digest of the asking event, to recognise a repeat.
    asked: Option<Fingerprint>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum QuestionEvent {
    /// A customer asked about a product.
    #[serde(rename = "question.asked")]
    Asked { customer: CustomerId, product: ProductId, text: Text<2000> },
}

/// Rejections of a question.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum QuestionRejection {
    #[error("there is no such question")]
    QuestionUnknown {},
    #[error("this question was asked already, in other words")]
    QuestionExists {},
}

impl Rejection for QuestionRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::QuestionUnknown {} => Retry::NewId,
            Self::QuestionExists {} => Retry::Never,
        }
    }
}

impl Question {
    /// Asks the question. A repeat changes nothing.
    pub fn ask(&self, customer: CustomerId, product: ProductId, text: Text<2000>) -> Decision<Self> {
        let event = QuestionEvent::Asked { customer, product, text };
        match self.asked {
            None => Ok(vec![event]),
            Some(known) if known == Fingerprint::of(&event) => Ok(vec![]),
            Some(_) => Err(QuestionRejection::QuestionExists {}),
        }
    }

    /// Rejects a question that was not asked.
    pub fn require_asked(&self) -> Result<(), QuestionRejection> {
        self.asked.map(|_| ()).ok_or(QuestionRejection::QuestionUnknown {})
    }
}

impl Aggregate for Question {
    const TYPE: &'static str = "Question";
    type Id = QuestionId;
    type Event = QuestionEvent;
    type Rejection = QuestionRejection;

    fn apply(&mut self, event: &QuestionEvent) {
        self.asked = Some(Fingerprint::of(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{ADA, id, parsed};

    #[test]
    fn question_is_asked_once() {
        let (customer, product, text) = (ADA, ProductId::new(id(3)), parsed::<Text<2000>>("Is it dishwasher-safe?"));
        given([])
            .when(|question: &Question| question.ask(customer, product, text.clone()))
            .then_once([QuestionEvent::Asked { customer, product, text: text.clone() }])
            .when(|question| question.ask(customer, product, parsed("How large is it?")))
            .then_rejected(QuestionRejection::QuestionExists {});
        given([]).holds(|question: &Question| question.require_asked() == Err(QuestionRejection::QuestionUnknown {}));
    }
}
