-- Sid on Postgres, schema 4: where what is written came from.

-- The sources of a diary page that are not to be trusted, as JSON.
ALTER TABLE sid.diary ADD COLUMN untrusted text NOT NULL DEFAULT '[]';

-- Pages by name, with their owners and sources. Servers of schema 3 go on with `named_pages`.
CREATE FUNCTION sid.named_entries(p_tenant uuid, p_now text, p_ids uuid[])
RETURNS TABLE (o_id uuid, o_kind smallint, o_a uuid, o_b uuid, o_level smallint, o_start date, o_text text, o_messages text, o_floor boolean,
    o_written timestamptz, o_untrusted text)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    PERFORM sid.enter(p_tenant, p_now);
    RETURN QUERY SELECT d.id, o.kind, o.a, o.b, d.level, d.start, d.text, d.messages, d.is_floor, d.written_at, d.untrusted
        FROM sid.diary d JOIN sid.partitions o ON o.tenant = p_tenant AND o.part = d.part WHERE d.tenant = p_tenant AND d.id = ANY (p_ids);
END $$;
REVOKE ALL ON FUNCTION sid.named_entries(uuid, text, uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sid.named_entries(uuid, text, uuid[]) TO sid_app;
