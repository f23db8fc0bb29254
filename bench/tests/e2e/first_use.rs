//! What a newcomer pastes: the two lines that `swarm up` prints, and the examples copied into a
//! project of their own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bench::cluster::{Cluster, binaries};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

/// The examples are built already; a project of one's own builds the SDK's crate anew.
const WITHIN: Duration = Duration::from_secs(300);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

async fn run(mut command: Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(WITHIN, child.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    said
}

/// A line as a shell takes it, at the root of the checkout.
fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(root());
    command
}

#[tokio::test]
async fn the_lines_that_are_printed_work_as_they_are() {
    let cluster = Cluster::start().await.unwrap();
    let hello = cluster.printed("--example hello").await.unwrap();
    assert!(!run(shell(&hello), "").await.is_empty());
    let chat = cluster.printed("chat demo").await.unwrap();
    let said = run(shell(&chat), "你好，机器人\n/quit\n").await;
    assert!(said.contains("你好，机器人"), "{said}");
    let history = run(shell(&chat.replace("chat demo", "history demo")), "").await;
    assert!(history.contains("你好，机器人"), "{history}");
}

#[tokio::test]
async fn the_hello_example_works_in_a_project_outside_the_checkout() {
    let cluster = Cluster::start().await.unwrap();
    let project = tempfile::tempdir().unwrap();
    let sdk = root().join("client-sdk");
    std::fs::create_dir(project.path().join("src")).unwrap();
    std::fs::copy(
        sdk.join("examples/hello.rs"),
        project.path().join("src/main.rs"),
    )
    .unwrap();
    std::fs::copy(root().join("Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    let manifest = format!(
        "[package]\nname = \"my-robot\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nclient-sdk = {{ path = {sdk:?} }}\n\
         tokio = {{ version = \"1\", features = [\"full\"] }}\nanyhow = \"1\"\n\
         [workspace]\n[profile.dev]\ndebug = false\n"
    );
    std::fs::write(project.path().join("Cargo.toml"), manifest).unwrap();
    let hello = cluster.printed("--example hello").await.unwrap();
    let arguments = hello
        .split_once(" -- ")
        .expect("arguments of the example")
        .1;
    let target = binaries().unwrap().parent().unwrap().join("outside");
    let line = format!("cargo run --quiet --offline -- {arguments}");
    let mut command = Command::new("sh");
    command
        .args(["-c", &line])
        .current_dir(project.path())
        .env("CARGO_TARGET_DIR", target);
    assert!(!run(command, "").await.is_empty());
}

/// The `./deploy/swarm` lines of a README, as they stand there.
fn readme_lines(document: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    text.lines()
        .filter(|line| line.starts_with("./deploy/swarm "))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_commands_of_both_readmes_work_as_they_are() {
    let cluster = Cluster::start().await.unwrap();
    // In place of the shell, so that a signal reaches it alone.
    let swarm = format!("exec {}", binaries().unwrap().join("swarm").display());
    let backups = tempfile::tempdir().unwrap();
    for document in ["README.md", "README.zh-CN.md"] {
        let lines = readme_lines(document);
        assert!(lines.len() >= 6, "{document}: {lines:?}");
        for line in lines {
            let backup = backups.path().join(document).display().to_string();
            let line = line.replace(" FILE", &format!(" {backup}"));
            let mut command = shell(&line.replacen("./deploy/swarm", &swarm, 1));
            command.env("SWARM_STATE", cluster.state());
            if line.contains(" reset") || line.contains(" restore") {
                // While the cluster runs nothing is deleted, whatever is answered.
                let refused = command.stdin(Stdio::null()).output().await.unwrap();
                assert!(!refused.status.success(), "{line}");
            } else if line.contains(" robots") {
                waits_for_work(command).await;
            } else {
                let said = run(command, "hello\n/quit\n").await;
                assert!(!said.is_empty(), "{line}");
            }
        }
    }
}

/// Runs until it has said that the robots are there, and is then stopped as by Ctrl-C.
async fn waits_for_work(mut command: Command) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("in the group") {
                return;
            }
        }
        panic!("it ended");
    };
    tokio::time::timeout(WITHIN, said).await.unwrap();
    let group = Pid::from_raw(-i32::try_from(child.id().unwrap()).unwrap());
    kill(group, Signal::SIGINT).unwrap();
    let status = tokio::time::timeout(WITHIN, child.wait()).await.unwrap();
    assert!(status.unwrap().success());
}
