//! The file: what is found again, what is refused, what a loss of power or a full disk leaves.

mod power;

use std::fs;

use protocol::{AccountId, SequenceNumber, wire};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::journal::{JournalEntry, JournalOwner};

fn entry(conversation: u64, n: u64) -> JournalEntry {
    let conversation = ConversationId::group(conversation);
    let client_message_id = ClientMessageId::new(n, [7; 10]);
    let send = wire::Send {
        conversation_id: conversation.to_bytes(),
        client_message_id: client_message_id.to_bytes(),
        content: vec![u8::try_from(n % 251).unwrap(); 200].into(),
        ..Default::default()
    };
    JournalEntry {
        conversation,
        client_message_id,
        send: prost::Message::encode_to_vec(&send).into(),
    }
}

fn append(n: u64) -> Change {
    Change::Append(entry(n % 3 + 1, n))
}

fn remove(n: u64) -> Change {
    let entry = entry(n % 3 + 1, n);
    Change::Remove {
        conversation: entry.conversation,
        client_message_id: entry.client_message_id,
    }
}

fn numbers(kept: &Kept) -> Vec<u64> {
    let ids = kept.entries.iter().map(|entry| entry.client_message_id);
    ids.map(|id| id.made_at_ms()).collect()
}

fn owner() -> JournalOwner {
    JournalOwner {
        account: AccountId(7),
        name: "lift-1".into(),
    }
}

#[test]
fn what_is_committed_is_found_again_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = DiskJournal::new(&path);
    assert_eq!(journal.load().unwrap(), Kept::default());
    let mark = |delivered| Change::Mark {
        conversation: ConversationId::group(1),
        delivered: SequenceNumber(delivered),
    };
    journal
        .commit(&[Change::Own(owner()), append(5), append(3), mark(8)])
        .unwrap();
    journal
        .commit(&[append(4), remove(5), mark(9), remove(99)])
        .unwrap();
    // In one commit, in order; and one that is kept already stays in its place.
    journal
        .commit(&[append(6), remove(6), append(3), append(7)])
        .unwrap();
    drop(journal);
    let kept = DiskJournal::new(&path).load().unwrap();
    assert_eq!(numbers(&kept), [3, 4, 7]);
    assert_eq!(kept.entries[0], entry(1, 3));
    assert_eq!(kept.owner, Some(owner()));
    assert_eq!(kept.marks, [(ConversationId::group(1), SequenceNumber(9))]);
}

#[test]
#[cfg(unix)]
fn only_its_owner_reads_it_and_one_client_has_it_at_a_time() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = DiskJournal::new(&path);
    journal.load().unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = DiskJournal::new(&path).load().unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(journal);
    DiskJournal::new(&path).load().unwrap();
    // Nothing is left of how it was made.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_of_another_kind_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    for content in ["", "some notes", &"long notes".repeat(10_000)] {
        fs::write(&path, content).unwrap();
        let error = DiskJournal::new(&path).load().unwrap_err();
        assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    let other = Database::create(&path).unwrap();
    let table = redb::TableDefinition::<'_, u64, u64>::new("of another program");
    let transaction = other.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(other);
    let error = DiskJournal::new(&path).load().unwrap_err();
    assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
    let folder_of_another = DiskJournal::new(folder.path().join("none/journal")).load();
    assert!(matches!(folder_of_another, Err(JournalError::Io { .. })));
}

#[test]
fn a_journal_of_a_newer_build_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    DiskJournal::new(&path).load().unwrap();
    let database = Database::open(&path).unwrap();
    format::set_version(&database, 2).unwrap();
    drop(database);
    let error = DiskJournal::new(&path).load().unwrap_err();
    assert!(
        matches!(error, JournalError::OtherFormat { found: 2, .. }),
        "{error}"
    );
}

/// A journal of `commits` commits, as the file is while it is open and after it was closed.
fn files(commits: u64) -> (tempfile::TempDir, Vec<u64>, [Vec<u8>; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut journal = DiskJournal::new(&path);
    journal.load().unwrap();
    for n in 1..=commits {
        let mut changes = vec![append(n)];
        changes.extend((n > 40).then(|| remove(n - 40)));
        journal.commit(&changes).unwrap();
    }
    let open = fs::read(&path).unwrap();
    drop(journal);
    let closed = fs::read(&path).unwrap();
    let kept = (commits.saturating_sub(40) + 1..=commits).collect();
    (folder, kept, [open, closed])
}

#[test]
fn a_file_that_is_cut_short_is_whole_or_refused() {
    let (folder, kept, files) = files(120);
    let path = folder.path().join("cut");
    let mut random = SmallRng::seed_from_u64(1);
    for file in files {
        let steps = (0..file.len()).step_by(509);
        let mut lengths: Vec<_> = steps.chain([1, 8, 9, file.len() - 1, file.len()]).collect();
        lengths.extend((0..100).map(|_| random.random_range(0..file.len())));
        for length in lengths {
            fs::write(&path, &file[..length]).unwrap();
            match DiskJournal::new(&path).load() {
                Ok(found) => assert_eq!(numbers(&found), kept, "of {length} bytes"),
                Err(JournalError::NotAJournal { .. }) => assert!(length < 512, "{length}"),
                Err(JournalError::Damaged { what, .. }) => assert_ne!(what, format::PANICKED),
                Err(error) => panic!("of {length} bytes: {error}"),
            }
        }
    }
}

#[test]
fn damage_in_a_message_is_found() {
    let (folder, kept, files) = files(60);
    let path = folder.path().join("flipped");
    let mut random = SmallRng::seed_from_u64(2);
    let mut refused = 0;
    for file in files {
        for _ in 0..300 {
            let mut flipped = file.clone();
            // Past the header, whose few bytes of bookkeeping the database guards less.
            let at = random.random_range(512..file.len());
            flipped[at] ^= 1 << random.random_range(0..8);
            fs::write(&path, &flipped).unwrap();
            match DiskJournal::new(&path).load() {
                Ok(found) => assert_eq!(numbers(&found), kept, "flipped at {at}"),
                Err(JournalError::Damaged { .. }) => refused += 1,
                Err(error) => panic!("flipped at {at}: {error}"),
            }
        }
    }
    assert!(refused > 50, "{refused}");
}
