//! Making the schema, and telling its states apart.

use super::subject::Subject;
use crate::migrations::NEWEST;
use crate::{MigrateError, MigrationReport, SchemaState, migrate};

/// From an empty database (or none) through every state: any number may migrate at once, and again.
pub async fn states_and_migrations(subject: &dyn Subject) {
    let store = subject.store();
    assert_eq!(store.schema_state().await, Ok(SchemaState::Missing));

    let racers: Vec<_> = (0..4)
        .map(|_| {
            let config = subject.config().clone();
            tokio::spawn(async move { migrate(&config).await })
        })
        .collect();
    let mut from = Vec::new();
    for racer in racers {
        let report = racer.await.expect("no panic").expect("a migration");
        assert_eq!(report.to, NEWEST);
        from.push(report.from);
    }
    assert!(from.contains(&None), "{from:?}");
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
    let again = migrate(subject.config()).await;
    assert_eq!(again, Ok(MigrationReport { from: Some(NEWEST), to: NEWEST }));

    let newer = format!("UPDATE floodgate_migrations SET version = {} WHERE version = {NEWEST}", NEWEST + 1);
    subject.sql(&newer).await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Newer));
    let refused = MigrateError::Newer { found: NEWEST + 1, known: NEWEST };
    assert_eq!(migrate(subject.config()).await, Err(refused));
    // what the first build left behind
    subject.sql("DELETE FROM floodgate_migrations WHERE version > 1").await;
    subject.sql("DROP TABLE floodgate_identity").await;
    subject.sql("DROP TABLE registry_schemas").await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Older));
    assert_eq!(migrate(subject.config()).await, Ok(MigrationReport { from: Some(1), to: NEWEST }));
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
    assert_eq!(subject.sql("SELECT count(*) FROM floodgate_identity").await, Some(1));
}

/// The first schema of a number stays, whoever says otherwise.
pub async fn registered_schemas(subject: &dyn Subject) {
    let store = subject.store();
    assert_eq!(store.registered_schema(7).await, Ok(None));
    let keep = async |id, schema: &str| store.remember_schema(id, schema).await;
    assert_eq!(keep(7, "\"int\"").await.as_deref(), Ok("\"int\""));
    assert_eq!(keep(7, "\"long\"").await.as_deref(), Ok("\"int\""));
    assert_eq!(keep(u32::MAX, "\"käse\"").await.as_deref(), Ok("\"käse\""));
    assert_eq!(store.registered_schema(7).await, Ok(Some("\"int\"".to_owned())));
    assert_eq!(store.registered_schema(8).await, Ok(None));
}
