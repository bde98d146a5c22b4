//! Outcomes of commits and take-overs. After every failure of a lane's part of a batch, the lane is taken over again.

use std::collections::VecDeque;

use domain::shared::{TenantId, Timestamp};

use super::Scribe;
use super::answer::Answer;
use super::batch::{DecidedCommand, OpenPart};
use super::ids::{LaneId, Ticket};
use super::lane::{Lane, LaneStatus, Ownership};
use super::message::{CommitOutcome, Output, TakeOverOutcome};
use super::preparation::latest_id_ms;
use super::submission::OpenSubmission;
use crate::kernel::NotNow;

impl Scribe {
    /// Microseconds by which the time of a row may be ahead of the store's clock, as the fence allows.
    const FENCE_TOLERANCE_MICROS: i64 = 2_000_000;

    /// Processes the outcome of the batch that was being committed.
    pub fn committed(&mut self, outcome: &CommitOutcome) {
        let Some(batch) = self.in_flight.take_if(|batch| batch.id == outcome.batch) else { return };
        self.last_finished = batch.id;
        for (lane, part) in batch.parts {
            if outcome.written.contains(&lane) {
                self.widen_isolation(lane);
                for decided in part.decided {
                    self.answer(decided.ticket, decided.pending.index, decided.answer);
                }
            } else {
                self.recover(lane, part, outcome.refused_data);
            }
        }
    }

    /// Processes the outcome of a take-over.
    pub fn taken_over(&mut self, id: LaneId, outcome: &TakeOverOutcome, now: Timestamp) {
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        let waiting = std::mem::take(&mut lane.waiting);
        match *outcome {
            TakeOverOutcome::Owned { epoch, position, recorded_at, event_epoch, store_time } => {
                // The clock of an earlier owner may have been ahead of ours, but the fence kept what it wrote within two
                // seconds of the store's clock.
                let latest = store_time.micros().saturating_add(Self::FENCE_TOLERANCE_MICROS);
                let latest = now.max(recorded_at).max(Timestamp::from_micros(latest));
                let log_ids_until_ms = latest_id_ms(&self.limits, latest);
                let ownership = Ownership { epoch, event_epoch, position, recorded_at, log_ids_until_ms };
                lane.status = LaneStatus::Owned(ownership);
                for ticket in waiting {
                    self.prepare(ticket, &[], now);
                }
            }
            TakeOverOutcome::ClockOff(ref difference) => {
                lane.status = LaneStatus::NotOwned;
                self.answer_all(&waiting, &Answer::NotNow(NotNow::ClockOff(difference.clone())));
            }
            TakeOverOutcome::Elsewhere => {
                lane.status = LaneStatus::NotOwned;
                self.answer_all(&waiting, &Answer::NotNow(NotNow::LaneElsewhere));
            }
            TakeOverOutcome::Unavailable => {
                lane.status = LaneStatus::NotOwned;
                self.answer_all(&waiting, &Answer::NotNow(NotNow::StoreAway));
            }
        }
    }

    /// Requests the take-over of a lane before a command needs it.
    pub fn claim(&mut self, id: LaneId) {
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        if matches!(lane.status, LaneStatus::NotOwned) {
            lane.status = LaneStatus::TakingOver;
            self.outputs.push_back(Output::TakeOver(id));
        }
    }

    /// Recovers a lane that another process has taken. If a batch in flight has rows of the lane, its outcome will show
    /// the loss and start the recovery.
    pub fn lost(&mut self, id: LaneId) {
        let in_flight = self.in_flight.as_ref().is_some_and(|batch| batch.parts.contains_key(&id));
        if self.ownership(id).is_some() && !in_flight {
            self.recover(id, OpenPart::default(), false);
        }
    }

    /// The owned lanes and their epochs.
    pub fn owned_lanes(&self) -> impl Iterator<Item = (LaneId, i64)> {
        self.lanes.iter().filter_map(|(id, lane)| lane.ownership().map(|ownership| (*id, ownership.epoch)))
    }

