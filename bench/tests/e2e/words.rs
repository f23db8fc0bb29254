//! The word lists of a fleet: what they block is not stored, what they mask is stored masked, and a
//! change of them makes no message another that was stored before.

use std::path::Path;

use bench::cluster::Cluster;
use bench::wait::metric_at_least;
use client_sdk::Outgoing;
use deploy::tiers::Tier;
use futures_util::StreamExt as _;
use protocol::ConversationId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::http_client::{Web, body};
use crate::people::{Group, said, text};

const NONE: &str = "";

fn list(action: &str, words: &str) -> String {
    format!("[[list]]\nname = \"名单\"\naction = \"{action}\"\nwords = [{words}]\n")
}

struct Fleet {
    cluster: Cluster,
    file: std::path::PathBuf,
    /// How often the lists were read.
    read: u64,
}

impl Fleet {
    async fn start(folder: &Path, lists: &str) -> Self {
        let file = folder.join("words.toml");
        std::fs::write(&file, lists).unwrap();
        let rules = ("IM_LOGIC__CONTENT__RULES", file.to_str().unwrap());
        let own = tempfile::tempdir().unwrap();
        let cluster = Cluster::start_told(own, &[], &[rules]).await.unwrap();
        // Once to start, once because it might have changed since.
        let fleet = Self {
            cluster,
            file,
            read: 2,
        };
        fleet.counted("im_logic_content_rules_read_total", 2).await;
        fleet
    }

    async fn counted(&self, counter: &str, least: u64) {
        let counted = metric_at_least(&self.cluster, Tier::Logic, counter, least);
        counted.await.unwrap();
    }

    async fn change(&mut self, lists: &str) {
        std::fs::write(&self.file, lists).unwrap();
        self.read += 1;
        let counter = "im_logic_content_rules_read_total";
        self.counted(counter, self.read).await;
    }
}

async fn send(web: &Web, to: ConversationId, id: u8, words: &str) -> (StatusCode, Value) {
    // The same id for the same number, so that it can be repeated.
    static BEGAN: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    let began = *BEGAN.get_or_init(service_kit::clock::unix_ms);
    let id = protocol::ClientMessageId::new(began, [id; 10]);
    web.send(&body(to, id, words)).await
}

#[tokio::test]
async fn a_change_of_the_lists_holds_for_what_is_new_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path(), NONE).await;
    let mut group = Group::make(&fleet.cluster).await;
    let to = group.conversation;
    let web = Web::new(&fleet.cluster, "ana");
    let (status, plain) = send(&web, to, 1, "你是笨蛋").await;
    assert_eq!(status, StatusCode::OK, "{plain}");

    fleet.change(&list("mask", r#""笨蛋", "idiot""#)).await;
    let (_, again) = send(&web, to, 1, "你是笨蛋").await;
    assert_eq!(again["sequence"], plain["sequence"]);
    assert_eq!(again["duplicate"], true);
    let (status, masked) = send(&web, to, 2, "Idiot! 笨蛋！").await;
    assert_eq!(status, StatusCode::OK, "{masked}");

    fleet.change(&list("block", r#""笨蛋", "idiot""#)).await;
    for (id, words, first) in [(1, "你是笨蛋", &plain), (2, "Idiot! 笨蛋！", &masked)] {
        let (status, again) = send(&web, to, id, words).await;
        assert_eq!(status, StatusCode::OK, "{again}");
        assert_eq!(again["sequence"], first["sequence"]);
        assert_eq!(again["duplicate"], true);
    }
    // The masked form under the same id is another message.
    let (status, _) = send(&web, to, 2, "*****! **！").await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, blocked) = send(&web, to, 3, "笨蛋").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(blocked["error"]["code"], "CONTENT_BLOCKED");
    assert_eq!(blocked["error"]["number"], 34);
    let ephemeral = json!({
        "conversation_id": to.to_string(),
        "content": { "kind": "text", "text": "笨蛋" },
        "ephemeral_key": "正在输入",
    });
    assert_eq!(
        web.send(&ephemeral).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );

    // What makes no sense changes nothing, and a mended file does.
    std::fs::write(&fleet.file, "[[list]]\nname = 1").unwrap();
    fleet.counted("im_logic_content_rules_kept_total", 1).await;
    let (status, _) = send(&web, to, 3, "笨蛋").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    fleet.change(&list("flag", r#""笨蛋""#)).await;
    let (status, flagged) = send(&web, to, 3, "笨蛋").await;
    assert_eq!(status, StatusCode::OK, "{flagged}");
    fleet.counted("im_logic_content_found_total", 6).await;

    // By TCP it is the same, and everybody has heard it masked.
    let last = group
        .ana
        .client
        .send(to, text("完"))
        .await
        .unwrap()
        .sequence;
    let heard = group.bo.hear_up_to(to, last).await;
    let texts: Vec<_> = heard
        .iter()
        .skip_while(|m| m.sequence.0 == 1)
        .map(said)
        .collect();
    assert_eq!(texts, ["你是笨蛋", "*****! **！", "笨蛋", "完"]);
}

/// Texts of a round, sent as fast as they are acknowledged.
const TEXTS: usize = 20_000;

/// Rounds on each cluster, in turn.
const ROUNDS: usize = 5;

/// Five thousand words that nobody says.
fn many_words() -> String {
    let words = (0..2_500).map(|n| format!("\"禁词{n}号\", \"forbidden{n}\""));
    list("block", &words.collect::<Vec<_>>().join(", "))
}

/// A text of some 256 bytes.
fn long_text(n: usize) -> String {
    format!("第{n}条：三号叉车把托盘从 A 区搬到 B 区，then report back. ").repeat(3)
}

/// Texts a second.
async fn rate(group: &Group) -> f64 {
    let (client, to) = (&group.ana.client, group.conversation);
    let began = tokio::time::Instant::now();
    let sends = futures_util::stream::iter(0..TEXTS)
        .map(|n| client.send_nowait(Outgoing::new(to, text(long_text(n)))));
    let stored = sends.buffer_unordered(200);
    let count = stored
        .filter(|sent| std::future::ready(sent.is_ok()))
        .count();
    assert_eq!(count.await, TEXTS);
    #[expect(clippy::cast_precision_loss, reason = "a count for a rate")]
    let texts = TEXTS as f64;
    texts / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: what a search for five thousand words costs"]
async fn how_much_a_search_costs() {
    let folder = tempfile::tempdir().unwrap();
    let with = Fleet::start(folder.path(), &many_words()).await;
    let without = Cluster::start().await.unwrap();
    let groups = [
        Group::make(&without).await,
        Group::make(&with.cluster).await,
    ];
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..=ROUNDS {
        for (group, rates) in groups.iter().zip(&mut rates) {
            rates.push(rate(group).await);
        }
    }
    // The first warms up.
    let median = |rates: &mut Vec<f64>| {
        rates.remove(0);
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    };
    let [without, with] = rates.each_mut().map(median);
    println!(
        "without {without:.0}/s, with {with:.0}/s, ratio {:.3}",
        with / without
    );
}
