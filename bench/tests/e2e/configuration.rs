//! A configuration that cannot be used ends a process before it serves, with a line that says what
//! to mend and an exit code of `sysexits.h`.

use std::net::TcpListener;
use std::process::{Command, Output};

use bench::cluster::binaries;
use deploy::authority::Authority;
use service_kit::clock;

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;

const TIERS: [(&str, &str); 5] = [
    ("im-store", "IM_STORE"),
    ("im-router", "IM_ROUTER"),
    ("im-logic", "IM_LOGIC"),
    ("im-gateway", "IM_GATEWAY"),
    ("llm-bridge", "LLM_BRIDGE"),
];

fn run(binary: &str, environment: &[(String, String)], arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = Command::new(binaries().unwrap().join(binary))
        .args(arguments)
        .envs(environment.iter().cloned())
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    (status.code().unwrap_or(-1), said)
}

#[test]
fn a_wrong_key_is_refused_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.toml");
    std::fs::write(&file, "[log]\nfliter = \"info\"\n").unwrap();
    let file = file.to_str().unwrap();
    for (binary, prefix) in TIERS {
        let (code, said) = run(binary, &[], &["--config", file]);
        assert_eq!(code, USAGE, "{binary}: {said}");
        let named = said.contains("unknown key `log.fliter`") && said.contains("`log.filter`");
        assert!(named && said.lines().count() == 1, "{binary}: {said}");

        let (code, said) = run(
            binary,
            &[(format!("{prefix}__DRAIN__GRACE"), "1".into())],
            &[],
        );
        assert_eq!(code, USAGE, "{binary}: {said}");
        assert!(
            said.contains("did you mean `drain.grace_ms`"),
            "{binary}: {said}"
        );
    }
}

#[test]
fn a_port_in_use_is_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), clock::unix_ms()).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (binary, prefix) in &TIERS[..4] {
        let set = |key: &str, value: String| (format!("{prefix}__{key}"), value);
        let own = authority.tier_certificate(binary);
        let mut environment = vec![
            set(
                "INTERNAL_TLS__CA",
                authority.internal_ca().display().to_string(),
            ),
            set(
                "INTERNAL_TLS__CERTIFICATE",
                own.certificate.display().to_string(),
            ),
            set("INTERNAL_TLS__KEY", own.key.display().to_string()),
            set("LISTEN__ADDRESS", taken.clone()),
            set("ADMIN__LISTEN", "127.0.0.1:0".into()),
        ];
        if *binary == "im-logic" {
            let key = authority.token_public_key().display().to_string();
            environment.push(set("TOKENS__PUBLIC_KEY", key));
        }
        if *binary == "im-gateway" {
            let public = authority.public_certificate();
            let path = |path: &std::path::Path| path.display().to_string();
            environment.push(set("PUBLIC_TLS__CERTIFICATE", path(&public.certificate)));
            environment.push(set("PUBLIC_TLS__KEY", path(&public.key)));
            environment.push(set("PUBLIC_TLS__CLIENT_CA", path(&authority.fleet_ca())));
        }
        let (code, said) = run(binary, &environment, &[]);
        assert_eq!(code, UNAVAILABLE, "{binary}: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(
            last.contains("listen.address") && last.contains(&taken),
            "{binary}: {said}"
        );
    }
}

#[test]
fn a_set_port_that_is_taken_is_refused_by_swarm_and_one_that_is_not_set_falls_back() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("s");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let arguments = [
        "up",
        "--state",
        state.to_str().unwrap(),
        "--client-port",
        &port,
    ];
    let (code, said) = run("swarm", &[], &arguments);
    assert_eq!(code, UNAVAILABLE, "{said}");
    assert!(
        said.contains("--client-port") && said.contains(&port),
        "{said}"
    );
}
