//! Packets byte by byte, for BPF_PROG_TEST_RUN.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The server.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
/// A client.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
/// The server.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// A client.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// How a packet is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// IPv4, 20-byte header.
    V4,
    /// IPv4 with options, so many words.
    V4Options(u8),
    /// IPv6.
    V6,
    /// IPv6 with so many destination-options headers.
    V6Extensions(u8),
    /// IPv6 with a first fragment header.
    V6FirstFragment,
}

/// A packet in the making.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Wrapping.
    pub shape: Shape,
    /// VLAN tags in front.
    pub vlans: u8,
    /// 6 or 17.
    pub protocol: u8,
    /// Toward the server, or from it.
    pub to_server: bool,
    /// Client port.
    pub client_port: u16,
    /// Server port.
    pub server_port: u16,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Payload bytes.
    pub payload: usize,
}

impl Spec {
    /// UDP over IPv4 to the test port.
    pub fn udp() -> Self {
        Self {
            shape: Shape::V4,
            vlans: 0,
            protocol: 17,
            to_server: true,
            client_port: 40_000,
            server_port: super::PORT,
            tcp_flags: 0,
            payload: 58,
        }
    }

    /// TCP data over IPv4 to the test port.
    pub fn tcp() -> Self {
        Self {
            protocol: 6,
            tcp_flags: 0x18,
            ..Self::udp()
        }
    }

    /// The answer.
    pub fn back(self) -> Self {
        Self {
            to_server: !self.to_server,
            ..self
        }
    }

    /// IP-layer bytes.
    pub fn ip_bytes(&self) -> u64 {
        (self.build().len() - 14 - 4 * self.vlans as usize) as u64
    }

    /// The frame, Ethernet first.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let v6 = !matches!(self.shape, Shape::V4 | Shape::V4Options(_));
        let mut frame = vec![0x02; 12];
        for tag in 0..self.vlans {
            frame.extend(if tag == 0 && self.vlans > 1 {
                [0x88, 0xa8]
            } else {
                [0x81, 0x00]
            });
            frame.extend([0x00, 0x05]);
        }
        frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        frame.extend(if v6 {
            self.ipv6(&transport)
        } else {
            self.ipv4(&transport)
        });
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let (source, destination) = if self.to_server {
            (self.client_port, self.server_port)
        } else {
            (self.server_port, self.client_port)
        };
        let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        if self.protocol == 17 {
            bytes.extend(((8 + self.payload) as u16).to_be_bytes());
            bytes.extend([0, 0]);
        } else {
            bytes.extend([0; 8]);
            bytes.extend([0x50, self.tcp_flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        bytes.resize(bytes.len() + self.payload, 0x61);
        bytes
    }

    fn ipv4(&self, transport: &[u8]) -> Vec<u8> {
        let words = if let Shape::V4Options(words) = self.shape {
            words
        } else {
            0
        };
        let header = 20 + 4 * words as usize;
        let mut bytes = vec![0x40 | (header / 4) as u8, 0];
        bytes.extend(((header + transport.len()) as u16).to_be_bytes());
        bytes.extend([0, 1, 0, 0, 64, self.protocol, 0, 0]);
        let pair = if self.to_server {
            [CLIENT_V4, SERVER_V4]
        } else {
            [SERVER_V4, CLIENT_V4]
        };
        bytes.extend(pair.iter().flat_map(|address| address.octets()));
        bytes.resize(header, 1);
        bytes
    }

    fn ipv6(&self, transport: &[u8]) -> Vec<u8> {
        let extensions = match self.shape {
            Shape::V6Extensions(count) => vec![60u8; count as usize],
            Shape::V6FirstFragment => vec![44],
            _ => Vec::new(),
        };
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend(((8 * extensions.len() + transport.len()) as u16).to_be_bytes());
        bytes.extend([extensions.first().copied().unwrap_or(self.protocol), 64]);
        let pair = if self.to_server {
            [CLIENT_V6, SERVER_V6]
        } else {
            [SERVER_V6, CLIENT_V6]
        };
        bytes.extend(pair.iter().flat_map(|address| address.octets()));
        for n in 0..extensions.len() {
            bytes.extend([
                extensions.get(n + 1).copied().unwrap_or(self.protocol),
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ]);
        }
        bytes
    }
}
