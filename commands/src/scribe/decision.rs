//! One command is decided: from its repeat being recognised to its rows lying in the batch.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::kernel::{Actor, Named, Retry};
use domain::shared::{Principal, TenantId, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::Scribe;
use super::answer::{Accepted, Answer, Changed, ChangedStreams, Settled};
use super::batch::{Decided, EventRow, ReceiptRow, SnapshotRow};
use super::ids::{BatchId, LaneId, StreamKey, Ticket};
use super::lane::Hold;
use super::receipts::Remembered;
use super::submission::{Pending, Work};
use crate::kernel::{Context, Desk, Draft, Misuse, NotNow, Refusal, Rejected, StreamRef};

/// What the desk said.
enum Verdict {
    Accepted(Vec<(StreamRef, Draft, Vec<Named>)>),
    Rejected(Rejected),
    /// Streams to fetch before it can be asked again.
    Missing(Vec<StreamRef>),
    /// Answered at once; nothing is stored.
    Dropped(Answer),
}

impl Scribe {
    /// Decides the next command of a submission, or finds out what is lacking after all.
    pub(super) fn decide_next(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(work) = self.works.get(&ticket) else { return };
        let (tenant, lane) = (work.tenant, work.lane);
        let Some(pending) = work.queue.front() else { return };
        let Some(tenure) = self.tenure(lane) else { return self.prepare(ticket, &[], now) };
        if let Some(remembered) = self.receipts.get(&pending.receipt_key(tenant)) {
            let answer = replay(remembered, pending);
            let batch = remembered.batch;
            return self.answer_with(ticket, lane, batch, answer);
        }
        if !self.is_unseen(pending, lane, now) || !self.heads.contains_key(&tenant) {
            return self.prepare(ticket, &[], now);
        }
        let now = now.max(tenure.recorded_at);
        let context = Context {
            now,
            tenant,
            principal: pending.envelope.principal,
            actor: pending.envelope.actor.clone(),
            command: pending.envelope.id,
        };
        match self.ask(work, pending, &context) {
            Verdict::Accepted(drafts) => {
                let answer = self.write_events(ticket, lane, &context, drafts);
                self.settle(ticket, lane, answer);
            }
            Verdict::Rejected(rejected) => {
                let answer = self.write_rejection(ticket, lane, &context, rejected);
                self.settle(ticket, lane, answer);
            }
            Verdict::Missing(streams) => self.ask_again(ticket, &streams, now),
            Verdict::Dropped(answer) => self.drop_next(ticket, answer),
        }
    }

    /// Runs the pure decision. Whatever goes wrong in it concerns this command alone.
    fn ask(&self, work: &Work, pending: &Pending, context: &Context) -> Verdict {
        let envelope = &pending.envelope;
        if envelope.deadline.is_some_and(|deadline| deadline < context.now) {
            return Verdict::Dropped(Answer::NotNow(NotNow::DeadlinePassed));
        }
        if let Some(misuse) = self.refuse_future_id(envelope.id.uuid(), context.now) {
            return Verdict::Dropped(Answer::Misuse(misuse));
        }
        let shelf = self.states.of(work.tenant);
        let mut desk = Desk::new(&shelf);
        let decided = catch_unwind(AssertUnwindSafe(|| envelope.command.decide(&mut desk, context)));
        match decided {
            Ok(Ok(())) => self.check(work, desk.into_drafts(), context),
            Ok(Err(Refusal::Rejected(rejected))) => Verdict::Rejected(rejected),
            Ok(Err(Refusal::Missing)) => Verdict::Missing(desk.into_missing()),
            Ok(Err(Refusal::NotNow(reason))) => Verdict::Dropped(Answer::NotNow(reason)),
            Ok(Err(Refusal::Misuse(misuse))) => Verdict::Dropped(Answer::Misuse(misuse)),
            Err(_) => Verdict::Dropped(Answer::Fault(format!("{} cannot be decided", envelope.command.name()))),
        }
    }

    /// Encodes what was decided before anything is changed, so that a failure leaves nothing behind.
    fn check(&self, work: &Work, drafts: Vec<Draft>, context: &Context) -> Verdict {
        let mut checked = Vec::with_capacity(drafts.len());
        let mut count = 0_usize;
        for draft in drafts {
            let key = StreamKey { tenant: work.tenant, stream: draft.stream };
            let begins = self.states.get(&key).is_some_and(|entry| entry.sequence == 0);
            if let Some(misuse) = begins.then(|| self.refuse_future_id(draft.stream.id, context.now)).flatten() {
                return Verdict::Dropped(Answer::Misuse(misuse));
            }
            match draft.encode() {
                Ok(events) => {
                    count = count.saturating_add(events.len());
                    checked.push((draft.stream, draft, events));
                }
                Err(unreadable) => return Verdict::Dropped(Answer::Fault(unreadable.to_string())),
            }
        }
        if i16::try_from(count).is_err() {
            let text = "a command may cause at most 32767 events";
            return Verdict::Dropped(Answer::Misuse(Misuse::new("TOO_MANY_EVENTS", "", text)));
        }
        Verdict::Accepted(checked)
    }

    /// Takes the events into the states and the batch.
    fn write_events(
        &mut self,
        ticket: Ticket,
        lane: LaneId,
        context: &Context,
        drafts: Vec<(StreamRef, Draft, Vec<Named>)>,
    ) -> Settled {
        let many = drafts.iter().map(|(.., events)| events.len()).sum::<usize>() > 1;
        let Some((mut first, later, occurred_at)) = self.describe(ticket, context, many) else {
            return Settled::Accepted(self.accepted(lane, context, ChangedStreams::new()));
        };
        if drafts.is_empty() {
            self.write_receipt(ticket, lane, context, None);
        }
        let mut changed = ChangedStreams::new();
        let mut index = 0_i16;
        for (stream, draft, events) in drafts {
            let key = StreamKey { tenant: context.tenant, stream };
            let sequence = self.take_in(lane, key, &draft, &events);
            let version = self.kinds.get(stream.stream_type).map_or(1, |kind| kind.event_version);
            for (event, sequence) in events.into_iter().zip(sequence..) {
                let (position, tenant_position) = self.next_positions(lane, context);
                let meta = std::mem::replace(&mut first, later.clone());
                self.drafted.bytes = self.drafted.bytes.saturating_add(event.body.len()).saturating_add(meta.len());
                self.drafted.part(lane).rows.events.push(EventRow {
                    position,
                    tenant: context.tenant,
                    tenant_position,
                    stream_type: stream.stream_type,
                    stream: stream.id,
                    sequence,
                    principal: context.principal,
                    command: context.command,
                    command_index: index,
                    name: event.name,
                    version,
                    payload: event.body,
                    meta,
                    occurred_at,
                    recorded_at: context.now,
                });
                index = index.saturating_add(1);
                note(&mut changed, stream, sequence);
            }
        }
        Settled::Accepted(self.accepted(lane, context, changed))
    }

    /// The meta of a command's first event and of its later ones, if there are any, and when it all happened.
    fn describe(&self, ticket: Ticket, context: &Context, many: bool) -> Option<(String, String, Timestamp)> {
        let envelope = &self.works.get(&ticket)?.queue.front()?.envelope;
        let meta = Meta {
            actor: &context.actor,
            command: envelope.command.name(),
            correlation: envelope.correlation,
            causation: envelope.causation,
            fingerprint: Some(&envelope.fingerprint),
        };
        let first = meta.to_json();
        let later = if many { Meta { fingerprint: None, ..meta }.to_json() } else { String::new() };
        Some((first, later, envelope.command.occurred_at().unwrap_or(context.now)))
    }

    /// Applies a draft to its state and returns the number of its first event; writes a snapshot when one is due.
    fn take_in(&mut self, lane: LaneId, key: StreamKey, draft: &Draft, events: &[Named]) -> i64 {
        let batch = self.drafted.id;
        let Some(entry) = self.states.get_mut(&key) else { return 0 };
        let first = entry.sequence.saturating_add(1);
        draft.apply(&mut *entry.state);
        let bytes = events.iter().fold(0_usize, |sum, event| sum.saturating_add(event.body.len()));
        let due = entry.took(i64::try_from(events.len()).unwrap_or(0), bytes, batch);
        if due && let (Ok(state), Some(kind)) = (entry.state.snapshot(), self.kinds.get(key.stream.stream_type)) {
            entry.snapshotted(state.len());
            let (tenant, StreamRef { stream_type, id }) = (key.tenant, key.stream);
            let (sequence, state_version) = (entry.sequence, kind.state_version);
            let snapshots = &mut self.drafted.part(lane).rows.snapshots;
            // One statement writes a row once; the later snapshot of a stream replaces the earlier.
            snapshots.retain(|row| !(row.tenant == tenant && row.stream == id && row.stream_type == stream_type));
            snapshots.push(SnapshotRow { tenant, stream_type, stream: id, state_version, sequence, state });
        }
        self.states.grew(bytes);
        first
    }

    fn write_rejection(&mut self, ticket: Ticket, lane: LaneId, context: &Context, rejected: Rejected) -> Settled {
        let detail = serde_json::json!({ "message": rejected.message, "details": rejected.details }).to_string();
        let retry = match rejected.retry {
            Retry::SameId => "SAME_ID",
            Retry::NewId => "NEW_ID",
            Retry::Never => "NEVER",
        };
        self.write_receipt(ticket, lane, context, Some((rejected.code.clone(), retry, detail)));
        let Accepted { tenant_position, epoch, recorded_at, .. } = self.accepted(lane, context, ChangedStreams::new());
        Settled::Rejected { rejected: Box::new(rejected), tenant_position, epoch, recorded_at }
    }

    fn write_receipt(
        &mut self,
        ticket: Ticket,
        lane: LaneId,
        context: &Context,
        rejected: Option<(String, &'static str, String)>,
    ) {
        let Some(pending) = self.works.get(&ticket).and_then(|work| work.queue.front()) else { return };
        let row = ReceiptRow {
            tenant: context.tenant,
            principal: context.principal,
            command: context.command,
            fingerprint: pending.envelope.fingerprint.clone(),
            name: pending.envelope.command.name().into_owned(),
            rejected,
            tenant_position: self.heads.get(&context.tenant).map_or(0, |head| head.tenant_position),
            recorded_at: context.now,
        };
        self.drafted.part(lane).rows.receipts.push(row);
    }

    fn accepted(&self, lane: LaneId, context: &Context, changed: ChangedStreams) -> Accepted {
        Accepted {
            tenant_position: self.heads.get(&context.tenant).map_or(0, |head| head.tenant_position),
            epoch: self.tenure(lane).map_or(0, |tenure| tenure.epoch),
            recorded_at: context.now,
            changed,
        }
    }

    fn next_positions(&mut self, lane: LaneId, context: &Context) -> (i64, i64) {
        let tenant_position = self.heads.get_mut(&context.tenant).map_or(0, |head| {
            head.tenant_position = head.tenant_position.saturating_add(1);
            head.tenant_position
        });
        let position = match self.lanes.get_mut(&lane).map(|lane| &mut lane.hold) {
            Some(Hold::Ours(tenure)) => {
                tenure.position = tenure.position.saturating_add(1);
                tenure.position
            }
            _ => 0,
        };
        (position, tenant_position)
    }

    /// Puts the decided command into the batch; it is answered when the batch is durable.
    fn settle(&mut self, ticket: Ticket, lane: LaneId, settled: Settled) {
        let Some((work, mut pending)) = self.pop(ticket) else { return };
        let recorded_at = match &settled {
            Settled::Accepted(accepted) => accepted.recorded_at,
            Settled::Rejected { recorded_at, .. } => *recorded_at,
        };
        let epoch = self.tenure(lane).map_or(0, |tenure| tenure.epoch);
        if let Some(Hold::Ours(tenure)) = self.lanes.get_mut(&lane).map(|lane| &mut lane.hold) {
            tenure.recorded_at = recorded_at;
        }
        let remembered = Remembered {
            fingerprint: pending.envelope.fingerprint.clone(),
            settled: settled.clone(),
            batch: self.drafted.id,
        };
        self.receipts.insert(pending.receipt_key(work.0), remembered);
        self.drafted.commands = self.drafted.commands.saturating_add(1);
        let part = self.drafted.part(lane);
        part.rows.epoch = epoch;
        part.rows.recorded_at = recorded_at;
        part.rows.person_keys.extend(pending.envelope.person_keys.iter().cloned());
        // Should the batch fail, nothing that was known about the id before may be believed.
        (pending.looked_up, pending.envelope.id_is_new) = (None, false);
        let answer = Answer::Settled { settled, replayed: false };
        part.decided.push(Decided { ticket, tenant: work.0, from_engine: work.1, pending, answer });
        self.go_on(ticket);
    }

    /// A repeat gets the answer of the first: at once if that is durable, else together with it.
    fn answer_with(&mut self, ticket: Ticket, lane: LaneId, batch: BatchId, answer: Answer) {
        let Some((work, pending)) = self.pop(ticket) else { return };
        let flying = self.flying.as_mut().filter(|flight| flight.id == batch);
        let drafted = Some(&mut self.drafted).filter(|flight| flight.id == batch);
        if let Some(flight) = flying.or(drafted) {
            let decided = Decided { ticket, tenant: work.0, from_engine: work.1, pending, answer };
            flight.part(lane).decided.push(decided);
        } else {
            self.answer(ticket, pending.index, answer);
        }
        self.go_on(ticket);
    }

    /// Answers the next command without storing anything.
    fn drop_next(&mut self, ticket: Ticket, answer: Answer) {
        let Some((_, pending)) = self.pop(ticket) else { return };
        self.answer(ticket, pending.index, answer);
        self.go_on(ticket);
    }

    fn ask_again(&mut self, ticket: Ticket, missing: &[StreamRef], now: Timestamp) {
        let Some(work) = self.works.get_mut(&ticket) else { return };
        work.rounds = work.rounds.saturating_add(1);
        if work.rounds > self.limits.rounds_most {
            let text = format!("the streams it needs were not found in {} rounds", self.limits.rounds_most);
            return self.drop_next(ticket, Answer::Misuse(Misuse::new("TOO_MANY_ROUNDS", "", text)));
        }
        self.prepare(ticket, missing, now);
    }

    /// Takes the first command off a submission; with it, whose it is.
    fn pop(&mut self, ticket: Ticket) -> Option<((TenantId, bool), Pending)> {
        let work = self.works.get_mut(&ticket)?;
        let pending = work.queue.pop_front()?;
        work.rounds = 0;
        self.queued = self.queued.saturating_sub(1);
        Some(((work.tenant, work.from_engine), pending))
    }

    /// The submission goes on with its next command, or is over.
    fn go_on(&mut self, ticket: Ticket) {
        if self.works.get(&ticket).is_some_and(|work| work.queue.is_empty()) {
            self.works.remove(&ticket);
        } else {
            self.ready.put_back(ticket, &self.works);
        }
    }
}

/// The stored answer for the same body, a refusal for another. The engine's own ids are derived from their cause, so
/// that there the first body wins.
fn replay(remembered: &Remembered, pending: &Pending) -> Answer {
    let engine = pending.envelope.principal == Principal::ENGINE;
    if engine || remembered.fingerprint == pending.envelope.fingerprint {
        return Answer::Settled { settled: remembered.settled.clone(), replayed: true };
    }
    let text = "this command id was used before with another body";
    Answer::Misuse(Misuse::new("COMMAND_ID_REUSED", "", text))
}

fn note(changed: &mut ChangedStreams, stream: StreamRef, sequence: i64) {
    match changed.iter_mut().find(|known| known.stream == stream.id && known.stream_type == stream.stream_type) {
        Some(known) => known.sequence = sequence,
        None => changed.push(Changed { stream_type: stream.stream_type, stream: stream.id, sequence }),
    }
}

/// What auditors read about an event beside its payload.
#[derive(Clone, Serialize)]
struct Meta<'a> {
    actor: &'a Actor,
    command: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation: Option<Uuid>,
    /// On the first event of a command: what makes a retry recognisable.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<&'a str>,
}

impl Meta<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| String::from("{}"))
    }
}
