//! A cluster whose planner asks a provider with a key: it says which, carries the demonstration out
//! on its model, and shows the key nowhere.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bench::cluster::swarm;
use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::server::MockProvider;
use tokio::process::Child;

const KEY: &str = "sk-e2e-0123456789abcdef0123456789";

/// How long the demonstration may take.
const WITHIN: Duration = Duration::from_secs(180);

/// Looks at the command lines of all processes until this one has ended.
async fn command_lines_show_no_key(child: &mut Child) -> std::process::ExitStatus {
    loop {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            // Most are no processes, and one may end while it is looked at.
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            assert!(
                !String::from_utf8_lossy(&line).contains(KEY),
                "{:?}",
                entry.path()
            );
        }
        if let Ok(status) = tokio::time::timeout(Duration::from_millis(200), child.wait()).await {
            return status.unwrap();
        }
    }
}

fn files_below(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_below(&path, visit);
        } else {
            visit(&path);
        }
    }
}

#[tokio::test]
async fn the_demonstration_runs_on_a_provider_with_a_key_and_says_which() {
    let mock = MockProvider::new(Brand::Dashscope, KEY);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = mock.base_url(listener.local_addr().unwrap());
    tokio::spawn(mock.clone().serve(listener));
    let folder = tempfile::tempdir().unwrap();
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, KEY).unwrap();
    let state = folder.path().join("state");
    let (said, complained) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = swarm()
        .unwrap()
        .args(["up", "--demo", "--free-ports", "--state"])
        .arg(&state)
        .env("LLM_BRIDGE__PROVIDERS__QWEN__BASE_URL", base_url)
        .env("LLM_BRIDGE__PROVIDERS__QWEN__KEY_FILE", &key_file)
        .env("LLM_BRIDGE__LOG__FILTER", "trace")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&said).unwrap())
        .stderr(std::fs::File::create(&complained).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = tokio::time::timeout(WITHIN, command_lines_show_no_key(&mut child)).await;
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let (said, complained) = (read(&said), read(&complained));
    let end: Vec<&str> = complained.lines().rev().take(40).collect();
    assert!(
        status.expect("the demonstration does not end").success(),
        "{said}\n{end:?}"
    );
    assert!(said.contains("model        qwen (qwen-plus)"), "{said}");
    assert!(!said.contains("mock-model"), "{said}");
    let seen = mock.take_seen();
    assert!(
        seen.iter().any(|seen| seen.path == "/chat/completions"),
        "nobody was asked"
    );
    assert!(
        complained.contains("qwen-plus"),
        "the bridge has logged nothing"
    );
    for text in [&said, &complained] {
        assert!(!text.contains(KEY), "the key is in what was printed");
    }
    files_below(&state, &mut |path: &Path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        let shows = bytes
            .windows(KEY.len())
            .any(|window| window == KEY.as_bytes());
        assert!(!shows, "the key is in {}", path.display());
    });
}
