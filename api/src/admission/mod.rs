//! Admission control: limits per caller, tenant and process.
//!
//! | limit | customer | other caller | tenant | process | code |
//! |---|---|---|---|---|---|
//! | [commands per minute](rate_limit) | setting | setting | setting | – | `THROTTLED` |
//! | [query cost](cost_limiter) | setting | setting | – | – | `THROTTLED` |
//! | [open WebSockets](connections) | `SOCKETS.customer` | `.member` | `.tenant` | `.all` | `TOO_MANY_SOCKETS` |
//! | [unauthenticated WebSockets](connections) | – | – | – | `UNAUTHENTICATED_MOST` | `OVERLOADED` |
//! | [open event streams](connections) | `STREAMS.customer` | `.member` | `.tenant` | `.all` | `TOO_MANY_STREAMS` |
//! | subscriptions | `SUBSCRIPTIONS.customer` | `.member` | `.tenant` | `.all` | `TOO_MANY_SUBSCRIPTIONS` |
//!
//! Other callers are members, services and operators. The settings of the command rate are
//! `customer_commands_per_minute`, `member_commands_per_minute` and `tenant_commands_per_minute`, those of the query cost
//! `customer_query_points`, `member_query_points` and both with `_per_second`. A limit of a caller or tenant refuses with 429 and this code, a limit of the process with 503 `OVERLOADED`. Counts are per process,
//! except the command rate when Redis is configured (`redis_url`).
//!
//! A refusal is not stored: the same command id may be sent again.
//!
//! Limits of single requests: the size of [bodies and messages](body); the GraphQL document in
//! [`guard::limits`](crate::guard) and its cost in `graphql::query_cost`; subscriptions of one WebSocket in
//! [`connections`]; the time of a request in [`http`](crate::http). The scribe bounds its queue of commands
//! (`queue_commands_most`) and refuses with `OVERLOADED`.

pub(crate) mod body;
pub(crate) mod concurrency;
pub(crate) mod connections;
pub(crate) mod cost_limiter;
pub(crate) mod rate_limit;
