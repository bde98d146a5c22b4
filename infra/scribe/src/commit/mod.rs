//! Writes batches: turns their rows into columns and runs the one statement.

use std::sync::LazyLock;

use commands::scribe::{Batch, BatchId, CommitOutcome, LaneId, Part};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgRow, PgTypeInfo};
use sqlx::{Arguments, Connection, Encode, PgConnection, Postgres, Row, Type};

use tokio::time::Instant;

use super::figures;
use platform::clock::Timestamptz;
use platform::connectivity::{answered, notice};

/// The connection that writes one scribe's lanes.
pub(super) struct Committer {
    connection: PgConnection,
}

/// What became of a batch, and whether the connection can be used again.
pub(super) struct Committed {
    pub(super) outcome: CommitOutcome,
    pub(super) committer: Option<Committer>,
    /// What was to be written, lane by lane.
    pub(super) parts: Vec<(LaneId, Part)>,
}

impl Committed {
    /// The batch did not even reach the store.
    pub(super) fn not_written(batch: BatchId, error: &sqlx::Error) -> Self {
        tracing::warn!(batch = batch.0, %error, "the store cannot be reached");
        let outcome = CommitOutcome { batch, written: vec![], refused_data: false };
        Self { outcome, committer: None, parts: vec![] }
    }
}

impl Committer {
    pub(super) async fn connect(url: &str) -> Result<Self, sqlx::Error> {
        answered(Self::open(url)).await
    }

    async fn open(url: &str) -> Result<Self, sqlx::Error> {
        let mut connection = PgConnection::connect(url).await?;
        notice(&mut connection).await?;
        sqlx::query("SET statement_timeout = '30s'").execute(&mut connection).await?;
        // The batch is planned once: its arrays differ in length, not in kind.
        sqlx::query("SET plan_cache_mode = 'force_generic_plan'").execute(&mut connection).await?;
        Ok(Self { connection })
    }

    /// Writes a batch. Never fails: whatever goes wrong is an outcome.
    pub(super) async fn commit(mut self, batch: Batch) -> Committed {
        let (id, events, begun) = (batch.id, figures::events(&batch), Instant::now());
        let parts: Vec<(LaneId, Part)> = batch.parts.into_iter().collect();
        let written = match statement(&parts) {
            Ok((text, arguments)) => {
                let query = sqlx::query_with(text, arguments);
                query.try_map(|row: PgRow| row.try_get(0).map(LaneId)).fetch_all(&mut self.connection).await
            }
            Err(error) => Err(error),
        };
        figures::committed(events, begun.elapsed(), written.is_ok());
        match written {
            Ok(written) => {
                let outcome = CommitOutcome { batch: id, written, refused_data: false };
                Committed { outcome, committer: Some(self), parts }
            }
            Err(error) => {
                let refused_data = refuses_data(&error);
                tracing::warn!(batch = id.0, refused_data, %error, "a batch was not written; its lanes are taken over again");
                let outcome = CommitOutcome { batch: id, written: vec![], refused_data };
                Committed { outcome, committer: refused_data.then_some(self), parts }
            }
        }
    }

    /// Says that we still write these lanes, and names those of which that was true. Only between batches: it changes
    /// the rows that a batch locks.
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

/// Whether the store refused the rows themselves: bad data (22), a broken constraint (23) or a limit (54).
fn refuses_data(error: &sqlx::Error) -> bool {
    let code = match error {
        sqlx::Error::Database(database) => database.code(),
        sqlx::Error::Encode(_) | sqlx::Error::Protocol(_) => return true,
        _ => return false,
    };
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// The fence takes the parameters before these.
const FENCE: &str = include_str!("fence.sql");
/// What may follow it, and how many parameters that takes. A section without rows is left out: the server takes its
/// time to prepare an insert of nothing.
const SECTIONS: [(&str, usize); 4] = [
    (include_str!("events.sql"), 16),
    (include_str!("receipts.sql"), 11),
    (include_str!("snapshots.sql"), 7),
    (include_str!("person_keys.sql"), 4),
];
const FENCE_PARAMETERS: usize = 3;
/// About what one event takes in the message to the server; so the buffer need not grow.
const EVENT_BYTES: usize = 768;

/// The statement for every choice of sections, bit by bit.
static STATEMENTS: LazyLock<[String; 1 << SECTIONS.len()]> = LazyLock::new(|| {
    std::array::from_fn(|choice| {
        let (mut text, mut parameters) = (FENCE.to_owned(), FENCE_PARAMETERS);
        for (place, (section, count)) in SECTIONS.iter().enumerate() {
            if choice & (1 << place) != 0 {
                text += &renumbered(section, parameters, *count);
                parameters = parameters.saturating_add(*count);
            }
        }
        text + "SELECT lane FROM ours"
    })
});

/// Every section counts its parameters from 1; in the statement they come after those of the sections before it.
fn renumbered(section: &str, after: usize, count: usize) -> String {
    (1..=count).rev().fold(section.to_owned(), |text, number| {
        text.replace(&format!("${number}::"), &format!("${}::", after.saturating_add(number)))
    })
}

/// The statement that writes a batch, with its rows as one array per column.
fn statement(lanes: &[(LaneId, Part)]) -> Result<(&'static str, PgArguments), sqlx::Error> {
    let mut arguments = PgArguments::default();
    let events = lanes.iter().map(|(_, part)| part.events.len()).sum::<usize>();
    arguments.reserve(FENCE_PARAMETERS, events.saturating_mul(EVENT_BYTES));
    let mut choice = 0;
    macro_rules! add {
        ($values:expr) => {
            arguments.add($values.collect::<Vec<_>>()).map_err(sqlx::Error::Encode)?
        };
    }
    macro_rules! section {
        ($place:literal, $rows:ident: $($column:expr),+ $(,)?) => {
            if lanes.iter().any(|(_, part)| !part.$rows.is_empty()) {
                choice |= 1 << $place;
                add!(lanes.iter().flat_map(|(lane, part)| part.$rows.iter().map(|_| lane.0)));
                $(add!(lanes.iter().flat_map(|(_, part)| part.$rows.iter().map($column)));)+
            }
        };
    }
    add!(lanes.iter().map(|(lane, _)| lane.0));
    add!(lanes.iter().map(|(_, part)| part.epoch));
    add!(lanes.iter().map(|(_, part)| Timestamptz(part.recorded_at)));
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
        |r| r.tenant_position, |r| Timestamptz(r.recorded_at),
    );
    section!(2, snapshots:
        |s| s.tenant.uuid(), |s| s.stream_type, |s| s.stream, |s| s.state_version, |s| s.sequence, |s| s.state.as_str(),
    );
    section!(3, person_keys: |k| k.tenant.uuid(), |k| k.person, |k| k.wrapped.as_slice());
    Ok((&STATEMENTS[choice], arguments))
}

/// A text that goes to a `json` column as it is. As `text` it would be converted there, row by row.
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
