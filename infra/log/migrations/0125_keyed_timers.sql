-- Timers are named by policy, stream and key: setting one again moves it, and it can be cancelled. The stream comes first in
-- the key because most streams are made in order of time, so that an insert goes to the end of the index.
ALTER TABLE work.timers
    ADD COLUMN stream uuid,
    ADD COLUMN key    text COLLATE "C";

-- Timers that are there already. Of several with one name, as after a change of a sale, the last to fire gets it; the
-- others have no effect when they fire. A command that waited for its answer is named by its cause and its id.
WITH named AS (
    SELECT due_at, id,
           CASE command WHEN 'ExpireOrder' THEN body->>'order' WHEN 'ExpireReservation' THEN body->>'item'
                        WHEN 'StartFlashSale' THEN body->>'sale' WHEN 'EndFlashSale' THEN body->>'sale'
                        ELSE causation::text END::uuid AS stream,
           CASE command WHEN 'ExpireOrder' THEN 'unpaid' WHEN 'ExpireReservation' THEN body->>'reservation'
                        WHEN 'StartFlashSale' THEN 'start' WHEN 'EndFlashSale' THEN 'end'
                        ELSE id::text END AS key,
           tenant, policy
    FROM work.timers
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY stream, tenant, policy, key ORDER BY due_at DESC, id) AS place FROM named
)
UPDATE work.timers t
SET stream = n.stream, key = CASE n.place WHEN 1 THEN n.key ELSE n.key || ':' || n.id END
FROM numbered n WHERE n.due_at = t.due_at AND n.id = t.id;

ALTER TABLE work.timers
    ALTER COLUMN stream SET NOT NULL,
    ALTER COLUMN key SET NOT NULL,
    DROP CONSTRAINT timers_pkey,
    ADD PRIMARY KEY (stream, tenant, policy, key);
CREATE INDEX timers_by_time ON work.timers (tenant, due_at);
