//! The product's binary as processes, on real PostgreSQL, Redis and Kafka servers.

mod background_work;
mod clock;
mod crash;
mod doors;
mod durability;
mod embedded;
mod flash_sale;
mod idempotency;
mod kafka_policies;
mod lanes;
mod live;
mod missed_timers;
mod outages;
mod personal_data;
mod readiness;
mod rivals;
mod roles;
mod shared_redis;
mod silent_network;
mod snippets;
mod tls;
mod walls;
