//! The reads, and creating a coupon: one statement each, by primary key.

use floodgate_schemas::{
    CharacterId, Cost, CouponId, EventId, LikerAccountId, PresetNo, TargetOcid, Timestamp, UserId,
};
use sqlx::postgres::{PgBindIterExt, PgRow};
use sqlx::{Error, Row};
use uuid::Uuid;

use super::session::Session;
use super::types::Time;
use super::{PostgresStore, applied};
use crate::transaction;
use crate::{
    BoxFuture, Coupon, CouponCreated, Decision, DecisionStatus, ExpectationRow, NewCoupon, ReadError, Reads,
    SchemaState, Stock,
};

const EXPECTATIONS: &str = "
SELECT preset_no, total_expected_cost::text, black_cube_cost::text, red_cube_cost::text,
    additional_cube_cost::text, starforce_cost::text, version, calculated_at, event_id, updated_at
FROM expectations WHERE character_id = $1 ORDER BY preset_no";

const COUPON: &str = "SELECT stock, issued, opens_at, closes_at FROM coupons WHERE coupon_id = $1";

const COUPONS: &str = "
SELECT stock, issued, opens_at, closes_at, coupon_id FROM coupons
ORDER BY issued < stock DESC, issued DESC, coupon_id LIMIT $1";

const COUPONS_NAMED: &str = "
SELECT stock, issued, opens_at, closes_at, coupon_id FROM coupons WHERE coupon_id = ANY($1)";

const CREATE_COUPON: &str = "
INSERT INTO coupons (coupon_id, stock, issued, opens_at, closes_at) VALUES ($1, $2, 0, $3, $4)
ON CONFLICT (coupon_id) DO NOTHING";

const DECISIONS: &str = "
SELECT request_id, coupon_id, user_id, outcome, rank, decided_at
FROM coupon_requests WHERE request_id = ANY($1)";

const LIKE_COUNT: &str = "SELECT count FROM like_counts WHERE target_ocid = $1";

const LIKED: &str = "SELECT liked FROM likes WHERE target_ocid = $1 AND liker_account_id = $2";

impl PostgresStore {
    pub(super) async fn request<T>(
        &self,
        query: impl AsyncFnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, ReadError> {
        transaction::request(&self.requests, self.request_timeout, query).await
    }
}

impl Reads for PostgresStore {
    fn expectations(&self, character: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let rows = sqlx::query(EXPECTATIONS).bind(character.get()).fetch_all(connection).await?;
            rows.iter().map(|row| expectation(character, row)).collect()
        }))
    }

    fn coupon<'a>(&'a self, id: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>> {
        Box::pin(self.request(async move |connection| coupon(connection, id).await))
    }

    fn coupons(&self, at_most: u32) -> BoxFuture<'_, Result<Vec<Coupon>, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let rows = sqlx::query(COUPONS).bind(i64::from(at_most)).fetch_all(connection).await?;
            rows.iter().map(coupon_in).collect()
        }))
    }

    fn coupons_named<'a>(&'a self, ids: &'a [CouponId]) -> BoxFuture<'a, Result<Vec<Coupon>, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let ids = ids.iter().map(CouponId::as_str).bind_iter();
            let rows = sqlx::query(COUPONS_NAMED).bind(ids).fetch_all(connection).await?;
            rows.iter().map(coupon_in).collect()
        }))
    }

    fn create_coupon<'a>(&'a self, terms: &'a NewCoupon) -> BoxFuture<'a, Result<CouponCreated, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let created = sqlx::query(CREATE_COUPON)
                .bind(terms.coupon_id.as_str())
                .bind(terms.stock.get())
                .bind(terms.opens_at.map(Time))
                .bind(terms.closes_at.map(Time))
                .execute(&mut *connection)
                .await?;
            if created.rows_affected() > 0 {
                return Ok(CouponCreated::Created);
            }
            let existing = coupon(connection, &terms.coupon_id).await?;
            existing.map(|existing| existing.compared_with(terms)).ok_or(Error::RowNotFound)
        }))
    }

    fn decisions<'a>(&'a self, requests: &'a [EventId]) -> BoxFuture<'a, Result<Vec<Decision>, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let ids = requests.iter().map(|id| id.as_uuid()).bind_iter();
            let rows = sqlx::query(DECISIONS).bind(ids).fetch_all(connection).await?;
            rows.iter().map(decision).collect()
        }))
    }

    fn like_count<'a>(&'a self, target: &'a TargetOcid) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let query = sqlx::query_scalar(LIKE_COUNT).bind(target.as_str());
            let count: Option<i64> = query.fetch_optional(connection).await?;
            u64::try_from(count.unwrap_or(0)).map_err(Error::decode)
        }))
    }

    fn liked<'a>(
        &'a self,
        target: &'a TargetOcid,
        liker: &'a LikerAccountId,
    ) -> BoxFuture<'a, Result<bool, ReadError>> {
        Box::pin(self.request(async move |connection| {
            let query = sqlx::query_scalar(LIKED).bind(target.as_str()).bind(liker.as_str());
            let liked: Option<bool> = query.fetch_optional(connection).await?;
            Ok(liked.unwrap_or(false))
        }))
    }

    fn schema_state(&self) -> BoxFuture<'_, Result<SchemaState, ReadError>> {
        Box::pin(self.request(async |connection| Ok(SchemaState::of(applied(connection).await?))))
    }
}

