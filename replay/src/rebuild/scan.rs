//! Scan of the history: reads each event once for all models that are built.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, try_join_all};
use projections::kernel::Model;
use projections::ports::{Checkpoint, Epochs, Fault, HistoryScan, RawEvent};

use super::build::Build;
use super::{Options, RebuildError, RebuildSummary, TableBuilder};

/// Number of tables that are read or written at a time: each needs a connection to the store.
const TABLES_MOST: usize = 2;

pub(super) struct Scan<'s, H, T> {
    history: &'s H,
    tables: &'s T,
    options: Options,
    builds: Vec<Build<'s>>,
    /// Stream types that the models listen to, each with the indexes of these models.
    listeners: BTreeMap<&'static str, Vec<usize>>,
}

impl<'s, H: HistoryScan, T: TableBuilder> Scan<'s, H, T> {
    pub(super) async fn begin(
        models: &[&'s Model],
        history: &'s H,
        tables: &'s T,
        options: Options,
    ) -> Result<Self, Fault> {
        let (mut builds, mut listeners) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        for (index, model) in models.iter().enumerate() {
            model.streams.iter().for_each(|stream_type| listeners.entry(*stream_type).or_default().push(index));
            let mut state = tables.begin(model, options.resume).await?;
            if !is_current(history, &state.at).await? {
                state = tables.begin(model, false).await?;
            }
            builds.push(Build::new(model, state));
        }
        Ok(Self { history, tables, options, builds, listeners })
    }

    pub(super) async fn fold_up_to(&mut self, targets: &[Checkpoint]) -> Result<(), RebuildError> {
        for target in targets {
            self.builds.iter_mut().for_each(|build| build.follow(target.lane));
            self.fold_lane(*target).await?;
        }
        Ok(())
    }

    /// Writes all rows that are still in memory.
    pub(super) async fn finish(mut self) -> Result<Vec<RebuildSummary>, Fault> {
        write_all(self.builds.iter_mut().collect(), self.tables).await?;
        Ok(self.builds.into_iter().map(Build::into_summary).collect())
    }

    async fn fold_lane(&mut self, target: Checkpoint) -> Result<(), RebuildError> {
        let Checkpoint { lane, position: end, epoch } = target;
        let start = self.builds.iter().map(|build| build.after(lane)).min().unwrap_or(end);
        if start >= end {
            return Ok(());
        }
        let count = self.history.count(lane, (start, end)).await?;
        if count != end - start {
            return Err(RebuildError::Incomplete { lane, from: start + 1, upto: end, count });
        }
        let epochs = self.history.epochs(lane).await?;
        if !epochs.agrees(end, epoch) {
            return Err(RebuildError::OtherHistory { lane, position: end, epoch });
        }
        let page = i64::try_from(self.options.page).unwrap_or(i64::MAX);
        let end_of_page = |after: i64| after.saturating_add(page).min(end);
        let (history, streams) = (self.history, self.listeners.keys().copied().collect::<Vec<_>>());
        let read = async |after: i64| match end_of_page(after) {
            upto if upto > after => history.scan(lane, (after, upto), &streams).await,
            _ => Ok(Vec::new()),
        };
        let (mut after, mut events) = (start, read(start).await?);
        while after < end {
            let upto = end_of_page(after);
            let at = Checkpoint { lane, position: upto, epoch: epochs.at(upto) };
            // The next page is read while this one is folded.
            let (next, folded) = join(read(upto), self.fold_page(&events, at, &epochs)).await;
            folded?;
            (after, events) = (upto, next?);
        }
        Ok(())
    }

    async fn fold_page(&mut self, events: &[RawEvent], end: Checkpoint, epochs: &Epochs) -> Result<(), RebuildError> {
        for event in events {
            let (lane, position, epoch) = (event.lane, event.position, event.epoch);
            if !epochs.agrees(position, epoch) {
                return Err(RebuildError::OtherHistory { lane, position, epoch });
            }
            for index in self.listeners.get(&*event.stream_type).into_iter().flatten() {
                self.builds[*index].read(event);
            }
        }
        let tables = self.tables;
        for builds in self.builds.chunks_mut(TABLES_MOST) {
            try_join_all(builds.iter_mut().map(|build| build.fold(end, tables))).await?;
        }
        self.write_largest().await?;
        Ok(())
    }

    /// If there are too many rows in memory, writes those of the largest builds until half of the budget is left.
    async fn write_largest(&mut self) -> Result<(), Fault> {
        let mut rows: usize = self.builds.iter().map(Build::rows).sum();
        if rows < self.options.rows_most {
            return Ok(());
        }
        let mut by_size: Vec<(usize, usize)> = self.builds.iter().map(Build::rows).enumerate().collect();
        by_size.sort_unstable_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        let mut chosen = BTreeSet::new();
        for (index, size) in by_size {
            if rows > self.options.rows_most / 2 {
                chosen.insert(index);
                rows -= size;
            }
        }
        let builds = self.builds.iter_mut().enumerate().filter(|(index, _)| chosen.contains(index));
        write_all(builds.map(|(_, build)| build).collect(), self.tables).await
    }
}

async fn write_all(mut builds: Vec<&mut Build<'_>>, tables: &impl TableBuilder) -> Result<(), Fault> {
    for builds in builds.chunks_mut(TABLES_MOST) {
        try_join_all(builds.iter_mut().map(|build| build.write(tables))).await?;
    }
    Ok(())
}

/// True if the present history contains these checkpoints.
async fn is_current(history: &impl HistoryScan, at: &[Checkpoint]) -> Result<bool, Fault> {
    for at in at {
        if !history.epochs(at.lane).await?.agrees(at.position, at.epoch) {
            return Ok(false);
        }
    }
    Ok(true)
}
