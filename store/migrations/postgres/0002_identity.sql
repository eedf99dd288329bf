-- Names this database for ever: a process that meets another one behind the same address notices. No secret, and read by
-- whoever applies events.
CREATE TABLE floodgate_identity (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    id      uuid    NOT NULL
);
INSERT INTO floodgate_identity (id) VALUES (gen_random_uuid());
GRANT SELECT ON floodgate_identity TO PUBLIC;
