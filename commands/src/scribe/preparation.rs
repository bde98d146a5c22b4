//! Preparation: loads the data that the commands of a submission need, then puts the submission into the ready queue.

use std::collections::hash_map;

use domain::shared::Timestamp;
use uuid::Uuid;

use super::answer::Answer;
use super::ids::{LaneId, ReceiptKey, StreamKey, Ticket, created_at_ms};
use super::lane::{Lane, LaneStatus};
use super::message::{CommandAnswer, Load, LoadOutcome, LoadResult, Need, Output};
use super::state_cache::LoadedState;
use super::submission::{OpenSubmission, PendingCommand, Submission};
use super::{Limits, Scribe, TenantHead};
use crate::kernel::{Hint, Misuse, NotNow, StreamRef};

/// Number of next commands of a submission whose data is loaded together.
const LOOKAHEAD_COMMANDS: usize = 256;

impl Scribe {
    /// Takes a submission. Each of its commands gets exactly one answer; all get `OVERLOADED` if the queue is full and
    /// the sender is not the engine.
    pub fn submit(&mut self, submission: Submission, now: Timestamp) {
        let Submission { ticket, tenant, lane, from_engine, commands } = submission;
        if !from_engine && self.queued.saturating_add(commands.len()) > self.limits.queue_commands_most {
            let overloaded = Answer::NotNow(NotNow::Overloaded { retry_after_s: 1 });
            (0..commands.len()).for_each(|index| self.answer(ticket, index, overloaded.clone()));
            return;
        }
        let pending =
            |(index, envelope)| PendingCommand { index, envelope: Box::new(envelope), receipt_absent_in: None };
        let queue = commands.into_iter().enumerate().map(pending).collect();
        let submission = OpenSubmission { tenant, lane, from_engine, queue, open_loads: 0, rounds: 0 };
        self.queued = self.queued.saturating_add(submission.queue.len());
        self.submissions.insert(ticket, submission);
        self.prepare(ticket, &[], now);
    }

    /// Processes the result of a load, and continues the submissions that waited for it.
    pub fn loaded(&mut self, outcome: LoadOutcome, now: Timestamp) {
        let LoadOutcome { load, result } = outcome;
        let is_current = self.ownership(load.lane).is_some_and(|ownership| ownership.epoch == load.epoch);
        if !is_current {
            // The lane was taken over after this request; submissions that still need the data have requested it again.
            return;
        }
        let waiting = self.loading.remove(&load.need).unwrap_or_default();
        match (load.need, result) {
            (Need::Tenant(tenant), LoadResult::Tenant(tenant_position)) => {
                self.heads.insert(tenant, TenantHead { lane: load.lane, tenant_position });
            }
            // The state in memory may be newer than the loaded one.
            (Need::Stream(key), LoadResult::Stream(_)) if self.states.contains(&key) => {}
            (Need::Stream(key), LoadResult::Stream(state)) => self.states.insert(key, state),
            (Need::Receipt(key), LoadResult::Receipt(Some(receipt))) => self.receipts.insert(key, receipt.into()),
            (Need::Receipt(key), LoadResult::Receipt(None)) => self.note_absent_receipt(&waiting, key),
            (_, LoadResult::Unreadable(reason)) => return self.answer_all(&waiting, &Answer::Fault(reason)),
            _ => return self.answer_all(&waiting, &Answer::NotNow(NotNow::StoreAway)),
        }
        for ticket in waiting {
            self.finish_load(ticket, now);
        }
    }

    /// Requests what the next commands of a submission need and memory lacks: the tenant's position, receipts, the
    /// streams of the hints, and the streams in `missing`. Puts a submission that lacks nothing into the ready
    /// queue.
    pub(super) fn prepare(&mut self, ticket: Ticket, missing: &[StreamRef], now: Timestamp) {
        let Some(submission) = self.submissions.get(&ticket) else { return };
        let (tenant, lane) = (submission.tenant, submission.lane);
        let Some(ownership) = self.ownership(lane) else { return self.wait_for_lane(ticket, lane) };
        let mut needs = Vec::new();
        if !self.heads.contains_key(&tenant) {
            needs.push(Need::Tenant(tenant));
        }
        let mut hint = Hint::default();
        for pending in submission.queue.iter().take(LOOKAHEAD_COMMANDS) {
            let key = pending.receipt_key(tenant);
            if !self.has_no_stored_receipt(pending, lane, now) && self.receipts.get(&key).is_none() {
                needs.push(Need::Receipt(key));
            }
            pending.envelope.command.streams(tenant, &mut hint);
        }
        for stream in hint.into_streams().chain(missing.iter().copied()) {
            let key = StreamKey { tenant, stream };
            if self.states.contains(&key) {
                continue;
            }
            match self.is_new(stream.id, lane, now).then(|| self.registry.get(stream.stream_type)).flatten() {
                Some(descriptor) => self.states.insert(key, LoadedState::empty(descriptor.fresh())),
                None => needs.push(Need::Stream(key)),
            }
        }
        needs.sort_unstable();
        needs.dedup();
        self.request(ticket, lane, ownership.epoch, needs);
    }

