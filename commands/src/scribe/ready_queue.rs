//! Queue of ready submissions: round robin over tenants, with every fourth turn for the engine's own commands, and a
//! share of each batch per tenant while several send commands.

use std::collections::VecDeque;

use domain::shared::{Seconds, TenantId, Timestamp};
use foldhash::HashMap;

use super::ids::Ticket;
use super::submission::OpenSubmission;

/// One of this many turns goes to the engine's own commands, so that load by clients does not delay timers and
/// policies. Without commands of clients, every turn does.
const ENGINE_EVERY: u32 = 4;
/// Time for which shares are kept after a turn went to another tenant than the turn before, so that a tenant that sends few
/// commands finds short batches.
const CONTENDED_FOR: Seconds = Seconds(1);

/// Submissions whose next command has all it needs in memory.
#[derive(Default)]
pub(super) struct ReadyQueue {
    tenants: HashMap<TenantId, VecDeque<Ticket>>,
    /// Tenants in `tenants`, in the order of their next turns.
    turns: VecDeque<TenantId>,
    engine: VecDeque<Ticket>,
    /// Number of turns so far.
    turn: u32,
    /// Turns of each tenant in this batch.
    taken: HashMap<TenantId, usize>,
    /// Tenant of the last turn.
    last: Option<TenantId>,
    /// Time until which shares are kept, because turns have changed between tenants.
    contended_until: Timestamp,
}

impl ReadyQueue {
    pub(super) fn push(&mut self, ticket: Ticket, submission: &OpenSubmission) {
        if submission.from_engine {
            self.engine.push_back(ticket);
            return;
        }
        let queue = self.tenants.entry(submission.tenant).or_default();
        if queue.is_empty() {
            self.turns.push_back(submission.tenant);
        }
        queue.push_back(ticket);
    }

    /// Puts a submission back as the first of its tenant, so that later submissions do not overtake its next command.
    pub(super) fn put_back(&mut self, ticket: Ticket, submissions: &HashMap<Ticket, OpenSubmission>) {
        let Some(submission) = submissions.get(&ticket) else { return };
        if submission.from_engine {
            self.engine.push_front(ticket);
            return;
        }
        let queue = self.tenants.entry(submission.tenant).or_default();
        if queue.is_empty() {
            self.turns.push_back(submission.tenant);
        }
        queue.push_front(ticket);
    }

    /// True if a submission of a client waits.
    pub(super) fn has_clients(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Begins a batch: every tenant has its whole share again.
    pub(super) fn begin_batch(&mut self) {
        self.taken.clear();
    }

    /// The submission whose turn it is; `None` if every waiting tenant has taken `share` commands of this batch. A tenant that
    /// has been alone for a second may take the whole batch.
    pub(super) fn pop(&mut self, share: usize, now: Timestamp) -> Option<Ticket> {
        self.turn = self.turn.wrapping_add(1);
        let engine_first = self.turn.is_multiple_of(ENGINE_EVERY) || self.turns.is_empty();
        if engine_first && let Some(ticket) = self.engine.pop_front() {
            return Some(ticket);
        }
        let Some(tenant) = self.next_tenant(share, now) else { return self.engine.pop_front() };
        self.note_turn(tenant, now);
        let queue = self.tenants.get_mut(&tenant)?;
        let ticket = queue.pop_front();
        if queue.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        ticket
    }

    fn next_tenant(&mut self, share: usize, now: Timestamp) -> Option<TenantId> {
        if self.turns.len() == 1 && self.contended_until < now {
            return self.turns.pop_front();
        }
        let has_share = |tenant: &TenantId| self.taken.get(tenant).is_none_or(|taken| *taken < share);
        let place = self.turns.iter().position(has_share)?;
        self.turns.remove(place)
    }

    fn note_turn(&mut self, tenant: TenantId, now: Timestamp) {
        let taken = self.taken.entry(tenant).or_default();
        *taken = taken.saturating_add(1);
        if self.last.is_some_and(|last| last != tenant) {
            self.contended_until = now.after(CONTENDED_FOR);
        }
        self.last = Some(tenant);
    }

    /// Removes every submission that matches.
    pub(super) fn remove(&mut self, matches: impl Fn(Ticket) -> bool) {
        self.engine.retain(|ticket| !matches(*ticket));
        for queue in self.tenants.values_mut() {
            queue.retain(|ticket| !matches(*ticket));
        }
        self.tenants.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|tenant| self.tenants.contains_key(tenant));
    }
}
