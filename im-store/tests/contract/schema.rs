//! Whose database it is, and how old.

use im_store::engine::EngineError;

use crate::backend::Backend;
use crate::writer::{history, pair, start, text};

pub(crate) async fn a_foreign_database_is_refused_and_left_alone(backend: &impl Backend) {
    backend.execute("CREATE TABLE photos (id INTEGER)").await;
    let refused = backend.try_engine().await.err().unwrap();
    assert!(matches!(refused, EngineError::Foreign), "{refused}");
    // Nothing of ours was made in it: without its table it is empty.
    backend.execute("DROP TABLE photos").await;
    drop(backend.engine().await);
}

pub(crate) async fn a_newer_schema_is_refused(backend: &impl Backend) {
    drop(backend.engine().await);
    backend.set_version(2).await;
    let refused = backend.try_engine().await.err().unwrap();
    let newer = EngineError::Newer { found: 2, known: 1 };
    assert_eq!(refused.to_string(), newer.to_string());
}

pub(crate) async fn a_database_is_opened_again_and_again(backend: &impl Backend) {
    for id in 1..=3 {
        let (writer, task) = start(backend).await;
        let stored = writer.append(text(pair(), 1, id, "x")).await.unwrap();
        assert_eq!(stored.sequence.0, u64::from(id));
        drop(writer);
        task.await.unwrap();
    }
    assert_eq!(history(backend, pair(), 1).await.entries.len(), 3);
}
