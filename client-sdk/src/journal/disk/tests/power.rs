//! The disk under the file: a loss of power at any write keeps what was synced and some of what was
//! not, and a full disk takes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::StorageBackend;

use super::*;

/// The unit in which a disk writes whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
}

/// What is on the disk for certain, and what may be.
#[derive(Debug, Default, Clone)]
struct Image {
    synced: Vec<u8>,
    pending: Vec<Write>,
    now: Vec<u8>,
}

impl Image {
    fn apply(bytes: &mut Vec<u8>, write: &Write) {
        match write {
            Write::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
            Write::Bytes(at, some) => {
                let at = usize::try_from(*at).unwrap();
                let end = at + some.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[at..end].copy_from_slice(some);
            }
        }
    }

    /// After a loss of power: of each sector that was written and not synced, any version.
    fn after_loss(&self, random: &mut SmallRng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for write in &self.pending {
            match write {
                // The length is the file system's own, which keeps its order.
                Write::Length(_) => Self::apply(&mut bytes, write),
                Write::Bytes(at, some) => {
                    for (n, sector) in some.chunks(SECTOR_BYTES).enumerate() {
                        if random.random_bool(0.5) {
                            let at = at + (n * SECTOR_BYTES) as u64;
                            Self::apply(&mut bytes, &Write::Bytes(at, sector.to_vec()));
                        }
                    }
                }
            }
        }
        bytes
    }
}

/// A disk that remembers what it was told.
#[derive(Debug, Default, Clone)]
struct Disk {
    image: Arc<Mutex<Image>>,
    full: Arc<AtomicBool>,
    /// A full disk that keeps all the same what it says it has no room for.
    lies: Arc<AtomicBool>,
    /// It says that it has synced, and has not.
    is_deaf: bool,
    /// The state after each write, while it is being recorded.
    recorded: Option<Arc<Mutex<Vec<Image>>>>,
}

impl Disk {
    fn change(&self, write: Write) -> Result<(), io::Error> {
        let full = self.full.load(Ordering::Relaxed);
        let mut image = self.image.lock();
        if !full || self.lies.load(Ordering::Relaxed) {
            Image::apply(&mut image.now, &write);
            image.pending.push(write);
        }
        if let Some(recorded) = &self.recorded {
            recorded.lock().push(image.clone());
        }
        Ok(())
    }

    fn journal(&self) -> DiskJournal {
        let disk = self.clone();
        DiskJournal::opened_by("disk".into(), move |_| {
            let is_new = disk.image.lock().now.is_empty();
            let database = builder().create_with_backend(disk.clone())?;
            if is_new {
                format::begin(&database)?;
            }
            Ok(database)
        })
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.image.lock().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let image = self.image.lock();
        let at = usize::try_from(offset).unwrap();
        let some = image.now.get(at..at + out.len());
        out.copy_from_slice(some.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.change(Write::Length(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.is_deaf {
            return Ok(());
        }
        let mut image = self.image.lock();
        image.synced = image.now.clone();
        image.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.change(Write::Bytes(offset, data.to_vec()))
    }
}

#[test]
fn a_loss_of_power_at_any_write_loses_nothing_that_was_committed() {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let disk = Disk {
        recorded: Some(Arc::clone(&recorded)),
        ..Disk::default()
    };
    let mut journal = disk.journal();
    journal.load().unwrap();
    let mut random = SmallRng::seed_from_u64(3);
    let mut boundaries = 0;
    let mut before: Vec<u64> = Vec::new();
    recorded.lock().clear();
    for n in 1..=60 {
        let mut changes = vec![append(n)];
        changes.extend((n > 10).then(|| remove(n - 10)));
        journal.commit(&changes).unwrap();
        let after: Vec<u64> = (n.saturating_sub(10) + 1..=n).collect();
        for image in std::mem::take(&mut *recorded.lock()) {
            boundaries += 1;
            // While a commit is on its way it is there or not, and never a part of it.
            let found = power_lost(&image, &mut random).unwrap();
            assert!(found == before || found == after, "{found:?} at commit {n}");
        }
        let found = power_lost(&disk.image.lock(), &mut random).unwrap();
        assert_eq!(found, after, "what is committed is there");
        before = after;
    }
    assert!(boundaries >= 200, "{boundaries} write boundaries");
}

/// What the next run finds.
fn power_lost(image: &Image, random: &mut SmallRng) -> Result<Vec<u64>, JournalError> {
    let bytes = image.after_loss(random);
    let disk = Disk::default();
    *disk.image.lock() = Image {
        synced: bytes.clone(),
        pending: Vec::new(),
        now: bytes,
    };
    disk.journal().load().map(|kept| numbers(&kept))
}

#[test]
fn on_a_disk_that_does_not_sync_the_same_losses_are_seen() {
    let disk = Disk {
        is_deaf: true,
        ..Disk::default()
    };
    let mut journal = disk.journal();
    journal.load().unwrap();
    // As if it had been made in good order.
    {
        let mut image = disk.image.lock();
        image.synced = image.now.clone();
        image.pending.clear();
    }
    let mut random = SmallRng::seed_from_u64(4);
    let mut seen = 0;
    for n in 1..=20 {
        journal.commit(&[append(n)]).unwrap();
        let found = power_lost(&disk.image.lock(), &mut random);
        seen += u64::from(found.is_err() || found.is_ok_and(|found| found.len() as u64 != n));
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn a_full_disk_is_said_and_works_again_when_there_is_room() {
    for lies in [false, true] {
        let disk = Disk::default();
        let mut journal = disk.journal();
        journal.load().unwrap();
        journal.commit(&[append(1), append(2)]).unwrap();
        disk.full.store(true, Ordering::Relaxed);
        disk.lies.store(lies, Ordering::Relaxed);
        for n in 3..6 {
            let error = journal.commit(&[append(n)]).unwrap_err();
            assert!(matches!(error, JournalError::DiskFull { .. }), "{error}");
        }
        disk.full.store(false, Ordering::Relaxed);
        journal.commit(&[append(6), remove(1)]).unwrap();
        drop(journal);
        // Nothing of what was refused is kept.
        let kept = disk.journal().load().unwrap();
        assert_eq!(numbers(&kept), [2, 6], "lies: {lies}");
    }
}