    fn request(&mut self, ticket: Ticket, lane: LaneId, epoch: i64, needs: Vec<Need>) {
        let Some(submission) = self.submissions.get_mut(&ticket) else { return };
        submission.open_loads = needs.len();
        if needs.is_empty() {
            self.ready.push(ticket, submission);
        }
        for need in needs {
            match self.loading.entry(need) {
                hash_map::Entry::Occupied(waiting) => waiting.into_mut().push(ticket),
                hash_map::Entry::Vacant(entry) => {
                    entry.insert(vec![ticket]);
                    self.outputs.push_back(Output::Load(Load { lane, epoch, need }));
                }
            }
        }
    }

    fn finish_load(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(submission) = self.submissions.get_mut(&ticket) else { return };
        submission.open_loads = submission.open_loads.saturating_sub(1);
        if submission.open_loads == 0 {
            self.prepare(ticket, &[], now);
        }
    }

    /// Lets a submission wait for its lane, and requests the take-over of the lane unless that has begun.
    fn wait_for_lane(&mut self, ticket: Ticket, id: LaneId) {
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        lane.waiting.push(ticket);
        if matches!(lane.status, LaneStatus::NotOwned) {
            lane.status = LaneStatus::TakingOver;
            self.outputs.push_back(Output::TakeOver(id));
        }
    }

    /// Notes that the store has no receipt for a command.
    fn note_absent_receipt(&mut self, waiting: &[Ticket], key: ReceiptKey) {
        let generation = self.receipts.generation();
        for ticket in waiting {
            let Some(submission) = self.submissions.get_mut(ticket) else { continue };
            let tenant = submission.tenant;
            for pending in submission.queue.iter_mut().filter(|pending| pending.receipt_key(tenant) == key) {
                pending.receipt_absent_in = Some(generation);
            }
        }
    }

    /// True if the store need not be asked: a receipt of this command, if there is one, is in memory.
    pub(super) fn has_no_stored_receipt(&self, pending: &PendingCommand, lane: LaneId, now: Timestamp) -> bool {
        pending.envelope.id_is_new
            || pending.receipt_absent_in.is_some_and(|generation| self.receipts.is_complete_since(generation))
            || self.is_new(pending.envelope.id.uuid(), lane, now)
    }

    /// True if an id was created so recently that everything stored under it is still in memory (ADR 0001).
    fn is_new(&self, id: Uuid, lane: LaneId, now: Timestamp) -> bool {
        let Some(ownership) = self.ownership(lane) else { return false };
        let may_be_stored_until_ms = ownership.log_ids_until_ms.max(self.forgotten_until_ms());
        created_at_ms(id).is_some_and(|ms| ms > may_be_stored_until_ms && ms <= self.latest_id_ms(now))
    }

    /// Latest creation time that an id may carry; milliseconds since 1970.
    fn latest_id_ms(&self, now: Timestamp) -> i64 {
        latest_id_ms(&self.limits, now)
    }

    /// Ends these submissions undecided: gives the same answer to all their commands.
    pub(super) fn answer_all(&mut self, tickets: &[Ticket], answer: &Answer) {
        for ticket in tickets {
            let Some(submission) = self.submissions.remove(ticket) else { continue };
            self.queued = self.queued.saturating_sub(submission.queue.len());
            for pending in submission.queue {
                self.answer(*ticket, pending.index, answer.clone());
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, index: usize, answer: Answer) {
        self.outputs.push_back(Output::Answer(CommandAnswer { ticket, index, answer }));
    }

    pub(super) fn refuse_future_id(&self, id: Uuid, now: Timestamp) -> Option<Misuse> {
        created_at_ms(id).filter(|ms| *ms > self.latest_id_ms(now)).map(|_| {
            let text =
                format!("the id {id} claims to be made in the future; set the clock, or use a random UUID (version 4)");
            Misuse::new("ID_FROM_THE_FUTURE", "", text)
        })
    }
}

/// Latest creation time that an id may carry at this moment; milliseconds since 1970.
pub(super) fn latest_id_ms(limits: &Limits, now: Timestamp) -> i64 {
    let ahead = limits.clock_ahead_s_most.saturating_mul(1000);
    now.micros().div_euclid(1000).saturating_add(ahead)
}
