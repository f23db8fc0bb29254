//! The process of the mock providers: a server for each, on ports in a row. No configuration but the
//! command line: it is for tests and for trying things out.

use std::process::ExitCode;

use llm_bridge::mocks::brand::Brand;
use llm_bridge::mocks::server::{CONTROL_PATH, MockProvider};
use service_kit::config::ConfigError;
use service_kit::drain;
use service_kit::exit;
use tokio::net::TcpListener;

/// The key that the mocks accept: no secret.
const KEY: &str = "sk-mock";

/// The first port, when none is given.
const FIRST_PORT: u16 = 7520;

fn main() -> ExitCode {
    exit::run("mock-providers", || {
        let first = match std::env::args().nth(1).as_deref() {
            None => FIRST_PORT,
            Some("--help") => {
                let text = format!(
                    "Usage: mock-providers [FIRST_PORT]\n\nServes a mock of each provider on ports \
                     from FIRST_PORT ({FIRST_PORT}) on; 0 takes free ones. They accept the key \
                     {KEY}. POST {CONTROL_PATH} with a scenario says what the next request meets."
                );
                return Err(ConfigError::Shown(text).into());
            }
            Some(port) => port
                .parse()
                .map_err(|_| ConfigError::Usage(format!("`{port}` is no port")))?,
        };
        tokio::runtime::Runtime::new()?.block_on(run(first))
    })
}

async fn run(first: u16) -> anyhow::Result<()> {
    for (place, brand) in (0_u16..).zip(Brand::ALL) {
        let port = if first == 0 {
            0
        } else {
            first.saturating_add(place)
        };
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let mock = MockProvider::new(brand, KEY);
        let base = mock.base_url(listener.local_addr()?);
        say(&format!("{} {base}", brand.name()));
        tokio::spawn(mock.serve(listener));
    }
    drain::signal().await;
    Ok(())
}

#[allow(
    clippy::print_stdout,
    reason = "where each mock is, for who started it"
)]
fn say(line: &str) {
    println!("{line}");
}
