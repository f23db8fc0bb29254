//! `deploy/up` and `deploy/swarm` on a machine that lacks something.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

const UNAVAILABLE: i32 = 69;

fn run(script: &Path, path: &Path) -> (Option<i32>, String) {
    let output = Command::new("/bin/bash")
        .arg(script)
        .env_clear()
        .env("PATH", path)
        .env("HOME", path)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// A folder of programs with nothing but what the scripts always need.
fn programs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink("/usr/bin/dirname", folder.path().join("dirname")).unwrap();
    folder
}

#[test]
fn without_rust_or_a_compiler_one_line_says_how_to_get_it() {
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("up");
    let programs = programs();
    let (code, said) = run(&up, programs.path());
    assert_eq!(code, Some(UNAVAILABLE), "{said}");
    assert!(
        said.contains("sh.rustup.rs") && said.lines().count() == 1,
        "{said}"
    );

    let cargo = programs.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&cargo, Permissions::from_mode(0o755)).unwrap();
    let (code, said) = run(&up, programs.path());
    assert_eq!(code, Some(UNAVAILABLE), "{said}");
    assert!(said.contains("apt-get install -y gcc libc6-dev"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn swarm_that_is_not_built_names_the_script_that_builds_it() {
    let folder = tempfile::tempdir().unwrap();
    let deploy = folder.path().join("deploy");
    std::fs::create_dir(&deploy).unwrap();
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("swarm");
    std::fs::copy(original, deploy.join("swarm")).unwrap();
    let (code, said) = run(&deploy.join("swarm"), programs().path());
    assert_eq!(code, Some(UNAVAILABLE), "{said}");
    assert!(
        said.contains("./deploy/up") && said.lines().count() == 1,
        "{said}"
    );
}
