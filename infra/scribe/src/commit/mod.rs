//! Commit of batches: one SQL statement per batch, with the rows as one array per column.

use std::sync::LazyLock;
use std::time::Duration;

use commands::scribe::{Batch, BatchId, CommitOutcome, LaneId, Part};
use platform::DatabaseRole;
use platform::clock::Timestamptz;
use platform::connectivity::{set_tcp_timeouts, timeout_error, within_statement_timeout};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgRow, PgTypeInfo};
use sqlx::{Arguments, Connection, Encode, PgConnection, Postgres, Row, Type};
use tokio::time::{Instant, timeout};

use super::metrics;

/// Time limit of a commit. After it, the connection counts as dead although TCP has not noticed. The batch may still
/// have been written; its receipts show that.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connection on which one scribe loop writes its batches and renews its leases.
pub(super) struct Committer {
    connection: PgConnection,
}

/// Outcome of a batch, with the connection if it can be used again.
pub(super) struct Committed {
    pub(super) outcome: CommitOutcome,
    pub(super) committer: Option<Committer>,
    /// Rows of the batch by lane, written or not.
    pub(super) parts: Vec<(LaneId, Part)>,
}

impl Committed {
    /// Outcome of a batch whose commit the store has not confirmed: none of its lanes counts as written.
    fn unconfirmed(batch: BatchId, error: &sqlx::Error) -> Self {
        tracing::warn!(batch = batch.0, %error, "the store cannot be reached");
        let outcome = CommitOutcome { batch, written: vec![], refused_data: false };
        Self { outcome, committer: None, parts: vec![] }
    }
}

/// Commits a batch on this connection, or on a new one if there is none.
pub(super) async fn commit_batch(committer: Option<Committer>, url: String, batch: Batch) -> Committed {
    let committer = match committer {
        Some(committer) => Ok(committer),
        None => Committer::connect(&url).await,
    };
    let id = batch.id;
    match committer {
        Ok(committer) => timeout(COMMIT_TIMEOUT, committer.commit(batch))
            .await
            .unwrap_or_else(|_| Committed::unconfirmed(id, &timeout_error())),
        Err(error) => Committed::unconfirmed(id, &error),
    }
}

