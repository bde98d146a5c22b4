//! A simulated driver and store around one scribe.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::inventory::StockItem;
use domain::kernel::Actor;
use domain::shared::{CommandId, Permission, Principal, ProductId, StoreId, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::*;
use crate::kernel::{Command, Context, Desk, Hint, Refusal, StateRegistry, Subject, rejected};

/// The simulated result of a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Commit {
    Written,
    /// The batch is durable, but its outcome does not reach the scribe.
    WrittenOutcomeLost,
    /// The batch does not reach the store.
    Lost,
    /// The store refuses the data of the batch.
    Refused,
}

pub(super) struct Simulation {
    scribe: Scribe,
    limits: Limits,
    pub(super) events: Vec<(LaneId, EventRow)>,
    receipts: Vec<ReceiptRow>,
    epochs: BTreeMap<LaneId, i64>,
    pub(super) answers: HashMap<Ticket, Vec<Answer>>,
    answered_in: HashMap<Ticket, u64>,
    in_flight: Option<Batch>,
    /// Number of loads of streams of each type.
    pub(super) loads: BTreeMap<&'static str, usize>,
    batches: u64,
    last_ticket: u64,
    /// Clock of the scribe, in microseconds.
    clock: i64,
    /// Clock of the store minus that of the scribe.
    store_ahead: i64,
    restarts: u32,
}

impl Simulation {
    /// Number of receipts that the store holds.
    pub(super) fn receipt_count(&self) -> usize {
        self.receipts.len()
    }
}

impl Batch {
    pub(super) fn has_receipt_of(&self, command: &str) -> bool {
        self.parts.values().flat_map(|part| &part.receipts).any(|row| row.name.to_lowercase().contains(command))
    }
}

