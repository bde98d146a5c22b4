//! Webhooks: addresses outside are told what happened here, at least once, in order, and signed (INT-10, PM-24).
//!
//! Every subscription has a cursor in the tenant's own order of events; nothing is copied anywhere before it is sent, so
//! nothing can be lost but the log itself. An address that fails waits with its cursor and with nobody else's.

mod cursors;
mod desk;
mod guard;
mod keeping;
mod line;
mod log;
mod networks;
mod patience;
mod signing;
mod telling;
mod turn;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::shared::TenantId;
use sqlx::PgPool;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

pub use desk::WebhookDesk;
pub use guard::{Forbidden, Guard, Names};
pub use keeping::CursorKeeper;
pub use line::Line;
pub use networks::Places;
pub use patience::WebhookLimits;
pub use signing::SigningKeys;

use cursors::{Cursor, Room, begin, due};
use scribe::peers::Dispatch;
use vault::Vault;
use work::Lanes;

/// How long to wait before cursors are looked at again, if nothing was written meanwhile.
const PAUSE: Duration = Duration::from_millis(250);
/// How long to wait after a look in any case: looking costs a probe of the log for every cursor.
const GATHER: Duration = Duration::from_millis(100);

/// What delivering needs.
#[derive(Clone)]
pub struct WebhookRunner {
    pub pool: PgPool,
    /// Where the pause of a subscription goes that failed for too long.
    pub scribe: Dispatch,
    pub lanes: Lanes,
    pub vault: Arc<Vault>,
    pub keys: Arc<SigningKeys>,
    pub line: Arc<Line>,
    pub limits: WebhookLimits,
}

/// The cursors under way.
#[derive(Default)]
struct Turns {
    tasks: JoinSet<()>,
    under_way: HashMap<Id, Cursor>,
}

impl WebhookRunner {
    /// Delivers until it is cancelled. What is under way then is given up and sent again by whoever comes next.
    pub async fn run(self, stop: CancellationToken) {
        let mut written = self.scribe.written();
        let mut turns = Turns::default();
        while !stop.is_cancelled() {
            if let Err(error) = self.begin_turns(&mut turns).await {
                tracing::warn!(%error, "webhooks cannot go on now");
            }
            tokio::time::sleep(GATHER).await;
            tokio::select! {
                () = stop.cancelled() => break,
                ended = turns.ended(), if !turns.tasks.is_empty() => turns.forget(ended),
                _ = written.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            while let Some(ended) = turns.tasks.try_join_next_with_id() {
                turns.forget(ended.map_or_else(|failed| failed.id(), |(id, ())| id));
            }
        }
        // One that has come to its end has said itself when it is due again.
        turns.tasks.abort_all();
        while let Some(ended) = turns.tasks.join_next_with_id().await {
            if let Ok((id, ())) = ended {
                turns.forget(id);
            }
        }
        for cursor in turns.under_way.values() {
            if let Err(error) = cursor.let_go(&self.pool).await {
                tracing::debug!(%error, "nobody can be told that a webhook is free; its lease will");
            }
        }
    }

    /// First those that are well, then with what is left those in trouble.
    async fn begin_turns(&self, turns: &mut Turns) -> Result<(), sqlx::Error> {
        let lanes: Vec<i16> = self.lanes.now().iter().map(|lane| lane.0).collect();
        let [well, in_trouble] = due(&self.pool).await?;
        for troubled in [(well, false), (in_trouble, true)].into_iter().filter_map(|(due, kind)| due.then_some(kind)) {
            let free = self.limits.places.saturating_sub(turns.under_way.len());
            let bound = if troubled { self.limits.troubled_places.saturating_sub(turns.troubled()) } else { free };
            let room = Room { free: free.min(bound), tenant_places: self.limits.tenant_places, troubled };
            for cursor in begin(&self.pool, &lanes, &room, &turns.by_tenant(), self.limits.lease()).await? {
                let (runner, taken) = (self.clone(), cursor.clone());
                let task = turns.tasks.spawn(async move {
                    if let Err(error) = runner.take_turn(taken).await {
                        // The cursor is due again when its lease has passed.
                        tracing::warn!(%error, "a webhook cannot go on now");
                    }
                });
                turns.under_way.insert(task.id(), cursor);
            }
        }
        Ok(())
    }
}

impl Turns {
    async fn ended(&mut self) -> Id {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(failed)) => failed.id(),
            None => std::future::pending().await,
        }
    }

    fn forget(&mut self, ended: Id) {
        self.under_way.remove(&ended);
    }

    fn troubled(&self) -> usize {
        self.under_way.values().filter(|cursor| cursor.is_troubled()).count()
    }

    fn by_tenant(&self) -> BTreeMap<TenantId, i64> {
        let mut taken = BTreeMap::new();
        for cursor in self.under_way.values() {
            *taken.entry(cursor.tenant).or_default() += 1;
        }
        taken
    }
}
