-- Names this database for ever: a process that meets another one in the same place notices.
CREATE TABLE floodgate_identity (
    is_only INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (is_only = 1),
    id      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO floodgate_identity (id) VALUES (lower(hex(randomblob(16))));
