//! Reads what strace wrote of a process into what happened to one folder's files. Pure.
//!
//! Of a sync it matters when it began: it covers what was written before that. A word of the
//! process (a write to [`WORDS`]) counts from its beginning. What this does not know of a file in
//! the folder is an error, not a gap.

use std::collections::{BTreeSet, HashMap};

/// The file of the process's words, which is not part of the disk.
pub(crate) const WORDS: &str = "words";

/// What strace is told to write down: every call that changes files.
pub(crate) const CALLS: &str = "trace=?open,openat,?creat,write,writev,pwrite64,pwritev,?pwritev2,\
     ftruncate,?truncate,fallocate,fsync,fdatasync,?unlink,unlinkat,?rename,renameat,?renameat2,\
     copy_file_range,sendfile";

/// Something that happened, by the names of files in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Created(String),
    Wrote(String, u64, Vec<u8>),
    Length(String, u64),
    Removed(String),
    Renamed(String, String),
    /// It covers the events before this one.
    Synced(String, usize),
    /// It failed: what it would have covered may be forgotten by the kernel.
    NotSynced(String, usize),
    FolderSynced(usize),
    Said(String),
}

impl Event {
    pub(crate) fn said(&self) -> Option<&str> {
        if let Self::Said(line) = self {
            return Some(line);
        }
        None
    }
}

/// What happened in `folder`, in order.
pub(crate) fn read(trace: &str, folder: &str) -> Result<Vec<Event>, String> {
    let mut reader = Reader {
        folder,
        names: BTreeSet::new(),
        begun: HashMap::new(),
        events: Vec::new(),
    };
    for line in trace.lines() {
        let read = reader.line(line);
        read.ok_or_else(|| format!("not understood: {:.300}", line))?;
    }
    Ok(reader.events)
}

struct Reader<'a> {
    folder: &'a str,
    names: BTreeSet<String>,
    /// By thread: the beginning of a call that others came between, and the events before it.
    begun: HashMap<&'a str, (&'a str, usize)>,
    events: Vec<Event>,
}

/// A call that is over.
struct Call<'a> {
    name: &'a str,
    arguments: String,
    outcome: &'a str,
    /// How many events were before it began.
    begun: usize,
}

impl<'a> Reader<'a> {
    /// `None`: the line is not understood.
    fn line(&mut self, line: &'a str) -> Option<()> {
        let (thread, said) = line.split_once(' ')?;
        let said = said.trim_start();
        if said.starts_with("+++") || said.starts_with("---") {
            return Some(());
        }
        if let Some(begun) = said.strip_suffix(" <unfinished ...>") {
            self.begun.insert(thread, (begun, self.events.len()));
            // What it says is said, whoever comes between.
            return if begun.starts_with("write(") {
                let (name, arguments) = begun.split_once('(')?;
                self.word(name, arguments)
            } else {
                Some(())
            };
        }
        if let Some(resumed) = said.strip_prefix("<... ") {
            let (_, rest) = resumed.split_once(" resumed>")?;
            let (start, begun) = self.begun.remove(thread)?;
            let (name, first) = start.split_once('(')?;
            let (last, outcome) = rest.rsplit_once(" = ")?;
            let arguments = format!("{first}{}", last.trim_end().strip_suffix(')')?);
            let is_word = name == "write" && self.is_of(&arguments, WORDS);
            let call = Call {
                name,
                arguments,
                outcome,
                begun,
            };
            return if is_word { Some(()) } else { self.call(&call) };
        }
        let (name, rest) = said.split_once('(')?;
        let (arguments, outcome) = rest.rsplit_once(" = ")?;
        let arguments = arguments.trim_end().strip_suffix(')')?;
        if name == "write" && self.is_of(arguments, WORDS) {
            return self.word(name, arguments);
        }
        let (arguments, begun) = (arguments.to_owned(), self.events.len());
        self.call(&Call {
            name,
            arguments,
            outcome,
            begun,
        })
    }

    fn word(&mut self, name: &str, arguments: &str) -> Option<()> {
        if name == "write" && self.is_of(arguments, WORDS) {
            let text = strings(arguments)?.pop()?;
            self.events.push(Event::Said(String::from_utf8(text).ok()?));
        }
        Some(())
    }

