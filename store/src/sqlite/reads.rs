//! The reads, and creating a coupon: by primary key, on connections that cannot write.

use floodgate_schemas::{
    CharacterId, Cost, CouponId, EventId, LikerAccountId, PresetNo, TargetOcid, Timestamp, UserId,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Error, Row};

use super::{SqliteStore, applied, event_id, json, time};
use crate::transaction;
use crate::{
    BoxFuture, Coupon, CouponCreated, Decision, DecisionStatus, ExpectationRow, NewCoupon, ReadError, Reads,
    SchemaState, Stock,
};

const EXPECTATIONS: &str = "
SELECT preset_no, total_expected_cost, black_cube_cost, red_cube_cost, additional_cube_cost, starforce_cost,
    version, calculated_at, event_id, updated_at
FROM expectations WHERE character_id = ?1 ORDER BY preset_no";

const COUPON: &str = "SELECT stock, issued, opens_at, closes_at FROM coupons WHERE coupon_id = ?1";

const COUPONS: &str = "
SELECT stock, issued, opens_at, closes_at, coupon_id FROM coupons
ORDER BY issued < stock DESC, issued DESC, coupon_id LIMIT ?1";

const COUPONS_NAMED: &str = "
SELECT stock, issued, opens_at, closes_at, coupon_id
FROM coupons WHERE coupon_id IN (SELECT value FROM json_each(?1))";

const CREATE_COUPON: &str = "
INSERT INTO coupons (coupon_id, stock, issued, opens_at, closes_at) VALUES (?1, ?2, 0, ?3, ?4)
ON CONFLICT (coupon_id) DO NOTHING";

const DECISIONS: &str = "
SELECT request_id, coupon_id, user_id, outcome, rank, decided_at
FROM coupon_requests WHERE request_id IN (SELECT value FROM json_each(?1))";

const LIKE_COUNT: &str = "SELECT count FROM like_counts WHERE target_ocid = ?1";

const LIKED: &str = "SELECT liked FROM likes WHERE target_ocid = ?1 AND liker_account_id = ?2";

impl SqliteStore {
    pub(super) async fn read<T>(
        &self,
        query: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Error>,
    ) -> Result<T, ReadError> {
        transaction::request(&self.readers, self.request_timeout, query).await
    }
}

