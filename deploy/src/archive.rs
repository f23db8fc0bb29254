//! The file of a backup: a tar archive, in which `manifest.json` comes first and says what follows,
//! with sizes and checksums. Written under another name, synced, renamed; verified from end to end
//! before anything of it is used.
//!
//! Not here: what is in its parts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// Says that a manifest is ours.
const KIND: &str = "im-swarm-backup";

const MANIFEST: &str = "manifest.json";

/// The longest manifest, in bytes. A longer one is none of ours.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    kind: String,
    format: u32,
    /// The version of `swarm` that made it.
    pub version: String,
    /// What im-store says of the database in it.
    pub database: serde_json::Value,
    /// What follows, in order.
    pub parts: Vec<Part>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its path within the backup.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

/// Why there is no backup, or it cannot be used.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// A file.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It would be overwritten.
    #[error("{} exists already: a backup is never overwritten", .0.display())]
    Exists(PathBuf),
    /// It is something else.
    #[error("{} is no backup of swarm", .0.display())]
    NotABackup(PathBuf),
    /// A newer build wrote it.
    #[error(
        "{} is a backup of a newer build (format {found}, and this one knows up to {FORMAT}): \
         restore it with that build",
        path.display()
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is cut short, or not what was written.
    #[error("the backup {} is damaged ({what}): nothing was restored", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// Refuses a name that is taken.
pub fn check_is_new(path: &Path) -> Result<(), ArchiveError> {
    if path.exists() {
        return Err(ArchiveError::Exists(path.to_owned()));
    }
    Ok(())
}

/// Makes a backup of these files, each with its name in it.
pub fn pack(
    to: &Path,
    files: &[(String, PathBuf)],
    database: serde_json::Value,
) -> Result<Manifest, ArchiveError> {
    check_is_new(to)?;
    let parts = files.iter().map(|(name, path)| part(name, path));
    let manifest = Manifest {
        kind: KIND.into(),
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        database,
        parts: parts.collect::<Result<_, _>>()?,
    };
    let partial = beside(to, ".partial");
    let written = write(&partial, &manifest, files)
        .and_then(|()| fs::rename(&partial, to))
        .and_then(|()| File::open(folder_of(to))?.sync_all());
    if written.is_err() {
        // The first error is the one to tell.
        drop(fs::remove_file(&partial));
    }
    written.map_err(|source| file_error(to, source))?;
    Ok(manifest)
}

fn write(path: &Path, manifest: &Manifest, files: &[(String, PathBuf)]) -> io::Result<()> {
    let file = private().open(path)?;
    let mut archive = tar::Builder::new(file);
    let text = serde_json::to_vec_pretty(manifest)?;
    append(&mut archive, MANIFEST, text.len() as u64, &text[..])?;
    for ((name, path), part) in files.iter().zip(&manifest.parts) {
        let file = File::open(path)?.take(part.bytes);
        append(&mut archive, name, part.bytes, file)?;
    }
    archive.into_inner()?.sync_all()
}

fn append(
    archive: &mut tar::Builder<File>,
    name: &str,
    bytes: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, content)
}

/// Reads all of it: it is a backup, and nothing of it is missing or changed.
pub fn verify(path: &Path) -> Result<Manifest, ArchiveError> {
    read(path, |_| Ok(Box::new(io::sink())))
}

/// Writes its parts under a folder, which is made. The caller has verified it, and knows the names
/// in it for good.
pub fn unpack(path: &Path, into: &Path) -> Result<(), ArchiveError> {
    let place = |part: &Part| -> io::Result<Box<dyn Write>> {
        let to = into.join(&part.name);
        crate::private_file::make_folder(folder_of(&to))?;
        Ok(Box::new(private().open(to)?))
    };
    read(path, place).map(|_| ())
}

/// Goes through all parts, and copies each to where it is asked to go.
fn read(
    path: &Path,
    mut place: impl FnMut(&Part) -> io::Result<Box<dyn Write>>,
) -> Result<Manifest, ArchiveError> {
    let failed = |source| file_error(path, source);
    let damaged = |what: String| ArchiveError::Damaged {
        path: path.to_owned(),
        what,
    };
    let mut archive = tar::Archive::new(File::open(path).map_err(failed)?);
    let not_ours = |_| ArchiveError::NotABackup(path.to_owned());
    let mut entries = archive.entries().map_err(not_ours)?;
    let manifest = manifest(path, entries.next())?;
    for part in &manifest.parts {
        let entry = entries.next();
        let entry = entry.ok_or_else(|| damaged(format!("{} is missing", part.name)))?;
        let mut entry = entry.map_err(|error| damaged(error.to_string()))?;
        if *entry.path_bytes() != *part.name.as_bytes() || entry.size() != part.bytes {
            return Err(damaged(format!("{} is not where it should be", part.name)));
        }
        let mut to = place(part).map_err(failed)?;
        let sum = copy(&mut entry, &mut to).map_err(|error| match error {
            Copied::Read(error) => damaged(error.to_string()),
            Copied::Written(error) => failed(error),
        })?;
        if sum != part.sha256 {
            return Err(damaged(format!("the checksum of {} differs", part.name)));
        }
    }
    match entries.next() {
        None => Ok(manifest),
        Some(_) => Err(damaged("something follows its end".into())),
    }
}