    fn is_of(&self, arguments: &str, file: &str) -> bool {
        opened(arguments)
            .and_then(|path| self.name(path))
            .is_some_and(|name| name == file)
    }

    /// The name of a file in the folder that is part of the disk. SQLite's shared index of the log
    /// is not: it is built anew after a loss of power.
    fn name(&self, path: Vec<u8>) -> Option<String> {
        let path = String::from_utf8(path).ok()?;
        let name = path.strip_prefix(self.folder)?.strip_prefix('/')?;
        (!name.ends_with("-shm")).then(|| name.to_owned())
    }

    fn call(&mut self, call: &Call<'_>) -> Option<()> {
        let failed = call.outcome.starts_with(['-', '?']);
        match call.name {
            "openat" | "open" | "creat" if !failed => self.open(&call.arguments),
            "fsync" | "fdatasync" => self.sync(call, failed),
            "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" if !failed => {
                self.rename(&call.arguments)
            }
            _ if failed => Some(()),
            _ => {
                let Some(name) = opened(&call.arguments).and_then(|path| self.name(path)) else {
                    return Some(());
                };
                self.change(call, name)
            }
        }
    }

    fn open(&mut self, arguments: &str) -> Option<()> {
        let path = strings(arguments)?.pop()?;
        let Some(name) = self.name(path).filter(|name| name != WORDS) else {
            return Some(());
        };
        if arguments.contains("O_CREAT") && self.names.insert(name.clone()) {
            self.events.push(Event::Created(name));
        } else if arguments.contains("O_TRUNC") {
            self.events.push(Event::Length(name, 0));
        }
        Some(())
    }

    fn sync(&mut self, call: &Call<'_>, failed: bool) -> Option<()> {
        let path = opened(&call.arguments)?;
        if path == self.folder.as_bytes() {
            if !failed && !call.outcome.contains("INJECTED") {
                self.events.push(Event::FolderSynced(call.begun));
            }
        } else if let Some(name) = self.name(path) {
            if failed {
                self.events.push(Event::NotSynced(name, call.begun));
            } else if !call.outcome.contains("INJECTED") {
                self.events.push(Event::Synced(name, call.begun));
            }
        }
        Some(())
    }

    fn rename(&mut self, arguments: &str) -> Option<()> {
        let names: Vec<_> = strings(arguments)?
            .into_iter()
            .map(|path| self.name(path))
            .collect();
        match &names[..] {
            [Some(name)] => {
                self.names.remove(name);
                self.events.push(Event::Removed(name.clone()));
            }
            [Some(from), Some(to)] => {
                self.names.remove(from);
                self.names.insert(to.clone());
                self.events.push(Event::Renamed(from.clone(), to.clone()));
            }
            names if names.iter().all(Option::is_none) => {}
            _ => return None,
        }
        Some(())
    }

    fn change(&mut self, call: &Call<'_>, name: String) -> Option<()> {
        let numbers = || call.arguments.rsplit(", ").map(str::parse::<u64>);
        match call.name {
            "pwrite64" => {
                let mut bytes = strings(&call.arguments)?.pop()?;
                bytes.truncate(call.outcome.parse().ok()?);
                self.events
                    .push(Event::Wrote(name, numbers().next()?.ok()?, bytes));
            }
            "ftruncate" => self
                .events
                .push(Event::Length(name, numbers().next()?.ok()?)),
            _ => return None,
        }
        Some(())
    }
}

/// The path of the open file that a call begins with: `4<path>`.
fn opened(arguments: &str) -> Option<Vec<u8>> {
    let (_, rest) = arguments.split_once('<')?;
    unescaped(rest.split_once('>')?.0)
}

/// The quoted strings among the arguments; `None` if one was cut short.
fn strings(arguments: &str) -> Option<Vec<Vec<u8>>> {
    if arguments.contains("\"...") {
        return None;
    }
    let quoted = arguments.split('"').skip(1).step_by(2);
    quoted.map(unescaped).collect()
}

