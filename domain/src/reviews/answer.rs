//! Answer to a question about a product (REV-07). Invariant: an answer is given once; a removed one stays removed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{AnswerId, CustomerId, Fingerprint, QuestionId, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Digest of the giving event, to recognise a repeat.
    given: Option<Fingerprint>,
    removed: bool,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum AnswerEvent {
    /// A customer or, if there is none, the seller answered.
    #[serde(rename = "answer.given")]
    Given { question: QuestionId, customer: Option<CustomerId>, text: Text<2000> },
    /// The answer was removed.
    #[serde(rename = "answer.removed")]
    Removed {},
}

/// Rejections of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AnswerRejection {
    #[error("there is no such answer")]
    AnswerUnknown {},
    #[error("this answer was given already, in other words")]
    AnswerExists {},
}

impl Rejection for AnswerRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::AnswerUnknown {} => Retry::NewId,
            Self::AnswerExists {} => Retry::Never,
        }
    }
}

impl Answer {
    /// Gives the answer; of the seller if there is no customer. A repeat changes nothing.
    pub fn give(&self, question: QuestionId, customer: Option<CustomerId>, text: Text<2000>) -> Decision<Self> {
        let event = AnswerEvent::Given { question, customer, text };
        match self.given {
            None => Ok(vec![event]),
            Some(known) if known == Fingerprint::of(&event) => Ok(vec![]),
            Some(_) => Err(AnswerRejection::AnswerExists {}),
        }
    }

    /// Removes the answer.
    pub fn remove(&self) -> Decision<Self> {
        match (self.given, self.removed) {
            (None, _) => Err(AnswerRejection::AnswerUnknown {}),
            (_, true) => Ok(vec![]),
            (_, false) => Ok(vec![AnswerEvent::Removed {}]),
        }
    }

    /// Rejects unless the answer was given and not removed.
    pub fn require_visible(&self) -> Result<(), AnswerRejection> {
        self.given.filter(|_| !self.removed).map(|_| ()).ok_or(AnswerRejection::AnswerUnknown {})
    }
}

impl Aggregate for Answer {
    const TYPE: &'static str = "Answer";
    type Id = AnswerId;
    type Event = AnswerEvent;
    type Rejection = AnswerRejection;

    fn apply(&mut self, event: &AnswerEvent) {
        match event {
            AnswerEvent::Given { .. } => self.given = Some(Fingerprint::of(event)),
            AnswerEvent::Removed {} => self.removed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{BEN, id, parsed};

    const QUESTION: QuestionId = QuestionId::new(id(4));

    #[test]
    fn answer_is_given_once_and_stays_removed() {
        let text: Text<2000> = parsed("Yes");
        given([])
            .when(|answer: &Answer| answer.give(QUESTION, Some(BEN), text.clone()))
            .then_once([AnswerEvent::Given { question: QUESTION, customer: Some(BEN), text: text.clone() }])
            .when(Answer::remove)
            .then_once([AnswerEvent::Removed {}])
            .holds(|answer| answer.require_visible() == Err(AnswerRejection::AnswerUnknown {}));
        given([AnswerEvent::Given { question: QUESTION, customer: None, text: text.clone() }])
            .when(|answer: &Answer| answer.give(QUESTION, Some(BEN), text.clone()))
            .then_rejected(AnswerRejection::AnswerExists {});
        given([]).when(Answer::remove).then_rejected(AnswerRejection::AnswerUnknown {});
    }
}