impl Committer {
    pub(super) async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        within_statement_timeout(Self::open(url)).await
    }

    async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        set_tcp_timeouts(&mut connection).await?;
        sqlx::query(&DatabaseRole::Scribe.statement()).execute(&mut connection).await?;
        sqlx::query("SET statement_timeout = '30s'").execute(&mut connection).await?;
        // Each statement is planned once: batches differ only in the lengths of their arrays.
        sqlx::query("SET plan_cache_mode = 'force_generic_plan'").execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Writes a batch. An error is an outcome in which no lane was written.
    async fn commit(mut self, batch: Batch) -> Committed {
        let (id, events, begun) = (batch.id, metrics::event_count(&batch), Instant::now());
        let parts: Vec<(LaneId, Part)> = batch.parts.into_iter().collect();
        let written = match statement(&parts) {
            Ok((text, arguments)) => {
                let query = sqlx::query_with(text, arguments);
                query.try_map(|row: PgRow| row.try_get(0).map(LaneId)).fetch_all(&mut self.connection).await
            }
            Err(error) => Err(error),
        };
        metrics::record_commit(events, begun.elapsed(), written.is_ok());
        match written {
            Ok(written) => {
                let outcome = CommitOutcome { batch: id, written, refused_data: false };
                Committed { outcome, committer: Some(self), parts }
            }
            Err(error) => {
                let refused_data = refuses_data(&error);
                tracing::warn!(batch = id.0, refused_data, %error, "a batch was not written; retaking its lanes");
                let outcome = CommitOutcome { batch: id, written: vec![], refused_data };
                Committed { outcome, committer: refused_data.then_some(self), parts }
            }
        }
    }

    /// Sets the leases of lanes at these epochs to end after `lease_ms`. Returns the lanes that still have their epoch.
    /// Only for use between batches: it updates the rows that a batch locks.
    pub(super) async fn renew(&mut self, lanes: &[(LaneId, i64)], lease_ms: i64) -> Result<Vec<LaneId>, sqlx::Error> {
        let (ids, epochs): (Vec<i16>, Vec<i64>) = lanes.iter().map(|(lane, epoch)| (lane.0, *epoch)).unzip();
        let text = "UPDATE log.lanes l SET lease = clock_timestamp() + $3 * interval '1 millisecond'
                    FROM unnest($1::smallint[], $2::bigint[]) AS b(lane, epoch)
                    WHERE l.lane = b.lane AND l.epoch = b.epoch RETURNING l.lane";
        let renewed = sqlx::query_scalar(text).bind(ids).bind(epochs).bind(lease_ms);
        Ok(renewed.fetch_all(&mut self.connection).await?.into_iter().map(LaneId).collect())
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// True if the store refused the rows themselves, or left some of them out. SQLSTATE classes: 22 data exception, 23
/// constraint violation, 54 program limit exceeded.
fn refuses_data(error: &sqlx::Error) -> bool {
    let code = match error {
        sqlx::Error::Database(database) => database.code(),
        sqlx::Error::Encode(_) | sqlx::Error::Protocol(_) => return true,
        _ => return false,
    };
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// Beginning of every statement.
const FENCE: &str = include_str!("fence.sql");
/// Sections that may follow the fence. A section without rows is left out, because even an insert of no rows costs time
/// on the server.
const SECTIONS: [Section; 4] = [
    Section { text: include_str!("events.sql"), parameters: 16, name: "events", expected: GIVEN_EVENTS },
    Section { text: include_str!("receipts.sql"), parameters: 12, name: "receipts", expected: GIVEN_RECEIPTS },
    Section { text: include_str!("snapshots.sql"), parameters: 7, name: "snapshots", expected: GIVEN_SNAPSHOTS },
    Section { text: include_str!("person_keys.sql"), parameters: 4, name: "person_keys", expected: NEW_KEYS },
];
const GIVEN_EVENTS: &str = "SELECT coalesce(sum(events), 0)::bigint FROM ours";
const GIVEN_RECEIPTS: &str = "SELECT coalesce(sum(receipts), 0)::bigint FROM ours";
const GIVEN_SNAPSHOTS: &str = "SELECT coalesce(sum(snapshots), 0)::bigint FROM ours";
const NEW_KEYS: &str = "SELECT count(*) FROM given_keys WHERE NOT known";
/// Number of parameters of the fence.
const FENCE_PARAMETERS: usize = 6;
/// Typical size of one event in the message to the server, in bytes; used to reserve the buffer.
const EVENT_BYTES: usize = 768;

/// Statements for all subsets of the sections; bit *i* of the index selects section *i*.
static STATEMENTS: LazyLock<[String; 1 << SECTIONS.len()]> = LazyLock::new(|| {
    std::array::from_fn(|subset| {
        let (mut text, mut parameters) = (FENCE.to_owned(), FENCE_PARAMETERS);
        let mut checks = String::new();
        for (place, section) in SECTIONS.iter().enumerate() {
            if subset & (1 << place) != 0 {
                text += &renumbered(section.text, parameters, section.parameters);
                parameters = parameters.saturating_add(section.parameters);
                checks += &section.check();
            }
        }
        text + "SELECT lane FROM ours WHERE true" + &checks
    })
});

/// Part of the statement that inserts one kind of rows.
struct Section {
    text: &'static str,
    parameters: usize,
    /// Name of the table and of the query in the statement that returns one row for each row written.
    name: &'static str,
    /// Query for the number of rows to be written.
    expected: &'static str,
}

impl Section {
    /// Further condition that fails the statement unless every row was written: a trigger or a rule can leave rows out
    /// silently, and a gap in the positions could never be mended.
    fn check(&self) -> String {
        let Self { name, expected, .. } = self;
        format!(" AND log.require_rows('{name}', (SELECT count(*) FROM {name}), ({expected}))")
    }
}

/// Renumbers the parameters of a section, which begin at 1, to begin after those of the previous sections.
fn renumbered(section: &str, after: usize, count: usize) -> String {
    (1..=count).rev().fold(section.to_owned(), |text, number| {
        text.replace(&format!("${number}::"), &format!("${}::", after.saturating_add(number)))
    })
}

/// Statement of a batch and its arguments: one array per column.
fn statement(lanes: &[(LaneId, Part)]) -> Result<(&'static str, PgArguments), sqlx::Error> {
    let mut arguments = PgArguments::default();
    let events = lanes.iter().map(|(_, part)| part.events.len()).sum::<usize>();
    arguments.reserve(FENCE_PARAMETERS, events.saturating_mul(EVENT_BYTES));
    let mut subset = 0;
    macro_rules! add {
        ($values:expr) => {
            arguments.add($values.collect::<Vec<_>>()).map_err(sqlx::Error::Encode)?
        };
    }
    macro_rules! section {
        ($place:literal, $rows:ident: $($column:expr),+ $(,)?) => {
            if lanes.iter().any(|(_, part)| !part.$rows.is_empty()) {
                subset |= 1 << $place;
                add!(lanes.iter().flat_map(|(lane, part)| part.$rows.iter().map(|_| lane.0)));
                $(add!(lanes.iter().flat_map(|(_, part)| part.$rows.iter().map($column)));)+
            }
        };
    }
    add!(lanes.iter().map(|(lane, _)| lane.0));
    add!(lanes.iter().map(|(_, part)| part.epoch));
    add!(lanes.iter().map(|(_, part)| Timestamptz(part.recorded_at)));
    add!(lanes.iter().map(|(_, part)| row_count(&part.events)));
    add!(lanes.iter().map(|(_, part)| row_count(&part.receipts)));
    add!(lanes.iter().map(|(_, part)| row_count(&part.snapshots)));
    section!(0, events:
        |e| e.position, |e| e.tenant.uuid(), |e| e.tenant_position, |e| e.stream_type, |e| e.stream, |e| e.sequence,
        |e| e.principal.uuid(), |e| e.command.uuid(), |e| e.command_index, |e| e.name.as_str(), |e| e.version,
        |e| JsonText(&e.payload), |e| JsonText(&e.meta), |e| Timestamptz(e.occurred_at), |e| Timestamptz(e.recorded_at),
    );
    section!(1, receipts:
        |r| r.tenant.uuid(), |r| r.principal.uuid(), |r| r.command.uuid(), |r| r.fingerprint.as_str(),
        |r| r.name.as_str(), |r| r.rejected.as_ref().map(|(code, ..)| code.as_str()),
        |r| r.rejected.as_ref().map(|(_, retry, _)| *retry),
        |r| r.rejected.as_ref().map(|(.., detail)| detail.as_str()),
        |r| r.tenant_position, |r| r.epoch, |r| Timestamptz(r.recorded_at),
    );
    section!(2, snapshots:
        |s| s.tenant.uuid(), |s| s.stream_type, |s| s.stream, |s| s.state_version, |s| s.sequence, |s| s.state.as_str(),
    );
    section!(3, person_keys: |k| k.tenant.uuid(), |k| k.person, |k| k.wrapped.as_slice());
    Ok((&STATEMENTS[subset], arguments))
}

fn row_count<T>(rows: &[T]) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}

/// Text sent with the type `json`. Sent as `text`, the server would convert it row by row.
struct JsonText<'a>(&'a str);

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("json")
    }
}

impl PgHasArrayType for JsonText<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("json[]")
    }
}

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
    }
}
