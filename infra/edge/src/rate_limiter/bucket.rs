//! Leaky bucket: the generic cell rate algorithm (GCRA), whose state is one number.
//!
//! A quota of 600 commands per minute admits one command every 100 ms, and a fifth of the quota as a burst. So in any
//! minute at most six fifths of the quota pass; a fixed window would let twice the quota pass around its edge.

const MINUTE_MICROS: i64 = 60_000_000;

/// Fill level of a bucket: the time until it has leaked empty, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket(i64);

impl Bucket {
    /// A bucket that is empty at the given time. Its level is at most its depth, whatever value was stored.
    pub(super) fn emptied_at(moment: i64, now: i64, quota: u32) -> Self {
        Self(moment.saturating_sub(now).clamp(0, depth(quota)))
    }

    /// Number of commands that can be added now.
    pub(super) fn left(self, quota: u32) -> u32 {
        u32::try_from((depth(quota) - self.0).max(0) / weight(quota)).unwrap_or(u32::MAX)
    }

    /// The bucket after commands are added, or removed if the number is negative.
    pub(super) fn with(self, commands: i64, quota: u32) -> Self {
        Self(self.0.saturating_add(commands.saturating_mul(weight(quota))).clamp(0, depth(quota)))
    }

    /// Microseconds until the bucket is empty.
    pub(super) fn until_empty(self) -> i64 {
        self.0
    }

    /// Microseconds until another command can be added.
    pub(super) fn until_next(self, quota: u32) -> i64 {
        (self.0 + weight(quota) - depth(quota)).max(0)
    }
}

/// Level that one command adds, in microseconds.
pub(super) fn weight(quota: u32) -> i64 {
    (MINUTE_MICROS / i64::from(quota.max(1))).max(1)
}

/// Level of a full bucket, in microseconds: a fifth of the quota, and at least one command.
pub(super) fn depth(quota: u32) -> i64 {
    i64::from(quota / 5).max(1) * weight(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_six_fifths_of_the_quota_pass_in_any_minute() {
        let (quota, mut emptied_at, mut passed) = (100, 0, Vec::new());
        for now in (0..180_000_000).step_by(50_000) {
            let bucket = Bucket::emptied_at(emptied_at, now, quota);
            if bucket.left(quota) > 0 {
                emptied_at = now + bucket.with(1, quota).until_empty();
                passed.push(now);
            }
        }
        for (at, begin) in passed.iter().enumerate() {
            let in_minute = passed[at..].iter().take_while(|now| **now < begin + MINUTE_MICROS).count();
            assert!(in_minute <= 120, "{in_minute}");
        }
        assert!(passed.len() >= 300);
    }

    #[test]
    fn a_full_bucket_states_its_waiting_time_and_invalid_levels_are_clamped() {
        let full = Bucket::emptied_at(i64::MAX, 0, 60);
        assert_eq!((full.left(60), full.until_next(60), full.until_empty()), (0, 1_000_000, 12_000_000));
        assert_eq!(full.with(-1, 60).left(60), 1);
        assert_eq!(Bucket::emptied_at(-5, 0, 60).left(60), 12);
        assert_eq!((Bucket::default().left(1), Bucket::default().left(10_000_000)), (1, 2_000_000));
    }
}
