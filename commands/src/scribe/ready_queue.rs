//! Queue of ready submissions: round robin over tenants, with every fourth turn for the engine's own commands.

use std::collections::VecDeque;

use domain::shared::TenantId;
use foldhash::HashMap;

use super::ids::Ticket;
use super::submission::OpenSubmission;

/// One of this many turns goes to the engine's own commands, so that load by clients does not delay timers and
/// policies. Without commands of clients, every turn does.
const ENGINE_EVERY: u32 = 4;

/// Submissions whose next command has all it needs in memory.
#[derive(Default)]
pub(super) struct ReadyQueue {
    tenants: HashMap<TenantId, VecDeque<Ticket>>,
    /// Tenants in `tenants`, in the order of their next turns.
    turns: VecDeque<TenantId>,
    engine: VecDeque<Ticket>,
    /// Number of turns so far.
    turn: u32,
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

    pub(super) fn pop(&mut self) -> Option<Ticket> {
        self.turn = self.turn.wrapping_add(1);
        let engine_first = self.turn.is_multiple_of(ENGINE_EVERY) || self.turns.is_empty();
        if engine_first && let Some(ticket) = self.engine.pop_front() {
            return Some(ticket);
        }
        let tenant = self.turns.pop_front()?;
        let queue = self.tenants.get_mut(&tenant)?;
        let ticket = queue.pop_front();
        if queue.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        ticket
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
