-- Cursors of webhooks are leased as queues too: lease, due time and failures move to work.queues.
ALTER TABLE work.queues
    -- True if the last run was slow, whatever came of it: it leaves room for others.
    ADD COLUMN slow boolean NOT NULL DEFAULT false;
INSERT INTO work.queues (tenant, kind, name, due_at, fence, failures, slow)
SELECT tenant, 'webhooks', subscription::text || CASE WHEN replay THEN ':replay' ELSE '' END, due_at, turn, attempts, slow
FROM work.webhook_cursors;
DROP INDEX work.webhook_cursors_by_time;
ALTER TABLE work.webhook_cursors
    DROP COLUMN due_at, DROP COLUMN turn, DROP COLUMN attempts, DROP COLUMN slow,
    -- Name of the queue.
    ADD COLUMN queue text NOT NULL COLLATE "C"
        GENERATED ALWAYS AS (subscription::text || CASE WHEN replay THEN ':replay' ELSE '' END) STORED;
CREATE UNIQUE INDEX webhook_cursors_by_queue ON work.webhook_cursors (queue);
