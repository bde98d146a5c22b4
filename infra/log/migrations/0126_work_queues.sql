-- Queues of background work: one row per tenant and partner, which is claimed and leased as a whole. Items of a queue are
-- in tables of their own: commands in work.timers, effects in work.effects.
CREATE TABLE work.queues (
    tenant       uuid        NOT NULL,
    kind         text        NOT NULL COLLATE "C",
    -- The partner: empty for the engine itself, the target of effects.
    name         text        NOT NULL COLLATE "C",
    -- Earliest time at which there may be work; 'infinity' without items.
    due_at       timestamptz NOT NULL,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Number of the claim: only its holder may end the lease.
    fence        bigint      NOT NULL DEFAULT 0,
    -- Consecutive failures of the partner, and the time until which it is not called.
    failures     integer     NOT NULL DEFAULT 0,
    closed_until timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant, kind, name)
) WITH (fillfactor = 50);
CREATE INDEX queues_by_time ON work.queues (kind, due_at);

INSERT INTO work.queues (tenant, kind, name, due_at)
SELECT tenant, 'commands', '', min(due_at) FROM work.timers GROUP BY tenant;
INSERT INTO work.queues (tenant, kind, name, due_at, failures, closed_until)
SELECT p.tenant, 'effects', p.target,
       coalesce((SELECT min(e.due_at) FROM work.effects e WHERE e.tenant = p.tenant AND e.target = p.target), 'infinity'),
       p.failures, p.closed_till
FROM work.partners p;
DROP TABLE work.partners;

-- Effects whose follow-up command is still to be sent; few.
CREATE INDEX effects_with_outcome ON work.effects (tenant, target, due_at) WHERE outcome IS NOT NULL;
