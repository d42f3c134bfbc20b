-- Sid on Postgres, schema 4: the tokens of steps that are recorded together are settled together.

-- `sid.settle_tokens` of schema 2, once for all steps of a statement; slots in their order, as all that write several of them take them.
CREATE OR REPLACE FUNCTION sid.settle_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO sid.token_ledger AS l (tenant, day, slot, tokens)
    SELECT s.tenant, (sid.now() AT TIME ZONE 'UTC')::date, get_byte(uuid_send(s.run), 15) & 15,
        sum(coalesce((u.usage->>'prompt_tokens')::bigint, 0) + coalesce((u.usage->>'completion_tokens')::bigint, 0))
    FROM new_steps s CROSS JOIN LATERAL (SELECT s.doc::json->'usage' AS usage) u GROUP BY 1, 3 ORDER BY 1, 3
    ON CONFLICT (tenant, day, slot) DO UPDATE SET tokens = l.tokens + excluded.tokens;
    DELETE FROM sid.token_reservations r USING new_steps s WHERE r.tenant = s.tenant AND r.run = s.run;
    RETURN NULL;
END $$;
DROP TRIGGER settle_tokens ON sid.steps;
CREATE TRIGGER settle_tokens AFTER INSERT ON sid.steps REFERENCING NEW TABLE AS new_steps FOR EACH STATEMENT EXECUTE FUNCTION sid.settle_tokens();
