//! Whose database it is, and how old.

use im_store::engine::{EngineError, Readers as _};

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
    let known = im_store::sqlite::SCHEMA_VERSION;
    assert_eq!(known, im_store::mysql::SCHEMA_VERSION);
    let found = known + 1;
    backend.set_version(found).await;
    let refused = backend.try_engine().await.err().unwrap();
    let newer = EngineError::Newer { found, known };
    assert_eq!(refused.to_string(), newer.to_string());
}

pub(crate) async fn a_database_of_the_first_version_is_brought_to_this_one(backend: &impl Backend) {
    backend.make_first_version().await;
    let id = "00000000000000010000000000000002";
    backend
        .execute(&format!(
            "INSERT INTO conversations VALUES (X'{id}', 2, 0, 0, '', FALSE, 0); \
             INSERT INTO members VALUES (X'{id}', 1, 0, NULL), (X'{id}', 2, 0, NULL); \
             INSERT INTO messages VALUES \
             (X'{id}', 1, 1, X'{id}', 1, X'6265666f7265', 3, 0, 5), \
             (X'{id}', 2, 1, X'{id}', 1, X'e58f88', 3, 0, 5)"
        ))
        .await;
    let (writer, _task) = start(backend).await;
    let stored = writer.append(text(pair(), 1, 1, "after")).await.unwrap();
    assert_eq!(stored.sequence.0, 3);
    let log = history(backend, pair(), 2).await;
    assert_eq!((log.entries.len(), log.trimmed.0), (3, 0));
    let logs = backend.readers().await.logs(&[], 9).await.unwrap();
    assert_eq!(logs[0].bytes, "before又after".len() as u64);
    drop(backend.engine().await);
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