impl Reads for SqliteStore {
    fn expectations(&self, character: CharacterId) -> BoxFuture<'_, Result<Vec<ExpectationRow>, ReadError>> {
        Box::pin(self.read(async move |connection| {
            let rows = sqlx::query(EXPECTATIONS).bind(character.get()).fetch_all(connection).await?;
            rows.iter().map(|row| expectation(character, row)).collect()
        }))
    }

    fn coupon<'a>(&'a self, id: &'a CouponId) -> BoxFuture<'a, Result<Option<Coupon>, ReadError>> {
        Box::pin(self.read(async move |connection| coupon(connection, id).await))
    }

    fn coupons(&self, at_most: u32) -> BoxFuture<'_, Result<Vec<Coupon>, ReadError>> {
        Box::pin(self.read(async move |connection| {
            let rows = sqlx::query(COUPONS).bind(i64::from(at_most)).fetch_all(connection).await?;
            rows.iter().map(coupon_in).collect()
        }))
    }

    fn coupons_named<'a>(&'a self, ids: &'a [CouponId]) -> BoxFuture<'a, Result<Vec<Coupon>, ReadError>> {
        Box::pin(self.read(async move |connection| {
            let ids = json(ids.iter().map(CouponId::as_str))?;
            let rows = sqlx::query(COUPONS_NAMED).bind(ids).fetch_all(connection).await?;
            rows.iter().map(coupon_in).collect()
        }))
    }

    fn create_coupon<'a>(&'a self, terms: &'a NewCoupon) -> BoxFuture<'a, Result<CouponCreated, ReadError>> {
        let create = async move |connection: &mut SqliteConnection| {
            let created = sqlx::query(CREATE_COUPON)
                .bind(terms.coupon_id.as_str())
                .bind(terms.stock.get())
                .bind(terms.opens_at.map(Timestamp::as_micros))
                .bind(terms.closes_at.map(Timestamp::as_micros))
                .execute(&mut *connection)
                .await?;
            if created.rows_affected() > 0 {
                return Ok(CouponCreated::Created);
            }
            let existing = coupon(connection, &terms.coupon_id).await?;
            existing.map(|existing| existing.compared_with(terms)).ok_or(Error::RowNotFound)
        };
        Box::pin(transaction::request(&self.writer, self.request_timeout, create))
    }

    fn decisions<'a>(&'a self, requests: &'a [EventId]) -> BoxFuture<'a, Result<Vec<Decision>, ReadError>> {
        Box::pin(self.read(async move |connection| {
            let rows = sqlx::query(DECISIONS).bind(json(requests)?).fetch_all(connection).await?;
            rows.iter().map(decision).collect()
        }))
    }

    fn like_count<'a>(&'a self, target: &'a TargetOcid) -> BoxFuture<'a, Result<u64, ReadError>> {
        Box::pin(self.read(async move |connection| {
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
        Box::pin(self.read(async move |connection| {
            let query = sqlx::query_scalar(LIKED).bind(target.as_str()).bind(liker.as_str());
            let liked: Option<bool> = query.fetch_optional(connection).await?;
            Ok(liked.unwrap_or(false))
        }))
    }

    fn schema_state(&self) -> BoxFuture<'_, Result<SchemaState, ReadError>> {
        Box::pin(async {
            if !self.exists().await {
                return Ok(SchemaState::Missing);
            }
            self.read(async |connection| Ok(SchemaState::of(applied(connection).await?))).await
        })
    }
}

async fn coupon(connection: &mut SqliteConnection, id: &CouponId) -> Result<Option<Coupon>, Error> {
    let row = sqlx::query(COUPON).bind(id.as_str()).fetch_optional(connection).await?;
    row.map(|row| coupon_of(id, &row)).transpose()
}

/// A coupon whose row names it.
fn coupon_in(row: &SqliteRow) -> Result<Coupon, Error> {
    let id = CouponId::try_from(row.try_get::<String, _>(4)?).map_err(Error::decode)?;
    coupon_of(&id, row)
}

fn coupon_of(id: &CouponId, row: &SqliteRow) -> Result<Coupon, Error> {
    let stock = |column| -> Result<Stock, Error> {
        Stock::try_from(row.try_get::<i64, _>(column)?).map_err(Error::decode)
    };
    let time = |column| -> Result<Option<Timestamp>, Error> {
        row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros).transpose().map_err(Error::decode)
    };
    let terms =
        NewCoupon { coupon_id: id.clone(), stock: stock(0)?, opens_at: time(2)?, closes_at: time(3)? };
    Ok(Coupon { terms, issued: stock(1)? })
}

fn expectation(character_id: CharacterId, row: &SqliteRow) -> Result<ExpectationRow, Error> {
    let cost =
        |column| -> Result<Cost, Error> { row.try_get::<&str, _>(column)?.parse().map_err(Error::decode) };
    Ok(ExpectationRow {
        character_id,
        preset_no: PresetNo::try_from(row.try_get::<i64, _>(0)?).map_err(Error::decode)?,
        total_expected_cost: cost(1)?,
        black_cube_cost: cost(2)?,
        red_cube_cost: cost(3)?,
        additional_cube_cost: cost(4)?,
        starforce_cost: cost(5)?,
        version: row.try_get(6)?,
        calculated_at: time(row, 7)?,
        event_id: event_id(row, 8)?,
        updated_at: time(row, 9)?,
    })
}

fn decision(row: &SqliteRow) -> Result<Decision, Error> {
    let status = row.try_get::<&str, _>(3)?;
    Ok(Decision {
        request_id: event_id(row, 0)?,
        coupon_id: CouponId::try_from(row.try_get::<String, _>(1)?).map_err(Error::decode)?,
        user_id: UserId::try_from(row.try_get::<String, _>(2)?).map_err(Error::decode)?,
        status: DecisionStatus::named(status).ok_or_else(|| Error::decode("an unknown outcome"))?,
        rank: row.try_get(4)?,
        decided_at: time(row, 5)?,
    })
}
