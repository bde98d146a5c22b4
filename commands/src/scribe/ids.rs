//! Ids and keys that the parts of the scribe share.

use domain::shared::{CommandId, Principal, TenantId};
use serde::{Deserialize, Serialize};

use super::generations::{Dated, made_at_ms};
use crate::kernel::StreamRef;

/// One of the gapless logs that tenants are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaneId(pub i16);

/// Names a submission between the scribe and its driver. Later submissions have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Batches are numbered from 1, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// One stream of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    pub tenant: TenantId,
    pub stream: StreamRef,
}

/// What makes a command id unique: nobody can squat on another's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiptKey {
    pub tenant: TenantId,
    pub principal: Principal,
    pub command: CommandId,
}

impl Dated for StreamKey {
    fn made_at_ms(&self) -> Option<i64> {
        made_at_ms(self.stream.id)
    }
}

impl Dated for ReceiptKey {
    fn made_at_ms(&self) -> Option<i64> {
        made_at_ms(self.command.uuid())
    }
}
