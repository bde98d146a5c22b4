//! Rate limit of commands: each is counted before it is prepared. The counts per caller and tenant are kept in
//! `infra/edge/src/rate_limiter`, behind [`Backend::allow`].
//!
//! A command that is refused here was not decided and is not stored; the same id may be sent again.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response};

use crate::error::Problem;
use crate::port::{Allowance, Backend, Caller, RateLimitStatus};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Counts one command. `Err` means that it is refused.
pub(crate) async fn count_command(backend: &dyn Backend, caller: &Caller) -> Result<Allowance, Allowance> {
    let allowance = backend.allow(caller, 1).await;
    if allowance.granted == 1 { Ok(allowance) } else { Err(allowance) }
}

/// Adds the state of the rate limit to a response, in the `RateLimit` headers of the IETF draft.
pub(crate) fn with_headers(allowance: &Allowance, mut response: Response<Body>) -> Response<Body> {
    let Some(RateLimitStatus { policy, quota, left, reset_s, .. }) = allowance.status else { return response };
    for (name, value) in [
        (RATE_LIMIT_POLICY, format!("\"{policy}\";q={quota};w=60")),
        (RATE_LIMIT, format!("\"{policy}\";r={left};t={reset_s}")),
    ] {
        response.headers_mut().extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
    }
    response
}

/// The problem of a command that the rate limit refused.
pub(crate) fn problem(allowance: &Allowance) -> Problem {
    let (quota, wait_s) = allowance.status.map_or((0, 1), |status| (status.quota, status.wait_s));
    let detail = format!("at most {quota} commands per minute are accepted; this one was not decided");
    Problem { detail, ..Problem::throttled(wait_s.max(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_carries_the_callers_limit() {
        let status = RateLimitStatus { policy: "customer", quota: 600, left: 0, reset_s: 12, wait_s: 0 };
        let allowance = Allowance { granted: 0, status: Some(status) };
        let response = with_headers(&allowance, Response::default());
        assert_eq!(response.headers()["ratelimit-policy"], "\"customer\";q=600;w=60");
        assert_eq!(response.headers()["ratelimit"], "\"customer\";r=0;t=12");
        let problem = problem(&allowance);
        assert_eq!((problem.status.as_u16(), &*problem.code, problem.retry_after_s), (429, "THROTTLED", Some(1)));
        assert!(with_headers(&Allowance::unlimited(1), Response::default()).headers().is_empty());
    }
}
