//! The arithmetic of one count: a bucket that leaks evenly (the generic cell rate algorithm, of one number).
//!
//! A quota of 600 a minute lets one command in every 100 ms, and a fifth of the quota at once. So in any minute at most
//! six fifths of the quota pass, and there is no edge of a window at which twice as many would.

const MINUTE_MICROS: i64 = 60_000_000;

/// How full a bucket is, as the time it needs to leak empty, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket(i64);

impl Bucket {
    /// From the moment at which it would be empty. No bucket is fuller than full, whatever somebody wrote there.
    pub(super) fn emptied_at(moment: i64, now: i64, quota: u32) -> Self {
        Self(moment.saturating_sub(now).clamp(0, depth(quota)))
    }

    /// How much more goes in.
    pub(super) fn left(self, quota: u32) -> u32 {
        u32::try_from((depth(quota) - self.0).max(0) / weight(quota)).unwrap_or(u32::MAX)
    }

    /// With so many commands more, or fewer.
    pub(super) fn with(self, commands: i64, quota: u32) -> Self {
        Self(self.0.saturating_add(commands.saturating_mul(weight(quota))).clamp(0, depth(quota)))
    }

    pub(super) fn until_empty(self) -> i64 {
        self.0
    }

    /// Until one more goes in.
    pub(super) fn until_next(self, quota: u32) -> i64 {
        (self.0 + weight(quota) - depth(quota)).max(0)
    }
}

/// What one command adds.
pub(super) fn weight(quota: u32) -> i64 {
    (MINUTE_MICROS / i64::from(quota.max(1))).max(1)
}

/// What goes in at once: a fifth of the quota, and one command at least.
pub(super) fn depth(quota: u32) -> i64 {
    i64::from(quota / 5).max(1) * weight(quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_any_minute_at_most_six_fifths_of_the_quota_pass() {
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
    fn a_full_bucket_says_when_it_takes_more_and_nonsense_locks_nobody_out() {
        let full = Bucket::emptied_at(i64::MAX, 0, 60);
        assert_eq!((full.left(60), full.until_next(60), full.until_empty()), (0, 1_000_000, 12_000_000));
        assert_eq!(full.with(-1, 60).left(60), 1);
        assert_eq!(Bucket::emptied_at(-5, 0, 60).left(60), 12);
        assert_eq!((Bucket::default().left(1), Bucket::default().left(10_000_000)), (1, 2_000_000));
    }
}
