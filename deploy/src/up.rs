//! `swarm up`: makes a cluster on a state folder, says where everything is, keeps it running until
//! it is told to stop. The tiers' lives are in [`crate::supervisor`].

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use service_kit::clock;
use service_kit::config::ConfigError;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::addresses::Addresses;
use crate::authority::{Authority, TokenKind};
use crate::demo::{self, DemoOptions, Outcome};
use crate::media::MediaPlace;
use crate::ports::PortOptions;
use crate::provider;
use crate::screen::{news, say};
use crate::state::{State, checkout};
use crate::supervisor::{Supervisor, SupervisorError};
use crate::tiers::{ClusterRegistry, Counts, Instance, ModelChoice, PLANNER, Wiring};

/// The robot whose credential the first line to paste uses.
const FIRST_ROBOT: &str = "my-robot";

/// What `up` does besides.
#[derive(Debug, Args)]
pub struct UpOptions {
    /// Where history is kept, for example mysql://USER:PASSWORD@HOST:PORT/NAME [a file of the state]
    #[arg(long, value_name = "URL", env = "SWARM_STORE", hide_env_values = true)]
    store: Option<String>,
    /// Where media are kept: a folder, or s3://BUCKET/PREFIX [a folder of the state]
    #[arg(long, value_name = "PLACE", env = "SWARM_MEDIA")]
    media: Option<String>,
    /// How many processes.
    #[command(flatten)]
    counts: Counts,
    /// Where the processes find each other, for example redis://HOST:PORT [fixed addresses]
    #[arg(long, value_name = "URL", env = "SWARM_REDIS", hide_env_values = true)]
    redis: Option<String>,
    /// Where the others reach an instance, when that is not where it listens: behind a proxy
    #[arg(long, value_name = "INSTANCE=HOST:PORT", value_parser = advertised, hide = true)]
    advertise: Vec<(String, SocketAddr)>,
    /// Runs the demonstration, prints its summary, stops everything and exits
    #[arg(long)]
    demo: bool,
    /// Which demonstration.
    #[command(flatten)]
    demo_options: DemoOptions,
}

fn advertised(text: &str) -> Result<(String, SocketAddr), String> {
    let (instance, address) = text.split_once('=').ok_or("not INSTANCE=HOST:PORT")?;
    let address = address
        .parse()
        .map_err(|_| format!("{address} is no address"))?;
    Ok((instance.into(), address))
}

/// Runs a cluster until it is told to stop, or until its demonstration has ended.
pub async fn run(state: &State, options: &UpOptions, ports: &PortOptions) -> anyhow::Result<()> {
    if !options.demo && options.demo_options.are_set() {
        let text = "--instruction and --json are for up --demo";
        return Err(ConfigError::Usage(text.into()).into());
    }
    if options.counts.need_registry() && options.redis.is_none() {
        let text = "several logics, routers or stores find each other through Redis: --redis URL";
        return Err(ConfigError::Usage(text.into()).into());
    }
    let began = clock::now();
    let mut signals = Signals::new()?;
    let _lock = state.lock()?;
    Supervisor::clear_leftovers(state).await;
    let mut addresses = ports.choose(clock::unix_ms(), options.counts)?;
    addresses.advertised = options.advertise.iter().cloned().collect();
    let model = model_choice(std::env::vars_os());
    let authority = Authority::open(state.folder(), clock::unix_ms())?;
    let instances = Instance::all(&model.tiers(), options.counts);
    let mut supervisor = start(
        state,
        &authority,
        (addresses.clone(), model, options),
        &instances,
    )?;
    let served = {
        let ready = async {
            supervisor.ready(&instances).await?;
            let seconds = (clock::now() - began).as_secs_f64();
            news(format!("all tiers are ready after {seconds:.1} s"));
            let model = match model {
                ModelChoice::Mock => {
                    "the mock; set LLM_BRIDGE__PROVIDERS__QWEN__KEY_FILE or the like for another"
                        .into()
                }
                ModelChoice::Configured => provider::in_use().await?,
            };
            welcome(state, &authority, &addresses, &model, &instances)?;
            anyhow::Ok(())
        };
        tokio::select! {
            ready = ready => ready.map(|()| Next::Serve),
            () = signals.next() => Ok(Next::Stop),
        }
    };
    let ended = match served {
        Ok(Next::Serve) => serve(state, options, &mut supervisor, &mut signals).await,
        Ok(Next::Stop) => Ok(()),
        Err(error) => Err(error),
    };
    news("stopping, the store last");
    let hurry = supervisor.hurry();
    let stopping = supervisor.stop();
    tokio::pin!(stopping);
    tokio::select! {
        () = &mut stopping => {}
        () = signals.next() => {
            hurry.cancel();
            stopping.await;
        }
    }
    news("stopped");
    ended
}

