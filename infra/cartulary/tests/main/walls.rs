//! Attempts to reach rows of another tenant, or to change the log, with every role of the database.

use anyhow::{Context, Result, ensure};
use domain::shared::TenantId;
use event_log::walls::{Weakness, audit};
use lab::harness::{Engine, database, engine_url};
use platform::DatabaseRole;
use platform::clock::new_id;
use platform::connectivity::Connectivity;
use platform::database::{begin_for, connect, connect_as, connect_with};
use projections::inventory::StockLevel;
use projections::kernel::Model;
use projections::query::RowQuery;
use sqlx::{Executor, PgConnection, PgPool};
use uuid::Uuid;
use views::store::PgReader;

/// All tables with a tenant column, except partitions, as `schema.table`.
const TABLES: &str = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('log', 'reads', 'work') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
       AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant')
     ORDER BY 1";

/// Statement that inserts one row of a tenant into a table, with made-up values: every number is the third parameter.
const INSERT_ANYTHING: &str = "SELECT format('INSERT INTO %s (%s) VALUES (%s)', $1,
         string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), string_agg(CASE
             WHEN a.attname = 'tenant' THEN quote_literal($2) || '::uuid'
             WHEN a.attname = 'lane' THEN '3'
             WHEN format_type(a.atttypid, null) = 'uuid' THEN 'gen_random_uuid()'
             WHEN format_type(a.atttypid, null) IN ('text', 'bytea') THEN '''x'''
             WHEN format_type(a.atttypid, null) IN ('json', 'jsonb') THEN '''{}'''
             WHEN format_type(a.atttypid, null) = 'boolean' THEN 'false'
             WHEN format_type(a.atttypid, null) IN ('timestamp with time zone', 'date') THEN 'now()'
             WHEN format_type(a.atttypid, null) LIKE '%[]' THEN '''{}'''
             ELSE $3 END, ', ' ORDER BY a.attnum))
     FROM pg_attribute a WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped
         AND a.attgenerated = ''";

/// A database in which two tenants have one row in each table.
struct TwoTenants {
    url: String,
    owner: PgPool,
    ours: TenantId,
    theirs: TenantId,
    tables: Vec<String>,
}

impl TwoTenants {
    async fn new() -> Result<Self> {
        let url = database().await;
        let owner = connect(&url).await?;
        let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&owner).await?;
        let (ours, theirs) = (TenantId::new(new_id()), TenantId::new(new_id()));
        let mut connection = owner.acquire().await?;
        // The rows refer to nothing.
        connection.execute("SET session_replication_role = replica").await?;
        for table in &tables {
            for (tenant, number) in [(ours, "1"), (theirs, "2")] {
                let insert: String = sqlx::query_scalar(INSERT_ANYTHING)
                    .bind(table)
                    .bind(tenant.to_string())
                    .bind(number)
                    .fetch_one(&mut *connection)
                    .await?;
                connection.execute(insert.as_str()).await.with_context(|| insert.clone())?;
            }
        }
        connection.close().await?;
        Ok(Self { url: engine_url(&url), owner, ours, theirs, tables })
    }
}

/// Tenants of the rows of a table; `None` if the role may not read it.
async fn tenants(connection: &mut PgConnection, table: &str) -> Result<Option<Vec<Uuid>>> {
    let text = format!("SELECT tenant FROM {table} ORDER BY 1");
    connection.execute("SAVEPOINT attempt").await?;
    match sqlx::query_scalar(&text).fetch_all(&mut *connection).await {
        Ok(tenants) => Ok(Some(tenants)),
        Err(error) => {
            ensure!(refuses(&error), "{table}: {error}");
            connection.execute("ROLLBACK TO attempt").await?;
            Ok(None)
        }
    }
}

