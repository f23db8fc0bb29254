//! Which ports a cluster on this machine uses. A port that is set is used or refused; one that is
//! not set is the default or, when that is taken, a free one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::ops::RangeInclusive;

use clap::Args;
use service_kit::listen::ListenError;
use thiserror::Error;

use crate::addresses::{Addresses, Place};
use crate::tiers::{Counts, Instance, Tier};

/// Where free ports are looked for: below the range that Linux takes for outgoing connections, so
/// that none is taken between the look and the use.
const FREE_PORTS: RangeInclusive<u16> = 21_000..=29_999;

/// The ports that may be set.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Ports (default or a free one when not set; 0: not set)")]
pub struct PortOptions {
    /// Free ports instead of the defaults, for one of several clusters at once
    #[arg(long, env = "SWARM_FREE_PORTS")]
    pub free_ports: bool,
    /// Where robots, people and the planner connect; default 7443
    #[arg(long, env = "SWARM_CLIENT_PORT", value_name = "PORT")]
    pub client_port: Option<u16>,
    /// Where clients that speak HTTP connect; default 7643
    #[arg(long, env = "SWARM_HTTP_PORT", value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Where the fleet is administered by HTTP; default 7602
    #[arg(long, env = "SWARM_API_PORT", value_name = "PORT")]
    pub api_port: Option<u16>,
    /// im-logic's links; default 7402
    #[arg(long, env = "SWARM_LOGIC_PORT", value_name = "PORT")]
    pub logic_port: Option<u16>,
    /// im-router's links; default 7403
    #[arg(long, env = "SWARM_ROUTER_PORT", value_name = "PORT")]
    pub router_port: Option<u16>,
    /// im-store's links; default 7404
    #[arg(long, env = "SWARM_STORE_PORT", value_name = "PORT")]
    pub store_port: Option<u16>,
    /// im-gateway's /live, /ready and /metrics; default 7543
    #[arg(long, env = "SWARM_GATEWAY_ADMIN_PORT", value_name = "PORT")]
    pub gateway_admin_port: Option<u16>,
    /// im-logic's; default 7502
    #[arg(long, env = "SWARM_LOGIC_ADMIN_PORT", value_name = "PORT")]
    pub logic_admin_port: Option<u16>,
    /// im-router's; default 7503
    #[arg(long, env = "SWARM_ROUTER_ADMIN_PORT", value_name = "PORT")]
    pub router_admin_port: Option<u16>,
    /// im-store's; default 7504
    #[arg(long, env = "SWARM_STORE_ADMIN_PORT", value_name = "PORT")]
    pub store_admin_port: Option<u16>,
    /// llm-bridge's; default 7505
    #[arg(long, env = "SWARM_BRIDGE_ADMIN_PORT", value_name = "PORT")]
    pub bridge_admin_port: Option<u16>,
    /// The mock model's HTTP; default 7506
    #[arg(long, env = "SWARM_MOCK_PORT", value_name = "PORT")]
    pub mock_port: Option<u16>,
}

/// Why there are no ports.
#[derive(Debug, Error)]
pub enum PortError {
    /// One that was set is taken, or not usable.
    #[error("a port that was asked for cannot be used")]
    Refused(#[from] ListenError),
    /// Every port of the range is taken.
    #[error("no free port between {} and {} for {key}", FREE_PORTS.start(), FREE_PORTS.end())]
    NoneFree {
        /// What wanted one.
        key: &'static str,
    },
}

impl PortOptions {
    /// Chooses every port by trying to listen on it. The search for free ones starts at `seed`.
    /// The gateways after the first have the next ports, or free ones; further processes of other
    /// tiers have free ones.
    pub fn choose(&self, seed: u64, counts: Counts) -> Result<Addresses, PortError> {
        self.choose_with(seed, counts, |address| TcpListener::bind(address).map(drop))
    }

