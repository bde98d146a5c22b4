//! Whose turn it is: round robin over the tenants, with a reserved share for the engine's own commands.

use std::collections::VecDeque;

use domain::shared::TenantId;
use foldhash::HashMap;

use super::ids::Ticket;
use super::submission::Work;

/// Every so many turns the engine's own commands go first, so that no crowd can keep timers and policies waiting.
const ENGINE_EVERY: u32 = 4;

/// The submissions whose next command has everything it needs.
#[derive(Default)]
pub(super) struct Ready {
    tenants: HashMap<TenantId, VecDeque<Ticket>>,
    turns: VecDeque<TenantId>,
    engine: VecDeque<Ticket>,
    count: u32,
}

impl Ready {
    pub(super) fn push(&mut self, ticket: Ticket, work: &Work) {
        if work.from_engine {
            self.engine.push_back(ticket);
            return;
        }
        let queue = self.tenants.entry(work.tenant).or_default();
        if queue.is_empty() {
            self.turns.push_back(work.tenant);
        }
        queue.push_back(ticket);
    }

    /// The submission stays the first of its tenant: its next command must not be overtaken by later submissions
    /// only because the tenants take turns.
    pub(super) fn put_back(&mut self, ticket: Ticket, works: &HashMap<Ticket, Work>) {
        let Some(work) = works.get(&ticket) else { return };
        if work.from_engine {
            self.engine.push_front(ticket);
            return;
        }
        let queue = self.tenants.entry(work.tenant).or_default();
        if queue.is_empty() {
            self.turns.push_back(work.tenant);
        }
        queue.push_front(ticket);
    }

    pub(super) fn next(&mut self) -> Option<Ticket> {
        self.count = self.count.wrapping_add(1);
        let engines_turn = self.count.is_multiple_of(ENGINE_EVERY) || self.turns.is_empty();
        if engines_turn && let Some(ticket) = self.engine.pop_front() {
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

    /// Takes out everything that `belongs`.
    pub(super) fn remove(&mut self, belongs: impl Fn(Ticket) -> bool) {
        self.engine.retain(|ticket| !belongs(*ticket));
        for queue in self.tenants.values_mut() {
            queue.retain(|ticket| !belongs(*ticket));
        }
        self.tenants.retain(|_, queue| !queue.is_empty());
        self.turns.retain(|tenant| self.tenants.contains_key(tenant));
    }
}
