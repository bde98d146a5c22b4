//! `cartulary bench fanout`: the bars of many processes, with a real Kafka that it starts itself.
//!
//! Two cores bear PostgreSQL, Kafka, all processes of ours and the load generator together.

mod broker;
mod catch_up;
mod hand_over;
mod live;
mod visible;

use std::path::Path;

use anyhow::{Context, Result};

use super::arena::Arena;
use super::clients::Pace;
use super::progress::Progress;
use super::report::Report;
use broker::Broker;

/// Every line, one after the other. `house` is the folder whose `.cartulary` holds Kafka's jars.
pub(super) async fn lines(
    arena: &Arena,
    house: &Path,
    pace: Pace,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    progress.says("starting Kafka".into());
    let broker = Broker::start(arena.folder("kafka")?, house).await?;
    // First what gives the broker much to do: a fresh Java machine is busy with compiling itself.
    catch_up::line(arena, &broker, progress, report).await.context("relay")?;
    visible::line(arena, &broker, pace, progress, report).await.context("commit to visible row")?;
    hand_over::line(arena, progress, report).await.context("hand-over")?;
    live::line(arena, progress, report).await.context("live")?;
    Ok(())
}