enum Next {
    Serve,
    Stop,
}

fn start(
    state: &State,
    authority: &Authority,
    (addresses, model, options): (Addresses, ModelChoice, &UpOptions),
    instances: &[Instance],
) -> anyhow::Result<Supervisor> {
    state.make_data()?;
    let wiring = Wiring {
        addresses,
        authority,
        data: state.data(),
        media: MediaPlace::of(state, options.media.clone())?,
        planner_token: authority.token(TokenKind::Planner, PLANNER, clock::unix_ms())?,
        database: options
            .store
            .clone()
            .unwrap_or_else(|| state.own_database()),
        registry: options.redis.clone().map(|redis| ClusterRegistry {
            redis,
            namespace: format!("im:{}", state.folder().display()),
        }),
        model,
    };
    Ok(Supervisor::start(state, &wiring, instances)?)
}

/// Until it is told to stop, a tier cannot be kept running, or the demonstration has ended.
async fn serve(
    state: &State,
    options: &UpOptions,
    supervisor: &mut Supervisor,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let demonstration = async {
        if options.demo {
            demo::carry_out(state, &options.demo_options).await
        } else {
            news("Ctrl-C stops the cluster");
            std::future::pending().await
        }
    };
    let report = tokio::select! {
        () = signals.next() => {
            ensure!(!options.demo, "the demonstration was stopped");
            return Ok(());
        }
        error = supervisor.gave_up() => return Err(SupervisorError::into(error)),
        report = demonstration => report?,
    };
    ensure!(
        report.outcome == Outcome::Done && report.is_clean(),
        "the demonstration did not end as it should: see its summary above"
    );
    Ok(())
}

/// Whether the user has said whose model the planner asks.
fn model_choice(environment: impl Iterator<Item = (OsString, OsString)>) -> ModelChoice {
    let mut environment = environment;
    let says = |(key, value): (OsString, OsString)| {
        let key = key.to_string_lossy();
        let own = key.strip_prefix("LLM_BRIDGE__MODEL__");
        let own = own.is_some_and(|key| key == "BASE_URL" || key.contains("KEY"));
        let provider = key.strip_prefix("LLM_BRIDGE__PROVIDERS__");
        let provider = provider.and_then(|key| key.split_once("__"));
        !value.is_empty() && (own || provider.is_some_and(|(_, key)| key.contains("KEY")))
    };
    if environment.any(says) {
        ModelChoice::Configured
    } else {
        ModelChoice::Mock
    }
}

/// Where everything is, and two lines to paste.
fn welcome(
    state: &State,
    authority: &Authority,
    addresses: &Addresses,
    model: &str,
    instances: &[Instance],
) -> anyhow::Result<()> {
    let robot = authority.robot(FIRST_ROBOT, clock::unix_ms())?;
    let clients = addresses.all_clients().join(", ");
    say(format!("clients      {clients} (TLS 1.3)"));
    let http = addresses.all_http().join(", https://");
    say(format!("HTTP         https://{http} (WebSocket at /v1/ws)"));
    let api = addresses.all_api().join(", https://");
    say(format!("admin API    https://{api}/admin/v1"));
    say(format!("authority    {}", authority.fleet_ca().display()));
    say(format!("state        {}", state.folder().display()));
    for instance in instances {
        let (name, admin) = (instance.to_string(), instance.admin(addresses));
        say(format!("{name:<12} http://{admin}/metrics"));
    }
    say(format!("model        {model}"));
    let program = Program::current();
    say("");
    say("Ready to paste, at the root of the checkout: a robot's first words, and a conversation.");
    say(program.first_robot(
        &addresses.clients.to_string(),
        [&authority.fleet_ca(), &robot.certificate, &robot.key],
    ));
    say(program.first_chat(state));
    say("");
    Ok(())
}

