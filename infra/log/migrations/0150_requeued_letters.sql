-- Events that cannot be read: an operator asks for another attempt now. The process that follows the lane removes the mark
-- and makes the attempt.
ALTER TABLE work.parked ADD COLUMN retry_asked boolean NOT NULL DEFAULT false;
ALTER TABLE reads.parked ADD COLUMN retry_asked boolean NOT NULL DEFAULT false;

-- Dead letters of the kind 'webhook' name the subscription that is paused.
CREATE INDEX dead_letters_of_webhooks ON work.dead_letters (tenant, (body->>'subscription')) WHERE kind = 'webhook';
