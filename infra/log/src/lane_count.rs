//! Number of lanes of a log: chosen when the log is created, and read from the rows of `log.lanes` from then on.

use std::fmt;
use std::str::FromStr;

use commands::scribe::LaneId;
use platform::connectivity::within_statement_timeout;
use sqlx::PgExecutor;

/// Largest number of lanes.
const MOST: i16 = 256;

/// Number of lanes of a log, at least one. The lanes are numbered from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneCount(i16);

/// Error for a number of lanes that no log can have.
#[derive(Debug, thiserror::Error)]
#[error("a log has 1 to {MOST} lanes")]
pub struct InvalidLaneCount;

impl LaneCount {
    /// The number of lanes of a log that is created without another choice.
    pub const DEFAULT: Self = Self(16);
    /// The largest number of lanes.
    pub const MOST: Self = Self(MOST);

    /// Reads the number of lanes of a migrated database. It does not change while a process runs.
    pub async fn read(store: impl PgExecutor<'_>) -> Result<Self, sqlx::Error> {
        let count = sqlx::query_scalar("SELECT count(*)::smallint FROM log.lanes").fetch_one(store);
        let count: i16 = within_statement_timeout(count).await?;
        Self::try_from(count).map_err(|error| sqlx::Error::Decode(error.into()))
    }

    pub fn get(self) -> usize {
        usize::from(self.0.unsigned_abs())
    }

    /// All lanes, in order.
    pub fn lanes(self) -> impl Iterator<Item = LaneId> {
        (0..self.0).map(LaneId)
    }
}

impl TryFrom<i16> for LaneCount {
    type Error = InvalidLaneCount;

    fn try_from(count: i16) -> Result<Self, InvalidLaneCount> {
        if (1..=MOST).contains(&count) { Ok(Self(count)) } else { Err(InvalidLaneCount) }
    }
}

impl FromStr for LaneCount {
    type Err = InvalidLaneCount;

    fn from_str(text: &str) -> Result<Self, InvalidLaneCount> {
        text.parse::<i16>().map_err(|_| InvalidLaneCount)?.try_into()
    }
}

impl fmt::Display for LaneCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_lanes_is_between_1_and_256() {
        let parsed = |text: &str| text.parse::<LaneCount>().ok().map(LaneCount::get);
        assert_eq!([parsed("1"), parsed("3"), parsed("256")], [Some(1), Some(3), Some(256)]);
        assert_eq!([parsed("0"), parsed("-1"), parsed("1025"), parsed("99999"), parsed("many")], [None; 5]);
        let three = LaneCount(3).lanes().map(|lane| lane.0);
        assert_eq!(three.collect::<Vec<_>>(), [0, 1, 2]);
    }
}
