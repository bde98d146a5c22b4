-- Indexes by which the background task finds what has reached its age.
CREATE INDEX receipts_with_detail ON log.receipts (recorded_at) WHERE detail IS NOT NULL;
CREATE INDEX webhook_attempts_by_time ON work.webhook_attempts (begun_at);
CREATE INDEX dead_letters_by_time ON work.dead_letters (failed_at);