impl Simulation {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            scribe: Scribe::new(limits.clone(), StateRegistry::all()),
            limits,
            events: vec![],
            receipts: vec![],
            epochs: BTreeMap::new(),
            answers: HashMap::new(),
            answered_in: HashMap::new(),
            in_flight: None,
            loads: BTreeMap::new(),
            batches: 0,
            last_ticket: 0,
            clock: 1_000_000_000,
            store_ahead: 0,
            restarts: 0,
        }
    }

    /// A simulation in which both tenants are open.
    pub(super) fn opened(limits: Limits) -> Self {
        let mut simulation = Self::new(limits);
        for tenant in [super::ONE, super::TWO] {
            simulation.send_as_engine(tenant, vec![envelope(id(u128::MAX >> 68), super::opening())]);
        }
        simulation.run(|_| Commit::Written);
        simulation
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

    /// Starts a new process on the same store; the batch in flight is written. Commands without an answer never get
    /// one.
    pub(super) fn restart(&mut self) {
        if let Some(batch) = self.in_flight.take() {
            self.write(batch);
        }
        self.restarts += 1;
        self.scribe = Scribe::new(self.limits.clone(), StateRegistry::all());
    }

    /// Starts a new process with a clock that is behind that of the store.
    pub(super) fn restart_behind(&mut self, micros: i64) {
        self.restart();
        self.clock -= micros;
        self.store_ahead += micros;
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, micros: i64) {
        self.clock += micros;
    }

    /// An id that a caller with the clock of the store makes now.
    pub(super) fn new_id(&self) -> Uuid {
        let millis = u128::try_from((self.clock + self.store_ahead).div_euclid(1_000)).expect("after 1970");
        Uuid::from_u128((millis << 80) | 0x7000_8000_0000_0000_0001)
    }

    pub(super) fn never_restarted(&self) -> bool {
        self.restarts == 0
    }

    pub(super) fn batch_of(&self, ticket: Ticket) -> u64 {
        self.answered_in[&ticket]
    }

    /// Runs until every command is answered; `result_of` gives the result of each commit.
    pub(super) fn run(&mut self, mut result_of: impl FnMut(&Batch) -> Commit) {
        for _ in 0..10_000 {
            self.do_outputs();
            let Some(batch) = &self.in_flight else { break };
            let result = result_of(batch);
            self.commit(result);
        }
        assert!(self.scribe.is_idle(), "some commands were never answered");
    }

    /// Carries out the outputs of the scribe, and gives the batch in flight, if any, this result.
    pub(super) fn commit(&mut self, result: Commit) {
        self.do_outputs();
        let Some(batch) = self.in_flight.take() else { return };
        let id = batch.id;
        self.batches += 1;
        let lanes: Vec<_> = batch.parts.keys().copied().collect();
        let written = match result {
            Commit::Written => self.write(batch),
            Commit::WrittenOutcomeLost => {
                self.write(batch);
                vec![]
            }
            Commit::Lost | Commit::Refused => vec![],
        };
        assert!(result != Commit::Written || written == lanes, "an epoch changed during the commit");
        self.scribe.committed(&CommitOutcome { batch: id, written, refused_data: result == Commit::Refused });
        self.do_outputs();
    }

    fn do_outputs(&mut self) {
        loop {
            let now = self.now();
            self.scribe.step(now);
            let outputs: Vec<_> = std::iter::from_fn(|| self.scribe.next_output()).collect();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                match output {
                    Output::Commit(batch) => self.in_flight = Some(batch),
                    Output::Answer(CommandAnswer { ticket, index, answer }) => {
                        let answers = self.answers.entry(ticket).or_default();
                        assert_eq!(answers.len(), index, "the commands of a submission are answered in their order");
                        answers.push(answer);
                        self.answered_in.insert(ticket, self.batches);
                    }
                    Output::TakeOver(lane) => {
                        let epoch = self.epochs.entry(lane).or_insert(0);
                        *epoch += 1;
                        let last = self.events.iter().rfind(|(at, _)| *at == lane);
                        let (position, recorded_at) =
                            last.map_or((0, Timestamp::default()), |(_, row)| (row.position, row.recorded_at));
                        let store_time = Timestamp::from_micros(now.micros() + self.store_ahead);
                        let outcome = TakeOverOutcome::Owned {
                            epoch: *epoch,
                            position,
                            recorded_at,
                            event_epoch: *epoch,
                            store_time,
                        };
                        self.scribe.taken_over(lane, &outcome, now);
                    }
                    Output::Load(load) => {
                        if let Need::Stream(key) = load.need {
                            *self.loads.entry(key.stream.stream_type).or_default() += 1;
                        }
                        let result = self.read(load.need);
                        self.scribe.loaded(LoadOutcome { load, result }, now);
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

    fn read(&self, need: Need) -> LoadResult {
        match need {
            Need::Tenant(tenant) => {
                let of_tenant = self.events.iter().filter(|(_, row)| row.tenant == tenant);
                LoadResult::Tenant(of_tenant.map(|(_, row)| row.tenant_position).max().unwrap_or(0))
            }
            Need::Receipt(key) => LoadResult::Receipt(self.stored_receipt(key)),
            Need::Stream(key) => {
                let mut state =
                    StateRegistry::all().get(key.stream.stream_type).expect("a registered stream type").fresh();
                let mut sequence = 0;
                for (_, row) in
                    self.events.iter().filter(|(_, row)| row.tenant == key.tenant && row.stream == key.stream.id)
                {
                    state.replay(&row.name, row.version, &row.payload).expect("a readable event");
                    sequence = row.sequence;
                }
                LoadResult::Stream(LoadedState { state, sequence, snapshot_bytes: 0, tail_bytes: 0 })
            }
        }
    }

    fn stored_receipt(&self, key: ReceiptKey) -> Option<StoredReceipt> {
        let matches = |tenant, principal, command| key == ReceiptKey { tenant, principal, command };
        if let Some(row) = self.receipts.iter().find(|row| matches(row.tenant, row.principal, row.command)) {
            let (tenant_position, epoch, recorded_at) = (row.tenant_position, 0, row.recorded_at);
            let settled = match &row.rejected {
                Some((code, ..)) => {
                    let Refusal::Rejected(mut rejected) = rejected(domain::inventory::StockRejection::NotStocked {})
                    else {
                        unreachable!("`rejected` returns a rejection");
                    };
                    rejected.code.clone_from(code);
                    Settled::Rejected { rejected: Box::new(rejected), tenant_position, epoch, recorded_at }
                }
                None => {
                    Settled::Accepted(Accepted { tenant_position, epoch, recorded_at, changed: Default::default() })
                }
            };
            return Some(StoredReceipt { fingerprint: row.fingerprint.clone(), settled });
        }
        let rows: Vec<_> =
            self.events.iter().filter(|(_, row)| matches(row.tenant, row.principal, row.command)).collect();
        let (lane, last) = rows.last()?;
        let first: serde_json::Value = serde_json::from_str(&rows.first()?.1.meta).expect("meta is JSON");
        let changed =
            [ChangedStream { stream_type: last.stream_type, stream: last.stream, sequence: last.sequence }].into();
        let settled = Settled::Accepted(Accepted {
            tenant_position: last.tenant_position,
            epoch: self.epochs[lane],
            recorded_at: last.recorded_at,
            changed,
        });
        Some(StoredReceipt { fingerprint: first["fingerprint"].as_str().expect("a fingerprint").into(), settled })
    }

    /// Checks the invariants of the log.
    pub(super) fn check(&self) {
        let mut ids = BTreeSet::new();
        let mut sequences: HashMap<(TenantId, Uuid), i64> = HashMap::new();
        let mut heads: HashMap<TenantId, i64> = HashMap::new();
        for (number, (_, row)) in (1..).zip(&self.events) {
            assert_eq!(row.position, number, "positions are dense");
            assert!(ids.insert((row.tenant, row.principal, row.command, row.command_index)), "command ids are unique");
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

/// A pseudo-random number generator: the same seed gives the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most
    }

    pub(super) fn commit(&mut self) -> Commit {
        [Commit::Written, Commit::Written, Commit::WrittenOutcomeLost, Commit::Lost][self.below(4)]
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

/// A command that starts stocking a product, whether or not it exists.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct StartStocking {
    pub(super) product: ProductId,
    pub(super) store: StoreId,
}

impl Command for StartStocking {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(StockItem::id(self.product, self.store));
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(StockItem::id(self.product, self.store), |item| item.open(self.product, self.store))
    }
}

/// A command whose decision panics, or whose data the store refuses.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(super) struct Poison {
    failure: String,
}

pub(super) fn poison(failure: &str) -> Poison {
    Poison { failure: failure.into() }
}

impl Command for Poison {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, _: &mut Hint) {}

    fn decide(&self, _: &mut Desk, _: &Context) -> Result<(), Refusal> {
        assert_ne!(self.failure, "panic", "a deliberate panic");
        Ok(())
    }
}
