//! Test double of the backend: accepts commands without deciding them and reads rows from memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use commands::kernel::{AnyCommand, Misuse, NotNow, Rejected};
use commands::scribe::{
    Accepted, Answer, COMMAND_ID_REUSED, ChangedStream, Envelope, Settled, StoredReceipt, WrappedDataKey,
};
use domain::kernel::Retry;
use domain::shared::{
    CommandId, Principal, SealError, SearchToken, Seconds, TargetUrl, TenantId, Timestamp, WebhookSubscriptionId,
};
use futures::future::{BoxFuture, ready};
use futures::{FutureExt, StreamExt, stream};
use projections::kernel::{Column, Key, Model};
use projections::ports::{Checkpoint, Fault};
use projections::query::{CellPage, CellPages, Cells, Cursor, Page, Parents, QueryError, Row, RowQuery, Test};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::{AuthConfig, SigningKey};
use crate::port::{
    Backend, Behind, Delivery, Ended, Freshness, LiveRow, LiveUpdates, NotPermitted, ProjectionState, ProjectionStatus,
    SealedField, ShownSecret, StreamEvent, StreamQuery, Update, Webhooks, Work,
};
use crate::registries::Registries;
use crate::state::{AppState, QueryBudget, QueryBudgets, Settings};

pub(crate) const NOW_S: i64 = 1_763_640_000;
pub(crate) const TENANT: u128 = 0xa;

#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) rows: HashMap<&'static str, Vec<Value>>,
    /// Names and ids of submitted commands.
    pub(crate) submitted: Mutex<Vec<(String, CommandId)>>,
    /// Model and number of pages of each read.
    pub(crate) reads: Mutex<Vec<(String, usize)>>,
    /// Fingerprints of commands that were decided before.
    pub(crate) decided: HashMap<CommandId, String>,
    /// Search tokens of persons, by their ids.
    pub(crate) search_tokens: HashMap<String, Vec<SearchToken>>,
    pub(crate) not_ready: bool,
    /// Updates for the next subscriber after its first page; the subscription ends when the sender is dropped.
    pub(crate) updates: Mutex<Option<tokio::sync::mpsc::UnboundedReceiver<Result<Update, Ended>>>>,
}

impl Engine {
    fn answer(&self, model: &Model, query: &RowQuery) -> Result<Page, QueryError> {
        let columns = query.order_columns(model)?;
        let fits = |row: &&Value| {
            let owner = query.owner.zip(model.owner);
            owner.is_none_or(|(owner, column)| row[column] == json!(owner))
                && query.filters.iter().all(|filter| match &filter.test {
                    Test::Equals(value) => row[&filter.field] == *value,
                    Test::In(values) => values.contains(&row[&filter.field]),
                    Test::From(value) => row[&filter.field].as_i64() >= value.as_i64(),
                    Test::To(value) => row[&filter.field].as_i64() <= value.as_i64(),
                    Test::Tokens(tokens) => {
                        let known = self.search_tokens.get(row[&filter.field].as_str().unwrap_or_default());
                        tokens.iter().all(|token| known.is_some_and(|known| known.contains(token)))
                    }
                })
        };
        let cursor = |row: &Value| Cursor::of(row, &columns);
        let mut rows: Vec<_> = self.rows.get(&*model.name).into_iter().flatten().filter(fits).collect();
        rows.sort_by_key(|row| cursor(row).0);
        let count = query.count.then(|| i64::try_from(rows.len()).expect("a small number"));
        rows.retain(|row| query.after.as_ref().is_none_or(|after| cursor(row).0 > after.0));
        let first = usize::try_from(query.first).expect("a small number");
        let more = rows.len() > first;
        let row = |row: &Value| Row { json: row.to_string(), cursor: cursor(row) };
        Ok(Page { rows: rows.into_iter().take(first).map(row).collect(), more, at: Checkpoint::start(0), count })
    }