async fn coupon(connection: &mut Session, id: &CouponId) -> Result<Option<Coupon>, Error> {
    let row = sqlx::query(COUPON).bind(id.as_str()).fetch_optional(connection).await?;
    row.map(|row| coupon_of(id, &row)).transpose()
}

/// A coupon whose row names it.
fn coupon_in(row: &PgRow) -> Result<Coupon, Error> {
    let id = CouponId::try_from(row.try_get::<String, _>(4)?).map_err(Error::decode)?;
    coupon_of(&id, row)
}

fn coupon_of(id: &CouponId, row: &PgRow) -> Result<Coupon, Error> {
    let stock = |column| -> Result<Stock, Error> {
        Stock::try_from(i64::from(row.try_get::<i32, _>(column)?)).map_err(Error::decode)
    };
    let time = |column| -> Result<Option<Timestamp>, Error> {
        Ok(row.try_get::<Option<Time>, _>(column)?.map(|time| time.0))
    };
    let terms =
        NewCoupon { coupon_id: id.clone(), stock: stock(0)?, opens_at: time(2)?, closes_at: time(3)? };
    Ok(Coupon { terms, issued: stock(1)? })
}

fn expectation(character_id: CharacterId, row: &PgRow) -> Result<ExpectationRow, Error> {
    let cost =
        |column| -> Result<Cost, Error> { row.try_get::<&str, _>(column)?.parse().map_err(Error::decode) };
    Ok(ExpectationRow {
        character_id,
        preset_no: PresetNo::try_from(i64::from(row.try_get::<i16, _>(0)?)).map_err(Error::decode)?,
        total_expected_cost: cost(1)?,
        black_cube_cost: cost(2)?,
        red_cube_cost: cost(3)?,
        additional_cube_cost: cost(4)?,
        starforce_cost: cost(5)?,
        version: row.try_get(6)?,
        calculated_at: row.try_get::<Time, _>(7)?.0,
        event_id: row.try_get::<Uuid, _>(8)?.into(),
        updated_at: row.try_get::<Time, _>(9)?.0,
    })
}

fn decision(row: &PgRow) -> Result<Decision, Error> {
    let status = row.try_get::<&str, _>(3)?;
    Ok(Decision {
        request_id: row.try_get::<Uuid, _>(0)?.into(),
        coupon_id: CouponId::try_from(row.try_get::<String, _>(1)?).map_err(Error::decode)?,
        user_id: UserId::try_from(row.try_get::<String, _>(2)?).map_err(Error::decode)?,
        status: DecisionStatus::named(status).ok_or_else(|| Error::decode("an unknown outcome"))?,
        rank: row.try_get(4)?,
        decided_at: row.try_get::<Time, _>(5)?.0,
    })
}
