//! Posts of a tenant (SOC-01, SOC-03).

use domain::kernel::Recorded;
use domain::shared::{MediaUrl, Permission, PostId, Text, Timestamp};
use domain::social::{MediaKind, PostEvent, PostKind, Relation, RelationEvent, RelationKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, add};
use crate::key;

/// Post of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Post {
    /// Id of the post.
    pub post: PostId,
    /// Text of the post.
    pub content: Text<5000>,
    /// Kind of the post.
    pub kind: PostKind,
    /// Address of its picture or film.
    pub media_url: Option<MediaUrl>,
    /// Kind of its picture or film.
    pub media_kind: Option<MediaKind>,
    /// Number of customers who like it.
    pub likes: i64,
    /// Current status.
    pub status: PostStatus,
    /// Time of publication.
    pub published_at: Timestamp,
}

/// Status of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostStatus {
    Published,
    /// Shown to the team only.
    Deleted,
}

impl ReadModel for Post {
    const NEEDS: Permission = Permission::PublishPosts;
    const KEY: &'static [&'static str] = &["post"];
    const INDEXED: &'static [&'static str] = &["kind", "likes", "status", "published_at"];
    const PUBLIC: &'static [&'static str] =
        &["post", "content", "kind", "media_url", "media_kind", "likes", "status", "published_at"];
    const VISIBLE_WHEN: Option<(&'static str, &'static str)> = Some(("status", "published"));

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<domain::social::Post>(Self::on_post).stream::<Relation>(
            |event| match event.event {
                RelationEvent::Established { kind: RelationKind::Like, to, .. }
                | RelationEvent::Dissolved { kind: RelationKind::Like, to, .. } => Some(key![to]),
                _ => None,
            },
            Self::on_like,
        );
    }
}

impl Post {
    fn on_post(row: Option<Self>, event: &Recorded<PostEvent>) -> Folded<Self> {
        Ok(match event.event.clone() {
            PostEvent::Published { content, kind, media } => Some(Self {
                post: PostId::new(event.stream),
                content,
                kind,
                media_kind: media.as_ref().map(|media| media.kind),
                media_url: media.map(|media| media.url),
                likes: 0,
                status: PostStatus::Published,
                published_at: event.occurred_at,
            }),
            PostEvent::Deleted {} => row.map(|row| Self { status: PostStatus::Deleted, ..row }),
        })
    }

    fn on_like(row: Option<Self>, event: &Recorded<RelationEvent>) -> Folded<Self> {
        let Some(mut row) = row else { return Ok(None) };
        let change = if matches!(event.event, RelationEvent::Established { .. }) { 1 } else { -1 };
        add(&mut row.likes, change, "likes")?;
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use domain::shared::CustomerId;
    use domain::social::Media;
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    const POST: PostId = PostId::new(Uuid::from_u128(9));

    fn like(story: Story, customer: u128, established: bool) -> Story {
        let (kind, customer, to) = (RelationKind::Like, CustomerId::new(Uuid::from_u128(customer)), POST.uuid());
        let event = match established {
            true => RelationEvent::Established { kind, customer, to },
            false => RelationEvent::Dissolved { kind, customer, to },
        };
        story.then::<Relation>(Relation::id(kind, customer, to), event)
    }

    #[test]
    fn post_counts_its_likes_until_it_is_deleted() {
        let media =
            Media { url: "https://media.example.org/a.jpg".parse().expect("an address"), kind: MediaKind::Image };
        let content = "New mugs".parse().expect("a text");
        let event = PostEvent::Published { content, kind: PostKind::Update, media: Some(media) };
        let story = Story::new().then::<domain::social::Post>(POST, event);
        let story = like(like(like(story, 1, true), 2, true), 1, false);
        let row: Post = story.row();
        assert_eq!((row.likes, row.media_kind, row.status), (1, Some(MediaKind::Image), PostStatus::Published));
        let row: Post = story.then::<domain::social::Post>(POST, PostEvent::Deleted {}).row();
        assert_eq!(row.status, PostStatus::Deleted);
    }
}
