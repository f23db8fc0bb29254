//! `provider-check` as a person runs it, against mocks: every part of every provider, the mend of a
//! failure, the question before the cost, the dated report; and no key anywhere.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::{Output, Stdio};

use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::scenario::Scenario;
use llm_bridge::mocks::server::MockProvider;
use tokio::process::Command;

const KEY: &str = "sk-check-0123456789abcdef";

/// The section of each provider, the mock that stands for it, and its kind if it is not the default.
const SUBJECTS: [(&str, Brand, &str); 7] = [
    ("qwen", Brand::Dashscope, "dashscope"),
    ("qwen", Brand::DashscopeNative, "dashscope-native"),
    ("ernie", Brand::Qianfan, "qianfan"),
    ("doubao", Brand::Ark, "ark"),
    ("coze", Brand::Coze, "coze"),
    ("openai", Brand::Openai, "openai"),
    ("model", Brand::Compatible, "compatible"),
];

async fn check(
    folder: &Path,
    (name, brand, kind): (&str, Brand, &str),
    mock: &MockProvider,
    key: &str,
    arguments: &[&str],
) -> Output {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = mock.base_url(listener.local_addr().unwrap());
    tokio::spawn(mock.clone().serve(listener));
    let key_file = folder.join("key");
    std::fs::write(&key_file, key).unwrap();
    let section = match name {
        "model" => "LLM_BRIDGE__MODEL".to_owned(),
        name => format!("LLM_BRIDGE__PROVIDERS__{}", name.to_uppercase()),
    };
    Command::new(env!("CARGO_BIN_EXE_provider-check"))
        .env_clear()
        .current_dir(folder)
        .env(format!("{section}__BASE_URL"), base_url)
        .env(format!("{section}__KEY_FILE"), key_file)
        .env(format!("{section}__KIND"), kind)
        .env(format!("{section}__NAME"), format!("\"{}\"", brand.model()))
        .env(
            format!("{section}__EMBEDDINGS_NAME"),
            brand.embeddings_model(),
        )
        .args(arguments)
        .arg(name)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn report(folder: &Path) -> String {
    let mut files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let is_report = |path: &std::path::PathBuf| path.extension().is_some_and(|its| its == "md");
    let file = files.find(is_report).expect("a report");
    assert!(
        file.display().to_string().contains("-20"),
        "{} has no date",
        file.display()
    );
    std::fs::read_to_string(file).unwrap()
}

#[tokio::test]
async fn every_provider_passes_every_part_against_its_mock() {
    for subject in SUBJECTS {
        let folder = tempfile::tempdir().unwrap();
        let mock = MockProvider::new(subject.1, KEY);
        let arguments = ["--yes", "--price", "0.8/2"];
        let output = check(folder.path(), subject, &mock, KEY, &arguments).await;
        let text = said(&output);
        assert!(output.status.success(), "{subject:?}: {text}");
        assert!(
            text.contains("this costs") && text.contains(": 0.00"),
            "{text}"
        );
        let skipped = usize::from(subject.1 == Brand::Coze);
        assert_eq!(text.matches("passed ").count(), 5 - skipped, "{text}");
        assert_eq!(text.matches("skipped ").count(), skipped, "{text}");
        let report = report(folder.path());
        assert!(
            report.contains("failed: 0 of 5") && report.contains(subject.1.model()),
            "{report}"
        );
        assert!(!text.contains(KEY) && !report.contains(KEY));
    }
}

#[tokio::test]
async fn a_failure_names_its_mend_and_ends_in_a_failure() {
    for (scenario, key, mend) in [
        (Scenario::default(), "sk-wrong", "key_file"),
        (Scenario::error("Arrearage"), KEY, "money"),
        (Scenario::error("model_not_found"), KEY, "`name`"),
        (Scenario::error("internal_server_error"), KEY, "base_url"),
        (Scenario::error("limit_requests"), KEY, "wait"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mock = MockProvider::new(Brand::Dashscope, KEY);
        assert!(mock.push(scenario));
        let output = check(folder.path(), SUBJECTS[0], &mock, key, &["--yes"]).await;
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let mended = text
            .lines()
            .any(|line| line.contains("mend: ") && line.contains(mend));
        assert!(mended, "{mend}: {text}");
        assert!(report(folder.path()).contains("**failed**"));
        assert!(!text.contains(key), "{text}");
    }
}

#[tokio::test]
async fn nothing_is_asked_before_somebody_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let mock = MockProvider::new(Brand::Dashscope, KEY);
    let output = check(folder.path(), SUBJECTS[0], &mock, KEY, &[]).await;
    assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    assert!(said(&output).contains("--yes"));
    assert!(mock.take_seen().is_empty());
}

#[tokio::test]
async fn the_providers_that_are_on_are_listed_in_their_order() {
    let list = |variables: &'static [(&str, &str)]| async move {
        let output = Command::new(env!("CARGO_BIN_EXE_provider-check"))
            .env_clear()
            .envs(variables.iter().copied())
            .arg("--list")
            .output()
            .await
            .unwrap();
        (output.status.code(), said(&output))
    };
    let (code, text) = list(&[]).await;
    assert_eq!(code, Some(64), "{text}");
    let keys = &[
        ("LLM_BRIDGE__PROVIDERS__ERNIE__KEY", "bce-v3/secret-ernie"),
        ("LLM_BRIDGE__PROVIDERS__QWEN__KEY", "sk-secret-qwen"),
    ];
    let (code, text) = list(keys).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(
        text.trim(),
        "qwen (qwen-plus), ernie (ernie-4.5-turbo-128k)"
    );
}
