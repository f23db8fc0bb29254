//! A disk as a trace left it, and what a loss of power makes of it. Pure.
//!
//! Certain is what was synced. Of the rest any may be there: any of the sectors that were written,
//! in any order; of the changes of lengths and names some of the first. A name is certain when its
//! folder was synced after it.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom as _;

use crate::trace::Event;

/// The unit in which a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// The files of a folder, by name.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// By name, which of the files.
type Names = BTreeMap<String, usize>;

#[derive(Debug, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    now: Names,
    synced: Names,
    /// What is not certain of the names, each with the number of its event.
    moves: Vec<(usize, Move)>,
    events: usize,
}

#[derive(Debug, Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    event: usize,
    write: Write,
    /// A sync of it failed: the kernel may take it for written. Then no later sync writes it.
    is_forgotten: bool,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug)]
enum Move {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

impl Disk {
    /// One event more.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Created(name) => {
                self.files.push(File::default());
                self.rename(Move::Link(name.clone(), self.files.len() - 1));
            }
            Event::Removed(name) => self.rename(Move::Unlink(name.clone())),
            Event::Renamed(from, to) => self.rename(Move::Rename(from.clone(), to.clone())),
            Event::Wrote(name, at, bytes) => {
                self.write(name, Write::Bytes(index(*at), bytes.clone()));
            }
            Event::Length(name, length) => self.write(name, Write::Length(index(*length))),
            Event::Synced(name, begun) => self.file(name).sync(*begun),
            Event::NotSynced(name, begun) => self.file(name).forget(*begun),
            Event::FolderSynced(begun) => {
                let certain = self.moves.partition_point(|(event, _)| event < begun);
                for (_, change) in self.moves.drain(..certain) {
                    change.apply(&mut self.synced);
                }
            }
            Event::Said(_) => {}
        }
        self.events += 1;
    }

    fn file(&mut self, name: &str) -> &mut File {
        &mut self.files[self.now[name]]
    }

    fn rename(&mut self, change: Move) {
        change.apply(&mut self.now);
        self.moves.push((self.events, change));
    }

    fn write(&mut self, name: &str, write: Write) {
        let event = self.events;
        self.file(name).pending.push(Pending {
            event,
            write,
            is_forgotten: false,
        });
    }

    /// What is left when nothing is that was not synced.
    pub(crate) fn certain(&self) -> Image {
        let files = self.synced.iter();
        files
            .map(|(name, file)| (name.clone(), self.files[*file].synced.clone()))
            .collect()
    }

    /// What is left when some is.
    pub(crate) fn torn(&self, random: &mut SmallRng) -> Image {
        let mut names = self.synced.clone();
        for (_, change) in &self.moves[..random.random_range(0..=self.moves.len())] {
            change.apply(&mut names);
        }
        let files = names.into_iter();
        files
            .map(|(name, file)| (name, self.files[file].torn(random)))
            .collect()
    }
}

impl Move {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Link(name, file) => drop(names.insert(name.clone(), *file)),
            Self::Unlink(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
        }
    }
}

impl File {
    fn sync(&mut self, begun: usize) {
        for one in &self.pending {
            if one.event < begun && !one.is_forgotten {
                one.write.apply(&mut self.synced);
            }
        }
        self.pending.retain(|one| one.event >= begun);
    }

    fn forget(&mut self, begun: usize) {
        for one in self.pending.iter_mut().filter(|one| one.event < begun) {
            one.is_forgotten = true;
        }
    }

    fn torn(&self, random: &mut SmallRng) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let kept = [0.1, 0.5, 0.9][random.random_range(0..3)];
        let mut lengths_left = random.random_range(0..=self.pending.len());
        let mut sectors = Vec::new();
        for one in &self.pending {
            match &one.write {
                Write::Bytes(at, some) => sectors.extend(cut(*at, some)),
                length @ Write::Length(_) if lengths_left > 0 => {
                    length.apply(&mut bytes);
                    lengths_left -= 1;
                }
                Write::Length(_) => {}
            }
        }
        sectors.shuffle(random);
        for sector in sectors {
            if random.random_bool(kept) {
                sector.apply(&mut bytes);
            }
        }
        bytes
    }
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(at, some) => {
                let end = at + some.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(some);
            }
        }
    }
}

