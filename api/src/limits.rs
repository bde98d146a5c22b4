//! How many commands a caller may send: asked of the floor above before anything else is done for them.
//!
//! What is refused here was never decided and is never stored; the same id may be sent again.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response};

use crate::auth::Caller;
use crate::error::Problem;
use crate::front::Front;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What became of a wish to send commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How many of them may go on; the first ones, where not all may.
    pub granted: u32,
    /// The limit that is nearest; nothing for callers without limits.
    pub standing: Option<Standing>,
}

/// Where a caller stands under one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whom it limits: `customer`, `member`, `tenant`.
    pub policy: &'static str,
    /// Commands in a minute.
    pub quota: u32,
    /// Commands that may be sent at once now.
    pub left: u32,
    /// Seconds until everything that was sent is forgotten.
    pub reset_s: u32,
    /// Seconds until another command may be sent; zero where one may be sent now.
    pub wait_s: u32,
}

impl Allowance {
    /// Nobody counts.
    pub const fn unlimited(wanted: u32) -> Self {
        Self { granted: wanted, standing: None }
    }

    /// Says on an answer where the caller stands, as the IETF's draft on RateLimit fields has it.
    pub(crate) fn tell(&self, mut response: Response<Body>) -> Response<Body> {
        let Some(Standing { policy, quota, left, reset_s, .. }) = self.standing else { return response };
        for (name, value) in [
            (RATE_LIMIT_POLICY, format!("\"{policy}\";q={quota};w=60")),
            (RATE_LIMIT, format!("\"{policy}\";r={left};t={reset_s}")),
        ] {
            response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
        }
        response
    }

    /// What is told about a command that was not granted.
    pub(crate) fn problem(&self) -> Problem {
        let (quota, wait_s) = self.standing.map_or((0, 1), |standing| (standing.quota, standing.wait_s));
        let detail = format!("at most {quota} commands a minute are taken; this one was not decided");
        Problem { detail, ..Problem::throttled(wait_s.max(1)) }
    }
}

/// Asks for one command.
pub(crate) async fn one(front: &Front, caller: &Caller) -> Result<Allowance, Allowance> {
    let allowance = front.backend.allow(caller, 1).await;
    if allowance.granted == 1 { Ok(allowance) } else { Err(allowance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_where_the_caller_stands() {
        let standing = Standing { policy: "customer", quota: 600, left: 0, reset_s: 12, wait_s: 0 };
        let allowance = Allowance { granted: 0, standing: Some(standing) };
        let response = allowance.tell(Response::default());
        assert_eq!(response.headers()["ratelimit-policy"], "\"customer\";q=600;w=60");
        assert_eq!(response.headers()["ratelimit"], "\"customer\";r=0;t=12");
        let problem = allowance.problem();
        assert_eq!((problem.status.as_u16(), &*problem.code, problem.retry_after_s), (429, "THROTTLED", Some(1)));
        assert!(Allowance::unlimited(1).tell(Response::default()).headers().is_empty());
    }
}
