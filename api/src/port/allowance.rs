//! The decision of the rate limiter about commands of one caller.

/// Decision about the commands of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Number of commands that may be decided. If it is less than the number sent, the first ones may.
    pub granted: u32,
    /// The limit with the fewest commands left; `None` for callers without limits.
    pub status: Option<RateLimitStatus>,
}

/// State of one rate limit after a request was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimitStatus {
    /// Scope of the limit: `customer`, `member` or `tenant`.
    pub policy: &'static str,
    /// Commands per minute.
    pub quota: u32,
    /// Number of commands that may be sent now.
    pub left: u32,
    /// Seconds until the whole quota is available again.
    pub reset_s: u32,
    /// Seconds until the next command may be sent; zero if one may be sent now.
    pub wait_s: u32,
}

impl Allowance {
    /// Grants all commands without counting them.
    pub const fn unlimited(wanted: u32) -> Self {
        Self { granted: wanted, status: None }
    }
}
