//! The outcome of a batch, and the one answer to everything that can go wrong with it: take the lane over again.

use std::collections::VecDeque;

use domain::shared::{TenantId, Timestamp};

use super::Scribe;
use super::answer::Answer;
use super::batch::{Decided, FlightPart};
use super::ids::{LaneId, Ticket};
use super::lane::{Hold, Lane, Tenure};
use super::message::{CommitOutcome, Output, TakeOverOutcome};
use super::submission::Work;
use crate::kernel::NotNow;

impl Scribe {
    /// Takes in the outcome of the batch that was being committed.
    pub fn committed(&mut self, outcome: &CommitOutcome) {
        let Some(flight) = self.flying.take_if(|flight| flight.id == outcome.batch) else { return };
        self.settled = flight.id;
        for (lane, part) in flight.parts {
            if outcome.written.contains(&lane) {
                self.relieve(lane);
                for decided in part.decided {
                    self.answer(decided.ticket, decided.pending.index, decided.answer);
                }
            } else {
                self.trouble(lane, part, outcome.refused_data);
            }
        }
    }

    /// Takes in the outcome of a take-over.
    pub fn taken_over(&mut self, id: LaneId, outcome: &TakeOverOutcome, now: Timestamp) {
        let known_since_ms = self.latest_ms(now);
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        let waiting = std::mem::take(&mut lane.waiting);
        match *outcome {
            TakeOverOutcome::Ours { epoch, position, recorded_at } => {
                lane.hold = Hold::Ours(Tenure { epoch, position, recorded_at, known_since_ms });
                for ticket in waiting {
                    self.prepare(ticket, &[], now);
                }
            }
            TakeOverOutcome::Elsewhere => {
                lane.hold = Hold::Absent;
                self.give_up(&waiting, &Answer::NotNow(NotNow::LaneElsewhere));
            }
            TakeOverOutcome::Away => {
                lane.hold = Hold::Absent;
                self.give_up(&waiting, &Answer::NotNow(NotNow::StoreAway));
            }
        }
    }

    /// Asks for a lane before anybody needs it.
    pub fn claim(&mut self, id: LaneId) {
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        if matches!(lane.hold, Hold::Absent) {
            lane.hold = Hold::TakingOver;
            self.outputs.push_back(Output::TakeOver(id));
        }
    }

    /// Takes in that somebody else writes a lane, if that has not shown in a batch already.
    pub fn lost(&mut self, id: LaneId) {
        let flying = self.flying.as_ref().is_some_and(|flight| flight.parts.contains_key(&id));
        if self.tenure(id).is_some() && !flying {
            self.trouble(id, FlightPart::default(), false);
        }
    }

    /// The lanes that are ours and their epochs.
    pub fn held(&self) -> impl Iterator<Item = (LaneId, i64)> {
        self.lanes.iter().filter_map(|(id, lane)| lane.tenure().map(|tenure| (*id, tenure.epoch)))
    }

    pub(super) fn tenure(&self, lane: LaneId) -> Option<Tenure> {
        self.lanes.get(&lane).and_then(Lane::tenure)
    }

    /// Whether the next command of a submission may be decided into the current batch. A lane under suspicion goes
    /// alone, so that it cannot stop its neighbours.
    pub(super) fn may_join(&self, ticket: Ticket) -> bool {
        let Some(work) = self.works.get(&ticket) else { return true };
        let alone = |lane: &LaneId| self.lanes.get(lane).is_some_and(|lane| lane.suspect.is_some());
        match self.lanes.get(&work.lane).and_then(|lane| lane.suspect) {
            Some(most) => self.drafted.parts.keys().all(|lane| *lane == work.lane) && self.drafted.commands < most,
            None => !self.drafted.parts.keys().any(alone),
        }
    }

    /// The lane may be lost, or its rows may or may not be there: forget all that is not known to be durable, take it
    /// over, and decide again what has no answer yet. Their receipts tell what became of the batch.
    fn trouble(&mut self, id: LaneId, failed: FlightPart, refused_data: bool) {
        let commands = failed.decided.len();
        let mut undecided = failed.decided;
        if let Some(later) = self.drafted.parts.remove(&id) {
            self.drafted.commands = self.drafted.commands.saturating_sub(later.decided.len());
            undecided.extend(later.decided);
        }
        let heads = &self.heads;
        let elsewhere = |tenant: &TenantId| heads.get(tenant).is_none_or(|head| head.lane != id);
        self.states.retain(|key| elsewhere(&key.tenant));
        self.receipts.retain(|key| elsewhere(&key.tenant));
        self.heads.retain(|_, head| head.lane != id);
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        lane.hold = Hold::TakingOver;
        if refused_data {
            lane.suspect = Some(commands.div_ceil(2));
        }
        self.outputs.push_back(Output::TakeOver(id));
        if refused_data
            && commands == 1
            && let Some(culprit) = undecided.drain(..1).next()
        {
            let text = format!("the store refuses what {} decided", culprit.pending.envelope.command.name());
            self.answer(culprit.ticket, culprit.pending.index, Answer::Fault(text));
        }
        self.take_back(undecided, id);
        self.hold_up(id);
    }

    /// Puts decided commands back to the front of their submissions, in their order.
    fn take_back(&mut self, undecided: Vec<Decided>, lane: LaneId) {
        for Decided { ticket, tenant, from_engine, pending, .. } in undecided.into_iter().rev() {
            let work = self.works.entry(ticket).or_insert_with(|| Work {
                tenant,
                lane,
                from_engine,
                queue: VecDeque::new(),
                waiting_for: 0,
                rounds: 0,
            });
            work.queue.push_front(pending);
            self.queued = self.queued.saturating_add(1);
        }
    }

    /// Every submission of the lane waits until the lane is ours again, in the order in which they came.
    fn hold_up(&mut self, id: LaneId) {
        let mut tickets: Vec<_> = self.works.iter().filter(|(_, work)| work.lane == id).map(|(key, _)| *key).collect();
        tickets.sort_unstable();
        self.ready.remove(|ticket| tickets.binary_search(&ticket).is_ok());
        for waiting in self.wanted.values_mut() {
            waiting.retain(|ticket| tickets.binary_search(ticket).is_err());
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.waiting = tickets;
        }
        self.wanted.retain(|_, waiting| !waiting.is_empty());
    }

    /// A batch of the lane went well: should it be under suspicion, it may try twice as much.
    fn relieve(&mut self, id: LaneId) {
        let most = self.limits.batch_commands_most;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.suspect = lane.suspect.map(|limit| limit.saturating_mul(2)).filter(|limit| *limit < most);
        }
    }
}
