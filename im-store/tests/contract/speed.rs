//! How fast each engine stores here; it judges nothing. Run it alone:
//! `cargo test --release -p im-store --test contract -- --ignored --nocapture speed`.

use std::time::Duration;

use im_store::engine::Engine as _;
use protocol::{AccountId, ConversationId};
use tokio::time::Instant;

use crate::backend::{Backend, MySql, Sqlite};
use crate::writer::{start, text};

const SENDERS: u64 = 500;
const FOR: Duration = Duration::from_secs(5);

#[expect(clippy::print_stdout, reason = "it is for whoever runs it by hand")]
async fn measure<B: Backend>(name: &str) {
    let backend = B::start().await;
    let (writer, task) = start(&backend).await;
    let until = Instant::now() + FOR;
    let senders: Vec<_> = (1..=SENDERS)
        .map(|sender| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let to = ConversationId::pair(AccountId(1000 + sender % 50), AccountId(2000));
                let sender = 1000 + sender % 50;
                let mut sent = 0_u64;
                while Instant::now() < until {
                    let message = message(to, sender);
                    writer.append(message).await.unwrap();
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.unwrap();
    }
    drop(writer);
    let commits = task.await.unwrap().commits();
    let rate = sent / FOR.as_secs();
    println!("{name}: {rate} appends/s, {sent} appends in {commits} commits");
}

fn message(to: ConversationId, sender: u64) -> im_store::shard::Append {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 10];
    random[2..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    im_store::shard::Append {
        sender: AccountId(sender),
        message_id: protocol::ClientMessageId::new(crate::writer::NOW_MS, random),
        ..text(to, 1, 0, &"x".repeat(200))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn appends_per_second_on_each_engine() {
    measure::<Sqlite>("sqlite").await;
    measure::<MySql>("mariadb").await;
}
