//! The tidy test: the arrows between crates, the fences around libraries, and the form of files.
//!
//! It reads the tree as it is; nothing is compiled or run but `cargo metadata`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What a crate of ours may rest on, tests included. DESIGN's arrows.
const ARROWS: [(&str, &[&str]); 10] = [
    ("protocol", &[]),
    ("service-kit", &["protocol"]),
    ("im-store", &["protocol", "service-kit"]),
    ("im-router", &["protocol", "service-kit"]),
    ("im-logic", &["protocol", "service-kit"]),
    ("im-gateway", &["protocol", "service-kit"]),
    ("client-sdk", &["protocol"]),
    ("llm-bridge", &["protocol", "client-sdk", "service-kit"]),
    ("deploy", &["protocol", "client-sdk", "service-kit"]),
    (
        "bench",
        &[
            "protocol",
            "service-kit",
            "im-store",
            "im-router",
            "im-logic",
            "im-gateway",
            "client-sdk",
            "llm-bridge",
            "deploy",
        ],
    ),
];

/// Where a library may be named: files or folders, from the root.
const FENCES: [(&str, &[&str]); 6] = [
    (
        "sqlx",
        &[
            "im-store/src/engine.rs",
            "im-store/src/sql",
            "im-store/src/sqlite",
            "im-store/src/mysql",
            "im-store/src/testing",
            "im-store/tests",
        ],
    ),
    (
        "rusqlite",
        &["im-store/src/engine.rs", "im-store/src/sqlite"],
    ),
    ("reqwest", &["llm-bridge/src", "llm-bridge/tests", "bench"]),
    (
        "dashmap",
        &["im-gateway/src/registry.rs", "im-router/src/registry.rs"],
    ),
    ("redb", &["client-sdk/src/journal", "client-sdk/tests"]),
    (
        "redis",
        &[
            "service-kit/src/registry.rs",
            "service-kit/src/registry/redis.rs",
        ],
    ),
];

/// The packages that the design fixes and that are direct and used by now.
const FIXED_PACKAGES: [&str; 12] = [
    "tokio",
    "tokio-util",
    "bytes",
    "prost",
    "rustls",
    "tokio-rustls",
    "dashmap",
    "sqlx",
    "redis",
    "ferroid",
    "reqwest",
    "metrics",
];

/// What may stand at the top of the tree, beside dotfiles and tool settings.
const TOP_LEVEL: [&str; 17] = [
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "README.zh-CN.md",
    "bench",
    "client-sdk",
    "clippy.toml",
    "deny.toml",
    "deploy",
    "docs",
    "im-gateway",
    "im-logic",
    "im-router",
    "im-store",
    "llm-bridge",
    "protocol",
    "service-kit",
];

/// Beside `rustfmt.toml`, which rustfmt wants there.
const TOOL_SETTINGS: [&str; 1] = ["rustfmt.toml"];

/// A file beyond it says in its first lines why ("Longer than").
const FILE_LINES_MAX: usize = 400;

/// A process's `main.rs` is a table of contents.
const MAIN_LINES_MAX: usize = 60;

/// Licences that ask for nothing but their own text.
const LICENCES: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "BSL-1.0",
    "0BSD",
    "Unicode-3.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

/// Every file that git keeps, from the root.
fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "git ls-files");
    let text = String::from_utf8(listed.stdout).unwrap();
    let files: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    files
        .into_iter()
        .filter(|file| root().join(file).is_file())
        .collect()
}

fn sources() -> Vec<(String, String)> {
    let hand_written = |file: &String| file.ends_with(".rs") && !file.contains("/generated/");
    tracked()
        .into_iter()
        .filter(hand_written)
        .map(|file| {
            let text = std::fs::read_to_string(root().join(&file)).unwrap();
            (file, text)
        })
        .collect()
}

fn metadata() -> Value {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "cargo metadata: {said}");
    serde_json::from_slice(&out.stdout).unwrap()
}

fn own_packages(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let all = metadata["packages"].as_array().unwrap();
    let own = all.iter().filter(|package| package["source"].is_null());
    own.map(|package| {
        let rests_on = package["dependencies"].as_array().unwrap().iter();
        let names = rests_on
            .map(|d| d["name"].as_str().unwrap().to_owned())
            .collect();
        (package["name"].as_str().unwrap().to_owned(), names)
    })
    .collect()
}

