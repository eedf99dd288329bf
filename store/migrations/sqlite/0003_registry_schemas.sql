-- Which schema a number of the schema registry stood for when its events were first read: a registry that was made anew counts
-- from one again.
CREATE TABLE registry_schemas (
    id     INTEGER NOT NULL PRIMARY KEY,
    schema TEXT    NOT NULL
) STRICT;
