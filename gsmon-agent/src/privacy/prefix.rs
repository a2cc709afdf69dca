//! The part of an address that may be written: /24 of IPv4, /48 of IPv6.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Serialize, Serializer};

/// A network that an address is in: `192.0.2.0/24`, `2001:db8:1::/48`.
///
/// IPv4 as mapped IPv6 is IPv4. 6to4 (`2002::/16`, RFC 3056) has an IPv4 address in its first 48 bits, so that /40 is
/// its prefix: the same /24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressPrefix {
    network: IpAddr,
    bits: u8,
}

impl AddressPrefix {
    /// First address of the network.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// Length in bits.
    pub fn bits(self) -> u8 {
        self.bits
    }
}

impl From<IpAddr> for AddressPrefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self {
                network: Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << 8)).into(),
                bits: 24,
            },
            IpAddr::V6(address) => {
                let bits = if address.segments()[0] == 0x2002 { 40 } else { 48 };
                let mask = u128::MAX << (128 - bits);
                Self {
                    network: Ipv6Addr::from_bits(address.to_bits() & mask).into(),
                    bits,
                }
            }
        }
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{}/{}", self.network, self.bits)
    }
}

impl Serialize for AddressPrefix {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}