/// A write, cut where a sector of the file ends.
fn cut(mut at: usize, mut some: &[u8]) -> Vec<Write> {
    let mut sectors = Vec::new();
    while !some.is_empty() {
        let room = SECTOR_BYTES - at % SECTOR_BYTES;
        let (sector, rest) = some.split_at(room.min(some.len()));
        sectors.push(Write::Bytes(at, sector.to_vec()));
        at += sector.len();
        some = rest;
    }
    sectors
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("files of a test are small")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn file() -> String {
        "f".into()
    }

    fn wrote(at: u64, byte: u8, bytes: usize) -> Event {
        Event::Wrote(file(), at, vec![byte; bytes])
    }

    fn disk(events: &[Event]) -> Disk {
        let mut disk = Disk::default();
        events.iter().for_each(|event| disk.apply(event));
        disk
    }

    /// Every image that a thousand losses leave.
    fn losses(disk: &Disk) -> Vec<Image> {
        let mut random = SmallRng::seed_from_u64(1);
        let mut images: Vec<_> = (0..1000).map(|_| disk.torn(&mut random)).collect();
        images.sort();
        images.dedup();
        images
    }

    #[test]
    fn a_name_is_certain_with_its_folder_and_bytes_with_their_file() {
        let (created, synced) = (Event::Created(file()), Event::Synced(file(), 2));
        let unnamed = disk(&[created.clone(), wrote(0, 1, 4), synced.clone()]);
        assert!(unnamed.certain().is_empty());
        assert_eq!(losses(&unnamed).len(), 2);
        let named = disk(&[created, wrote(0, 1, 4), synced, Event::FolderSynced(3)]);
        assert_eq!(losses(&named), [named.certain()]);
        assert_eq!(named.certain()["f"], [1; 4]);
    }

    #[test]
    fn of_what_was_not_synced_any_sector_may_be_there() {
        let named = [Event::Created(file()), Event::FolderSynced(1)];
        let mut events = named.to_vec();
        events.extend([wrote(0, 1, 1024), Event::Synced(file(), 3)]);
        // Two sectors, the second torn by its end.
        events.push(wrote(256, 2, 512));
        let torn = disk(&events);
        assert_eq!(torn.certain()["f"], [1; 1024]);
        let left: Vec<_> = losses(&torn)
            .iter()
            .map(|image| image["f"].clone())
            .collect();
        assert_eq!(left.len(), 4);
        assert!(
            left.iter()
                .all(|bytes| bytes[..256] == [1; 256] && bytes[768..] == [1; 256])
        );
    }

    #[test]
    fn a_sync_covers_what_was_before_it_began_and_not_what_an_earlier_one_failed_to() {
        let named = [Event::Created(file()), Event::FolderSynced(1)];
        let mut events = named.to_vec();
        events.extend([wrote(0, 1, 1), wrote(1, 1, 1), Event::Synced(file(), 3)]);
        assert_eq!(disk(&events).certain()["f"], [1]);
        events.extend([
            Event::NotSynced(file(), 5),
            wrote(2, 1, 1),
            Event::Synced(file(), 7),
        ]);
        assert_eq!(disk(&events).certain()["f"], [1, 0, 1]);
        // Written anew and synced it is there.
        events.extend([wrote(1, 1, 1), Event::Synced(file(), 9)]);
        assert_eq!(disk(&events).certain()["f"], [1, 1, 1]);
    }

    #[test]
    fn a_file_made_under_another_name_is_there_whole_or_not_at_all() {
        let new = || "f.new".to_owned();
        let mut events = vec![
            Event::Created(new()),
            Event::Wrote(new(), 0, vec![1; 2]),
            Event::Synced(new(), 2),
            Event::Renamed(new(), file()),
        ];
        let seen = losses(&disk(&events));
        assert_eq!(seen.len(), 3, "nothing, the old name, the new one");
        assert!(seen.iter().flatten().all(|(_, bytes)| bytes == &[1; 2]));
        events.extend([Event::FolderSynced(4), Event::Removed(file())]);
        let removed = disk(&events);
        assert!(
            removed.certain().contains_key("f"),
            "a removal is not certain either"
        );
        assert_eq!(losses(&removed).len(), 2);
    }
}
