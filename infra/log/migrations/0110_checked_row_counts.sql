-- True if as many rows were written as the statement was given. Otherwise a trigger or a rule has left rows out, and the
-- statement fails as a whole: the class of its error is that of refused data.
CREATE FUNCTION log.require_rows(kind text, written bigint, expected bigint) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF written IS DISTINCT FROM expected THEN
        RAISE EXCEPTION 'only % of % rows of log.% were written; a trigger or a rule leaves rows out', written, expected, kind
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN true;
END $$;