/// How this binary was built and is called.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    call: String,
    is_release: bool,
}

impl Program {
    fn current() -> Self {
        // Without /proc the wrapper is the better guess.
        let binary = std::env::current_exe().unwrap_or_default();
        Self::at(&binary, &checkout())
    }

    fn at(binary: &Path, checkout: &Path) -> Self {
        let wrapped = binary == checkout.join("target/release/swarm");
        Self {
            call: if wrapped || binary.as_os_str().is_empty() {
                "./deploy/swarm".into()
            } else {
                quoted(binary.as_os_str())
            },
            is_release: binary
                .parent()
                .is_none_or(|folder| folder.ends_with("release")),
        }
    }

    fn first_robot(&self, address: &str, files: [&PathBuf; 3]) -> String {
        let release = if self.is_release { " --release" } else { "" };
        let files = files.map(|file| quoted(file.as_os_str())).join(" ");
        format!(
            "cargo run --quiet --locked{release} -p client-sdk --example hello -- {address} {files}"
        )
    }

    fn first_chat(&self, state: &State) -> String {
        let Self { call, .. } = self;
        if state.is_default() {
            format!("{call} chat demo")
        } else {
            let folder = quoted(state.folder().as_os_str());
            format!("{call} chat demo --state {folder}")
        }
    }
}

/// As one word of a shell.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@,".contains(c);
    if word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The signals that stop a cluster. Watched from the beginning, so that none is missed.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
        })
    }

    /// Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiers::Tier;

    fn choice(variables: &[(&str, &str)]) -> ModelChoice {
        let pairs = variables.iter();
        model_choice(pairs.map(|(key, value)| ((*key).into(), (*value).into())))
    }

    #[test]
    fn the_mock_makes_way_for_a_model_of_the_users_own() {
        assert_eq!(choice(&[]), ModelChoice::Mock);
        let elsewhere = [("PATH", "x"), ("LLM_BRIDGE__MODEL__TIMEOUT_MS", "5")];
        assert_eq!(choice(&elsewhere), ModelChoice::Mock);
        let unset = [("LLM_BRIDGE__MODEL__BASE_URL", "")];
        assert_eq!(choice(&unset), ModelChoice::Mock);
        for key in ["BASE_URL", "API_KEY", "API_KEY_FILE"] {
            let key = format!("LLM_BRIDGE__MODEL__{key}");
            assert_eq!(choice(&[(&key, "x")]), ModelChoice::Configured, "{key}");
        }
        for (key, expected) in [
            ("QWEN__KEY", ModelChoice::Configured),
            ("OPENAI__SIGNING_KEY", ModelChoice::Configured),
            ("QWEN__NAME", ModelChoice::Mock),
        ] {
            let key = format!("LLM_BRIDGE__PROVIDERS__{key}");
            assert_eq!(choice(&[(&key, "x")]), expected, "{key}");
        }
        assert!(!ModelChoice::Configured.tiers().contains(&Tier::Mock));
        assert_eq!(ModelChoice::Mock.tiers(), Tier::ALL);
    }

    #[test]
    fn lines_to_paste_fit_how_swarm_was_built() {
        let checkout = Path::new("/src/im");
        let release = Program::at(Path::new("/src/im/target/release/swarm"), checkout);
        let files = ["/s/ca.pem", "/s/it's.pem", "/s/r.key"].map(PathBuf::from);
        let [ca, certificate, key] = &files;
        assert_eq!(
            release.first_robot("127.0.0.1:7443", [ca, certificate, key]),
            "cargo run --quiet --locked --release -p client-sdk --example hello -- \
             127.0.0.1:7443 /s/ca.pem '/s/it'\\''s.pem' /s/r.key"
        );
        assert_eq!(
            release.first_chat(&State::new(None)),
            "./deploy/swarm chat demo"
        );
        let debug = Program::at(Path::new("/src/im/target/debug/swarm"), checkout);
        assert!(!debug.is_release);
        assert_eq!(
            debug.first_chat(&State::new(Some("/s".into()))),
            "/src/im/target/debug/swarm chat demo --state /s"
        );
    }
}
