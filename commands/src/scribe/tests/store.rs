//! A log in memory, and the world around a scribe.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::kernel::Actor;
use domain::shared::{CommandId, Permission, Principal, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::*;
use crate::kernel::{Command, Context, Desk, Hint, Kinds, Refusal, Subject, rejected};

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Written,
    /// It is durable, but nobody says so.
    WrittenUnheard,
    /// It never reached the store.
    Lost,
    /// The store refuses its rows.
    Refused,
}

pub(super) struct World {
    scribe: Scribe,
    limits: Limits,
    pub(super) events: Vec<(LaneId, EventRow)>,
    receipts: Vec<ReceiptRow>,
    epochs: BTreeMap<LaneId, i64>,
    pub(super) answers: HashMap<Ticket, Vec<Answer>>,
    answered_in: HashMap<Ticket, u64>,
    commit: Option<Batch>,
    batches: u64,
    last_ticket: u64,
    clock: i64,
    restarts: u32,
}

impl Batch {
    pub(super) fn holds(&self, word: &str) -> bool {
        self.parts.values().flat_map(|part| &part.receipts).any(|row| row.name.to_lowercase().contains(word))
    }
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            scribe: Scribe::new(limits.clone(), Kinds::all()),
            limits,
            events: vec![],
            receipts: vec![],
            epochs: BTreeMap::new(),
            answers: HashMap::new(),
            answered_in: HashMap::new(),
            commit: None,
            batches: 0,
            last_ticket: 0,
            clock: 1_000_000_000,
            restarts: 0,
        }
    }

    pub(super) fn send(&mut self, tenant: TenantId, commands: Vec<Envelope>) -> Ticket {
        self.submit(tenant, commands, false)
    }

    pub(super) fn send_as_engine(&mut self, tenant: TenantId, commands: Vec<Envelope>) -> Ticket {
        self.submit(tenant, commands, true)
    }

    fn submit(&mut self, tenant: TenantId, commands: Vec<Envelope>, from_engine: bool) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let now = self.now();
        self.scribe.submit(Submission { ticket, tenant, lane: LaneId(3), from_engine, commands }, now);
        ticket
    }

    /// A new process on the same store: whatever was not answered is lost to the caller.
    pub(super) fn restart(&mut self) {
        if let Some(batch) = self.commit.take() {
            self.write(batch);
        }
        self.restarts += 1;
        self.scribe = Scribe::new(self.limits.clone(), Kinds::all());
    }

    pub(super) fn never_restarted(&self) -> bool {
        self.restarts == 0
    }

    pub(super) fn batch_of(&self, ticket: Ticket) -> u64 {
        self.answered_in[&ticket]
    }

    /// Runs until everything is answered.
    pub(super) fn run(&mut self, mut fate: impl FnMut(&Batch) -> Fate) {
        for _ in 0..10_000 {
            self.work_off();
            let Some(batch) = &self.commit else { break };
            let fate = fate(batch);
            self.turn(fate);
        }
        assert!(self.scribe.is_idle(), "the scribe came to no end");
    }

    /// Does what the scribe asks for, and lets the current batch, if there is one, have its fate.
    pub(super) fn turn(&mut self, fate: Fate) {
        self.work_off();
        let Some(batch) = self.commit.take() else { return };
        let id = batch.id;
        self.batches += 1;
        let lanes: Vec<_> = batch.parts.keys().copied().collect();
        let written = match fate {
            Fate::Written => self.write(batch),
            Fate::WrittenUnheard => {
                self.write(batch);
                vec![]
            }
            Fate::Lost | Fate::Refused => vec![],
        };
        assert!(fate != Fate::Written || written == lanes, "a lane was fenced off");
        self.scribe.committed(&CommitOutcome { batch: id, written, refused_data: fate == Fate::Refused });
        self.work_off();
    }

    fn work_off(&mut self) {
        loop {
            let now = self.now();
            self.scribe.step(now);
            let outputs: Vec<_> = std::iter::from_fn(|| self.scribe.next_output()).collect();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                match output {
                    Output::Commit(batch) => self.commit = Some(batch),
                    Output::Answer(answered) => {
                        assert_eq!(self.answers.entry(answered.ticket).or_default().len(), answered.index);
                        self.answers.entry(answered.ticket).or_default().push(answered.answer);
                        self.answered_in.insert(answered.ticket, self.batches);
                    }
                    Output::TakeOver(lane) => {
                        let epoch = self.epochs.entry(lane).or_insert(0);
                        *epoch += 1;
                        let last = self.events.iter().rfind(|(at, _)| *at == lane);
                        let (position, recorded_at) = last.map_or((0, now), |(_, row)| (row.position, row.recorded_at));
                        let outcome = TakeOverOutcome::Ours { epoch: *epoch, position, recorded_at };
                        self.scribe.taken_over(lane, &outcome, now);
                    }
                    Output::Load(load) => {
                        let found = self.find(load.need);
                        self.scribe.loaded(Loaded { load, found }, now);
                    }
                }
            }
        }
    }

    fn write(&mut self, batch: Batch) -> Vec<LaneId> {
        let mut written = vec![];
        for (lane, part) in batch.parts {
            if self.epochs[&lane] == part.epoch {
                self.events.extend(part.events.into_iter().map(|row| (lane, row)));
                self.receipts.extend(part.receipts);
                written.push(lane);
            }
        }
        written
    }

    fn find(&self, need: Need) -> Found {
        match need {
            Need::Tenant(tenant) => {
                let of_tenant = self.events.iter().filter(|(_, row)| row.tenant == tenant);
                Found::Tenant(of_tenant.map(|(_, row)| row.tenant_position).max().unwrap_or(0))
            }
            Need::Receipt(key) => Found::Receipt(self.recall(key)),
            Need::Stream(key) => {
                let mut state = Kinds::all().get(key.stream.stream_type).expect("a kind").fresh();
                let mut sequence = 0;
                for (_, row) in
                    self.events.iter().filter(|(_, row)| row.tenant == key.tenant && row.stream == key.stream.id)
                {
                    state.replay(&row.name, row.version, &row.payload).expect("a stored event");
                    sequence = row.sequence;
                }
                Found::Stream(LoadedState { state, sequence, snapshot_bytes: 0, tail_bytes: 0 })
            }
        }
    }

    fn recall(&self, key: ReceiptKey) -> Option<Recalled> {
        let fits = |tenant, principal, command| key == ReceiptKey { tenant, principal, command };
        if let Some(row) = self.receipts.iter().find(|row| fits(row.tenant, row.principal, row.command)) {
            let (tenant_position, epoch, recorded_at) = (row.tenant_position, 0, row.recorded_at);
            let settled = match &row.rejected {
                Some((code, ..)) => {
                    let Refusal::Rejected(mut rejected) = rejected(domain::inventory::StockRejection::NotStocked {})
                    else {
                        unreachable!("a rejection is one");
                    };
                    rejected.code.clone_from(code);
                    Settled::Rejected { rejected: Box::new(rejected), tenant_position, epoch, recorded_at }
                }
                None => {
                    Settled::Accepted(Accepted { tenant_position, epoch, recorded_at, changed: Default::default() })
                }
            };
            return Some(Recalled { fingerprint: row.fingerprint.clone(), settled });
        }
        let rows: Vec<_> = self.events.iter().filter(|(_, row)| fits(row.tenant, row.principal, row.command)).collect();
        let (lane, last) = rows.last()?;
        let first: serde_json::Value = serde_json::from_str(&rows.first()?.1.meta).expect("meta is JSON");
        let changed = [Changed { stream_type: last.stream_type, stream: last.stream, sequence: last.sequence }].into();
        let settled = Settled::Accepted(Accepted {
            tenant_position: last.tenant_position,
            epoch: self.epochs[lane],
            recorded_at: last.recorded_at,
            changed,
        });
        Some(Recalled { fingerprint: first["fingerprint"].as_str().expect("a fingerprint").into(), settled })
    }

    /// The laws of the log.
    pub(super) fn check(&self) {
        let mut ids = BTreeSet::new();
        let mut sequences: HashMap<(TenantId, Uuid), i64> = HashMap::new();
        let mut heads: HashMap<TenantId, i64> = HashMap::new();
        for (number, (_, row)) in (1..).zip(&self.events) {
            assert_eq!(row.position, number, "positions are dense");
            assert!(ids.insert((row.tenant, row.principal, row.command, row.command_index)), "an id has one effect");
            let sequence = sequences.entry((row.tenant, row.stream)).or_insert(0);
            *sequence += 1;
            assert_eq!(row.sequence, *sequence, "sequences are dense");
            let head = heads.entry(row.tenant).or_insert(0);
            *head += 1;
            assert_eq!(row.tenant_position, *head, "tenant positions are dense");
        }
    }

    fn now(&mut self) -> Timestamp {
        self.clock += 1_000;
        Timestamp::from_micros(self.clock)
    }
}

