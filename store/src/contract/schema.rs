//! Making the schema, and telling its states apart.

use super::Subject;
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
        assert_eq!(report.to, 1);
        from.push(report.from);
    }
    assert!(from.contains(&None), "{from:?}");
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
    let again = migrate(subject.config()).await;
    assert_eq!(again, Ok(MigrationReport { from: Some(1), to: 1 }));

    subject.sql("UPDATE floodgate_migrations SET version = 2").await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Newer));
    assert_eq!(migrate(subject.config()).await, Err(MigrateError::Newer { found: 2, known: 1 }));
    subject.sql("UPDATE floodgate_migrations SET version = 0").await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Older));
    subject.sql("UPDATE floodgate_migrations SET version = 1").await;
    assert_eq!(store.schema_state().await, Ok(SchemaState::Current));
}