    /// The same with another way to try an address.
    fn choose_with(
        &self,
        seed: u64,
        counts: Counts,
        try_listen: impl FnMut(SocketAddr) -> std::io::Result<()>,
    ) -> Result<Addresses, PortError> {
        let mut choice = Choice {
            defaults: !self.free_ports,
            chosen: self.set_ports(),
            next_free: seed,
            try_listen,
        };
        let mut addresses = Addresses {
            clients: choice.port("--client-port", self.client_port, 7443)?,
            http: choice.port("--http-port", self.http_port, 7643)?,
            api: choice.port("--api-port", self.api_port, 7602)?,
            logic: choice.port("--logic-port", self.logic_port, 7402)?,
            router: choice.port("--router-port", self.router_port, 7403)?,
            store: choice.port("--store-port", self.store_port, 7404)?,
            gateway_admin: choice.port("--gateway-admin-port", self.gateway_admin_port, 7543)?,
            logic_admin: choice.port("--logic-admin-port", self.logic_admin_port, 7502)?,
            router_admin: choice.port("--router-admin-port", self.router_admin_port, 7503)?,
            store_admin: choice.port("--store-admin-port", self.store_admin_port, 7504)?,
            bridge_admin: choice.port("--bridge-admin-port", self.bridge_admin_port, 7505)?,
            mock: choice.port("--mock-port", self.mock_port, 7506)?,
            further: BTreeMap::new(),
            advertised: BTreeMap::new(),
        };
        for instance in Instance::all(&Tier::ALL, counts) {
            let Some(further) = instance.number.checked_sub(1) else {
                continue;
            };
            let next = |first: u16| {
                let further = u16::try_from(further).ok();
                let is_gateway = instance.tier == Tier::Gateway;
                further.filter(|_| is_gateway)?.checked_add(first)
            };
            let place = Place {
                listens: choice.further("a further process", next(7444))?,
                admin: choice.further("a further process", next(7544))?,
                http: (instance.tier == Tier::Gateway)
                    .then(|| choice.further("a further process", next(7644)))
                    .transpose()?,
                api: (instance.tier == Tier::Logic)
                    .then(|| choice.further("a further process", None))
                    .transpose()?,
            };
            addresses.further.insert(instance.to_string(), place);
        }
        Ok(addresses)
    }

