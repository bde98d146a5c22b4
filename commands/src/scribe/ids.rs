//! Ids and keys shared by the modules of the scribe.

use domain::shared::{CommandId, Principal, TenantId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::two_generation_cache::CacheKey;
use crate::kernel::StreamRef;

/// A lane: one of the gapless partitions of the log. Every tenant belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaneId(pub i16);

/// Number of a submission, given by the driver. Later submissions have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Number of a batch: 1 for the first, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

impl BatchId {
    /// Batch id of data read from the store: it is durable already.
    pub(super) const BEFORE_FIRST: Self = Self(0);
}

/// One stream of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    pub tenant: TenantId,
    pub stream: StreamRef,
}

/// Identity of a command. Command ids are unique per principal, so that no caller can use up the ids of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptKey {
    pub tenant: TenantId,
    pub principal: Principal,
    pub command: CommandId,
}

impl CacheKey for StreamKey {
    fn created_at_ms(&self) -> Option<i64> {
        created_at_ms(self.stream.id)
    }
}

impl CacheKey for ReceiptKey {
    fn created_at_ms(&self) -> Option<i64> {
        created_at_ms(self.command.uuid())
    }
}

/// Creation time of a UUIDv7 in milliseconds since 1970; other versions carry none.
pub(super) fn created_at_ms(id: Uuid) -> Option<i64> {
    let created = (id.get_version_num() == 7).then(|| id.as_u128().wrapping_shr(80));
    created.and_then(|ms| i64::try_from(ms).ok())
}
