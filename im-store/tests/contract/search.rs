//! The index of words on a real database: written behind, once, and gone with what it names.

use im_store::engine::{Chore, Readers as _};
use im_store::search::{self, Query};
use im_store::shard::Append;
use im_store::writer::Writer;
use protocol::content;
use protocol::wire::{Entry, EntryKind};
use protocol::{AccountId, ConversationId, SequenceNumber};

use crate::backend::Backend;
use crate::writer::{pair, start, text};

fn saying(at: ConversationId, id: u16, words: &str) -> Append {
    Append {
        content: content::encode(content::text(words)),
        ..text(at, 1, id, "")
    }
}

/// As the task does it, from `from` to the end.
async fn index(backend: &impl Backend, writer: &Writer, at: ConversationId, from: u64) {
    let readers = backend.readers().await;
    let from = SequenceNumber(from);
    let span = im_store::read::Span::forward(from, 512);
    let history = readers
        .history(at, AccountId(0), span)
        .await
        .unwrap()
        .unwrap();
    let line = |entry: &Entry| {
        let line = search::line(at, &search::text(entry));
        (!line.is_empty()).then_some((SequenceNumber(entry.sequence), line))
    };
    let chore = Chore::Index {
        conversation: at,
        from,
        up_to: history.head,
        lines: history.entries.iter().filter_map(line).collect(),
    };
    writer.chore(chore).await.unwrap();
}

async fn found(backend: &impl Backend, at: ConversationId, words: &str) -> Vec<u64> {
    let readers = backend.readers().await;
    let query = Query::parse(words).unwrap();
    let beyond = SequenceNumber(1_000_000);
    let found = readers.candidates(at, &query, beyond, 100).await.unwrap();
    found.into_iter().map(|number| number.0).collect()
}

pub(crate) async fn words_are_found_where_they_were_said(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    let other = ConversationId::pair(AccountId(1), AccountId(3));
    for (id, words) in [
        (1, "把三个箱子搬到充电站旁边"),
        (2, "Charging station is busy"),
        (3, "the 箱子 at dock 3"),
    ] {
        writer.append(saying(pair(), id, words)).await.unwrap();
    }
    writer.append(saying(other, 4, "别处的箱子")).await.unwrap();
    let readers = backend.readers().await;
    let mut waiting = readers.unindexed(&[], 9).await.unwrap();
    waiting.sort();
    let mut both = [pair(), other];
    both.sort();
    assert_eq!(waiting, both);
    index(backend, &writer, pair(), 0).await;
    index(backend, &writer, other, 0).await;
    for (words, expected) in [
        ("箱子", vec![3, 1]),
        ("箱", vec![3, 1]),
        ("充电站", vec![1]),
        ("边", vec![1]),
        ("station", vec![2]),
        ("stat busy", vec![2]),
        ("箱子 dock 3", vec![3]),
        ("the", vec![3]),
        ("电箱", vec![]),
        ("tation", vec![]),
    ] {
        assert_eq!(found(backend, pair(), words).await, expected, "{words}");
    }
    assert_eq!(found(backend, other, "箱子").await, [1]);
    assert!(readers.unindexed(&[], 9).await.unwrap().is_empty());
    assert_eq!(readers.indexed(pair()).await.unwrap().0, 3);

    // Another that was slower adds nothing; what came since is added.
    index(backend, &writer, pair(), 0).await;
    writer
        .append(saying(pair(), 5, "又一个箱子"))
        .await
        .unwrap();
    index(backend, &writer, pair(), 3).await;
    assert_eq!(found(backend, pair(), "箱子").await, [4, 3, 1]);
    let numbers = [SequenceNumber(4), SequenceNumber(1), SequenceNumber(99)];
    let read = readers
        .numbered(pair(), AccountId(1), &numbers)
        .await
        .unwrap();
    let read: Vec<_> = read.unwrap().entries.iter().map(|it| it.sequence).collect();
    assert_eq!(read, [4, 1]);
}

pub(crate) async fn what_is_gone_from_the_log_is_gone_from_the_index(backend: &impl Backend) {
    let (writer, _task) = start(backend).await;
    for id in 1..=4 {
        writer.append(saying(pair(), id, "密码箱子")).await.unwrap();
    }
    index(backend, &writer, pair(), 0).await;
    let recall = |id, target| Append {
        kind: EntryKind::Recall,
        target: Some(SequenceNumber(target)),
        ..text(pair(), 1, id, "r")
    };
    writer.append(recall(5, 3)).await.unwrap();
    assert_eq!(found(backend, pair(), "密码").await, [4, 2, 1]);
    let trim = Chore::Trim {
        conversation: pair(),
        from: SequenceNumber(0),
        up_to: SequenceNumber(1),
    };
    writer.chore(trim).await.unwrap();
    assert_eq!(found(backend, pair(), "密码").await, [4, 2]);

    // One that was taken back between its reading and its indexing is not added.
    writer
        .append(saying(pair(), 6, "另一个密码"))
        .await
        .unwrap();
    writer.append(recall(7, 6)).await.unwrap();
    let lines = vec![(SequenceNumber(6), search::line(pair(), "另一个密码"))];
    let late = Chore::Index {
        conversation: pair(),
        from: SequenceNumber(4),
        up_to: SequenceNumber(7),
        lines,
    };
    writer.chore(late).await.unwrap();
    assert_eq!(found(backend, pair(), "密码").await, [4, 2]);
}
