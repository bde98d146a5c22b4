//! Search index of personal fields: tokens of the words of rows, made from the sealed fields of changed rows.
//!
//! A row is queued in the transaction that writes it, so none is missed; it can be found a moment later. Tokens exist for
//! persons with a data key only, and are deleted with it (ADR 0016).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use domain::shared::{SearchToken, TenantId};
use platform::health::Health;
use sqlx::{FromRow, PgPool, PgTransaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::Vault;

/// Number of queued rows that one transaction handles.
const BATCH: i64 = 500;
/// Interval of the check for rows that another process has queued.
const INTERVAL: Duration = Duration::from_millis(500);
/// Pause between two looks at the queue while batches are projected one after the other.
const PAUSE: Duration = Duration::from_millis(20);
/// Delay before another attempt after an error.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Name of the index in the health report.
const COMPONENT: &str = "search index";

/// Keeps the search index up to date. Several processes may do so; one of them works at a time.
pub struct SearchIndex {
    pub pool: PgPool,
    pub vault: Arc<Vault>,
    /// Changes after every batch that this process has projected.
    pub progress: watch::Receiver<u64>,
    pub health: Health,
}

/// A row of a read model that is to be indexed: its person, and its sealed fields.
#[derive(Clone, FromRow)]
struct Entry {
    id: i64,
    tenant: Uuid,
    model: String,
    person: Uuid,
    /// Kinds and ciphertexts, separated by blanks.
    fields: String,
}

/// Tokens of the persons of a batch, by tenant, model and person.
type Tokens = BTreeMap<(Uuid, String, Uuid), BTreeSet<SearchToken>>;

impl SearchIndex {
    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        loop {
            self.progress.mark_unchanged();
            let indexed = self.index_batch().await;
            self.health.set_degradation(COMPONENT, indexed.as_ref().err().map(|error| format!("{error:#}")));
            match indexed {
                Ok(BATCH..) => continue,
                Ok(_) => self.wait().await,
                Err(_) => tokio::time::sleep(RETRY_DELAY).await,
            }
        }
    }

    /// Waits for the next projected batch, or for the interval.
    async fn wait(&mut self) {
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            Ok(()) = self.progress.changed() => {}
        }
    }

    /// Indexes the rows that were queued first. Returns their number; 0 while another process is indexing.
    async fn index_batch(&self) -> anyhow::Result<i64> {
        let is_queued = "SELECT EXISTS (SELECT FROM work.search_queue)";
        if !sqlx::query_scalar::<_, bool>(is_queued).fetch_one(&self.pool).await? {
            return Ok(0);
        }
        let mut transaction = self.pool.begin().await?;
        let lock = "SELECT pg_try_advisory_xact_lock(hashtextextended('search index', 0))";
        if !sqlx::query_scalar::<_, bool>(lock).fetch_one(&mut *transaction).await? {
            return Ok(0);
        }
        let text = "SELECT id, tenant, model, person, fields FROM work.search_queue ORDER BY id LIMIT $1";
        let entries: Vec<Entry> = sqlx::query_as(text).bind(BATCH).fetch_all(&mut *transaction).await?;
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        let count = i64::try_from(ids.len())?;
        replace(&mut transaction, &self.tokens(entries).await?).await?;
        sqlx::query("DELETE FROM work.search_queue WHERE id = ANY($1)").bind(ids).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// The tokens of the last entry of each person. There are none for fields that no longer open.
    async fn tokens(&self, entries: Vec<Entry>) -> Result<Tokens, sqlx::Error> {
        let mut last = BTreeMap::<_, BTreeMap<_, _>>::new();
        for Entry { tenant, model, person, fields, .. } in entries {
            last.entry(tenant).or_default().insert((model, person), fields);
        }
        let mut tokens = Tokens::new();
        for (tenant, rows) in last {
            let sealed: Vec<_> = rows.values().flat_map(|fields| pairs(fields)).collect();
            let mut opened = self.vault.open(TenantId::new(tenant), &sealed).await?.into_iter();
            for ((model, person), fields) in &rows {
                let texts = opened.by_ref().take(pairs(fields).count()).flatten();
                let found = texts.flat_map(|text| self.vault.search_tokens(TenantId::new(tenant), &text)).collect();
                tokens.insert((tenant, model.clone(), *person), found);
            }
        }
        Ok(tokens)
    }
}

/// Kinds and ciphertexts of an entry.
fn pairs(fields: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut words = fields.split_ascii_whitespace();
    std::iter::from_fn(move || Some((words.next()?, words.next()?)))
}

/// Replaces the tokens of these persons. A person whose key was erased gets none, even if this process has the key in its
/// cache.
async fn replace(transaction: &mut PgTransaction<'_>, tokens: &Tokens) -> Result<(), sqlx::Error> {
    let text =
        "DELETE FROM work.search_tokens s USING unnest($1::uuid[], $2::text[], $3::uuid[]) AS o(tenant, model, person)
                WHERE s.tenant = o.tenant AND s.model = o.model AND s.person = o.person";
    sqlx::query(text)
        .bind(tokens.keys().map(|(tenant, ..)| *tenant).collect::<Vec<_>>())
        .bind(tokens.keys().map(|(_, model, _)| model.as_str()).collect::<Vec<_>>())
        .bind(tokens.keys().map(|(.., person)| *person).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    let rows: Vec<_> = tokens.iter().flat_map(|(row, tokens)| tokens.iter().map(move |token| (row, token))).collect();
    let text = "INSERT INTO work.search_tokens (tenant, model, person, token)
                SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bigint[]) AS n(tenant, model, person, token)
                WHERE EXISTS (SELECT FROM log.person_keys k WHERE k.tenant = n.tenant AND k.person = n.person)";
    sqlx::query(text)
        .bind(rows.iter().map(|((tenant, ..), _)| *tenant).collect::<Vec<_>>())
        .bind(rows.iter().map(|((_, model, _), _)| model.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|((.., person), _)| *person).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, token)| token.number()).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await
        .map(|_| ())
}
