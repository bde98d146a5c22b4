//! Relations of the integrations read models.

use crate::relation::Relations;

/// Webhook subscriptions have no relation to another read model yet.
pub(crate) fn relations(_: &mut Relations) {}
