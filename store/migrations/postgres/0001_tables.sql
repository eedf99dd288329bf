-- Ids compare bytewise (COLLATE "C"): the same order in every database and in our own code, and the
-- cheapest comparison there is. Tables whose rows change keep room in every page (fillfactor), so that an
-- update stays on its page and touches no index.

CREATE TABLE expectations (
    character_id         bigint        NOT NULL CHECK (character_id >= 1),
    preset_no            smallint      NOT NULL CHECK (preset_no BETWEEN 1 AND 3),
    total_expected_cost  numeric(20,2) NOT NULL CHECK (total_expected_cost >= 0),
    black_cube_cost      numeric(20,2) NOT NULL CHECK (black_cube_cost >= 0),
    red_cube_cost        numeric(20,2) NOT NULL CHECK (red_cube_cost >= 0),
    additional_cube_cost numeric(20,2) NOT NULL CHECK (additional_cube_cost >= 0),
    starforce_cost       numeric(20,2) NOT NULL CHECK (starforce_cost >= 0),
    version              bigint        NOT NULL,
    calculated_at        timestamptz   NOT NULL,
    event_id             uuid          NOT NULL,
    updated_at           timestamptz   NOT NULL,
    PRIMARY KEY (character_id, preset_no)
) WITH (fillfactor = 80);

CREATE TABLE coupons (
    coupon_id text COLLATE "C" PRIMARY KEY,
    stock     integer NOT NULL CHECK (stock >= 0),
    issued    integer NOT NULL CHECK (issued BETWEEN 0 AND stock),
    opens_at  timestamptz,
    closes_at timestamptz
) WITH (fillfactor = 70);

-- No foreign key to coupons: the coupon's row is locked while its issues are written, and a check per row
-- would cost more than the insert.
CREATE TABLE coupon_issues (
    coupon_id  text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    request_id uuid             NOT NULL,
    rank       integer          NOT NULL CHECK (rank >= 1),
    issued_at  timestamptz      NOT NULL,
    PRIMARY KEY (coupon_id, user_id),
    UNIQUE (coupon_id, rank)
);

-- Holds decisions on coupons that do not exist, too.
CREATE TABLE coupon_requests (
    request_id uuid             PRIMARY KEY,
    coupon_id  text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    outcome    text             NOT NULL
        CHECK (outcome IN ('ISSUED', 'SOLD_OUT', 'DUPLICATE', 'NOT_OPEN', 'UNKNOWN_COUPON')),
    rank       integer          CHECK ((rank IS NOT NULL) = (outcome = 'ISSUED')),
    decided_at timestamptz      NOT NULL
);

CREATE TABLE likes (
    target_ocid      text COLLATE "C" NOT NULL,
    liker_account_id text COLLATE "C" NOT NULL,
    liked            boolean          NOT NULL,
    occurred_at      timestamptz      NOT NULL,
    event_id         uuid             NOT NULL,
    PRIMARY KEY (target_ocid, liker_account_id)
) WITH (fillfactor = 85);

-- No check that counts stay at or above 0: the upsert adds differences, and Postgres checks the row it
-- proposes (a difference, perhaps negative) before it looks for the one that stands.
CREATE TABLE like_counts (
    target_ocid text COLLATE "C" PRIMARY KEY,
    count       bigint NOT NULL
) WITH (fillfactor = 70);
