//! The binary `swarm` as a person meets it, where no tier is needed.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use deploy::ports::PortOptions;
use deploy::state::{RunFile, State};
use deploy::tiers::Counts;

const FAILURE: i32 = 1;
const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;

struct Ended {
    code: i32,
    said: String,
    complained: String,
}

fn swarm(state: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_swarm"))
        .args(arguments)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may have ended already.
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        said: String::from_utf8(output.stdout).unwrap(),
        complained: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder on which a cluster ran, with history in it.
fn used(folder: &Path) -> State {
    let state = State::new(Some(folder.join("s")));
    let made = swarm(state.folder(), &["credential", "operator", "ana"], "");
    assert_eq!(made.code, 0, "{}", made.complained);
    std::fs::create_dir(state.data()).unwrap();
    std::fs::write(state.data().join("history.db"), "history").unwrap();
    state
}

#[test]
fn a_set_port_that_is_taken_is_refused_before_anything_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("s");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let up = swarm(&state, &["up", "--store-port", &port], "");
    assert_eq!(up.code, UNAVAILABLE, "{}", up.complained);
    let named = up.complained.contains("--store-port") && up.complained.contains(&port);
    assert!(
        named && up.complained.lines().count() == 1,
        "{}",
        up.complained
    );
    assert!(!state.join("run.json").exists());
}

#[test]
fn what_needs_a_cluster_says_in_a_line_that_none_is_running() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["status"][..],
        &["chat", "demo"],
        &["history", "demo"],
        &["robots"],
        &["demo", "--instruction", "x"],
    ] {
        let ended = swarm(&folder.path().join("s"), arguments, "");
        assert_eq!(ended.code, FAILURE, "{arguments:?}: {}", ended.complained);
        let text = &ended.complained;
        assert!(
            text.contains("no cluster is running"),
            "{arguments:?}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{arguments:?}: {text}");
    }
}

#[test]
fn a_second_cluster_on_the_folder_is_refused_with_the_first_ones_process() {
    let folder = tempfile::tempdir().unwrap();
    let state = used(folder.path());
    let _lock = state.lock().unwrap();
    runs(&state, false);
    for arguments in [&["up"][..], &["reset", "--yes"]] {
        let refused = swarm(state.folder(), arguments, "");
        assert_eq!(refused.code, FAILURE, "{}", refused.complained);
        let text = &refused.complained;
        assert!(
            text.contains("already running") && text.contains("4711"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert!(state.data().join("history.db").exists());
    let status = swarm(state.folder(), &["status"], "");
    assert_eq!(status.code, 0, "{}", status.complained);
    assert!(status.said.contains("4711"), "{}", status.said);
}

/// As if a supervisor had said so.
fn runs(state: &State, history_elsewhere: bool) {
    let run = RunFile {
        supervisor_pid: 4711,
        started_at_ms: 0,
        addresses: PortOptions::default().choose(0, Counts::ONE_EACH).unwrap(),
        history_elsewhere,
        tiers: Vec::new(),
    };
    state.write_run(&run).unwrap();
}

#[test]
fn a_file_of_the_folder_is_not_backed_up_in_place_of_a_history_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let state = used(folder.path());
    let _lock = state.lock().unwrap();
    runs(&state, true);
    let to = folder.path().join("backup").display().to_string();
    let refused = swarm(state.folder(), &["backup", &to], "");
    assert_eq!(refused.code, FAILURE, "{}", refused.complained);
    let text = &refused.complained;
    assert!(text.contains("--store URL"), "{text}");
    assert!(!Path::new(&to).exists());
}

#[test]
fn reset_asks_and_deletes_only_what_is_the_clusters() {
    let folder = tempfile::tempdir().unwrap();
    let state = used(folder.path());
    let history = state.data().join("history.db");
    let own = state.folder().join("notes.txt");
    std::fs::write(&own, "mine").unwrap();

    for answer in ["n\n", "", "\n"] {
        let asked = swarm(state.folder(), &["reset"], answer);
        assert_eq!(asked.code, 0, "{}", asked.complained);
        assert!(asked.said.contains("[y/N]"), "{}", asked.said);
        assert!(history.exists(), "deleted after {answer:?}");
    }
    let asked = swarm(state.folder(), &["reset"], "yes\n");
    assert_eq!(asked.code, 0, "{}", asked.complained);
    assert!(!history.exists() && !state.folder().join("authority").exists());
    assert!(own.exists(), "it was not ours to delete");

    std::fs::remove_file(&own).unwrap();
    let state = used(folder.path());
    let told = swarm(state.folder(), &["reset", "--yes"], "");
    assert_eq!(told.code, 0, "{}", told.complained);
    assert!(!told.said.contains("[y/N]") && !state.folder().exists());
    let again = swarm(state.folder(), &["reset"], "");
    assert!(again.said.contains("nothing to delete"), "{}", again.said);
    assert!(!state.folder().exists());
}

#[test]
fn credentials_are_files_that_only_their_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("s");
    for (kind, files) in [("robot", 2), ("operator", 1), ("planner", 1)] {
        let made = swarm(&state, &["credential", kind, "one"], "");
        assert_eq!(made.code, 0, "{}", made.complained);
        assert_eq!(made.said.lines().count(), files, "{}", made.said);
        for file in made.said.lines() {
            let mode = std::fs::metadata(file).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    }
    let bad = swarm(&state, &["credential", "robot", "no name"], "");
    assert_eq!(bad.code, FAILURE);
    assert!(bad.complained.contains("is no name"), "{}", bad.complained);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("s");
    for arguments in [
        &["up", "--colour"][..],
        &["demo", "--robots", "0"],
        &["demo", "--seed", "x"],
        &["dance"],
        &["up", "--instruction", "x"],
    ] {
        let ended = swarm(&state, arguments, "");
        assert_eq!(ended.code, USAGE, "{arguments:?}: {}", ended.complained);
        assert!(!ended.complained.is_empty());
    }
    assert!(!state.exists(), "nothing was made");
}

#[test]
fn a_tier_is_not_started_without_its_supervisor() {
    let binary = env!("CARGO_BIN_EXE_swarm");
    let output = Command::new(binary)
        .args(["become-tier", "1", "/bin/true"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains("supervisor has ended"), "{said}");
}
