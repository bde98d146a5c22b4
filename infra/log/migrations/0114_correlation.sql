-- Id shared by everything that followed from one request. Rows of earlier versions have none.
ALTER TABLE work.timers ADD COLUMN correlation uuid;
ALTER TABLE work.effects ADD COLUMN correlation uuid;
