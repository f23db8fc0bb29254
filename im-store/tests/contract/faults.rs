//! What a server can do to a store: die, lose an answer, let it wait, be set up wrongly.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use im_store::engine::{Engine, EngineError, Readers};
use im_store::mysql::{Address, MySqlEngine};
use im_store::shard::Append;
use im_store::stream;
use im_store::writer::{self, Writer};
use protocol::{AccountId, ConversationId, ErrorCode};
use service_kit::testing::Authority;
use sqlx::{Connection as _, MySqlConnection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backend::{Backend, MySql};
use crate::cut::{Line, Next};
use crate::writer::{NOW_MS, all, history, own, pair, start, text};

async fn over(line: &Line) -> MySqlEngine {
    let url = format!("mysql://root@{}/im?ssl-mode=DISABLED", line.address);
    MySqlEngine::open(&url.parse().unwrap()).await.unwrap()
}

async fn lines() -> (MySql, Line) {
    let backend = MySql::start().await;
    let line = Line::to((Ipv4Addr::LOCALHOST, backend.server.port()).into()).await;
    (backend, line)
}

/// Stored or not, the same send has one outcome: it is read back before it is answered.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_read_back() {
    let (backend, line) = lines().await;
    let (writer, _task) = own(over(&line).await);
    let faults = [
        Next::LoseAnswer,
        Next::LoseCommit,
        Next::Delay,
        Next::LoseAnswer,
    ];
    for (id, next) in (1..).zip(faults) {
        line.at_the_next_commit(next);
        let stored = writer.append(text(pair(), 1, id, "喂")).await.unwrap();
        assert_eq!(stored.sequence.0, u64::from(id), "{next:?}");
        let found = next != Next::LoseCommit;
        assert_eq!(stored.duplicate, found, "{next:?}");
    }
    let log = history(&backend, pair(), 1).await;
    assert_eq!((log.head.0, log.entries.len()), (4, 4));
}

/// Meanwhile its deadline passes: refusing it would be wrong, for it is stored.
#[tokio::test]
async fn a_commit_under_way_is_waited_for_before_anything_is_refused() {
    let (backend, line) = lines().await;
    let (sink, _) = stream::new();
    let (writer, task) = writer::new(over(&line).await, sink);
    let looks = AtomicU64::new(0);
    tokio::spawn(task.run(move || NOW_MS + 60_000 * looks.fetch_add(1, Ordering::Relaxed)));
    line.at_the_next_commit(Next::Delay);
    let urgent = Append {
        deliver_before_ms: NOW_MS + 1000,
        ..text(pair(), 1, 1, "停")
    };
    let stored = writer.append(urgent).await.unwrap();
    assert_eq!((stored.sequence.0, stored.duplicate), (1, true));
    assert_eq!(history(&backend, pair(), 1).await.entries.len(), 1);
}

/// To the server, an owner that was stopped between INSERT and COMMIT is one that says nothing.
#[tokio::test]
async fn a_stopped_owner_holds_the_others_up_for_a_bounded_time() {
    let (backend, line) = lines().await;
    let (stopped, _stopped_task) = own(over(&line).await);
    let (other, _other_task) = start(&backend).await;
    other.append(text(pair(), 2, 1, "x")).await.unwrap();
    line.at_the_next_commit(Next::Stall);
    let began = Instant::now();
    let its = tokio::spawn(async move { stopped.append(text(pair(), 1, 1, "x")).await });
    line.stalled().await;
    let stored = other.append(text(pair(), 2, 2, "y")).await.unwrap();
    assert_eq!(stored.sequence.0, 2);
    assert!(began.elapsed() < Duration::from_secs(10));
    // It goes on, finds its rows gone, and stores them anew.
    assert_eq!(its.await.unwrap().unwrap().sequence.0, 3);
}

/// Asks until the server has a transaction that waits for a row.
async fn until_one_waits(backend: &MySql) {
    let mut session = backend.server.session("im").await.unwrap();
    loop {
        let status = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
        let waits: (String, String) = sqlx::query_as(status)
            .fetch_one(&mut session)
            .await
            .unwrap();
        if waits.1 != "0" {
            return;
        }
    }
}

async fn run(session: &mut MySqlConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(session).await.unwrap();
}

#[tokio::test]
async fn waiting_for_a_row_is_bounded_and_refused_as_not_stored() {
    let backend = MySql::start().await;
    let (writer, _task) = start(&backend).await;
    writer.append(text(pair(), 1, 1, "x")).await.unwrap();
    let mut session = backend.server.session("im").await.unwrap();
    run(&mut session, "BEGIN").await;
    run(&mut session, "UPDATE conversations SET name = name").await;
    let began = Instant::now();
    let refused = writer.append(text(pair(), 1, 2, "x")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(15));
    run(&mut session, "ROLLBACK").await;
    let stored = writer.append(text(pair(), 1, 2, "x")).await.unwrap();
    assert_eq!((stored.sequence.0, stored.duplicate), (2, false));
}

