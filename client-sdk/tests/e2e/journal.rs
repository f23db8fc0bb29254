//! What a journal keeps outlives the process, and nothing leaves that it does not keep.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use client_sdk::journal::{
    Change, Journal, JournalEntry, JournalError, JournalOwner, Kept, MemoryJournal,
};
use client_sdk::{
    AccountId, Client, ClientConfig, ClientMessageId, ConfigError, Content, ConversationId,
    Credential, Error, ErrorCode, Event, MarkPolicy, Outgoing, Refusal, SendError, SequenceNumber,
    content, new_message_id,
};
use parking_lot::Mutex;
use tokio::sync::RwLock;

use super::gateway::{Fleet, next, next_sequence};
use super::state::{Fault, ME};

fn group() -> ConversationId {
    ConversationId::group(1)
}

fn text(n: usize) -> Outgoing {
    Outgoing::new(group(), content::text(n.to_string()))
}

async fn config(fleet: &Fleet) -> ClientConfig {
    let address = fleet.gateway().await;
    let credential = Credential::Token("operator".into());
    fleet.authority.config(&[&address], credential)
}

async fn connect(config: &ClientConfig, journal: &(impl Journal + Clone)) -> Client {
    let journal = Box::new(journal.clone());
    let connected = Client::connect_with_journal(config.clone(), journal).await;
    connected.unwrap().0
}

fn texts(numbers: impl IntoIterator<Item = usize>) -> Vec<Content> {
    let numbers = numbers.into_iter();
    numbers.map(|n| content::text(n.to_string())).collect()
}

fn kept(journal: &MemoryJournal) -> Vec<ClientMessageId> {
    let kept = journal.clone().load().unwrap();
    let ids = kept.entries.iter().map(|entry| entry.client_message_id);
    ids.collect()
}

/// A journal whose disk a test holds up, or fills.
#[derive(Clone, Default)]
struct Disk {
    memory: MemoryJournal,
    fault: Arc<Mutex<Option<JournalError>>>,
    /// Commits wait for it while it is locked.
    stall: Arc<RwLock<()>>,
    commits: Arc<Mutex<Vec<usize>>>,
}

impl Disk {
    fn fill(&self, full: bool) {
        let place = "here".into();
        *self.fault.lock() = full.then_some(JournalError::DiskFull { place });
    }
}

impl Journal for Disk {
    fn place(&self) -> String {
        "here".into()
    }

    fn load(&mut self) -> Result<Kept, JournalError> {
        self.memory.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        drop(self.stall.blocking_read());
        if let Some(fault) = self.fault.lock().clone() {
            return Err(fault);
        }
        self.commits.lock().push(changes.len());
        self.memory.commit(changes)
    }
}

#[tokio::test]
async fn what_is_kept_is_sent_again_in_order_and_before_what_is_new() {
    let fleet = Fleet::new();
    let config = config(&fleet).await;
    let journal = MemoryJournal::default();
    let client = connect(&config, &journal).await;
    fleet.with(|state| state.faults.push_back(Fault::Silence));
    let handles: Vec<_> = (1..=20).map(|n| client.send_nowait(text(n))).collect();
    let ids: Vec<_> = handles.iter().map(|h| h.client_message_id()).collect();
    fleet.until(|state| state.sends.len() == 1).await;
    while kept(&journal).len() < 20 {
        tokio::task::yield_now().await;
    }
    // As after a loss of power: the journal is as it is now, and nobody closes anything.
    let mut copy = MemoryJournal::default();
    let was = journal.clone().load().unwrap();
    assert_eq!(was.owner.unwrap().account, ME);
    let appends: Vec<_> = was.entries.into_iter().map(Change::Append).collect();
    copy.commit(&appends).unwrap();
    let next = connect(&config, &copy).await;
    let recovered = next.recovered();
    assert!(next.recovered().is_empty(), "only once");
    let again: Vec<_> = recovered.iter().map(|h| h.client_message_id()).collect();
    assert_eq!(again, ids);
    assert_eq!(recovered[0].conversation(), group());
    next.send_with(text(21)).await.unwrap();
    for handle in recovered {
        handle.await.unwrap();
    }
    assert_eq!(fleet.with(|state| state.contents(group())), texts(1..=21));
    assert_eq!(next.stats().recovered, 20);
    next.close().await;
    assert!(
        kept(&copy).is_empty(),
        "stored, and removed at the latest at the end"
    );
}

