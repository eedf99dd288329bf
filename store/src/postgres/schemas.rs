//! The registry's schemas that are remembered.

use sqlx::Error;

use super::PostgresStore;
use super::session::Session;
use crate::transaction;
use crate::{BoxFuture, ReadError, RegisteredSchemas};

const SCHEMA: &str = "SELECT schema FROM registry_schemas WHERE id = $1";

const REMEMBER: &str =
    "INSERT INTO registry_schemas (id, schema) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";

impl RegisteredSchemas for PostgresStore {
    fn registered_schema(&self, id: u32) -> BoxFuture<'_, Result<Option<String>, ReadError>> {
        Box::pin(self.request(async move |connection| registered(connection, id).await))
    }

    fn remember_schema<'a>(&'a self, id: u32, schema: &'a str) -> BoxFuture<'a, Result<String, ReadError>> {
        let remember = async move |connection: &mut Session| {
            sqlx::query(REMEMBER).bind(i64::from(id)).bind(schema).execute(&mut *connection).await?;
            registered(connection, id).await?.ok_or(Error::RowNotFound)
        };
        Box::pin(transaction::request(&self.requests, self.request_timeout, remember))
    }
}

async fn registered(connection: &mut Session, id: u32) -> Result<Option<String>, Error> {
    sqlx::query_scalar(SCHEMA).bind(i64::from(id)).fetch_optional(connection).await
}
