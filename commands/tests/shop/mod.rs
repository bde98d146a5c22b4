//! Engine in memory: every command is decided on a desk, and every event is delivered to its policies twice.

mod given;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use commands::kernel::{
    AnyCommand, Command, Commands, Context, Desk, NotNow, Policy, Reaction, Reactions, Refusal, Rejected, Requests,
    State, StateLookup, StateRegistry, StreamRef, TimerKey, Visitor, When,
};
use domain::inventory::StockItem;
use domain::kernel::{Actor, Aggregate, Encoded, Recorded};
use domain::shared::{
    CommandId, Principal, ReservationId, SealError, Sealed, Sealer, Seconds, StockItemId, TenantId, Timestamp,
};
use serde_json::Value;
use uuid::Uuid;

pub(crate) use given::{ADA, BEN, COFFEE, MUG, STORE, TENANT};
pub(crate) use values::*;

/// Largest number of runs of one command, all but the last with missing streams; the scribe allows one more.
const RUNS_MOST: usize = 4;

pub(crate) struct Shop {
    aggregates: StateRegistry,
    commands: Commands,
    policies: Vec<PolicyOf>,
    states: HashMap<TenantId, BTreeMap<StreamRef, Box<dyn State>>>,
    pub(crate) now: Timestamp,
    pub(crate) log: Vec<Recorded<Encoded>>,
    receipts: HashSet<(TenantId, CommandId)>,
    sent: u128,
    queue: VecDeque<Reaction>,
    timers: BTreeMap<TimerId, (Timestamp, Reaction)>,
    /// Rejections of commands that the engine sent.
    pub(crate) engine_rejections: Vec<Rejected>,
    /// False to record events without running policies.
    pub(crate) runs_policies: bool,
}

/// Policy, stream and key of a timer.
type TimerId = (&'static str, Uuid, TimerKey);

struct PolicyOf {
    id: &'static str,
    source: &'static str,
    events: &'static [&'static str],
    react: fn(&Recorded<Encoded>) -> Requests,
}

/// The states of one tenant.
struct TenantStates<'a>(Option<&'a BTreeMap<StreamRef, Box<dyn State>>>);

impl StateLookup for TenantStates<'_> {
    fn state(&self, stream: StreamRef) -> Option<&dyn State> {
        self.0?.get(&stream).map(AsRef::as_ref)
    }
}

impl Shop {
    pub(crate) fn empty() -> Self {
        let mut policies = Policies(vec![]);
        commands::visit(&mut policies);
        Self {
            aggregates: StateRegistry::all(),
            commands: Commands::all(),
            policies: policies.0,
            states: HashMap::new(),
            now: instant("2026-11-20T12:00:00Z"),
            log: vec![],
            receipts: HashSet::new(),
            sent: 0,
            queue: VecDeque::new(),
            timers: BTreeMap::new(),
            engine_rejections: vec![],
            runs_policies: true,
        }
    }

    /// Sends a command as a member of the team and runs the policies.
    pub(crate) fn send(&mut self, command: impl Command) -> Result<Vec<Recorded<Encoded>>, Refusal> {
        let member = Principal::new(Uuid::from_u128(77));
        self.send_as(Actor::Member(member), TENANT, command)
    }

    pub(crate) fn send_as(
        &mut self,
        actor: Actor,
        tenant: TenantId,
        mut command: impl Command,
    ) -> Result<Vec<Recorded<Encoded>>, Refusal> {
        self.sent += 1;
        let id = CommandId::new(Uuid::from_u128(self.sent));
        command.seal(&mut Seal).expect("a command is sealed once");
        let principal = Principal::new(Uuid::from_u128(77));
        let events = self.decide(&command, Context { now: self.now, tenant, principal, actor, command: id })?;
        self.follow_up();
        Ok(events)
    }

    /// Decides a parsed command of a member of the team, without its policies.
    pub(crate) fn send_parsed(&mut self, command: &dyn AnyCommand) -> Result<Vec<Recorded<Encoded>>, Refusal> {
        self.sent += 1;
        let (id, principal) = (CommandId::new(Uuid::from_u128(self.sent)), Principal::new(Uuid::from_u128(77)));
        let context =
            Context { now: self.now, tenant: TENANT, principal, actor: Actor::Member(principal), command: id };
        self.decide(command, context)
    }

