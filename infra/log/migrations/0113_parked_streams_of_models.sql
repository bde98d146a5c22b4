-- Streams with an event that a read model cannot decode are parked too: such a row has a stream, and an empty key.
ALTER TABLE reads.parked
    ADD COLUMN stream_type text COLLATE "C",
    ADD COLUMN stream_id   uuid;
