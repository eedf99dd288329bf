-- uuid as lower-case text, times as microseconds since 1970 (UTC), costs as text with two places. Text
-- compares bytewise by default (BINARY), and the text of a uuid orders like its bytes.

CREATE TABLE expectations (
    character_id         INTEGER NOT NULL CHECK (character_id >= 1),
    preset_no            INTEGER NOT NULL CHECK (preset_no BETWEEN 1 AND 3),
    total_expected_cost  TEXT    NOT NULL,
    black_cube_cost      TEXT    NOT NULL,
    red_cube_cost        TEXT    NOT NULL,
    additional_cube_cost TEXT    NOT NULL,
    starforce_cost       TEXT    NOT NULL,
    version              INTEGER NOT NULL,
    calculated_at        INTEGER NOT NULL,
    event_id             TEXT    NOT NULL,
    updated_at           INTEGER NOT NULL,
    PRIMARY KEY (character_id, preset_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE coupons (
    coupon_id TEXT    NOT NULL PRIMARY KEY,
    stock     INTEGER NOT NULL CHECK (stock BETWEEN 0 AND 2147483647),
    issued    INTEGER NOT NULL CHECK (issued BETWEEN 0 AND stock),
    opens_at  INTEGER,
    closes_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE coupon_issues (
    coupon_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    rank       INTEGER NOT NULL CHECK (rank >= 1),
    issued_at  INTEGER NOT NULL,
    PRIMARY KEY (coupon_id, user_id),
    UNIQUE (coupon_id, rank)
) STRICT, WITHOUT ROWID;

-- Holds decisions on coupons that do not exist, too.
CREATE TABLE coupon_requests (
    request_id TEXT    NOT NULL PRIMARY KEY,
    coupon_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    outcome    TEXT    NOT NULL
        CHECK (outcome IN ('ISSUED', 'SOLD_OUT', 'DUPLICATE', 'NOT_OPEN', 'UNKNOWN_COUPON')),
    rank       INTEGER CHECK ((rank IS NOT NULL) = (outcome = 'ISSUED')),
    decided_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE likes (
    target_ocid      TEXT    NOT NULL,
    liker_account_id TEXT    NOT NULL,
    liked            INTEGER NOT NULL CHECK (liked IN (0, 1)),
    occurred_at      INTEGER NOT NULL,
    event_id         TEXT    NOT NULL,
    PRIMARY KEY (target_ocid, liker_account_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE like_counts (
    target_ocid TEXT    NOT NULL PRIMARY KEY,
    count       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