#[test]
fn the_arrows_between_crates_hold() {
    let packages = own_packages(&metadata());
    let known: BTreeMap<_, _> = ARROWS.into();
    let names: Vec<_> = packages.keys().map(String::as_str).collect();
    assert_eq!(names, known.keys().copied().collect::<Vec<_>>());
    for (package, rests_on) in &packages {
        for other in rests_on.iter().filter(|name| packages.contains_key(*name)) {
            let allowed = known[&package[..]].contains(&&other[..]) || other == package;
            assert!(allowed, "{package} rests on {other}");
        }
    }
}

#[test]
fn the_packages_of_the_design_are_direct() {
    let packages = own_packages(&metadata());
    for fixed in FIXED_PACKAGES {
        let used = packages.values().any(|rests_on| rests_on.contains(fixed));
        assert!(used, "{fixed} is no direct dependency");
    }
}

#[test]
fn libraries_stay_behind_their_fences() {
    let mut named = BTreeSet::new();
    for (file, text) in sources()
        .iter()
        .filter(|(file, _)| !file.ends_with("tidy.rs"))
    {
        for (library, places) in FENCES {
            let uses = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains(&format!("{library}::")) || code.contains(&format!("use {library}"))
            });
            if uses {
                named.insert(library);
                let allowed = places.iter().any(|place| file.starts_with(place));
                assert!(
                    allowed,
                    "{file} uses {library}, which belongs in {places:?}"
                );
            }
        }
    }
    for library in ["sqlx", "dashmap", "reqwest", "redis"] {
        assert!(named.contains(library), "{library} is used nowhere");
    }
}

#[test]
fn files_say_what_they_are_and_keep_their_length() {
    for (file, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{file} does not open with what it is"
        );
        let lines = text.lines().count();
        let reasoned = text
            .lines()
            .take(12)
            .any(|line| line.contains("Longer than"));
        assert!(
            lines <= FILE_LINES_MAX || reasoned,
            "{file}: {lines} lines, and no reason"
        );
        if file.ends_with("src/main.rs") {
            assert!(lines <= MAIN_LINES_MAX, "{file}: {lines} lines");
        }
    }
}

#[test]
fn nothing_is_left_for_later_and_no_test_sleeps() {
    let marks = ["TO", "FIX", "XX"].map(|start| {
        start.to_owned()
            + if start == "TO" {
                "DO"
            } else if start == "FIX" {
                "ME"
            } else {
                "X"
            }
    });
    for (file, text) in sources() {
        for mark in &marks {
            assert!(!text.contains(mark.as_str()), "{file} has a {mark}");
        }
        if file.contains("/tests/") {
            let sleeps = text.contains("time::sleep(") || text.contains("thread::sleep(");
            assert!(!sleeps || file.ends_with("tidy.rs"), "{file} sleeps");
        }
    }
}

#[test]
fn the_top_level_is_as_fixed() {
    let tops: BTreeSet<_> = tracked()
        .iter()
        .map(|file| file.split('/').next().unwrap_or_default().to_owned())
        .filter(|top| !top.starts_with('.'))
        .collect();
    for top in tops {
        let known = TOP_LEVEL.contains(&&top[..]) || TOOL_SETTINGS.contains(&&top[..]);
        assert!(known, "{top} does not belong at the top level");
    }
}

#[test]
fn every_package_has_a_licence_that_we_accept() {
    for package in metadata()["packages"].as_array().unwrap() {
        let name = &package["name"];
        let licence = package["license"].as_str().unwrap_or_default();
        // "A OR B": one is enough. "A AND B": all are needed.
        let accepted = licence.replace('/', " OR ").split(" OR ").any(|choice| {
            let choice = choice.trim_matches(|c| c == '(' || c == ')' || c == ' ');
            choice
                .split(" AND ")
                .all(|one| LICENCES.contains(&one.trim_matches(['(', ')', ' '])))
        });
        assert!(accepted, "{name}: {licence:?}");
    }
}

/// What stands in the fenced blocks of a document, without the comments of a shell.
fn commands(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .flat_map(str::lines)
        .filter(|line| line.starts_with("./"))
        .map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned())
        .collect()
}

#[test]
fn both_readmes_have_the_same_commands() {
    let english = commands("README.md");
    // `/do` in a comment is in the reader's language; commands are not.
    assert_eq!(english, commands("README.zh-CN.md"));
    assert!(english.iter().any(|command| command == "./deploy/up"));
    assert!(english.iter().any(|command| command == "./deploy/test"));
}
