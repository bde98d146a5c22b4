//! From a submission to the ready queue: everything a command needs is fetched before it takes a place in a batch.

use std::collections::hash_map;

use domain::shared::Timestamp;
use uuid::Uuid;

use super::answer::Answer;
use super::generations::made_at_ms;
use super::ids::{BatchId, LaneId, ReceiptKey, StreamKey, Ticket};
use super::lane::{Hold, Lane};
use super::message::{Answered, Found, Load, Loaded, Need, Output, Recalled};
use super::receipts::Remembered;
use super::shelf::LoadedState;
use super::submission::{Pending, Submission, Work};
use super::{Scribe, TenantHead};
use crate::kernel::{Hint, Misuse, NotNow, StreamRef};

/// So many commands of one submission are looked at ahead, so that their loads overlap.
const AHEAD: usize = 256;

impl Scribe {
    /// Takes a submission in. Everything in it is answered sooner or later, in whatever way.
    pub fn submit(&mut self, submission: Submission, now: Timestamp) {
        let Submission { ticket, tenant, lane, from_engine, commands } = submission;
        if !from_engine && self.queued.saturating_add(commands.len()) > self.limits.queue_commands_most {
            let busy = Answer::NotNow(NotNow::Overloaded { retry_after_s: 1 });
            (0..commands.len()).for_each(|index| self.answer(ticket, index, busy.clone()));
            return;
        }
        let queue = commands.into_iter().enumerate();
        let queue =
            queue.map(|(index, envelope)| Pending { index, envelope: Box::new(envelope), looked_up: None }).collect();
        let work = Work { tenant, lane, from_engine, queue, waiting_for: 0, rounds: 0 };
        self.queued = self.queued.saturating_add(work.queue.len());
        self.works.insert(ticket, work);
        self.prepare(ticket, &[], now);
    }

    /// Takes in what was loaded; whoever waited for it may go on.
    pub fn loaded(&mut self, loaded: Loaded, now: Timestamp) {
        let Loaded { load, found } = loaded;
        let current = self.tenure(load.lane).is_some_and(|tenure| tenure.epoch == load.epoch);
        if !current {
            // It was read before the lane was taken over; whoever still wants it has asked again.
            return;
        }
        let waiting = self.wanted.remove(&load.need).unwrap_or_default();
        match (load.need, found) {
            (Need::Tenant(tenant), Found::Tenant(tenant_position)) => {
                self.heads.insert(tenant, TenantHead { lane: load.lane, tenant_position });
            }
            // A stream that came into being meanwhile is known better here than in the store.
            (Need::Stream(key), Found::Stream(_)) if self.states.contains(&key) => {}
            (Need::Stream(key), Found::Stream(state)) => self.states.insert(key, state),
            (Need::Receipt(key), Found::Receipt(recalled)) => match recalled {
                Some(recalled) => {
                    let Recalled { fingerprint, settled } = recalled;
                    let remembered = Remembered { fingerprint, settled, batch: BatchId(0) };
                    self.receipts.insert(key, remembered);
                }
                None => self.note_unseen(&waiting, key),
            },
            (_, Found::Unreadable(reason)) => return self.give_up(&waiting, &Answer::Fault(reason)),
            _ => return self.give_up(&waiting, &Answer::NotNow(NotNow::StoreAway)),
        }
        for ticket in waiting {
            self.one_need_less(ticket, now);
        }
    }

    /// Finds out what the next command of a submission lacks. When that is nothing, the submission is ready.
    pub(super) fn prepare(&mut self, ticket: Ticket, missing: &[StreamRef], now: Timestamp) {
        let Some(work) = self.works.get(&ticket) else { return };
        let (tenant, lane) = (work.tenant, work.lane);
        let Some(tenure) = self.tenure(lane) else { return self.wait_for_lane(ticket, lane) };
        let mut needs = Vec::new();
        if !self.heads.contains_key(&tenant) {
            needs.push(Need::Tenant(tenant));
        }
        let mut hint = Hint::default();
        for pending in work.queue.iter().take(AHEAD) {
            let key = pending.receipt_key(tenant);
            if !self.is_unseen(pending, lane, now) && self.receipts.get(&key).is_none() {
                needs.push(Need::Receipt(key));
            }
            pending.envelope.command.streams(&mut hint);
        }
        for stream in hint.into_streams().chain(missing.iter().copied()) {
            let key = StreamKey { tenant, stream };
            if self.states.contains(&key) {
                continue;
            }
            match self.is_new(stream.id, lane, now).then(|| self.kinds.get(stream.stream_type)).flatten() {
                Some(kind) => {
                    let state = kind.fresh();
                    self.states.insert(key, LoadedState { state, sequence: 0, snapshot_bytes: 0, tail_bytes: 0 });
                }
                None => needs.push(Need::Stream(key)),
            }
        }
        needs.sort_unstable();
        needs.dedup();
        self.want(ticket, lane, tenure.epoch, needs);
    }

