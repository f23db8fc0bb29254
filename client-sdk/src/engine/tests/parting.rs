//! The server was restored from a backup: what is forgotten, what goes again, and when anything is
//! said of numbers.

use protocol::wire::Membership;
use protocol::{SequenceNumber, content};

use super::*;
use crate::config::MarkPolicy;
use crate::incoming::Events;
use crate::journal::{Change, JournalEntry, Kept};
use crate::message::Outgoing;

const BEFORE: u64 = 11;
const AFTER: u64 = 12;

fn group(n: u64) -> ConversationId {
    ConversationId::group(n)
}

fn membership(n: u64, head: u64, parted_at: u64) -> Membership {
    Membership {
        conversation_id: group(n).to_bytes(),
        head,
        readable_from: 1,
        parted_at,
        ..Default::default()
    }
}

fn welcome_to(history_generation: u64, memberships: Vec<Membership>) -> wire::Welcome {
    wire::Welcome {
        history_generation,
        memberships,
        ..welcome(8)
    }
}

fn entry(n: u64, sequence: u64, id: u64) -> wire::Entry {
    wire::Entry {
        conversation_id: group(n).to_bytes(),
        sequence,
        sender: 3,
        client_message_id: ClientMessageId::new(id, [2; 10]).to_bytes(),
        kind: wire::EntryKind::Text.into(),
        content: content::encode(content::text("x")),
        ..Default::default()
    }
}

fn push(n: u64, sequences: impl IntoIterator<Item = u64>) -> Frame {
    let entries = sequences
        .into_iter()
        .map(|sequence| entry(n, sequence, sequence));
    let push = wire::Push {
        entries: entries.collect(),
    };
    Frame::notice(kind::PUSH, &push)
}

fn sent(n: u64) -> JournalEntry {
    let client_message_id = ClientMessageId::new(n, [1; 10]);
    let outgoing = Outgoing::new(group(1), content::text("x"));
    let send = wire::Send {
        conversation_id: outgoing.conversation.to_bytes(),
        client_message_id: client_message_id.to_bytes(),
        ..Default::default()
    };
    JournalEntry {
        conversation: group(1),
        client_message_id,
        send: send.encode_to_vec().into(),
    }
}

fn journalled(kept: Kept, now: Instant) -> Engine {
    let config = ClientConfig::new(["localhost:1"], Vec::new(), Credential::Token("t".into()));
    let shared = Arc::new(Shared::new(&config));
    let place = "here".into();
    Engine::new(&config, shared, Some(Opened { place, kept }), 1, now)
}

/// What the application takes.
fn take(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.take()).collect()
}

fn events(engine: &Engine) -> Events {
    Events::new(Arc::clone(&engine.shared), MarkPolicy::WhenTaken)
}

fn marks(frame: Frame) -> wire::Marks {
    assert_eq!(frame.kind, kind::MARKS);
    wire::Marks::decode(frame.body).unwrap()
}

#[test]
fn a_client_whose_marks_are_ahead_goes_on_where_the_histories_part() {
    let mut now = Instant::now();
    let mut engine = engine(now);
    let mut events = events(&engine);
    assert_eq!(engine.history_generation(), 0);
    engine
        .connected(&welcome_to(BEFORE, vec![membership(1, 0, 0)]), now)
        .unwrap();
    assert_eq!(engine.history_generation(), BEFORE);
    engine.frame(push(1, 1..=50), now);
    assert_eq!(take(&mut events).len(), 51, "connected, and entries");
    let told = marks(engine.next_marks(now, false).unwrap());
    assert_eq!(
        (told.marks[0].delivered, told.history_generation),
        (50, BEFORE)
    );
    // Not taken yet, and of the history that is about to be gone.
    engine.frame(push(1, 51..=60), now);

    engine.lost("restored".into());
    engine
        .connected(&welcome_to(AFTER, vec![membership(1, 30, 20)]), now)
        .unwrap();
    assert_eq!(engine.history_generation(), AFTER);
    now += MARKS_INTERVAL;
    let pull = next_asked(&mut engine, now).unwrap();
    let pull = wire::Pull::decode(if pull.kind == kind::MARKS {
        let told = marks(pull);
        assert_eq!(
            (told.marks[0].delivered, told.history_generation),
            (20, AFTER)
        );
        next_asked(&mut engine, now).unwrap().body
    } else {
        pull.body
    });
    let pull = pull.unwrap();
    assert_eq!((pull.after_sequence, pull.history_generation), (20, AFTER));
    let told = take(&mut events);
    let is_parted = |event: &Event| matches!(event, Event::Parted { at, .. } if at.0 == 20);
    assert!(told.iter().any(is_parted), "{told:?}");
    let is_message = |event: &Event| matches!(event, Event::Message(_));
    assert!(!told.iter().any(is_message), "of the old history: {told:?}");
}