    pub(super) fn ownership(&self, lane: LaneId) -> Option<Ownership> {
        self.lanes.get(&lane).and_then(Lane::ownership)
    }

    /// True if the next command of a submission may be decided into the current batch. An isolated lane shares a batch
    /// with no other lane.
    pub(super) fn may_join(&self, ticket: Ticket) -> bool {
        let Some(submission) = self.submissions.get(&ticket) else { return true };
        let isolated = |lane: &LaneId| self.lanes.get(lane).and_then(|lane| lane.isolated_commands_most);
        match isolated(&submission.lane) {
            Some(commands_most) => {
                self.current.parts.keys().all(|lane| *lane == submission.lane) && self.current.commands < commands_most
            }
            None => !self.current.parts.keys().any(|lane| isolated(lane).is_some()),
        }
    }

    /// Recovers a lane that was lost, or whose rows may or may not be stored. Forgets everything in memory about the
    /// lane, requests its take-over, and puts its decided but unanswered commands back. Each of them is decided again
    /// unless the store has its receipt.
    fn recover(&mut self, id: LaneId, failed: OpenPart, refused_data: bool) {
        let commands = failed.decided.len();
        let mut undecided = failed.decided;
        if let Some(later) = self.current.parts.remove(&id) {
            self.current.commands = self.current.commands.saturating_sub(later.decided.len());
            undecided.extend(later.decided);
        }
        let heads = &self.heads;
        let in_other_lane = |tenant: &TenantId| heads.get(tenant).is_none_or(|head| head.lane != id);
        self.states.retain(|key| in_other_lane(&key.tenant));
        self.receipts.retain(|key| in_other_lane(&key.tenant));
        self.heads.retain(|_, head| head.lane != id);
        let lane = self.lanes.entry(id).or_insert_with(Lane::new);
        lane.status = LaneStatus::TakingOver;
        if refused_data {
            lane.isolated_commands_most = Some(commands.div_ceil(2));
        }
        self.outputs.push_back(Output::TakeOver(id));
        if refused_data
            && commands == 1
            && let Some(refused) = undecided.drain(..1).next()
        {
            let text = format!("the store refuses the data of {}", refused.pending.envelope.command.name());
            self.answer(refused.ticket, refused.pending.index, Answer::Fault(text));
        }
        self.requeue(undecided, id);
        self.wait_for_take_over(id);
    }

    /// Puts decided commands back to the front of their submissions, in their order.
    fn requeue(&mut self, undecided: Vec<DecidedCommand>, lane: LaneId) {
        for DecidedCommand { ticket, tenant, from_engine, pending, .. } in undecided.into_iter().rev() {
            let submission = self.submissions.entry(ticket).or_insert_with(|| OpenSubmission {
                tenant,
                lane,
                from_engine,
                queue: VecDeque::new(),
                open_loads: 0,
                rounds: 0,
            });
            submission.queue.push_front(pending);
            self.queued = self.queued.saturating_add(1);
        }
    }

    /// Lets every submission of the lane wait for the take-over, in the order of arrival.
    fn wait_for_take_over(&mut self, id: LaneId) {
        let of_lane = self.submissions.iter().filter(|(_, submission)| submission.lane == id);
        let mut tickets: Vec<_> = of_lane.map(|(ticket, _)| *ticket).collect();
        tickets.sort_unstable();
        self.ready.remove(|ticket| tickets.binary_search(&ticket).is_ok());
        for waiting in self.loading.values_mut() {
            waiting.retain(|ticket| tickets.binary_search(ticket).is_err());
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.waiting = tickets;
        }
        self.loading.retain(|_, waiting| !waiting.is_empty());
    }

    /// Doubles the batch limit of an isolated lane after a success. The isolation ends at the limit for all batches.
    fn widen_isolation(&mut self, id: LaneId) {
        let general = self.limits.batch_commands_most;
        if let Some(lane) = self.lanes.get_mut(&id) {
            let doubled = lane.isolated_commands_most.map(|limit| limit.saturating_mul(2));
            lane.isolated_commands_most = doubled.filter(|limit| *limit < general);
        }
    }
}
