//! Making the schema, and telling its states apart.

use super::subject::Subject;
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
        assert_eq!(report.to, 2);
        from.push(report.from);
    }
    assert!(from.contains(&None), "{from:?}");
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
    let again = migrate(subject.config()).await;
    assert_eq!(again, Ok(MigrationReport { from: Some(2), to: 2 }));

    subject.sql("UPDATE floodgate_migrations SET version = 3 WHERE version = 2").await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Newer));
    assert_eq!(migrate(subject.config()).await, Err(MigrateError::Newer { found: 3, known: 2 }));
    // what the first build left behind
    subject.sql("DELETE FROM floodgate_migrations WHERE version = 3").await;
    subject.sql("DROP TABLE floodgate_identity").await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Older));
    assert_eq!(migrate(subject.config()).await, Ok(MigrationReport { from: Some(1), to: 2 }));
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
    assert_eq!(subject.sql("SELECT count(*) FROM floodgate_identity").await, Some(1));
}
