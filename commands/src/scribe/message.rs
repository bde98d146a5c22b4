//! What goes into a scribe and what comes out.

use std::collections::VecDeque;

use compact_str::CompactString;
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use uuid::Uuid;

use super::batch::{Batch, BatchId};
use super::generations::{Dated, made_at_ms};
use super::shelf::LoadedState;
use crate::kernel::{AnyCommand, Misuse, NotNow, Rejected, StreamRef};

/// One of the gapless logs that tenants are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaneId(pub i16);

/// Names a submission between the scribe and its driver. Later submissions have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

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

/// What a command was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was decided, now or earlier, and the decision is durable.
    Settled {
        settled: Settled,
        /// It was decided earlier; this is the stored answer.
        replayed: bool,
    },
    /// It was not decided; the same id may be sent again.
    NotNow(NotNow),
    /// It makes no sense; nothing was stored.
    Misuse(Misuse),
    /// The machine failed on this command alone; nothing was stored.
    Fault(String),
}

/// A durable decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    Accepted(Accepted),
    Rejected {
        rejected: Box<Rejected>,
        /// The tenant's position when it was decided.
        tenant_position: i64,
        epoch: i64,
        recorded_at: Timestamp,
    },
}

/// The receipt of an accepted command.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The position of its last event within the tenant; of the event before it where it changed nothing.
    pub tenant_position: i64,
    pub epoch: i64,
    pub recorded_at: Timestamp,
    /// The streams it changed; empty where all of it held already.
    pub changed: ChangedStreams,
}

/// Most commands change one stream, which is kept in place.
pub type ChangedStreams = SmallVec<[Changed; 1]>;

/// A stream and the number of its last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub stream_type: &'static str,
    pub stream: Uuid,
    pub sequence: i64,
}

/// Something that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The last tenant position of a tenant.
    Tenant(TenantId),
    Receipt(ReceiptKey),
    Stream(StreamKey),
}

/// A request to load something of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub lane: LaneId,
    /// What was read under another epoch may be stale; it comes back with the answer.
    pub epoch: i64,
    pub need: Need,
}

/// The answer to a [`Load`].
pub struct Loaded {
    pub load: Load,
    pub found: Found,
}

pub enum Found {
    Tenant(i64),
    Receipt(Option<Recalled>),
    Stream(LoadedState),
    /// It cannot be read now.
    Away,
    /// It is there and cannot be understood; says why.
    Unreadable(String),
}

/// A stored receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    pub fingerprint: CompactString,
    pub settled: Settled,
}

/// What the driver must do.
pub enum Output {
    Load(Load),
    Commit(Batch),
    TakeOver(LaneId),
    Answer(Answered),
}

/// The answer to one command of a submission.
pub struct Answered {
    pub ticket: Ticket,
    /// Its place in the submission.
    pub index: usize,
    pub answer: Answer,
}

/// What became of a batch.
pub struct CommitOutcome {
    pub batch: BatchId,
    /// The lanes that were still ours and are durable now.
    pub written: Vec<LaneId>,
    /// The store refused the rows themselves, not the circumstances.
    pub refused_data: bool,
}

/// What became of a take-over.
pub enum TakeOverOutcome {
    Ours {
        epoch: i64,
        position: i64,
        recorded_at: Timestamp,
    },
    /// Somebody else writes it and is alive.
    Elsewhere,
    /// The store cannot be reached.
    Away,
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
