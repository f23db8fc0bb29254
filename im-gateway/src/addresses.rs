//! How many connections that nobody has been seen behind may come from one address: all from one
//! network address are counted together, and a network of the configuration may have more.
//!
//! Pure. Not here: how many there may be in all ([`crate::doors`]), and who fails to log in
//! ([`crate::failures`]): a failure is charged to who failed, not to all who share its address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// How much of an IPv6 address names one customer of a network, in bits: the rest they choose
/// themselves.
const IPV6_SITE_BITS: u32 = 64;

/// How many connections an address may have, by network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowances {
    by_default: usize,
    /// The narrowest first.
    networks: Vec<(Network, usize)>,
}

/// A range of addresses, as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    /// IPv4 is mapped into IPv6.
    first: u128,
    /// Of the 128 bits.
    prefix_bits: u32,
}

/// An allowance that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not NETWORK/BITS=NUMBER, as in 10.0.0.0/8=4096")]
pub struct AllowanceError(String);

/// Connections by the address that they come from.
#[derive(Debug, Default)]
pub struct Addresses {
    /// Only those that have some.
    open: HashMap<IpAddr, usize>,
}

impl Allowances {
    /// So many, but for the networks of this list: `10.0.0.0/8=4096, 192.168.7.0/24=64`.
    ///
    /// # Errors
    /// Which of them makes no sense.
    pub fn parse(by_default: usize, networks: &str) -> Result<Self, AllowanceError> {
        let parts = networks.split(',').map(str::trim);
        let parts = parts.filter(|part| !part.is_empty());
        let mut networks = parts
            .map(|part| {
                let wrong = || AllowanceError(part.to_owned());
                let (network, most) = part.split_once('=').ok_or_else(wrong)?;
                let network = Network::from_str(network.trim()).map_err(|()| wrong())?;
                let most = most.trim().parse().map_err(|_| wrong())?;
                Ok((network, most))
            })
            .collect::<Result<Vec<_>, _>>()?;
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_bits));
        Ok(Self {
            by_default,
            networks,
        })
    }

    /// How many this address may have; the narrowest network decides.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> usize {
        let number = number(address);
        let found = self.networks.iter().find(|(its, _)| its.holds(number));
        found.map_or(self.by_default, |(_, most)| *most)
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = text.split_once('/').ok_or(())?;
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let bits: u32 = bits.parse().map_err(|_| ())?;
        let (width, before) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        if bits > width {
            return Err(());
        }
        let prefix_bits = before + bits;
        Ok(Self {
            first: number(address) & mask(prefix_bits),
            prefix_bits,
        })
    }
}

impl Network {
    const fn holds(self, number: u128) -> bool {
        number & mask(self.prefix_bits) == self.first
    }
}

impl Addresses {
    /// One more from there, unless it has as many as it may.
    pub fn enter(&mut self, address: IpAddr, most: usize) -> bool {
        let open = self.open.entry(site(address)).or_default();
        let enters = *open < most;
        if enters {
            *open += 1;
        } else if *open == 0 {
            self.open.remove(&site(address));
        }
        enters
    }

    /// One less.
    pub fn leave(&mut self, address: IpAddr) {
        let site = site(address);
        if let Some(open) = self.open.get_mut(&site) {
            *open -= 1;
            if *open == 0 {
                self.open.remove(&site);
            }
        }
    }
}

/// What is counted together with this address.
#[must_use]
pub fn site(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or_else(
            || Ipv6Addr::from_bits(six.to_bits() & mask(IPV6_SITE_BITS)).into(),
            IpAddr::V4,
        ),
    }
}

const fn mask(bits: u32) -> u128 {
    match u128::MAX.checked_shl(128 - bits) {
        Some(mask) => mask,
        None => 0,
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_narrowest_network_decides() {
        let networks = "10.0.0.0/8=100, 10.1.0.0/16=5,2001:db8::/32=7, 0.0.0.0/0=1, ";
        let allowances = Allowances::parse(3, networks).unwrap();
        let cases = [
            ("10.2.3.4", 100),
            ("10.1.3.4", 5),
            ("::ffff:10.1.3.4", 5),
            ("192.168.1.1", 1),
            ("2001:db8:1::1", 7),
            ("2001:db9::1", 3),
        ];
        for (text, most) in cases {
            assert_eq!(allowances.of(address(text)), most, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in [
            "10.0.0.0=1",
            "10.0.0.0/33=1",
            "x/8=1",
            "10.0.0.0/8",
            "::/129=1",
            "::/0=-1",
        ] {
            let error = Allowances::parse(1, wrong).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn an_address_has_so_many_and_no_more_and_leaves_nothing_behind() {
        let mut addresses = Addresses::default();
        let (one, other) = (address("10.0.0.1"), address("10.0.0.2"));
        assert!(addresses.enter(one, 2) && addresses.enter(one, 2));
        assert!(!addresses.enter(one, 2));
        assert!(addresses.enter(other, 2));
        assert!(!addresses.enter(address("10.0.0.3"), 0));
        addresses.leave(one);
        assert!(addresses.enter(one, 2));
        for left in [one, one, other] {
            addresses.leave(left);
        }
        assert!(addresses.open.is_empty());
    }

    #[test]
    fn who_has_a_network_of_ipv6_is_one() {
        assert_eq!(
            site(address("2001:db8::1")),
            site(address("2001:db8::ffff:1"))
        );
        assert_ne!(
            site(address("2001:db8::1")),
            site(address("2001:db8:0:1::1"))
        );
        assert_eq!(site(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
