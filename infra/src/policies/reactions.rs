//! From events to what must follow from them.

use std::collections::{BTreeMap, BTreeSet};

use commands::kernel::{PolicyKind, Start, Stored, When};
use commands::scribe::LaneId;
use projections::ports::{Cause, Checkpoint, Fault, History, RawEvent};
use tokio_util::sync::CancellationToken;

use super::{PAUSE, PolicyRunner, Task};
use crate::postgres::PgHistory;
use crate::scribe::{self, Micros};
use domain::shared::Timestamp;

/// Events looked at before positions are written.
const BATCH: usize = 1_000;

impl PolicyRunner {
    pub(super) async fn run_reactions(self, stop: CancellationToken) {
        let mut written = self.scribe.written();
        let mut positions = Positions::default();
        while !stop.is_cancelled() {
            match self.react_once(&mut positions).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "policies cannot go on now");
                    positions = Positions::default();
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                _ = written.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Reacts to one batch of every lane. Says whether there was anything.
    async fn react_once(&self, positions: &mut Positions) -> anyhow::Result<bool> {
        // Whoever writes a lane follows its events; a lane that is new to this process was followed by another one.
        let held = self.scribe.held();
        if positions.at.is_empty() || positions.lanes != held {
            *positions = Positions { at: self.read_positions().await?, lanes: held };
        }
        let history = PgHistory::new(self.pool.clone());
        let mut any = false;
        for lane in positions.lanes.clone() {
            any |= self.react_in(&history, lane, positions).await?;
        }
        Ok(any)
    }

    async fn react_in(&self, history: &PgHistory, lane: LaneId, positions: &mut Positions) -> anyhow::Result<bool> {
        let Some(from) = positions.lowest(lane) else { return Ok(false) };
        let events = history.events(lane.0, from, BATCH).await?;
        let Some(last) = events.last().map(|event| event.position) else { return Ok(false) };
        let mut now = Vec::new();
        let mut later = Vec::new();
        for event in &events {
            for policy in self.commands.policies() {
                if policy.source == &*event.stream_type && positions.get(lane, policy.id) < event.position {
                    self.react_to(policy, event, &mut now, &mut later)?;
                }
            }
        }
        // What goes into a lane of another process waits there like a timer that is due.
        later.extend(self.carry_out(now).await?.into_iter().map(|task| (task, scribe::now())));
        self.write_progress(lane, last, &later).await?;
        positions.set(lane, last);
        Ok(true)
    }

    fn react_to(
        &self,
        policy: &PolicyKind,
        event: &RawEvent,
        now: &mut Vec<Task>,
        later: &mut Vec<(Task, Timestamp)>,
    ) -> anyhow::Result<()> {
        let stored = Stored { name: &event.kind, version: event.version, payload: &event.payload };
        let recorded = event.recorded(stored);
        for reaction in policy.react(&recorded)? {
            let task = Task {
                id: reaction.id,
                tenant: reaction.tenant,
                policy: policy.id.into(),
                causation: recorded.id(),
                command: reaction.command.name().into_owned(),
                body: reaction.command.to_json()?,
            };
            match reaction.when {
                When::Now => now.push(task),
                When::At(due) => later.push((task, due)),
            }
        }
        Ok(())
    }

    /// Sets the timers and writes the positions, together.
    async fn write_progress(
        &self,
        lane: LaneId,
        position: i64,
        timers: &[(Task, Timestamp)],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Should this be lost, it is done again, to the same effect.
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        if !timers.is_empty() {
            let column = |read: fn(&Task) -> &str| timers.iter().map(|(task, _)| read(task)).collect::<Vec<_>>();
            sqlx::query(
                "INSERT INTO work.timers
                 SELECT t.id, t.tenant, t.policy, t.causation, t.due_at, t.command, t.body::json
                 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])
                      AS t(id, tenant, policy, causation, due_at, command, body)
                 ON CONFLICT DO NOTHING",
            )
            .bind(timers.iter().map(|(task, _)| task.id.uuid()).collect::<Vec<_>>())
            .bind(timers.iter().map(|(task, _)| task.tenant.uuid()).collect::<Vec<_>>())
            .bind(column(|task| &task.policy))
            .bind(timers.iter().map(|(task, _)| task.causation).collect::<Vec<_>>())
            .bind(timers.iter().map(|(_, due)| Micros(*due)).collect::<Vec<_>>())
            .bind(column(|task| &task.command))
            .bind(column(|task| &task.body))
            .execute(&mut *transaction)
            .await?;
        }
        sqlx::query(
            "INSERT INTO work.policies SELECT p.policy, $2, $3 FROM unnest($1::text[]) AS p(policy)
             ON CONFLICT (policy, lane) DO UPDATE SET position = greatest(policies.position, excluded.position)",
        )
        .bind(self.commands.policies().iter().map(|policy| policy.id).collect::<Vec<_>>())
        .bind(lane.0)
        .bind(position)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// Where every policy stands in every lane. A new one begins where it says that it does; that is written down at
    /// once, or a crash before its first event would introduce it again, later.
    async fn read_positions(&self) -> Result<BTreeMap<(LaneId, &'static str), i64>, Fault> {
        let unavailable = |error| Fault::caused(Cause::Unavailable, "reading policies", error);
        let heads = PgHistory::new(self.pool.clone()).heads().await?;
        let policies = self.commands.policies();
        let begin = |policy: &PolicyKind, head: &Checkpoint| match policy.start {
            Start::Introduction => head.position,
            Start::Beginning => 0,
        };
        let starts = policies.iter().flat_map(|policy| heads.iter().map(move |head| (policy, head)));
        let (ids, (lanes, begins)): (Vec<_>, (Vec<_>, Vec<_>)) =
            starts.map(|(policy, head)| (policy.id, (head.lane, begin(policy, head)))).unzip();
        sqlx::query(
            "INSERT INTO work.policies SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[])
             ON CONFLICT DO NOTHING",
        )
        .bind(&ids)
        .bind(lanes)
        .bind(begins)
        .execute(&self.pool)
        .await
        .map_err(unavailable)?;
        let rows: Vec<(String, i16, i64)> = sqlx::query_as("SELECT policy, lane, position FROM work.policies")
            .fetch_all(&self.pool)
            .await
            .map_err(unavailable)?;
        let ours = rows.iter().filter_map(|(id, lane, position)| {
            let policy = policies.iter().find(|policy| policy.id == id)?;
            Some(((LaneId(*lane), policy.id), *position))
        });
        Ok(ours.collect())
    }
}

/// The last event that each policy has reacted to, by lane.
#[derive(Default)]
struct Positions {
    at: BTreeMap<(LaneId, &'static str), i64>,
    /// The lanes that this process writes and so follows.
    lanes: BTreeSet<LaneId>,
}

impl Positions {
    fn get(&self, lane: LaneId, policy: &'static str) -> i64 {
        self.at.get(&(lane, policy)).copied().unwrap_or(0)
    }

    fn lowest(&self, lane: LaneId) -> Option<i64> {
        self.at.iter().filter(|((of, _), _)| *of == lane).map(|(_, position)| *position).min()
    }

    fn set(&mut self, lane: LaneId, position: i64) {
        self.at.iter_mut().filter(|((of, _), _)| *of == lane).for_each(|(_, at)| *at = position.max(*at));
    }
}
