//! Likes of a customer (SOC-03).

use domain::kernel::Recorded;
use domain::shared::{CustomerId, Permission, PostId, Timestamp};
use domain::social::{Relation, RelationEvent, RelationKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Post that a customer likes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Like {
    /// Customer who likes it.
    pub customer: CustomerId,
    /// Liked post.
    pub post: PostId,
    /// Time of the like.
    pub at: Timestamp,
}

impl ReadModel for Like {
    const NEEDS: Permission = Permission::SeeCustomers;
    const KEY: &'static [&'static str] = &["customer", "post"];
    const INDEXED: &'static [&'static str] = &["at"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<Relation>(
            |event| match event.event {
                RelationEvent::Established { kind: RelationKind::Like, customer, to }
                | RelationEvent::Dissolved { kind: RelationKind::Like, customer, to } => Some(key![customer, to]),
                _ => None,
            },
            Self::on_relation,
        );
    }
}

impl Like {
    fn on_relation(_: Option<Self>, event: &Recorded<RelationEvent>) -> Folded<Self> {
        Ok(match event.event {
            RelationEvent::Established { customer, to, .. } => {
                Some(Self { customer, post: PostId::new(to), at: event.occurred_at })
            }
            RelationEvent::Dissolved { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    #[test]
    fn like_ends_when_it_is_taken_back() {
        let (customer, to) = (CustomerId::new(Uuid::from_u128(5)), Uuid::from_u128(6));
        let then = |story: Story, event| story.then::<Relation>(Relation::id(RelationKind::Like, customer, to), event);
        let kind = RelationKind::Like;
        let liked = then(Story::new(), RelationEvent::Established { kind, customer, to });
        let vote = RelationEvent::Established { kind: RelationKind::ReviewVote, customer, to };
        let row: Like = then(liked.clone(), vote).row();
        assert_eq!((row.customer, row.post, row.at), (customer, PostId::new(to), Story::at(1)));
        let rows: Vec<Like> = then(liked, RelationEvent::Dissolved { kind, customer, to }).rows();
        assert_eq!(rows, []);
    }
}