    fn accepted(&self) -> Accepted {
        Accepted { tenant_position: 8, epoch: 3, recorded_at: self.now(), changed: Default::default() }
    }

    /// A bearer token of this engine's tenant, with more claims.
    pub(crate) fn token(more: &Value) -> String {
        let mut claims = json!({
            "iss": "test", "aud": "test", "sub": Uuid::from_u128(1), "tenant": Uuid::from_u128(TENANT),
            "roles": ["owner"], "iat": NOW_S, "exp": NOW_S + 600,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        key().sign(&serde_json::from_value(claims).expect("claims")).expect("signed")
    }

    pub(crate) fn state(self: &Arc<Self>) -> AppState {
        self.state_with(Settings::default())
    }

    /// Like [`Self::state`], with a query budget that no test uses up.
    pub(crate) fn unlimited_state(self: &Arc<Self>) -> AppState {
        let budget = QueryBudget { points: u32::MAX, points_per_second: 1 };
        let query_budgets = QueryBudgets { customer: budget, member: budget };
        self.state_with(Settings { query_budgets, ..Settings::default() })
    }

    fn state_with(self: &Arc<Self>, settings: Settings) -> AppState {
        let keys = vec![key().public().expect("a public key")];
        let auth = AuthConfig { issuer: "test".into(), audience: "test".into(), keys, lifetime_most: Seconds(900) };
        let settings = Settings { introspection: true, ..settings };
        AppState::new(Arc::<Self>::clone(self), auth, Registries::all(), settings).expect("the catalogues fit together")
    }
}

/// A row as subscribers get it.
pub(crate) fn live_row(model: &Model, json: &str) -> Arc<LiveRow> {
    let row: Value = serde_json::from_str(json).expect("a row");
    let values: Vec<&Value> = model.key.iter().map(|field| &row[*field]).collect();
    Arc::new(LiveRow::new(Key::of(&values), row.clone()))
}

fn key() -> SigningKey {
    SigningKey::from_seed("test", [5; 32])
}

impl Backend for Engine {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(NOW_S * 1_000_000)
    }

    fn new_id(&self) -> Uuid {
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)
    }

    fn fingerprint(&self, canonical: &str) -> String {
        format!("2.{canonical}")
    }

    fn body_fingerprint(&self, body: &[u8]) -> String {
        format!("1.{}", String::from_utf8_lossy(body))
    }