    fn want(&mut self, ticket: Ticket, lane: LaneId, epoch: i64, needs: Vec<Need>) {
        let Some(work) = self.works.get_mut(&ticket) else { return };
        work.waiting_for = needs.len();
        if needs.is_empty() {
            self.ready.push(ticket, work);
        }
        for need in needs {
            match self.wanted.entry(need) {
                hash_map::Entry::Occupied(waiting) => waiting.into_mut().push(ticket),
                hash_map::Entry::Vacant(first) => {
                    first.insert(vec![ticket]);
                    self.outputs.push_back(Output::Load(Load { lane, epoch, need }));
                }
            }
        }
    }

    fn one_need_less(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(work) = self.works.get_mut(&ticket) else { return };
        work.waiting_for = work.waiting_for.saturating_sub(1);
        if work.waiting_for == 0 {
            self.prepare(ticket, &[], now);
        }
    }

    fn wait_for_lane(&mut self, ticket: Ticket, id: LaneId) {
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        lane.waiting.push(ticket);
        if matches!(lane.hold, Hold::Absent) {
            lane.hold = Hold::TakingOver;
            self.outputs.push_back(Output::TakeOver(id));
        }
    }

    /// Notes that the store has no receipt for a command.
    fn note_unseen(&mut self, waiting: &[Ticket], key: ReceiptKey) {
        let turn = self.receipts.turns();
        for ticket in waiting {
            let Some(work) = self.works.get_mut(ticket) else { continue };
            let tenant = work.tenant;
            for pending in work.queue.iter_mut().filter(|pending| pending.receipt_key(tenant) == key) {
                pending.looked_up = Some(turn);
            }
        }
    }

    /// Whether it is certain that the store holds no receipt for this command.
    pub(super) fn is_unseen(&self, pending: &Pending, lane: LaneId, now: Timestamp) -> bool {
        pending.envelope.id_is_new
            || pending.looked_up.is_some_and(|turn| self.receipts.covers(turn))
            || self.is_new(pending.envelope.id.uuid(), lane, now)
    }

    /// Whether an id was made so lately that everything stored under it is still in memory.
    fn is_new(&self, id: Uuid, lane: LaneId, now: Timestamp) -> bool {
        let Some(tenure) = self.tenure(lane) else { return false };
        let known_since_ms = tenure.known_since_ms.max(self.forgotten_until_ms());
        made_at_ms(id).is_some_and(|ms| ms > known_since_ms && ms <= self.latest_ms(now))
    }

    /// Ids cannot claim to be made later than this.
    pub(super) fn latest_ms(&self, now: Timestamp) -> i64 {
        let ahead = self.limits.clock_ahead_s_most.saturating_mul(1000);
        now.micros().div_euclid(1000).saturating_add(ahead)
    }

    /// Answers all that these submissions still wait for; their needs cannot be met.
    pub(super) fn give_up(&mut self, tickets: &[Ticket], answer: &Answer) {
        for ticket in tickets {
            let Some(work) = self.works.remove(ticket) else { continue };
            self.queued = self.queued.saturating_sub(work.queue.len());
            for pending in work.queue {
                self.answer(*ticket, pending.index, answer.clone());
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, index: usize, answer: Answer) {
        self.outputs.push_back(Output::Answer(Answered { ticket, index, answer }));
    }

    pub(super) fn refuse_future_id(&self, id: Uuid, now: Timestamp) -> Option<Misuse> {
        made_at_ms(id).filter(|ms| *ms > self.latest_ms(now)).map(|_| {
            let text =
                format!("the id {id} claims to be made in the future; set the clock, or use a random UUID (version 4)");
            Misuse::new("ID_FROM_THE_FUTURE", "", text)
        })
    }
}
