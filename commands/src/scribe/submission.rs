//! Submissions: commands on their way in, and those of them that are not decided yet.

use std::collections::VecDeque;

use compact_str::CompactString;
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use uuid::Uuid;

use super::ids::{LaneId, ReceiptKey, Ticket};
use crate::kernel::AnyCommand;

/// The commands of one request. They are decided in their order; other requests may come between.
pub struct Submission {
    pub ticket: Ticket,
    pub tenant: TenantId,
    pub lane: LaneId,
    /// Policies and timers have a reserved share of every batch.
    pub from_engine: bool,
    pub commands: Vec<Envelope>,
}

/// A command with everything that admission found out about it.
pub struct Envelope {
    pub id: CommandId,
    pub command: Box<dyn AnyCommand>,
    /// A keyed digest of the body as it was sent; tells a retry from another command under the same id.
    pub fingerprint: CompactString,
    pub principal: Principal,
    pub actor: Actor,
    /// Follows one story through many commands; kept in the events' meta.
    pub correlation: Option<Uuid>,
    /// The event that led to this command.
    pub causation: Option<Uuid>,
    /// Not decided after this moment.
    pub deadline: Option<Timestamp>,
    /// Made by this server just now, so that it cannot have been seen before.
    pub id_is_new: bool,
    /// Wrapped keys of people who had none before; written in the batch of the command.
    pub person_keys: Vec<PersonKey>,
}

/// A person's data key, wrapped by the outer key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonKey {
    pub tenant: TenantId,
    pub person: Uuid,
    pub wrapped: Vec<u8>,
}

/// A submission that is not fully decided.
pub(super) struct Work {
    pub(super) tenant: TenantId,
    pub(super) lane: LaneId,
    pub(super) from_engine: bool,
    pub(super) queue: VecDeque<Pending>,
    /// Needs that are being loaded for it.
    pub(super) waiting_for: usize,
    /// How often its next command asked for streams it had not named.
    pub(super) rounds: u8,
}

pub(super) struct Pending {
    pub(super) index: usize,
    /// It passes through many hands; boxed, each of them moves a pointer.
    pub(super) envelope: Box<Envelope>,
    /// The turn of the receipts memory in which the store had no receipt for it.
    pub(super) looked_up: Option<u64>,
}

impl Pending {
    pub(super) fn receipt_key(&self, tenant: TenantId) -> ReceiptKey {
        ReceiptKey { tenant, principal: self.envelope.principal, command: self.envelope.id }
    }
}