/// True for `insufficient_privilege`.
fn refuses(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_rows_of_their_tenant_only_in_every_table() -> Result<()> {
    let both = TwoTenants::new().await?;
    // One connection, so that each transaction inherits what the one before has left behind.
    let reader = connect_with(&both.url, Some(DatabaseRole::Reader), 1, &Connectivity::default()).await?;
    let mut readable = 0;
    for table in &both.tables {
        for tenant in [both.ours, both.theirs] {
            let mut transaction = begin_for(&reader, tenant).await?;
            if let Some(seen) = tenants(&mut transaction, table).await? {
                assert_eq!(seen, [tenant.uuid()], "{table}");
                readable += 1;
            }
            transaction.commit().await?;
            let mut without = reader.begin().await?;
            let seen = tenants(&mut without, table).await?.unwrap_or_default();
            assert!(seen.is_empty(), "{table} without a tenant");
        }
    }
    assert!(readable > 40 && both.tables.len() > 20, "{readable} reads of {:?}", both.tables);
    proofs::proven("TEN-02 a session of one tenant finds no row of another in any table");

    // A reader cannot write under another tenant's name either, cannot see past the walls, and cannot take them down.
    for attempt in [
        format!("INSERT INTO log.routes VALUES ('{}', 1)", new_id()),
        format!("INSERT INTO log.routes VALUES ('{}', 1) ON CONFLICT (tenant) DO UPDATE SET lane = 2", both.theirs),
        "SELECT * FROM log.events_3".into(),
        "SET LOCAL row_security = off; SELECT * FROM log.events".into(),
        "ALTER TABLE log.events DISABLE ROW LEVEL SECURITY".into(),
        "DROP POLICY tenant ON log.events".into(),
        "COPY log.person_keys TO '/tmp/keys'".into(),
        "CREATE TABLE reads.mine (tenant uuid)".into(),
        "SELECT log.protect('log.epochs')".into(),
        "SELECT * FROM reads.products".into(),
    ] {
        let mut transaction = begin_for(&reader, both.ours).await?;
        let refused = transaction.execute(attempt.as_str()).await.err();
        assert!(refused.as_ref().is_some_and(refuses), "{attempt}: {refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_changes_the_log() -> Result<()> {
    let both = TwoTenants::new().await?;
    let changes = [
        "UPDATE log.events SET payload = '{}'",
        "UPDATE log.events_3 SET payload = '{}'",
        "DELETE FROM log.events",
        "DELETE FROM log.events_3",
        "TRUNCATE log.events",
        "TRUNCATE log.events_3",
        "ALTER TABLE log.events DETACH PARTITION log.events_3",
        "DROP TABLE log.events_3",
        "CREATE RULE quiet AS ON INSERT TO log.events DO INSTEAD NOTHING",
        "UPDATE log.receipts SET code = null",
        "DELETE FROM log.receipts",
        "DELETE FROM log.person_keys",
        "SET LOCAL session_replication_role = replica",
    ];
    for role in DatabaseRole::ALL {
        let pool = connect_as(&both.url, role).await?;
        for change in changes {
            let refused = pool.begin().await?.execute(change).await.err();
            assert!(refused.as_ref().is_some_and(refuses), "{} {change}: {refused:?}", role.name());
        }
        let appends = pool.begin().await?.execute(&*insert_event(&both).await?).await;
        assert_eq!(appends.is_ok(), role == DatabaseRole::Scribe, "{}: {appends:?}", role.name());
    }
    proofs::proven("ES-01 changes and deletions of stored events are refused to every role of the application");
    let mut repair = both.owner.begin().await?;
    assert_eq!(repair.execute("UPDATE log.events SET payload = '{}'").await?.rows_affected(), 2);
    Ok(())
}

async fn insert_event(both: &TwoTenants) -> Result<String> {
    let insert = sqlx::query_scalar(INSERT_ANYTHING).bind("log.events").bind(both.ours.to_string()).bind("3");
    Ok(insert.fetch_one(&both.owner).await?)
}

/// 2,000 requests of two tenants take turns on one connection, and one in twenty is cancelled while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_connection_never_shows_the_rows_of_the_tenant_before() -> Result<()> {
    let both = TwoTenants::new().await?;
    both.owner.execute("UPDATE reads.stock_levels SET status = 'ok'").await?;
    let pool = connect_with(&both.url, Some(DatabaseRole::Reader), 1, &Connectivity::default()).await?;
    let (reader, model) = (PgReader::new(pool), Model::of::<StockLevel>());
    let (mut answered, mut cancelled) = (0, 0);
    let mut expected = Vec::new();
    for tenant in [both.ours, both.theirs] {
        let page = reader.page(&model, &RowQuery { count: true, ..RowQuery::all(tenant, 10) }).await?;
        assert_eq!((page.rows.len(), page.count), (1, Some(1)));
        assert_eq!(page.at.lane, 3, "the checkpoint of the tenant's lane");
        expected.push(page.rows[0].json.clone());
    }
    assert_ne!(expected[0], expected[1]);
    for number in 0..2_000_usize {
        let tenant = [both.ours, both.theirs][number % 2];
        let query = RowQuery::all(tenant, 10);
        let page = reader.page(&model, &query);
        let page = match number % 20 {
            19 => tokio::select! {
                biased;
                () = yields(number % 7 * 20) => None,
                page = page => Some(page),
            },
            _ => Some(page.await),
        };
        let Some(page) = page else {
            cancelled += 1;
            continue;
        };
        let rows: Vec<_> = page?.rows.into_iter().map(|row| row.json).collect();
        assert_eq!(rows, [expected[number % 2].clone()]);
        answered += 1;
    }
    assert!(answered >= 1_900 && cancelled > 0, "{answered} answered, {cancelled} cancelled");
    Ok(())
}

/// Ends after the task was polled so many times. A time limit would have the resolution of a millisecond, in which the
/// query is answered.
async fn yields(times: usize) {
    for _ in 0..times {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_finds_every_weakness_and_the_engine_refuses_to_start_with_a_fatal_one() -> Result<()> {
    let url = database().await;
    let owner = connect(&url).await?;
    let engine = connect(&engine_url(&url)).await?;
    assert_eq!(audit(&engine).await?, [], "the walls of a new database");
    let as_superuser: Vec<Weakness> = audit(&owner).await?;
    assert!(as_superuser.len() == 1 && !as_superuser[0].fatal, "{as_superuser:?}");
    for (plant, problem) in [
        ("ALTER ROLE cartulary_reader BYPASSRLS", "cartulary_reader is a superuser or has BYPASSRLS"),
        ("ALTER ROLE cartulary_scribe SUPERUSER", "cartulary_scribe is a superuser or has BYPASSRLS"),
        ("GRANT cartulary_worker TO cartulary_reader", "cartulary_reader may act as cartulary_worker"),
        ("GRANT cartulary TO cartulary_worker", "cartulary_worker may act as cartulary"),
        ("GRANT UPDATE ON log.events TO cartulary_worker", "cartulary_worker may UPDATE log.events"),
        ("GRANT UPDATE (payload) ON log.events_7 TO cartulary_scribe", "cartulary_scribe may UPDATE log.events_7"),
        ("GRANT DELETE ON log.events_3 TO PUBLIC", "PUBLIC may DELETE log.events_3"),
        ("GRANT TRUNCATE ON work.timers TO cartulary_worker", "cartulary_worker may TRUNCATE work.timers"),
        ("ALTER TABLE log.events OWNER TO cartulary_scribe", "log.events is owned by cartulary_scribe"),
        ("ALTER TABLE log.receipts DISABLE ROW LEVEL SECURITY", "security of log.receipts is not forced"),
        ("ALTER TABLE work.timers NO FORCE ROW LEVEL SECURITY", "security of work.timers is not forced"),
        ("CREATE TABLE work.fresh (tenant uuid NOT NULL)", "security of work.fresh is not forced"),
        (
            "CREATE TABLE reads.fresh (tenant uuid); GRANT SELECT ON reads.fresh TO cartulary_reader",
            "security of reads.fresh is not forced",
        ),
        ("CREATE POLICY all_rows ON work.timers USING (true)", "the policy all_rows of work.timers"),
        (
            "ALTER POLICY tenant ON log.events USING (tenant = current_setting('cartulary.tenant', true)::uuid OR true)",
            "the policy tenant of log.events",
        ),
        (
            "CREATE VIEW reads.everything AS SELECT * FROM log.events; GRANT SELECT ON reads.everything TO cartulary_reader",
            "reads.everything shows the rows of every tenant",
        ),
        (
            "CREATE MATERIALIZED VIEW reads.copied AS SELECT * FROM log.events; \
             GRANT SELECT ON reads.copied TO cartulary_auditor",
            "reads.copied shows the rows of every tenant",
        ),
        (
            "CREATE FUNCTION log.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM log.events'",
            "the function log.peek() runs with the privileges of its owner",
        ),
        (
            "ALTER TABLE log.events_9 DROP CONSTRAINT events_9_pkey",
            "log.events_9 has no valid unique index on (position)",
        ),
    ] {
        let mut transaction = owner.begin().await?;
        transaction.execute(plant).await.context(plant)?;
        let found = audit(&mut *transaction).await?;
        let is_named = |weakness: &Weakness| weakness.fatal && weakness.problem.contains(problem);
        assert!(found.iter().any(is_named), "{plant}: {found:?}");
        assert!(found.iter().all(|weakness| !weakness.remedy.is_empty()), "{found:?}");
    }

    owner.execute("GRANT UPDATE ON log.events TO cartulary_worker").await?;
    let refused = Engine::start_on(&url).await.err().context("it started")?.to_string();
    assert!(refused.contains("cartulary_worker may UPDATE log.events"), "{refused}");
    // The remedy of a wrong privilege is in the message, and `migrate` applies it as well.
    event_log::migrate(&owner).await?;
    assert_eq!(audit(&engine).await?, []);
    Engine::start_on(&url).await?.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_of_a_login_without_rights_names_the_statements_for_an_administrator() -> Result<()> {
    let url = database().await;
    let administrator = connect(&url).await?;
    for statement in ["CREATE ROLE newcomer LOGIN", "CREATE DATABASE newcomer OWNER newcomer"] {
        administrator.execute(statement).await?;
    }
    let name = url.split(['/', '?']).nth(3).context("a database")?;
    let newcomer = url.replace("user=cartulary&", "user=newcomer&");
    let own = connect(&newcomer.replacen(&format!("/{name}?"), "/newcomer?", 1)).await?;
    let refused = event_log::migrate(&own).await.err().context("it was migrated")?.to_string();
    let grant = "GRANT cartulary_scribe, cartulary_worker, cartulary_reader, cartulary_auditor TO \"newcomer\";";
    ensure!(refused.contains(grant) && refused.contains("CREATE ROLE cartulary_scribe;"), "{refused}");
    administrator.execute(grant).await?;
    event_log::migrate(&own).await?;
    let weaknesses = audit(&own).await?;
    ensure!(weaknesses.len() == 1 && weaknesses[0].problem.contains("may act as the owner"), "{weaknesses:?}");

    // A login without any role cannot run the engine.
    administrator.execute("CREATE ROLE stranger LOGIN").await?;
    let refused = connect_as(&url.replace("user=cartulary&", "user=stranger&"), DatabaseRole::Reader).await;
    let refused = refused.err().context("it took the role")?.to_string();
    ensure!(refused.contains("GRANT cartulary_reader TO \"stranger\""), "{refused}");
    Ok(())
}
