//! Answers to questions about products (REV-07).

use domain::kernel::Recorded;
use domain::reviews::AnswerEvent;
use domain::shared::{AnswerId, CustomerId, Permission, QuestionId, Text, Timestamp};
use domain::social::{Relation, RelationEvent, RelationKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Answer to a question about a product.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Id of the answer, chosen by the caller.
    pub answer: AnswerId,
    /// Answered question.
    pub question: QuestionId,
    /// Customer who answered; null for the seller.
    pub customer: Option<CustomerId>,
    /// True for an answer of the seller.
    pub by_seller: bool,
    /// Text of the answer.
    pub text: Text<2000>,
    /// Number of customers who found it helpful.
    pub votes: i64,
    /// Current status.
    pub status: AnswerStatus,
    /// Time of the answer.
    pub given_at: Timestamp,
}

/// Status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    Visible,
    /// Shown to the team only.
    Removed,
}

impl ReadModel for Answer {
    const NEEDS: Permission = Permission::AnswerCustomers;
    const KEY: &'static [&'static str] = &["answer"];
    const INDEXED: &'static [&'static str] = &["question", "votes", "status", "given_at"];
    const PUBLIC: &'static [&'static str] = &["answer", "question", "by_seller", "text", "votes", "status", "given_at"];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "visible"));

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::reviews::Answer>(Self::on_answer).stream::<Relation>(
            |event| match event.event {
                RelationEvent::Established { kind: RelationKind::AnswerVote, to, .. }
                | RelationEvent::Dissolved { kind: RelationKind::AnswerVote, to, .. } => Some(key![to]),
                _ => None,
            },
            Self::on_vote,
        );
    }
}

impl Answer {
    fn on_answer(row: Option<Self>, event: &Recorded<AnswerEvent>) -> Folded<Self> {
        Ok(match event.event.clone() {
            AnswerEvent::Given { question, customer, text } => Some(Self {
                answer: AnswerId::new(event.stream),
                question,
                customer,
                by_seller: customer.is_none(),
                text,
                votes: 0,
                status: AnswerStatus::Visible,
                given_at: event.occurred_at,
            }),
            AnswerEvent::Removed {} => row.map(|row| Self { status: AnswerStatus::Removed, ..row }),
        })
    }

    fn on_vote(row: Option<Self>, event: &Recorded<RelationEvent>) -> Folded<Self> {
        let Some(mut row) = row else { return Ok(None) };
        let change = if matches!(event.event, RelationEvent::Established { .. }) { 1 } else { -1 };
        add(&mut row.votes, change, "votes")?;
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    const ANSWER: AnswerId = AnswerId::new(Uuid::from_u128(9));

    #[test]
    fn answer_of_the_seller_is_marked_and_counts_votes() {
        let (question, text) = (QuestionId::new(Uuid::from_u128(4)), "Yes".parse().expect("a text"));
        let given = AnswerEvent::Given { question, customer: None, text };
        let story = Story::new().then::<domain::reviews::Answer>(ANSWER, given);
        let (kind, customer, to) = (RelationKind::AnswerVote, CustomerId::new(Uuid::from_u128(5)), ANSWER.uuid());
        let id = Relation::id(kind, customer, to);
        let story = story.then::<Relation>(id, RelationEvent::Established { kind, customer, to });
        let row: Answer = story.row();
        assert_eq!((row.by_seller, row.votes, row.status), (true, 1, AnswerStatus::Visible));
        let story = story.then::<Relation>(id, RelationEvent::Dissolved { kind, customer, to });
        let row: Answer = story.then::<domain::reviews::Answer>(ANSWER, AnswerEvent::Removed {}).row();
        assert_eq!((row.votes, row.status), (0, AnswerStatus::Removed));
    }
}
