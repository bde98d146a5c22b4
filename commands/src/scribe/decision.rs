//! Decision of one command: check for a repeat, run of the command, and rows added to the current batch.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::kernel::{Actor, Encoded, Retry};
use domain::shared::{Principal, TenantId, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::Scribe;
use super::answer::{Accepted, Answer, ChangedStream, ChangedStreams, Settled};
use super::batch::{DecidedCommand, EventRow, ReceiptRow, SnapshotRow};
use super::ids::{BatchId, LaneId, StreamKey, Ticket};
use super::lane::LaneStatus;
use super::receipt_cache::CachedReceipt;
use super::submission::{OpenSubmission, PendingCommand};
use crate::kernel::{Context, Desk, Draft, Misuse, NotNow, Refusal, Rejected, StreamRef, Streams};

/// Code of the refusal of a command id that was used for another command.
pub const COMMAND_ID_REUSED: &str = "COMMAND_ID_REUSED";

/// A draft and its events as the log stores them.
type EncodedDraft = (Draft, Vec<Encoded>);

/// Result of one run of a command.
enum Verdict {
    Accepted(Vec<EncodedDraft>),
    Rejected(Rejected),
    /// The command has read streams that are not in memory. It runs again once they are loaded.
    Missing(Vec<StreamRef>),
    /// An answer without a decision; nothing is stored.
    Undecided(Answer),
}

impl Scribe {
    /// Decides the next command of a submission, or gives it the stored answer if it is a repeat. If the lane is
    /// not owned or needed data has left memory, requests it again; the command is then decided later.
    pub(super) fn decide_next(&mut self, ticket: Ticket, now: Timestamp) {
        let Some(submission) = self.submissions.get(&ticket) else { return };
        let (tenant, lane) = (submission.tenant, submission.lane);
        let Some(pending) = submission.queue.front() else { return };
        let Some(ownership) = self.ownership(lane) else { return self.prepare(ticket, &[], now) };
        if let Some(receipt) = self.receipts.get(&pending.receipt_key(tenant)) {
            let answer = repeated_answer(receipt, pending);
            let batch = receipt.batch;
            return self.answer_repeat(ticket, lane, batch, answer);
        }
        if !self.has_no_stored_receipt(pending, lane, now) || !self.heads.contains_key(&tenant) {
            return self.prepare(ticket, &[], now);
        }
        let now = now.max(ownership.recorded_at);
        let context = Context {
            now,
            tenant,
            principal: pending.envelope.principal,
            actor: pending.envelope.actor.clone(),
            command: pending.envelope.id,
        };
        let (verdict, read) = self.run(submission, pending, &context);
        self.states.mark_used(tenant, &read);
        match verdict {
            Verdict::Accepted(drafts) => {
                let settled = self.add_events(ticket, lane, &context, drafts);
                self.settle(ticket, lane, settled);
            }
            Verdict::Rejected(rejected) => {
                let settled = self.add_rejection(ticket, lane, &context, rejected);
                self.settle(ticket, lane, settled);
            }
            Verdict::Missing(streams) => self.load_missing(ticket, &streams, now),
            Verdict::Undecided(answer) => self.answer_next(ticket, answer),
        }
    }

    /// Runs the decision of the command on a new desk. A panic in it becomes a fault of this command alone. Returns the
    /// streams that it has requested too.
    fn run(&self, submission: &OpenSubmission, pending: &PendingCommand, context: &Context) -> (Verdict, Streams) {
        let envelope = &pending.envelope;
        if envelope.deadline.is_some_and(|deadline| deadline < context.now) {
            return (Verdict::Undecided(Answer::NotNow(NotNow::DeadlinePassed)), Streams::new());
        }
        if let Some(misuse) = self.refuse_future_id(envelope.id.uuid(), context.now) {
            return (Verdict::Undecided(Answer::Misuse(misuse)), Streams::new());
        }
        let states = self.states.of_tenant(submission.tenant);
        let mut desk = Desk::new(&states);
        let decided = catch_unwind(AssertUnwindSafe(|| envelope.command.decide(&mut desk, context)));
        let touched = desk.touched();
        let verdict = match decided {
            Ok(Ok(())) => self.encode(submission.tenant, desk.into_drafts(), context),
            // Callers send the command again under the same id. The engine does not; its command is settled.
            Ok(Err(Refusal::Rejected(rejected))) if rejected.retry == Retry::SameId && !submission.from_engine => {
                let Rejected { code, message, .. } = rejected;
                Verdict::Undecided(Answer::NotNow(NotNow::NotYet { code, message }))
            }
            Ok(Err(Refusal::Rejected(rejected))) => Verdict::Rejected(rejected),
            Ok(Err(Refusal::Missing)) => Verdict::Missing(desk.into_missing()),
            Ok(Err(Refusal::NotNow(reason))) => Verdict::Undecided(Answer::NotNow(reason)),
            Ok(Err(Refusal::Misuse(misuse))) => Verdict::Undecided(Answer::Misuse(misuse)),
            Err(_) => {
                Verdict::Undecided(Answer::Fault(format!("the decision of {} panicked", envelope.command.name())))
            }
        };
        (verdict, touched)
    }

    /// Encodes the drafts before any state or batch is changed, so that a failure has no effect.
    fn encode(&self, tenant: TenantId, drafts: Vec<Draft>, context: &Context) -> Verdict {
        let mut encoded = Vec::with_capacity(drafts.len());
        let mut count = 0_usize;
        for draft in drafts {
            let key = StreamKey { tenant, stream: draft.stream };
            let is_first = self.states.get(&key).is_some_and(|entry| entry.sequence == 0);
            if let Some(misuse) = is_first.then(|| self.refuse_future_id(draft.stream.id, context.now)).flatten() {
                return Verdict::Undecided(Answer::Misuse(misuse));
            }
            match draft.encode() {
                Ok(events) => {
                    count = count.saturating_add(events.len());
                    encoded.push((draft, events));
                }
                Err(unreadable) => return Verdict::Undecided(Answer::Fault(unreadable.to_string())),
            }
        }
        if i16::try_from(count).is_err() {
            let text = "a command may cause at most 32767 events";
            return Verdict::Undecided(Answer::Misuse(Misuse::new("TOO_MANY_EVENTS", "", text)));
        }
        Verdict::Accepted(encoded)
    }

    /// Applies the drafts to the states and adds their events to the batch. A caller's command without events gets a
    /// receipt row. The engine's gets none unless it asks for one, because every paid order would leave several for ever; a
    /// repeat of it is decided again, as if it had been sent only then.
    fn add_events(&mut self, ticket: Ticket, lane: LaneId, context: &Context, drafts: Vec<EncodedDraft>) -> Settled {
        let has_later = drafts.iter().map(|(_, events)| events.len()).sum::<usize>() > 1;
        let Some((mut next_meta, later_meta, occurred_at)) = self.event_meta(ticket, context, has_later) else {
            return Settled::Accepted(self.accepted(lane, context, ChangedStreams::new()));
        };
        if drafts.is_empty() && (context.principal != Principal::ENGINE || self.is_decided_once(ticket)) {
            self.add_receipt(ticket, lane, context, None);
        }
        let mut changed = ChangedStreams::new();
        let mut index = 0_i16;
        for (draft, events) in drafts {
            let stream = draft.stream;
            let key = StreamKey { tenant: context.tenant, stream };
            let sequence = self.apply_draft(lane, key, &draft, &events);
            let descriptor = self.registry.get(stream.stream_type);
            for (event, sequence) in events.into_iter().zip(sequence..) {
                let (position, tenant_position) = self.next_positions(lane, context);
                let meta = std::mem::replace(&mut next_meta, later_meta.clone());
                let version = descriptor.map_or(1, |descriptor| (descriptor.event_version)(&event.name));
                self.current.bytes = self.current.bytes.saturating_add(event.body.len()).saturating_add(meta.len());
                self.current.part(lane).rows.events.push(EventRow {
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
                set_changed(&mut changed, stream, sequence);
            }
        }
        Settled::Accepted(self.accepted(lane, context, changed))
    }

    fn is_decided_once(&self, ticket: Ticket) -> bool {
        let pending = self.submissions.get(&ticket).and_then(|submission| submission.queue.front());
        pending.is_some_and(|pending| pending.envelope.command.is_decided_once())
    }

    /// Meta of the command's first event and of its later ones (empty if there are none), and the time of occurrence.
    fn event_meta(&self, ticket: Ticket, context: &Context, has_later: bool) -> Option<(String, String, Timestamp)> {
        let envelope = &self.submissions.get(&ticket)?.queue.front()?.envelope;
        let meta = EventMeta {
            actor: &context.actor,
            command: envelope.command.name(),
            correlation: envelope.correlation,
            causation: envelope.causation,
            fingerprint: Some(&envelope.fingerprint),
        };
        let first = meta.to_json();
        let later = if has_later { EventMeta { fingerprint: None, ..meta }.to_json() } else { String::new() };
        Some((first, later, envelope.command.occurred_at().unwrap_or(context.now)))
    }

    /// Applies a draft to its state, if it has one, and adds a snapshot to the batch if one is due. Returns the sequence
    /// number of the draft's first event.
    fn apply_draft(&mut self, lane: LaneId, key: StreamKey, draft: &Draft, events: &[Encoded]) -> i64 {
        if draft.is_fact {
            return 1;
        }
        let batch = self.current.id;
        let Some(entry) = self.states.get_mut(&key) else { return 0 };
        let first = entry.sequence.saturating_add(1);
        draft.apply(&mut *entry.state);
        let bytes = events.iter().fold(0_usize, |sum, event| sum.saturating_add(event.body.len()));
        let snapshot_due = entry.count_events(i64::try_from(events.len()).unwrap_or(0), bytes, batch);
        if snapshot_due
            && let (Ok(state), Some(descriptor)) = (entry.state.snapshot(), self.registry.get(key.stream.stream_type))
        {
            entry.count_snapshot(state.len());
            let (tenant, StreamRef { stream_type, id }) = (key.tenant, key.stream);
            let (sequence, state_version) = (entry.sequence, descriptor.state_version);
            let snapshots = &mut self.current.part(lane).rows.snapshots;
            // The commit statement can write a row only once, so a later snapshot replaces the earlier one of the
            // stream.
            snapshots.retain(|row| !(row.tenant == tenant && row.stream == id && row.stream_type == stream_type));
            snapshots.push(SnapshotRow { tenant, stream_type, stream: id, state_version, sequence, state });
        }
        self.states.add_bytes(bytes);
        first
    }

    fn add_rejection(&mut self, ticket: Ticket, lane: LaneId, context: &Context, rejected: Rejected) -> Settled {
        let detail = serde_json::json!({ "message": rejected.message, "details": rejected.details }).to_string();
        let retry = match rejected.retry {
            Retry::SameId => "SAME_ID",
            Retry::NewId => "NEW_ID",
            Retry::Never => "NEVER",
        };
        self.add_receipt(ticket, lane, context, Some((rejected.code.clone(), retry, detail)));
        let Accepted { tenant_position, epoch, recorded_at, .. } = self.accepted(lane, context, ChangedStreams::new());
        Settled::Rejected { rejected: Box::new(rejected), tenant_position, epoch, recorded_at }
    }

    fn add_receipt(
        &mut self,
        ticket: Ticket,
        lane: LaneId,
        context: &Context,
        rejected: Option<(String, &'static str, String)>,
    ) {
        let Some(pending) = self.submissions.get(&ticket).and_then(|submission| submission.queue.front()) else {
            return;
        };
        let row = ReceiptRow {
            tenant: context.tenant,
            principal: context.principal,
            command: context.command,
            fingerprint: pending.envelope.fingerprint.clone(),
            name: pending.envelope.command.name().into_owned(),
            rejected,
            tenant_position: self.heads.get(&context.tenant).map_or(0, |head| head.tenant_position),
            epoch: self.ownership(lane).map_or(0, |ownership| ownership.event_epoch),
            recorded_at: context.now,
        };
        self.current.part(lane).rows.receipts.push(row);
    }

    fn accepted(&self, lane: LaneId, context: &Context, changed: ChangedStreams) -> Accepted {
        Accepted {
            tenant_position: self.heads.get(&context.tenant).map_or(0, |head| head.tenant_position),
            epoch: self.ownership(lane).map_or(0, |ownership| ownership.event_epoch),
            recorded_at: context.now,
            changed,
        }
    }

    fn next_positions(&mut self, lane: LaneId, context: &Context) -> (i64, i64) {
        let tenant_position = self.heads.get_mut(&context.tenant).map_or(0, |head| {
            head.tenant_position = head.tenant_position.saturating_add(1);
            head.tenant_position
        });
        let position = match self.lanes.get_mut(&lane).map(|lane| &mut lane.status) {
            Some(LaneStatus::Owned(ownership)) => {
                ownership.event_epoch = ownership.epoch;
                ownership.position = ownership.position.saturating_add(1);
                ownership.position
            }
            _ => 0,
        };
        (position, tenant_position)
    }

    /// Moves the decided command from its submission to the batch, and keeps its receipt in memory. It is answered when
    /// the batch is durable.
    fn settle(&mut self, ticket: Ticket, lane: LaneId, settled: Settled) {
        let Some((tenant, from_engine, mut pending)) = self.pop_command(ticket) else { return };
        let recorded_at = match &settled {
            Settled::Accepted(accepted) => accepted.recorded_at,
            Settled::Rejected { recorded_at, .. } => *recorded_at,
        };
        let epoch = self.ownership(lane).map_or(0, |ownership| ownership.epoch);
        if let Some(LaneStatus::Owned(ownership)) = self.lanes.get_mut(&lane).map(|lane| &mut lane.status) {
            ownership.recorded_at = recorded_at;
        }
        let receipt = CachedReceipt {
            fingerprint: pending.envelope.fingerprint.clone(),
            settled: settled.clone(),
            batch: self.current.id,
        };
        self.receipts.insert(pending.receipt_key(tenant), receipt);
        self.current.commands = self.current.commands.saturating_add(1);
        let part = self.current.part(lane);
        part.rows.epoch = epoch;
        part.rows.recorded_at = recorded_at;
        part.rows.person_keys.extend(pending.envelope.person_keys.iter().cloned());
        // If the outcome of the commit is lost, the receipt may be stored. The command must then look for it in the
        // store before it is decided again, so what is known about its absence is cleared.
        (pending.receipt_absent_in, pending.envelope.id_is_new) = (None, false);
        let answer = Answer::Settled { settled, replayed: false };
        part.decided.push(DecidedCommand { ticket, tenant, from_engine, pending, answer });
        self.continue_submission(ticket);
    }

    /// Answers a repeat: at once if the batch of the first decision is durable, otherwise when that batch is.
    fn answer_repeat(&mut self, ticket: Ticket, lane: LaneId, batch: BatchId, answer: Answer) {
        let Some((tenant, from_engine, pending)) = self.pop_command(ticket) else { return };
        let in_flight = self.in_flight.as_mut().filter(|open| open.id == batch);
        let current = Some(&mut self.current).filter(|open| open.id == batch);
        if let Some(open) = in_flight.or(current) {
            open.part(lane).decided.push(DecidedCommand { ticket, tenant, from_engine, pending, answer });
        } else {
            self.answer(ticket, pending.index, answer);
        }
        self.continue_submission(ticket);
    }

    /// Answers the next command without storing anything.
    fn answer_next(&mut self, ticket: Ticket, answer: Answer) {
        let Some((.., pending)) = self.pop_command(ticket) else { return };
        self.answer(ticket, pending.index, answer);
        self.continue_submission(ticket);
    }

    /// Loads the streams that a run has missed; refuses the command if it misses streams too often.
    fn load_missing(&mut self, ticket: Ticket, missing: &[StreamRef], now: Timestamp) {
        let Some(submission) = self.submissions.get_mut(&ticket) else { return };
        submission.rounds = submission.rounds.saturating_add(1);
        if submission.rounds > self.limits.rounds_most {
            let text =
                format!("the command has read streams beyond its hint more than {} times", self.limits.rounds_most);
            return self.answer_next(ticket, Answer::Misuse(Misuse::new("TOO_MANY_ROUNDS", "", text)));
        }
        self.prepare(ticket, missing, now);
    }

    /// Takes the next command off a submission. Returns the tenant and `from_engine` of the submission with it.
    fn pop_command(&mut self, ticket: Ticket) -> Option<(TenantId, bool, PendingCommand)> {
        let submission = self.submissions.get_mut(&ticket)?;
        let pending = submission.queue.pop_front()?;
        submission.rounds = 0;
        self.queued = self.queued.saturating_sub(1);
        Some((submission.tenant, submission.from_engine, pending))
    }

    /// Removes a submission without further commands, or puts it back into the ready queue for its next command.
    fn continue_submission(&mut self, ticket: Ticket) {
        if self.submissions.get(&ticket).is_some_and(|submission| submission.queue.is_empty()) {
            self.submissions.remove(&ticket);
        } else {
            self.ready.put_back(ticket, &self.submissions);
        }
    }
}

/// The stored answer for a repeat of the same command, a misuse for another command. The engine derives a command's id
/// from its cause, so a repeat may have another body; it gets the stored answer too.
fn repeated_answer(receipt: &CachedReceipt, pending: &PendingCommand) -> Answer {
    let from_engine = pending.envelope.principal == Principal::ENGINE;
    if from_engine || receipt.fingerprint == pending.envelope.fingerprint {
        return Answer::Settled { settled: receipt.settled.clone(), replayed: true };
    }
    let text = "this command id was used before with another body";
    Answer::Misuse(Misuse::new(COMMAND_ID_REUSED, "", text))
}

fn set_changed(changed: &mut ChangedStreams, stream: StreamRef, sequence: i64) {
    match changed.iter_mut().find(|entry| entry.stream == stream.id && entry.stream_type == stream.stream_type) {
        Some(entry) => entry.sequence = sequence,
        None => changed.push(ChangedStream { stream_type: stream.stream_type, stream: stream.id, sequence }),
    }
}

/// Metadata of an event for audits; stored beside its payload.
#[derive(Clone, Serialize)]
struct EventMeta<'a> {
    actor: &'a Actor,
    command: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation: Option<Uuid>,
    /// Fingerprint of the command; on its first event only.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<&'a str>,
}

impl EventMeta<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| String::from("{}"))
    }
}
