-- True for an epoch that no receipt names as long as it has no event. Such a row is deleted at the next take-over of the
-- lane, so that take-overs alone do not make the table grow. Rows of earlier versions may be named by receipts and stay.
ALTER TABLE log.epochs ADD COLUMN removable boolean NOT NULL DEFAULT false;