#[test]
fn until_all_memberships_are_read_nothing_is_said_of_numbers() {
    let now = Instant::now();
    let mut engine = engine(now);
    let mut events = events(&engine);
    let both = vec![membership(1, 0, 0), membership(2, 0, 0)];
    engine.connected(&welcome_to(BEFORE, both), now).unwrap();
    for n in [1, 2] {
        engine.frame(push(n, 1..=9), now);
    }
    take(&mut events);
    engine.lost("restored".into());
    let half = wire::Welcome {
        more_memberships: true,
        ..welcome_to(AFTER, vec![membership(1, 6, 5)])
    };
    engine.connected(&half, now).unwrap();
    assert_eq!(
        engine.history_generation(),
        BEFORE,
        "the hello says it again"
    );
    let list = next_asked(&mut engine, now).unwrap();
    assert_eq!(
        list.kind,
        kind::LIST_CONVERSATIONS,
        "neither marks nor a pull"
    );
    let said = wire::ListConversations::decode(list.body).unwrap();
    assert_eq!(said.history_generation, BEFORE);
    // An entry that only looks like the next one.
    engine.frame(push(2, [10]), now);
    assert!(
        !take(&mut events)
            .iter()
            .any(|event| matches!(event, Event::Message(_)))
    );

    // The connection breaks: what is parted is not parted again.
    engine.frame(push(1, [6]), now);
    take(&mut events);
    engine.lost("again".into());
    engine.connected(&half, now).unwrap();
    let list = next_asked(&mut engine, now).unwrap();
    let page = wire::ConversationPage {
        memberships: vec![membership(2, 10, 3)],
        more: false,
    };
    let answer = Frame {
        correlation: list.correlation,
        ..Frame::notice(kind::answer(list.kind), &page)
    };
    engine.frame(answer, now);
    assert_eq!(engine.history_generation(), AFTER);
    let pulls: Vec<_> = std::iter::from_fn(|| next_asked(&mut engine, now + MARKS_INTERVAL))
        .filter(|frame| frame.kind == kind::PULL)
        .map(|frame| wire::Pull::decode(frame.body).unwrap().after_sequence)
        .collect();
    assert_eq!(pulls, [3], "and nothing of the first, which is read");
}

#[test]
fn what_the_restored_server_does_not_have_is_left_or_begins_anew() {
    let now = Instant::now();
    let mut engine = engine(now);
    let mut events = events(&engine);
    let pair = ConversationId::pair(AccountId(7), AccountId(3));
    let with_pair = Membership {
        conversation_id: pair.to_bytes(),
        ..membership(0, 4, 0)
    };
    let both = vec![membership(1, 4, 0), with_pair];
    engine.connected(&welcome_to(BEFORE, both), now).unwrap();
    engine.lost("restored".into());
    engine.connected(&welcome_to(AFTER, vec![]), now).unwrap();
    let left = Event::Left {
        conversation: group(1),
    };
    assert!(take(&mut events).contains(&left));
    let first = wire::Entry {
        conversation_id: pair.to_bytes(),
        ..entry(0, 1, 1)
    };
    let push = wire::Push {
        entries: vec![first],
    };
    engine.frame(Frame::notice(kind::PUSH, &push), now);
    let heard = take(&mut events);
    assert!(
        heard.iter().any(|event| matches!(event, Event::Message(_))),
        "{heard:?}"
    );
}

#[test]
fn what_was_acknowledged_goes_again_before_what_waits_and_the_journal_knows_when() {
    let mut now = Instant::now();
    let kept = Kept {
        entries: vec![sent(3)],
        sent: vec![(sent(1), 5), (sent(2), 5)],
        marks: vec![(group(1), SequenceNumber(50))],
        history_generation: BEFORE,
        ..Kept::default()
    };
    let mut engine = journalled(kept, now);
    engine
        .connected(&welcome_to(AFTER, vec![membership(1, 30, 20)]), now)
        .unwrap();
    let mut changes = engine.next_batch(now, false).unwrap().to_vec();
    changes.retain(|change| !matches!(change, Change::Own(_)));
    let mark = Change::Mark {
        conversation: group(1),
        delivered: SequenceNumber(20),
    };
    let again = [1, 2].map(|n| Change::Append(sent(n)));
    let written = [&again[..], &[Change::History(AFTER), mark]].concat();
    assert_eq!(changes, written);
    engine.written(Ok(()), now);

    let mut order = Vec::new();
    for sequence in 31..=33 {
        now += MARKS_INTERVAL;
        let send = std::iter::from_fn(|| engine.next_frame(now)).find(|f| f.kind == kind::SEND);
        let send = send.unwrap();
        let id = wire::Send::decode(send.body).unwrap().client_message_id;
        order.push(ClientMessageId::from_slice(&id).unwrap().made_at_ms());
        let answer = if sequence == 32 {
            refusal(send.correlation, ErrorCode::NotAMember)
        } else {
            ack(send.correlation, sequence)
        };
        engine.frame(answer, now);
    }
    assert_eq!(order, [1, 2, 3]);
    let stats = engine.shared.counters.stats();
    assert_eq!((stats.resent_after_restore, stats.lost_by_restore), (2, 1));
}

#[test]
fn a_pull_of_another_history_ends_the_session_and_not_the_client() {
    let now = Instant::now();
    let mut engine = engine(now);
    let behind = welcome_to(BEFORE, vec![membership(1, 9, 0)]);
    engine.connected(&behind, now).unwrap();
    let pull = next_asked(&mut engine, now).unwrap();
    engine.frame(refusal(pull.correlation, ErrorCode::OtherHistory), now);
    assert!(matches!(engine.tick(now), Verdict::Reconnect(_)));
}