fn manifest(
    path: &Path,
    first: Option<io::Result<tar::Entry<'_, File>>>,
) -> Result<Manifest, ArchiveError> {
    let not_ours = || ArchiveError::NotABackup(path.to_owned());
    let entry = first.and_then(Result::ok).ok_or_else(not_ours)?;
    if *entry.path_bytes() != *MANIFEST.as_bytes() {
        return Err(not_ours());
    }
    let mut text = Vec::new();
    let read = entry.take(MANIFEST_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|_| not_ours())?;
    // The format first: another one may have other fields.
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|_| not_ours())?;
    if value["kind"] != KIND {
        return Err(not_ours());
    }
    let format = value["format"]
        .as_u64()
        .and_then(|its| u32::try_from(its).ok());
    match format {
        Some(FORMAT) => serde_json::from_value(value).map_err(|error| ArchiveError::Damaged {
            path: path.to_owned(),
            what: error.to_string(),
        }),
        Some(found) if found > FORMAT => Err(ArchiveError::Newer {
            path: path.to_owned(),
            found,
        }),
        _ => Err(not_ours()),
    }
}

fn part(name: &str, path: &Path) -> Result<Part, ArchiveError> {
    let failed = |source| file_error(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let sum = copy(&mut file, &mut io::sink()).map_err(|error| match error {
        Copied::Read(error) | Copied::Written(error) => failed(error),
    })?;
    Ok(Part {
        name: name.to_owned(),
        bytes,
        sha256: sum,
    })
}

/// Which end failed.
enum Copied {
    Read(io::Error),
    Written(io::Error),
}

/// Copies to the end, and returns the checksum.
fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<String, Copied> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).map_err(Copied::Read)?;
        if read == 0 {
            to.flush().map_err(Copied::Written)?;
            let sum = sum.finalize();
            return Ok(sum.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        sum.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(Copied::Written)?;
    }
}

/// A path with more at the end of its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
}

fn file_error(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let files = ["database", "authority/tokens.key"].map(|name| {
            let path = folder.path().join(name.replace('/', "-"));
            fs::write(&path, name.repeat(1000)).unwrap();
            (name.to_owned(), path)
        });
        let backup = folder.path().join("backup");
        pack(&backup, &files, serde_json::json!({"rows": 7})).unwrap();
        let again = pack(&backup, &files, serde_json::Value::Null);
        assert!(matches!(again, Err(ArchiveError::Exists(_))));
        (folder, backup)
    }

    #[test]
    fn what_was_packed_comes_out_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, backup) = packed();
        assert_eq!(verify(&backup).unwrap().database["rows"], 7);
        let into = folder.path().join("out");
        unpack(&backup, &into).unwrap();
        let key = into.join("authority/tokens.key");
        assert_eq!(
            fs::read_to_string(&key).unwrap(),
            "authority/tokens.key".repeat(1000)
        );
        for file in [&backup, &key] {
            let mode = fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        }
    }

    #[test]
    fn what_is_no_whole_backup_is_refused_and_said_to_be_what_it_is() {
        let (folder, backup) = packed();
        let whole = fs::read(&backup).unwrap();
        let text = String::from_utf8_lossy(&whole).into_owned();
        let newer = text
            .replacen("\"format\": 1", "\"format\": 2", 1)
            .into_bytes();
        let other = text.replacen(KIND, "im-swarm-restore", 1).into_bytes();
        let mut changed = whole.clone();
        let at = text.find("databasedatabase").unwrap();
        changed[at + 9] ^= 1;
        let cases = [
            (Vec::new(), "no backup"),
            (b"PK\x03\x04 a zip".to_vec(), "no backup"),
            (other, "no backup"),
            (newer, "a newer build (format 2"),
            (changed, "the checksum of database differs"),
            (whole[..at + 100].to_vec(), "damaged"),
            (whole[..at + 8200].to_vec(), "damaged"),
        ];
        let file = folder.path().join("wrong");
        for (bytes, says) in cases {
            fs::write(&file, bytes).unwrap();
            let refused = verify(&file).unwrap_err().to_string();
            assert!(refused.contains(says), "{says}: {refused}");
        }
    }
}