    /// Ports that no default and no free choice may take.
    fn set_ports(&self) -> Vec<u16> {
        [
            self.client_port,
            self.http_port,
            self.api_port,
            self.logic_port,
            self.router_port,
            self.store_port,
            self.gateway_admin_port,
            self.logic_admin_port,
            self.router_admin_port,
            self.store_admin_port,
            self.bridge_admin_port,
            self.mock_port,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

struct Choice<F> {
    /// Whether defaults are taken when they are free.
    defaults: bool,
    chosen: Vec<u16>,
    next_free: u64,
    try_listen: F,
}

impl<F: FnMut(SocketAddr) -> std::io::Result<()>> Choice<F> {
    fn port(
        &mut self,
        key: &'static str,
        set: Option<u16>,
        default: u16,
    ) -> Result<SocketAddr, PortError> {
        if let Some(port) = set.filter(|port| *port != 0) {
            let twice = self.chosen.iter().filter(|taken| **taken == port).count() > 1;
            return self.refuse_or_take(key, port, twice);
        }
        self.further(key, Some(default))
    }

    /// The default, or a free one.
    fn further(
        &mut self,
        key: &'static str,
        default: Option<u16>,
    ) -> Result<SocketAddr, PortError> {
        if let Some(default) = default.filter(|_| self.defaults)
            && self.is_free(default)
        {
            return Ok(self.take(default));
        }
        let span = u64::from(FREE_PORTS.end() - FREE_PORTS.start()) + 1;
        for _ in 0..span {
            let offset = u16::try_from(self.next_free % span).expect("the span is less than 65536");
            self.next_free = self.next_free.wrapping_add(1);
            let port = FREE_PORTS.start() + offset;
            if self.is_free(port) {
                return Ok(self.take(port));
            }
        }
        Err(PortError::NoneFree { key })
    }

    fn refuse_or_take(
        &mut self,
        key: &'static str,
        port: u16,
        twice: bool,
    ) -> Result<SocketAddr, PortError> {
        let address = local(port);
        if twice {
            return Err(ListenError::InUse { key, address }.into());
        }
        match (self.try_listen)(address) {
            Ok(()) => Ok(address),
            Err(source) if source.kind() == std::io::ErrorKind::AddrInUse => {
                Err(ListenError::InUse { key, address }.into())
            }
            Err(source) => Err(ListenError::Other {
                key,
                address,
                source,
            }
            .into()),
        }
    }

    fn is_free(&mut self, port: u16) -> bool {
        !self.chosen.contains(&port) && (self.try_listen)(local(port)).is_ok()
    }

    fn take(&mut self, port: u16) -> SocketAddr {
        self.chosen.push(port);
        local(port)
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_these_taken(taken: &[u16]) -> impl FnMut(SocketAddr) -> std::io::Result<()> {
        |address| {
            if taken.contains(&address.port()) {
                Err(std::io::ErrorKind::AddrInUse.into())
            } else {
                Ok(())
            }
        }
    }

    #[test]
    fn defaults_are_used_when_free() {
        let addresses = PortOptions::default()
            .choose_with(0, Counts::ONE_EACH, only_these_taken(&[]))
            .unwrap();
        assert_eq!(addresses.clients.to_string(), "127.0.0.1:7443");
        assert_eq!(addresses.mock.port(), 7506);
    }

    #[test]
    fn a_taken_default_falls_back_to_a_free_port_and_never_to_the_same_twice() {
        let taken = [7443, 7643, 7402, 21_000, 21_002];
        let addresses = PortOptions::default()
            .choose_with(0, Counts::ONE_EACH, only_these_taken(&taken))
            .unwrap();
        assert_eq!(addresses.clients.port(), 21_001);
        assert_eq!(addresses.http.port(), 21_003);
        assert_eq!(addresses.logic.port(), 21_004);
        assert_eq!(addresses.router.port(), 7403);
    }

    #[test]
    fn a_cluster_beside_others_leaves_the_defaults_alone() {
        let options = PortOptions {
            free_ports: true,
            logic_port: Some(7402),
            ..PortOptions::default()
        };
        let counts = Counts {
            gateways: 2,
            logics: 2,
            stores: 3,
            ..Counts::ONE_EACH
        };
        let addresses = options
            .choose_with(0, counts, only_these_taken(&[]))
            .unwrap();
        assert_eq!(addresses.counts(), counts);
        assert_eq!(addresses.clients.port(), 21_000);
        assert_eq!(addresses.logic.port(), 7402, "it is set");
        assert_eq!(addresses.all_api().len(), 2);
        let further = addresses.further["im-gateway-2"];
        assert!(further.listens.port() > 21_000 && further.admin.port() > 21_000);
    }

    #[test]
    fn the_search_wraps_at_the_end_of_the_range() {
        let addresses = PortOptions::default()
            .choose_with(8_999, Counts::ONE_EACH, only_these_taken(&[7443, 29_999]))
            .unwrap();
        assert_eq!(addresses.clients.port(), 21_000);
    }

    #[test]
    fn a_set_port_that_is_really_taken_is_refused_with_key_and_port() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let options = PortOptions {
            store_port: Some(port),
            ..PortOptions::default()
        };
        let error = anyhow::Error::from(options.choose(7, Counts::ONE_EACH).unwrap_err());
        let text = format!("{error:#}");
        assert!(
            text.contains("--store-port") && text.contains(&port.to_string()),
            "{text}"
        );
        let code = service_kit::exit::code(&error);
        assert_eq!(code, service_kit::exit::EXIT_UNAVAILABLE);
    }

    #[test]
    fn the_same_port_set_twice_is_refused_and_defaults_make_way_for_set_ones() {
        let twice = PortOptions {
            client_port: Some(9000),
            mock_port: Some(9000),
            ..PortOptions::default()
        };
        assert!(
            twice
                .choose_with(0, Counts::ONE_EACH, only_these_taken(&[]))
                .is_err()
        );
        let crossed = PortOptions {
            mock_port: Some(7443),
            ..PortOptions::default()
        };
        let addresses = crossed
            .choose_with(0, Counts::ONE_EACH, only_these_taken(&[]))
            .unwrap();
        assert_eq!(
            (addresses.mock.port(), addresses.clients.port()),
            (7443, 21_000)
        );
    }

    #[test]
    fn further_gateways_have_the_next_ports_or_free_ones() {
        let counts = Counts {
            gateways: 3,
            ..Counts::ONE_EACH
        };
        let addresses = PortOptions::default()
            .choose_with(0, counts, only_these_taken(&[7444]))
            .unwrap();
        let ports = |name: &str| {
            let place = addresses.further[name];
            let http = place.http.map(|http| http.port());
            (place.listens.port(), place.admin.port(), http)
        };
        assert_eq!(ports("im-gateway-2"), (21_000, 7544, Some(7644)));
        assert_eq!(ports("im-gateway-3"), (7445, 7545, Some(7645)));
        let all = ["127.0.0.1:7443", "127.0.0.1:21000", "127.0.0.1:7445"];
        assert_eq!(addresses.all_clients(), all);
    }

    #[test]
    fn port_zero_is_not_set() {
        let options = PortOptions {
            client_port: Some(0),
            mock_port: Some(0),
            ..PortOptions::default()
        };
        let addresses = options
            .choose_with(0, Counts::ONE_EACH, only_these_taken(&[]))
            .unwrap();
        assert_eq!(addresses.clients.port(), 7443);
    }
}