#[tokio::test]
async fn nothing_leaves_before_it_is_written_and_what_waits_is_written_together() {
    let fleet = Fleet::new();
    let config = config(&fleet).await;
    let disk = Disk::default();
    let client = connect(&config, &disk).await;
    client.send_with(text(0)).await.unwrap();
    let stalled = disk.stall.write().await;
    let handles: Vec<_> = (1..=100).map(|n| client.send_nowait(text(n))).collect();
    fleet.settled().await;
    assert_eq!(fleet.with(|state| state.sends.len()), 1, "none has left");
    drop(stalled);
    for handle in handles {
        handle.await.unwrap();
    }
    assert_eq!(fleet.with(|state| state.contents(group())), texts(0..=100));
    let commits = disk.commits.lock().clone();
    assert!(commits.len() < 10, "{commits:?}");
    client.close().await;
    assert!(kept(&disk.memory).is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_sends_and_the_client_stays_up() {
    let fleet = Fleet::new();
    let config = config(&fleet).await;
    let disk = Disk::default();
    let client = connect(&config, &disk).await;
    client.send_with(text(1)).await.unwrap();
    disk.fill(true);
    for n in 2..4 {
        let error = client.send_with(text(n)).await.unwrap_err();
        let SendError::NotSent { journal, .. } = &error else {
            panic!("{error}");
        };
        assert!(matches!(journal, Some(JournalError::DiskFull { .. })));
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
    let error = client.persist_marks().await;
    assert!(error.is_ok() || matches!(error, Err(JournalError::DiskFull { .. })));
    assert!(client.session().is_some());
    disk.fill(false);
    client.send_with(text(4)).await.unwrap();
    assert_eq!(fleet.with(|state| state.contents(group())), texts([1, 4]));
    assert!(client.stats().journal_failures >= 2);
}

#[tokio::test]
async fn the_journal_is_bounded_and_says_so() {
    let fleet = Fleet::new();
    let mut config = config(&fleet).await;
    config.journal_messages_max = 2;
    let journal = MemoryJournal::default();
    let client = connect(&config, &journal).await;
    let patience = Duration::from_millis(50);
    fleet.with(|state| state.faults.extend([Fault::Silence, Fault::Silence]));
    let mut unknown = Vec::new();
    for n in 1..=2 {
        let outgoing = text(n).timeout(patience);
        let error = client.send_with(outgoing).await.unwrap_err();
        let SendError::OutcomeUnknown {
            client_message_id, ..
        } = error
        else {
            panic!("{error}");
        };
        unknown.push(client_message_id);
    }
    assert_eq!(kept(&journal), unknown, "an unknown outcome is kept");
    let error = client.send_with(text(3)).await.unwrap_err();
    assert!(
        matches!(
            error,
            SendError::NotSent {
                journal: Some(JournalError::Full),
                ..
            }
        ),
        "{error}"
    );
    // The application finds out with the same id, which makes room.
    let again = text(1).client_message_id(unknown[0]);
    client.send_with(again).await.unwrap();
    client.send_with(text(3)).await.unwrap();
    client.close().await;
    assert_eq!(kept(&journal), unknown[1..]);
}

#[tokio::test]
async fn a_refusal_for_good_is_removed_before_it_is_told() {
    let fleet = Fleet::new();
    let config = config(&fleet).await;
    let journal = MemoryJournal::default();
    let client = connect(&config, &journal).await;
    let refusal = Refusal::new(ErrorCode::NotAMember, "not a member");
    fleet.with(|state| state.faults.push_back(Fault::Refuse(refusal.clone())));
    let error = client.send_with(text(1)).await.unwrap_err();
    assert_eq!(error, SendError::Refused(refusal));
    assert!(kept(&journal).is_empty());
}

#[tokio::test]
async fn a_journal_of_another_account_is_refused_and_nothing_of_it_is_sent() {
    let fleet = Fleet::new();
    let config = config(&fleet).await;
    let mut journal = MemoryJournal::default();
    let owner = JournalOwner {
        account: AccountId(8),
        name: "lift-2".into(),
    };
    let entry = JournalEntry {
        conversation: group(),
        client_message_id: new_message_id(),
        send: Vec::new().into(),
    };
    journal
        .commit(&[Change::Own(owner), Change::Append(entry)])
        .unwrap();
    let refused = Client::connect_with_journal(config, Box::new(journal.clone())).await;
    let error = refused.unwrap_err();
    let Error::Config(ConfigError::Journal(error @ JournalError::OtherOwner { .. })) = error else {
        panic!("{error}");
    };
    for named in ["lift-1", "lift-2", "in memory"] {
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(fleet.with(|state| state.sends.is_empty()));
    assert_eq!(kept(&journal).len(), 1);
}

#[tokio::test]
async fn marks_are_written_on_request_and_the_next_run_resumes_from_them() {
    let fleet = Fleet::new();
    fleet.with(|state| {
        state.groups.insert(group(), "dock".into());
        state.store_texts(group(), 10);
    });
    let mut config = config(&fleet).await;
    config.mark_policy = MarkPolicy::Manual;
    let journal = MemoryJournal::default();
    let connect = || Client::connect_with_journal(config.clone(), Box::new(journal.clone()));
    let (client, mut events) = connect().await.unwrap();
    for n in 1..=6 {
        assert_eq!(next_sequence(&mut events).await, n);
    }
    client.mark_delivered(group(), SequenceNumber(4));
    client.persist_marks().await.unwrap();
    // What comes later is told to the server, and not written down.
    client.mark_delivered(group(), SequenceNumber(6));
    client.close().await;
    fleet.until(|state| state.marks[&group()] == 6).await;
    let (client, mut events) = connect().await.unwrap();
    for n in 5..=7 {
        let redelivered = next(&mut events, |event| match event {
            Event::Message(message) if message.sequence.0 == n => Some(message.redelivered),
            _ => None,
        });
        assert_eq!(redelivered.await, n <= 6);
    }
    // Below the server's mark, and written down all the same.
    client.mark_delivered(group(), SequenceNumber(5));
    client.persist_marks().await.unwrap();
    client.close().await;
    // A server that lags is told; one whose log was set back is followed.
    for (head, first) in [(10, 6), (3, 4)] {
        fleet.with(|state| {
            state.marks.insert(group(), 0);
            state.logs.get_mut(&group()).unwrap().truncate(head);
        });
        let (client, mut events) = connect().await.unwrap();
        fleet.with(|state| state.store_texts(group(), 1));
        fleet.head(group());
        assert_eq!(next_sequence(&mut events).await, first);
        client.close().await;
        fleet
            .until(|state| state.marks[&group()] == first - 1)
            .await;
    }
    let (plain, _events) = Client::connect(config.clone()).await.unwrap();
    assert_eq!(plain.persist_marks().await, Err(JournalError::NoJournal));
}

#[tokio::test]
async fn a_client_that_is_closed_offline_keeps_what_an_earlier_run_left() {
    let fleet = Fleet::new();
    let config = config(&fleet).await;
    let journal = MemoryJournal::default();
    let client = connect(&config, &journal).await;
    fleet.with(|state| state.faults.push_back(Fault::Silence));
    let left = client.send_nowait(text(1)).client_message_id();
    fleet.until(|state| state.sends.len() == 1).await;
    client.close().await;
    assert_eq!(kept(&journal), [left]);
    let mut unreachable = config.clone();
    unreachable.addresses = vec!["127.0.0.1:1".into()];
    unreachable.connect_timeout = Duration::from_millis(50);
    let offline = Client::connect_with_journal(unreachable, Box::new(journal.clone())).await;
    assert!(matches!(offline, Err(Error::Unreachable { .. })));
    assert_eq!(kept(&journal), [left]);
    let last = connect(&config, &journal).await;
    let handle = last.recovered().pop().unwrap();
    assert_eq!(handle.await.unwrap().client_message_id, left);
    let ids: BTreeSet<_> = fleet.with(|state| state.sends.iter().map(|(_, id)| *id).collect());
    assert_eq!(ids, BTreeSet::from([left]));
}