    fn seal<'a>(
        &'a self,
        _: TenantId,
        _: &'a mut dyn AnyCommand,
    ) -> BoxFuture<'a, Result<Vec<WrappedDataKey>, SealError>> {
        ready(Ok(Vec::new())).boxed()
    }

    /// Accepts a command unless it was decided before, or its id ends with `ff` (rejected), `fe` (not decided) or `fd` (fault).
    fn submit(&self, _: TenantId, commands: Vec<Envelope>) -> BoxFuture<'_, Vec<Answer>> {
        let recorded_at = self.now();
        let answer = |envelope: Envelope| {
            if let Some(decided) = self.decided.get(&envelope.id) {
                if *decided != envelope.fingerprint {
                    return Answer::Misuse(Misuse::new(COMMAND_ID_REUSED, "", "another command"));
                }
                return Answer::Settled { settled: Settled::Accepted(self.accepted()), replayed: true };
            }
            self.submitted.lock().expect("not poisoned").push((envelope.command.name().into(), envelope.id));
            let settled = match envelope.id.uuid().as_bytes()[15] {
                0xff => {
                    let (code, message) = ("OUT_OF_STOCK".into(), "there is none left".into());
                    let rejected = Rejected { code, message, details: json!({ "available": 0 }), retry: Retry::NewId };
                    Settled::Rejected { rejected: Box::new(rejected), tenant_position: 7, epoch: 3, recorded_at }
                }
                0xfe => return Answer::NotNow(NotNow::Overloaded { retry_after_s: 2 }),
                0xfd => return Answer::Fault("relation \"log\" is gone".into()),
                _ => {
                    let changed =
                        [ChangedStream { stream_type: "StockItem", stream: Uuid::from_u128(9), sequence: 4 }].into();
                    Settled::Accepted(Accepted { tenant_position: 8, epoch: 3, recorded_at, changed })
                }
            };
            Answer::Settled { settled, replayed: false }
        };
        ready(commands.into_iter().map(answer).collect()).boxed()
    }

    fn receipt(
        &self,
        _: TenantId,
        _: Principal,
        command: CommandId,
    ) -> BoxFuture<'_, Result<Option<StoredReceipt>, Fault>> {
        let known = self.submitted.lock().expect("not poisoned").iter().any(|(_, id)| *id == command);
        let decided = self.decided.get(&command).cloned();
        let fingerprint = decided.clone().unwrap_or_default().into();
        let recalled = StoredReceipt { fingerprint, settled: Settled::Accepted(self.accepted()) };
        ready(Ok((known || decided.is_some()).then_some(recalled))).boxed()
    }

    fn page<'a>(&'a self, model: &'a Model, query: RowQuery) -> BoxFuture<'a, Result<Page, QueryError>> {
        self.reads.lock().expect("not poisoned").push((model.name.clone(), 1));
        ready(self.answer(model, &query)).boxed()
    }

    fn pages<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        parents: Parents,
    ) -> BoxFuture<'a, Result<Vec<Page>, QueryError>> {
        self.reads.lock().expect("not poisoned").push((model.name.clone(), parents.values.len()));
        let page = |values: &Vec<Value>| self.answer(model, &query.of_parent(&parents.columns, values));
        ready(parents.values.iter().map(page).collect()).boxed()
    }

    fn cells<'a>(
        &'a self,
        model: &'a Model,
        columns: &'a [&'a Column],
        query: &'a RowQuery,
        parents: Option<&'a Parents>,
    ) -> BoxFuture<'a, Result<CellPages, QueryError>> {
        let queries = parents.map_or_else(
            || vec![query.clone()],
            |parents| parents.values.iter().map(|values| query.of_parent(&parents.columns, values)).collect(),
        );
        self.reads.lock().expect("not poisoned").push((model.name.clone(), queries.len()));
        let mut found = CellPages { cells: Cells::new(columns.len()), pages: Vec::new() };
        let mut add = |query: &RowQuery| -> Result<(), QueryError> {
            let (page, start) = (self.answer(model, query)?, found.cells.rows());
            for row in &page.rows {
                let row = serde_json::from_str(&row.json).expect("a row");
                found.cells.push_row(columns, &row).expect("JSON");
            }
            found.pages.push(CellPage { rows: start..found.cells.rows(), more: page.more, count: page.count });
            Ok(())
        };
        let added = queries.iter().try_for_each(&mut add);
        ready(added.map(|()| found)).boxed()
    }

    /// Position 8 is reached, later ones are not; epoch 3 is the only one that exists.
    fn wait<'a>(
        &'a self,
        _: TenantId,
        at_least: Freshness,
        models: Vec<&'a Model>,
    ) -> BoxFuture<'a, Result<(), Behind>> {
        let mut names: Vec<_> = models.iter().map(|model| model.name.clone()).collect();
        names.sort();
        ready(match at_least {
            Freshness { epoch: 3, tenant_position: ..=8 } => Ok(()),
            Freshness { epoch: 3, .. } => Err(Behind::Models(names)),
            _ => Err(Behind::OtherHistory),
        })
        .boxed()
    }

    fn watch<'a>(
        &'a self,
        model: &'a Model,
        query: RowQuery,
        _: Option<Freshness>,
    ) -> BoxFuture<'a, Result<LiveUpdates, QueryError>> {
        let first = self.answer(model, &query).map(|page| Update {
            rows: page.rows.iter().map(|row| live_row(model, &row.json)).collect(),
            gone: Vec::new(),
            more: page.more,
            at: Freshness { tenant_position: 8, epoch: 3 },
        });
        let updates = self.updates.lock().expect("not poisoned").take();
        let later = stream::unfold(updates, async |updates| {
            let mut updates = updates?;
            Some((updates.recv().await?, Some(updates)))
        });
        ready(first.map(|first| stream::iter([Ok(first)]).chain(later).boxed())).boxed()
    }

    fn projection_status(&self, _: TenantId) -> BoxFuture<'_, Result<Vec<ProjectionStatus>, Fault>> {
        let status = ProjectionStatus {
            model: "StockLevel".into(),
            group: "inventory",
            shape: "0123456789abcdef".into(),
            state: ProjectionState::Following,
            position: 8,
            behind: 2,
            parked_rows: 1,
            parked_streams: 0,
        };
        ready(Ok(vec![status])).boxed()
    }

    fn stopping(&self) -> BoxFuture<'static, ()> {
        futures::future::pending().boxed()
    }

    fn open(&self, _: TenantId, sealed: Vec<SealedField>) -> BoxFuture<'_, Result<Vec<Option<String>>, Fault>> {
        let open = |field: SealedField| {
            field.ciphertext.strip_prefix("sealed.v1.").map(|text| format!("{}:{text}", field.field))
        };
        ready(Ok(sealed.into_iter().map(open).collect())).boxed()
    }

    fn blind_index(&self, _: TenantId, field: &str, folded: &str) -> String {
        format!("{field}/{folded}")
    }

    fn search_token(&self, _: TenantId, word: &str) -> SearchToken {
        SearchToken::new(word.bytes().fold(7, |sum, byte| sum * 31 + i64::from(byte)))
    }

    fn webhooks(&self) -> &dyn Webhooks {
        self
    }

    fn work(&self) -> &dyn Work {
        self
    }

    fn reasons(&self) -> Vec<String> {
        if self.not_ready { vec!["the store cannot be reached".into()] } else { Vec::new() }
    }

    fn metrics(&self) -> String {
        "up 1\n".into()
    }

    fn stream_history<'a>(&'a self, _: TenantId, _: &'a StreamQuery) -> BoxFuture<'a, Result<Vec<StreamEvent>, Fault>> {
        ready(Ok(vec![])).boxed()
    }

    fn is_monitor(&self, token: &[u8]) -> bool {
        token == b"monitor"
    }
}