    /// Sends a command as the engine and runs the policies.
    pub(crate) fn send_as_engine(&mut self, command: impl Command) -> Result<Vec<Recorded<Encoded>>, Refusal> {
        self.send_as(Actor::Engine("a test".into()), TENANT, command)
    }

    /// Sends a command that must be accepted; returns the names of its events.
    #[track_caller]
    pub(crate) fn done(&mut self, command: impl Command) -> Vec<String> {
        let name = AnyCommand::name(&command);
        let events = self.send(command).unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
        events.into_iter().map(|event| event.event.name.into()).collect()
    }

    /// Sends a command that must be rejected.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: impl Command) -> Rejected {
        rejected(self.send(command))
    }

    /// Advances the time and fires the due timers.
    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now = self.now.after(Seconds(seconds));
        let now = self.now;
        let due = self.timers.extract_if(.., |_, (due, _)| *due <= now);
        self.queue.extend(due.map(|(_, (_, command))| command));
        self.follow_up();
    }

    /// The current state of a stream of the tenant.
    pub(crate) fn state<A: Aggregate>(&self, id: A::Id) -> A {
        let states = TenantStates(self.states.get(&TENANT));
        let state = states.state(StreamRef::of::<A>(id)).and_then(|state| state.as_any().downcast_ref::<A>());
        state.cloned().unwrap_or_default()
    }

    /// Changes the reservation of an order to what it was before holders were recorded.
    pub(crate) fn forget_holder(&mut self, item: StockItemId, reservation: ReservationId, old: ReservationId) {
        let stream = StreamRef::of::<StockItem>(item);
        let state = self.states.get_mut(&TENANT).and_then(|states| states.get_mut(&stream)).expect("a stock item");
        let json = state.snapshot().expect("a snapshot");
        let mut json: Value = serde_json::from_str(&json).expect("JSON");
        let holds = json["reservations"].as_object_mut().expect("reservations");
        let mut hold = holds.remove(&reservation.to_string()).expect("an open reservation");
        hold.as_object_mut().expect("a hold").remove("holder");
        holds.insert(old.to_string(), hold);
        *state = Box::new(serde_json::from_value::<StockItem>(json).expect("a state"));
    }

    /// Number of events of this name in the log.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.log.iter().filter(|event| event.event.name == name).count()
    }

    fn follow_up(&mut self) {
        while let Some(reaction) = self.queue.pop_front() {
            if !self.receipts.insert((reaction.tenant, reaction.id)) {
                continue;
            }
            // Serialized and parsed, as in the table of timers.
            let json = reaction.command.to_json().expect("a command is JSON");
            let kind = self.commands.get(&reaction.command.name()).expect("policies send registered commands");
            let command = kind.parse(&json).expect("a stored command reads");
            let (tenant, command_id) = (reaction.tenant, reaction.id);
            let actor = Actor::Engine("a policy".into());
            let context = Context { now: self.now, tenant, principal: Principal::ENGINE, actor, command: command_id };
            match self.decide(command.as_ref(), context) {
                Ok(_) => {}
                Err(Refusal::Rejected(rejected)) => self.engine_rejections.push(rejected),
                Err(refusal) => panic!("{}: {refusal:?}", command.name()),
            }
        }
    }

    fn decide(&mut self, command: &dyn AnyCommand, context: Context) -> Result<Vec<Recorded<Encoded>>, Refusal> {
        let mut hint = commands::kernel::Hint::default();
        command.streams(context.tenant, &mut hint);
        self.load(context.tenant, hint.into_streams());
        for _ in 0..RUNS_MOST {
            let states = TenantStates(self.states.get(&context.tenant));
            let mut desk = Desk::new(&states);
            match command.decide(&mut desk, &context) {
                Ok(()) => {
                    let mut decided = vec![];
                    for draft in desk.into_drafts() {
                        let events = draft.encode().expect("what was decided can be stored");
                        decided.extend(events.into_iter().map(|event| (draft.stream, event)));
                    }
                    return Ok(self.write(command, &context, decided));
                }
                Err(Refusal::Missing) => {
                    let missing = desk.into_missing();
                    self.load(context.tenant, missing);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        panic!("{} needs more than {RUNS_MOST} runs", command.name());
    }

    fn load(&mut self, tenant: TenantId, streams: impl IntoIterator<Item = StreamRef>) {
        let states = self.states.entry(tenant).or_default();
        for stream in streams {
            let aggregate = self.aggregates.get(stream.stream_type).expect("streams belong to registered aggregates");
            states.entry(stream).or_insert_with(|| aggregate.fresh());
        }
    }

    fn write(
        &mut self,
        command: &dyn AnyCommand,
        context: &Context,
        decided: Vec<(StreamRef, Encoded)>,
    ) -> Vec<Recorded<Encoded>> {
        let mut written = vec![];
        for (index, (stream, event)) in decided.into_iter().enumerate() {
            let states = self.states.get_mut(&context.tenant).expect("streams were loaded");
            let aggregate = self.aggregates.get(stream.stream_type).expect("streams belong to registered aggregates");
            // Only the stream of a fact is not loaded.
            let state = states.entry(stream).or_insert_with(|| aggregate.fresh());
            let version = (aggregate.event_version)(&event.name);
            state.replay(&event.name, version, &event.body).expect("a written event reads");
            let before = self.log.iter().filter(|old| (old.tenant, old.stream) == (context.tenant, stream.id)).count();
            let recorded = Recorded {
                tenant: context.tenant,
                stream: stream.id,
                sequence: i64::try_from(before).expect("few events") + 1,
                tenant_position: i64::try_from(self.log.len()).expect("few events") + 1,
                principal: context.principal,
                command: context.command,
                index: i16::try_from(index).expect("few events"),
                actor: context.actor.clone(),
                correlation: None,
                occurred_at: command.occurred_at().unwrap_or(context.now),
                recorded_at: context.now,
                event,
            };
            self.log.push(recorded.clone());
            self.deliver_twice(stream.stream_type, &recorded);
            written.push(recorded);
        }
        written
    }

    /// Delivers an event twice, because delivery is at least once; its reactions must take effect once.
    fn deliver_twice(&mut self, stream_type: &str, event: &Recorded<Encoded>) {
        let name = event.event.name.as_str();
        let listens = |policy: &&PolicyOf| policy.source == stream_type && policy.events.contains(&name);
        let policies = self.policies.iter().filter(|policy| self.runs_policies && listens(policy));
        for policy in policies {
            for requests in [(policy.react)(event), (policy.react)(event)] {
                for key in requests.cancelled {
                    self.timers.remove(&(policy.id, event.stream, key));
                }
                for reaction in requests.commands {
                    match reaction.when.clone() {
                        When::Now => self.queue.push_back(reaction),
                        When::At { due, key } => {
                            _ = self.timers.insert((policy.id, event.stream, key), (due, reaction))
                        }
                    }
                }
            }
        }
    }
}

struct Policies(Vec<PolicyOf>);

impl Visitor for Policies {
    fn command<C: Command>(&mut self) {}

    fn policy<P: Policy>(&mut self) {
        self.0.push(PolicyOf { id: P::ID, source: P::Source::TYPE, events: P::EVENTS, react: react::<P> });
    }
}

fn react<P: Policy>(event: &Recorded<Encoded>) -> Requests {
    let version = P::Source::event_version(&event.event.name);
    let read = P::Source::read(&event.event.name, version, &event.event.body).expect("a written event reads");
    let event = event.clone().map(read);
    let mut reactions = Reactions::new(P::ID, &event);
    P::react(&event, &mut reactions);
    reactions.into_requests()
}

/// The rejection in an answer; panics on any other answer.
#[track_caller]
pub(crate) fn rejected(answer: Result<Vec<Recorded<Encoded>>, Refusal>) -> Rejected {
    match answer {
        Err(Refusal::Rejected(rejected)) => rejected,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

/// The code of the misuse in an answer; panics on any other answer.
#[track_caller]
pub(crate) fn misuse(answer: Result<Vec<Recorded<Encoded>>, Refusal>) -> String {
    match answer {
        Err(Refusal::Misuse(misuse)) => misuse.code.into_owned(),
        other => panic!("expected a misuse, got {other:?}"),
    }
}

/// True if the answer is [`NotNow::NotDue`].
pub(crate) fn is_not_due(answer: &Result<Vec<Recorded<Encoded>>, Refusal>) -> bool {
    matches!(answer, Err(Refusal::NotNow(NotNow::NotDue)))
}

/// Sealer without secrecy: ciphertext and index are the text in hexadecimal.
pub(crate) struct Seal;

impl Sealer for Seal {
    fn seal(&mut self, person: Uuid, field: &str, text: &str, folded: Option<&str>) -> Result<Sealed, SealError> {
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let index = folded.map(hex);
        Ok(Sealed::new(&hex(&format!("{person}{field}{text}")), index.as_deref()))
    }
}
