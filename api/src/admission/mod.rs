//! Admission control: every limit that the API itself enforces, on one page.
//!
//! | limit | scope | value | refusal |
//! |---|---|---|---|
//! | [commands per minute](rate_limit) | customer, member, tenant | set in the backend | 429 `THROTTLED` |
//! | [query cost](cost_limiter) | caller | 20,000 points, 1,000 more per second | 429 `THROTTLED` |
//! | [open WebSockets](connections) | caller / tenant / process | 20 or 2,000 / 3,000 / 4,096 | 429 `TOO_MANY_SOCKETS` |
//! | [unauthenticated WebSockets](connections) | process | 512, three seconds each | 503 `OVERLOADED` |
//! | [open event streams](connections) | as WebSockets | 20 or 2,000 / 3,000 / 4,096 | 429 `TOO_MANY_STREAMS` |
//! | [subscriptions](connections) | as WebSockets | 100 or 5,000 / 10,000 / 20,000 | 429 `TOO_MANY_SUBSCRIPTIONS` |
//! | [subscriptions](connections) | WebSocket | 100 | error `TOO_MANY_SUBSCRIPTIONS` |
//! | [body size](body) | request | 256 KiB; batch 4 MiB | 413 `BODY_TOO_LARGE` |
//! | [message size](body) | WebSocket message | 64 KiB | close code 1009 |
//! | [commands of a batch](body) | request | 1,000 | 413 `TOO_MANY_LINES` |
//!
//! The first of two values for a caller is for a customer; the second is for a member, service or operator. A limit of
//! the whole process refuses with 503 `OVERLOADED`. All counts but the command rate are per process.
//!
//! A refusal is never stored: the same command id may be sent again. Limits of one GraphQL document (size, depth, cost)
//! are in `guard` and `graphql`. The engine behind the port has limits of its own and refuses with `OVERLOADED`.

pub(crate) mod body;
pub(crate) mod concurrency;
pub(crate) mod connections;
pub(crate) mod cost_limiter;
pub(crate) mod rate_limit;