/// Permits every host but `refused.example.org`, cannot resolve `away.example.org`, and has one secret and one event at
/// position 7.
impl Webhooks for Engine {
    fn check_target<'a>(&'a self, url: &'a TargetUrl) -> BoxFuture<'a, Result<(), NotPermitted>> {
        let permitted = match url.authority() {
            "refused.example.org" => Err(Misuse::new("INVALID_FIELD", "url", "not this one").into()),
            "away.example.org" => Err(NotPermitted::Unknown),
            _ => Ok(()),
        };
        ready(permitted).boxed()
    }

    fn secrets(&self, _: TenantId, _: WebhookSubscriptionId) -> BoxFuture<'_, Result<Vec<ShownSecret>, Fault>> {
        let (secret, public_key) = ("whsec_x".into(), "whpk_x".into());
        ready(Ok(vec![ShownSecret { generation: 0, secret, public_key, valid_until: None }])).boxed()
    }

    fn deliveries(
        &self,
        _: TenantId,
        _: WebhookSubscriptionId,
        before: Option<i64>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, Fault>> {
        let numbers = (1..before.unwrap_or(4)).rev().take(usize::try_from(first).expect("a small number"));
        let delivery = |number| Delivery {
            number,
            event: Uuid::from_u128(9),
            kind: "order.placed".into(),
            position: 7,
            replay: false,
            attempt: 1,
            begun_at: self.now(),
            took_ms: 12,
            status: Some(204),
            trouble: None,
        };
        ready(Ok(numbers.map(delivery).collect())).boxed()
    }

    fn event(&self, _: TenantId, position: i64) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        ready(Ok((position == 7).then(|| "{}".into()))).boxed()
    }
}