/// `\x41\x42` is `AB`.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let escapes = text.as_bytes().chunks(4);
    escapes
        .map(|escape| match escape {
            [b'\\', b'x', high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    fn events(lines: &[String]) -> Result<Vec<Event>, String> {
        read(&lines.join("\n"), "/d")
    }

    #[test]
    fn calls_on_the_folder_are_told_and_others_are_not() {
        let (log, folder, words) = (escaped("/d/log"), escaped("/d"), escaped("/d/words"));
        let other = escaped("/e/log");
        let open = "O_RDWR|O_CREAT|O_CLOEXEC, 0644";
        let lines = [
            format!("7 openat(AT_FDCWD<{folder}>, \"{log}\", {open}) = 3<{log}>"),
            format!("7 openat(AT_FDCWD<{folder}>, \"{other}\", {open}) = 4<{other}>"),
            format!("7 openat(AT_FDCWD, \"{log}\", {open}) = 5<{log}>"),
            format!("7 pwrite64(3<{log}>, \"{}\", 3, 512) = 2", escaped("abc")),
            format!("7 pwrite64(4<{other}>, \"{}\", 1, 0) = 1", escaped("a")),
            format!("7 fdatasync(3<{log}>)      = 0"),
            format!("7 fsync(6<{folder}>)       = 0"),
            format!("7 write(8<{words}>, \"{}\", 2) = 2", escaped("up")),
            format!("7 ftruncate(3<{log}>, 4096) = 0"),
            format!("7 rename(\"{log}\", \"{}\") = 0", escaped("/d/new")),
            format!("7 unlink(\"{}\") = 0", escaped("/d/new")),
            format!("7 unlink(\"{other}\") = -1 ENOENT (No such file or directory)"),
            "7 +++ exited with 0 +++".into(),
        ];
        let [log, new] = ["log", "new"].map(String::from);
        let expected = [
            Event::Created(log.clone()),
            Event::Wrote(log.clone(), 512, b"ab".into()),
            Event::Synced(log.clone(), 2),
            Event::FolderSynced(3),
            Event::Said("up".into()),
            Event::Length(log.clone(), 4096),
            Event::Renamed(log, new.clone()),
            Event::Removed(new),
        ];
        assert_eq!(events(&lines).unwrap(), expected);
    }

    #[test]
    fn a_sync_covers_what_was_before_its_beginning_and_a_word_counts_from_its_own() {
        let (log, words) = (escaped("/d/log"), escaped("/d/words"));
        let write = format!("9 pwrite64(3<{log}>, \"{}\", 1, 0) = 1", escaped("a"));
        let lines = [
            write.clone(),
            format!("7 fdatasync(3<{log}> <unfinished ...>"),
            write.clone(),
            format!(
                "9 write(8<{words}>, \"{}\", 1 <unfinished ...>",
                escaped("w")
            ),
            "7 <... fdatasync resumed>) = 0".into(),
            "9 <... write resumed>) = 1".into(),
            format!("7 fdatasync(3<{log}>) = -1 EIO (Input/output error) (INJECTED)"),
            format!("7 fdatasync(3<{log}>) = 0 (INJECTED)"),
        ];
        let wrote = Event::Wrote("log".into(), 0, b"a".into());
        let expected = [
            wrote.clone(),
            wrote,
            Event::Said("w".into()),
            Event::Synced("log".into(), 1),
            Event::NotSynced("log".into(), 4),
        ];
        assert_eq!(events(&lines).unwrap(), expected);
    }

    #[test]
    fn what_is_not_understood_is_no_gap() {
        let log = escaped("/d/log");
        for line in [
            format!("7 write(3<{log}>, \"{}\", 1) = 1", escaped("a")),
            format!("7 pwrite64(3<{log}>, \"{}\"..., 9, 0) = 9", escaped("a")),
            format!("7 fallocate(3<{log}>, 0, 0, 9) = 0"),
            "7 <... fdatasync resumed>) = 0".into(),
            "nonsense".into(),
        ] {
            assert!(events(std::slice::from_ref(&line)).is_err(), "{line}");
        }
    }
}
