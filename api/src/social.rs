//! Relations of the social read models.

use crate::relation::Relations;

pub(crate) fn relations(of: &mut Relations) {
    of.many("Post", "likedBy", "Like", "post");
    of.one("Like", "post", "Post", &["post"]);
}
