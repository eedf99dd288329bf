//! Applies batches of events to a database, exactly once, and answers the reads. The only crate with SQL.
//!
//! # The hard idea
//!
//! Events come at least once: after a crash, a lost commit or a move of a partition, any stretch of what was
//! applied before comes again, cut into other batches. Nothing here remembers offsets. What makes a repeat
//! harmless is the shape of the rows themselves:
//!
//! * **Expectations and likes** keep on each row the *rank* of the event that wrote it (version or time,
//!   then event id). An event takes effect only if its rank is greater than the standing one. Applying is
//!   then taking a maximum, which may be repeated, reordered and regrouped at will.
//! * **Like counters** are not idempotent by nature; a counter moves by what the rows of the same transaction
//!   *really* did, never by what the events asked for. So it always equals the number of liked rows.
//! * **Coupons** depend on order, so the first decision is written down under its request id, in the
//!   transaction that takes the stock, and a repeat finds it there.
//!
//! One batch is one transaction of a constant number of set-based statements: a transaction is all or nothing
//! (so that a batch may be retried after any failure, even one that struck while committing), and round trips
//! cost more than rows. Within a batch, events on one row are first reduced to the one that wins.
//!
//! Two consumers may hold the same keys for a moment while a partition moves. Each step therefore takes its
//! row locks in one statement, in key order, and the steps come in the same order everywhere: no two batches
//! can wait for each other in a circle.
//!
//! # Where things are
//!
//! The rules (who wins in a batch, what a coupon request gets) are plain functions in `compaction` and `coupon`,
//! shared by all databases. `connections` and `transaction` run a batch under deadlines, `ground` notices when the database
//! is another one than before, `dialect` says what they need of each. Each database has a folder with its SQL, what makes it unfit (`site`), and a table of whose
//! fault its errors are (`blame`). [`open()`] holds the table of databases by the schemes of their URLs; adding one is a
//! folder and a line there. The suite that each must pass is in `contract`.

mod audit;
mod call;
mod compaction;
mod config;
mod connections;
#[cfg(feature = "contract")]
pub mod contract;
mod coupon;
mod database;
mod dialect;
mod forget;
mod ground;
mod like;
mod migrations;
mod open;
mod postgres;
mod recount;
mod reset;
mod rows;
mod sqlite;
mod store;
mod transaction;

pub use audit::{Audit, Difference, Discrepancies, Discrepancy, EventStatus, Recount, Repair};
pub use call::{ApplyError, BoxFuture, ReadError};
pub use config::{Config, OpenError, Pooler};
pub use forget::{Forget, Forgotten};
pub use migrations::{MigrateError, MigrationReport, SchemaState};
pub use open::{migrate, open, system};
pub use reset::{Reset, RowKey, RowRank};
pub use rows::{
    Coupon, CouponCreated, Decision, DecisionStatus, ExpectationRow, InvalidStock, NewCoupon, Stock,
};
pub use store::{Apply, ApplyOutcome, Pool, Reads, RegisteredSchemas, Site, Store};
