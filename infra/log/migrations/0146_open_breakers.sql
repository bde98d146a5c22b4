-- Open circuit breakers, which are few, are counted every second for the metric `cartulary_breakers_open`.
CREATE INDEX queues_by_breaker ON work.queues (kind, closed_until) WHERE closed_until > '-infinity';
