-- Which schema a number of the schema registry stood for when its events were first read: a registry that was made anew counts
-- from one again. Written by whoever applies events.
CREATE TABLE registry_schemas (
    id     bigint PRIMARY KEY,
    schema text   NOT NULL
);