/// The server ends one of two transactions that wait for each other: ours, which wrote less.
#[tokio::test]
async fn a_deadlock_is_decided_anew() {
    let backend = MySql::start().await;
    let mut engine = backend.engine().await;
    let pairs = [2, 3].map(|other| ConversationId::pair(AccountId(1), AccountId(other)));
    let (writer, task) = own(engine);
    for pair in pairs {
        writer.append(text(pair, 1, 1, "x")).await.unwrap();
    }
    drop(writer);
    engine = task.await.unwrap();
    let mut session = backend.server.session("im").await.unwrap();
    run(&mut session, "CREATE TABLE weight (n INT) ENGINE = InnoDB").await;
    run(&mut session, "BEGIN").await;
    run(
        &mut session,
        "INSERT INTO weight SELECT seq FROM seq_1_to_1000",
    )
    .await;
    let last = "UPDATE conversations SET name = name ORDER BY id DESC LIMIT 1";
    run(&mut session, last).await;

    let batch = pairs.map(|pair| text(pair, 1, 2, "y"));
    let known = engine.look_up(&batch, &Default::default()).await.unwrap();
    let plan = im_store::shard::plan(&batch, |_| [0; 16], &known, NOW_MS);
    let commit = async {
        let lost = engine.commit(&batch, &plan, NOW_MS).await.unwrap_err();
        assert!(matches!(lost, EngineError::Lost), "{lost}");
    };
    let meet = async {
        until_one_waits(&backend).await;
        let first = "UPDATE conversations SET name = name ORDER BY id LIMIT 1";
        run(&mut session, first).await;
    };
    tokio::join!(commit, meet);
    run(&mut session, "COMMIT").await;
    let known = engine.look_up(&batch, &Default::default()).await.unwrap();
    let plan = im_store::shard::plan(&batch, |_| [0; 16], &known, NOW_MS);
    engine.commit(&batch, &plan, NOW_MS).await.unwrap();
    for pair in pairs {
        assert_eq!(history(&backend, pair, 1).await.head.0, 2);
    }
}

const MESSAGES: u16 = 400;

/// One robot: its messages one after the other, each until it is acknowledged.
fn send_all(writer: Writer, sender: u64, acks: mpsc::Sender<()>) -> JoinHandle<BTreeMap<u16, u64>> {
    tokio::spawn(async move {
        let conversation = ConversationId::pair(AccountId(sender), AccountId(99));
        let mut acked = BTreeMap::new();
        for id in 0..MESSAGES {
            let stored = loop {
                match writer.append(text(conversation, sender, id, "x")).await {
                    Ok(stored) => break stored,
                    Err(refusal) => assert!(
                        matches!(
                            refusal.code,
                            ErrorCode::Unavailable | ErrorCode::OutcomeUnknown
                        ),
                        "{refusal}"
                    ),
                }
            };
            acked.insert(id, stored.sequence.0);
            acks.send(()).await.unwrap();
        }
        acked
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_again_and_again_loses_nothing_acknowledged() {
    let mut backend = MySql::start().await;
    let readers = backend.readers().await;
    let (writer, _task) = start(&backend).await;
    let (acks, mut acknowledged) = mpsc::channel(64);
    let senders: Vec<_> = (1..=4)
        .map(|sender| (sender, send_all(writer.clone(), sender, acks.clone())))
        .collect();
    drop(acks);
    let mut count = 0;
    while acknowledged.recv().await.is_some() {
        count += 1;
        if count % 400 == 0 && count < 1600 {
            backend.server.restart(&[]).await.unwrap();
        }
    }
    assert_eq!(count, 4 * u32::from(MESSAGES));
    for (sender, task) in senders {
        let acked = task.await.unwrap();
        let conversation = ConversationId::pair(AccountId(sender), AccountId(99));
        let account = AccountId(sender);
        // The connections of before the kills: they are made anew.
        let log = readers.history(conversation, account, all());
        let log = log.await.unwrap().unwrap();
        let numbers = log.entries.iter().map(|entry| entry.sequence);
        assert!(numbers.eq(1..=u64::from(MESSAGES)));
        for (id, sequence) in acked {
            let at = usize::try_from(sequence).unwrap() - 1;
            let sent = text(conversation, sender, id, "x").message_id;
            assert_eq!(log.entries[at].client_message_id, sent.to_bytes());
        }
    }
}

#[tokio::test]
async fn a_server_that_may_lose_or_cut_is_refused() {
    let mut backend = MySql::start().await;
    for (setting, name) in [
        (
            "--innodb-flush-log-at-trx-commit=2",
            "innodb_flush_log_at_trx_commit",
        ),
        ("--max-allowed-packet=1M", "max_allowed_packet"),
    ] {
        backend.server.restart(&[setting]).await.unwrap();
        let refused = backend.try_engine().await.err().unwrap();
        let named = matches!(refused, EngineError::Setting { name: of, .. } if of == name);
        assert!(named, "{refused}");
    }
    backend.server.restart(&[]).await.unwrap();
    drop(backend.engine().await);
}

#[tokio::test]
async fn the_server_proves_who_it_is_when_asked_to() {
    let (mut backend, authority) = (MySql::start().await, Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let files = authority.files(folder.path(), "localhost");
    let arguments = [
        format!("--ssl-cert={}", files.certificate.display()),
        format!("--ssl-key={}", files.key.display()),
    ];
    backend
        .server
        .restart(&[&arguments[0][..], &arguments[1][..]])
        .await
        .unwrap();
    let open = async |host: &str, parameters: &str| {
        let port = backend.server.port();
        let url = format!("mysql://root@{host}:{port}/im?ssl-mode={parameters}");
        MySqlEngine::open(&url.parse::<Address>().unwrap()).await
    };
    let ca = files.ca.display();
    let known = format!("VERIFY_IDENTITY&ssl-ca={ca}");
    open("localhost", &known).await.unwrap();
    open("localhost", "VERIFY_IDENTITY").await.unwrap_err();
    open("127.0.0.1", &known).await.unwrap_err();
    open("127.0.0.1", "REQUIRED").await.unwrap();
    let session = MySqlConnection::connect(&backend.server.url("im?ssl-mode=REQUIRED"));
    let mut session = session.await.unwrap();
    let cipher: (String, String) = sqlx::query_as("SHOW STATUS LIKE 'Ssl_cipher'")
        .fetch_one(&mut session)
        .await
        .unwrap();
    assert!(!cipher.1.is_empty());
}
