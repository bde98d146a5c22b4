//! The decision of the rate limiter about commands of one caller.

/// Number of commands that a caller may send now, out of the number it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Commands that may go on; the first ones, where not all may.
    pub granted: u32,
    /// The limit with the least left; `None` for callers without limits.
    pub status: Option<RateLimitStatus>,
}

/// State of one rate limit after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Scope of the limit: `customer`, `member` or `tenant`.
    pub policy: &'static str,
    /// Commands per minute.
    pub quota: u32,
    /// Commands that may be sent at once now.
    pub left: u32,
    /// Seconds until the whole quota is available again.
    pub reset_s: u32,
    /// Seconds until the next command may be sent; zero where one may be sent now.
    pub wait_s: u32,
}

impl Allowance {
    /// Grants all commands without counting them.
    pub const fn unlimited(wanted: u32) -> Self {
        Self { granted: wanted, status: None }
    }
}
