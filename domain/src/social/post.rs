//! Post of a tenant (SOC-01).
//!
//! Invariant: a post is published once and never changes; a deleted post stays deleted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Fingerprint, MediaUrl, PostId, Text};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Post {
    /// Digest of the publishing event, to recognise a repeat.
    published: Option<Fingerprint>,
    deleted: bool,
}

/// Kind of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostKind {
    /// News of the tenant.
    Update,
    /// Presents a product.
    Product,
    /// Announces a sale or an event.
    Announcement,
}

/// Picture or film of a post.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Its address, which begins with `https://`.
    pub url: MediaUrl,
    pub kind: MediaKind,
}

/// Kind of a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    Image,
    Video,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum PostEvent {
    /// A post was published.
    #[serde(rename = "post.published")]
    Published { content: Text<5000>, kind: PostKind, media: Option<Media> },
    /// The post was deleted.
    #[serde(rename = "post.deleted")]
    Deleted {},
}

/// Rejections of a post.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PostRejection {
    #[error("there is no such post")]
    PostUnknown {},
    #[error("this post was published already, with other content")]
    PostExists {},
}

impl Rejection for PostRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::PostUnknown {} => Retry::NewId,
            Self::PostExists {} => Retry::Never,
        }
    }
}

impl Post {
    /// Publishes the post. A repeat with the same content changes nothing.
    pub fn publish(&self, content: Text<5000>, kind: PostKind, media: Option<Media>) -> Decision<Self> {
        let event = PostEvent::Published { content, kind, media };
        match self.published {
            None => Ok(vec![event]),
            Some(known) if known == Fingerprint::of(&event) => Ok(vec![]),
            Some(_) => Err(PostRejection::PostExists {}),
        }
    }

    /// Deletes the post.
    pub fn delete(&self) -> Decision<Self> {
        match (self.published, self.deleted) {
            (None, _) => Err(PostRejection::PostUnknown {}),
            (_, true) => Ok(vec![]),
            (_, false) => Ok(vec![PostEvent::Deleted {}]),
        }
    }

    /// Rejects unless the post is published and not deleted.
    pub fn require_published(&self) -> Result<(), PostRejection> {
        match self.published.filter(|_| !self.deleted) {
            Some(_) => Ok(()),
            None => Err(PostRejection::PostUnknown {}),
        }
    }
}

impl Aggregate for Post {
    const TYPE: &'static str = "Post";
    type Id = PostId;
    type Event = PostEvent;
    type Rejection = PostRejection;

    fn apply(&mut self, event: &PostEvent) {
        match event {
            PostEvent::Published { .. } => self.published = Some(Fingerprint::of(event)),
            PostEvent::Deleted {} => self.deleted = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::parsed;
    use crate::testing::{Given, given};

    fn publish(post: &Post, content: &str) -> Decision<Post> {
        let media = Media { url: parsed("https://media.example.org/mug.jpg"), kind: MediaKind::Image };
        post.publish(parsed(content), PostKind::Update, Some(media))
    }

    fn published() -> Given<Post> {
        let media = Media { url: parsed("https://media.example.org/mug.jpg"), kind: MediaKind::Image };
        let event = PostEvent::Published { content: parsed("New mugs"), kind: PostKind::Update, media: Some(media) };
        given([]).when(|post: &Post| publish(post, "New mugs")).then_once([event])
    }

    #[test]
    fn post_is_published_once() {
        published().when(|post| publish(post, "Old mugs")).then_rejected(PostRejection::PostExists {});
        published().holds(|post| post.require_published().is_ok());
    }

    #[test]
    fn deleted_post_is_unknown_to_readers() {
        published()
            .when(Post::delete)
            .then_once([PostEvent::Deleted {}])
            .holds(|post| post.require_published() == Err(PostRejection::PostUnknown {}));
        given([]).when(Post::delete).then_rejected(PostRejection::PostUnknown {});
    }
}