/// A small generator of chances; the same seed always gives the same ones.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most
    }

    pub(super) fn fate(&mut self) -> Fate {
        [Fate::Written, Fate::Written, Fate::WrittenUnheard, Fate::Lost][self.below(4)]
    }
}

pub(super) fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x4000_8000_0000_0000_0000 | number)
}

pub(super) fn envelope(id: Uuid, command: impl Command) -> Envelope {
    Envelope {
        id: CommandId::new(id),
        fingerprint: serde_json::to_string(&command).expect("JSON").into(),
        command: Box::new(command),
        principal: Principal::new(Uuid::from_u128(5)),
        actor: Actor::Member(Principal::new(Uuid::from_u128(5))),
        correlation: None,
        causation: None,
        deadline: None,
        id_is_new: false,
        person_keys: vec![],
    }
}

#[track_caller]
pub(super) fn accepted(answer: &Answer) -> &Accepted {
    let Answer::Settled { settled: Settled::Accepted(accepted), .. } = answer else {
        panic!("not accepted: {answer:?}")
    };
    accepted
}

/// A command that harms whoever touches it.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Poison {
    way: String,
}

pub(super) fn poison(way: &str) -> Poison {
    Poison { way: way.into() }
}

impl Command for Poison {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, _: &mut Desk, _: &Context) -> Result<(), Refusal> {
        assert_ne!(self.way, "panic", "a planted panic");
        Ok(())
    }
}
