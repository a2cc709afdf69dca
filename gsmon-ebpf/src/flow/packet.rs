//! Reading IPv4, IPv6, VLAN, UDP and TCP headers, from linear data where it reaches, through a helper where an skb is
//! not linear. Every access is bounds-checked; what cannot be read is counted, never guessed.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::bpf_skb_load_bytes,
};
use gsmon_common::proto;

/// Why a packet of ours could not be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unparsed {
    /// Neither IPv4 nor IPv6 with UDP or TCP: not counted at all.
    Other,
    /// Header cut short or of an impossible length.
    Truncated,
    /// Fragment without ports.
    Fragment,
    /// Too many IPv6 extension headers.
    Extension,
}

/// What the programs need of a packet's headers before they know that it is ours.
pub struct Headers {
    /// Offset of the IP header.
    pub ip: usize,
    /// Offset of the UDP or TCP header.
    pub transport: usize,
    /// 4 or 6.
    pub is_ipv6: bool,
    /// 1 for TCP, 0 for UDP.
    pub is_tcp: u32,
    /// Source port, host byte order.
    pub source_port: u16,
    /// Destination port, host byte order.
    pub destination_port: u16,
    /// Length of the IP packet as its header states it; 0 in packets beyond 64 KiB (BIG TCP).
    pub ip_bytes: u32,
}

impl Headers {
    /// IANA protocol number.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        if self.is_tcp == 1 { proto::TCP } else { proto::UDP }
    }

    /// Offset of the UDP header; 0 for TCP.
    #[inline(always)]
    pub fn udp(&self) -> u32 {
        if self.is_tcp == 1 {
            0
        } else {
            self.transport as u32
        }
    }
}

/// Bytes of a packet.
pub trait Packet {
    /// Loads `T` at `offset`, or `None` beyond the end.
    fn load<T: Copy>(&self, offset: usize) -> Option<T>;
}

/// Packet at the XDP hook.
pub struct XdpPacket(pub *mut xdp_md);

impl Packet for XdpPacket {
    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the context is valid for the program's run.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        direct(start, end, offset)
    }
}

/// Packet at a hook that has an skb.
pub struct SkbPacket(pub *mut __sk_buff);

impl Packet for SkbPacket {
    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the context is valid for the program's run.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        if let Some(value) = direct(start, end, offset) {
            return Some(value);
        }
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes exactly `size_of::<T>()` bytes to `value` or fails.
        let result = unsafe {
            bpf_skb_load_bytes(
                self.0.cast(),
                offset as u32,
                (&raw mut value).cast(),
                size_of::<T>() as u32,
            )
        };
        if result != 0 {
            return None;
        }
        // SAFETY: the helper has written all of it.
        Some(unsafe { value.assume_init() })
    }
}

#[inline(always)]
fn direct<T: Copy>(start: usize, end: usize, offset: usize) -> Option<T> {
    if start + offset + size_of::<T>() > end {
        return None;
    }
    // SAFETY: inside the packet, as just checked. The kernel allows unaligned packet access where the CPU does, and
    // the verifier refuses the program elsewhere.
    Some(unsafe { *((start + offset) as *const T) })
}

const ETHERNET_IPV4: u16 = 0x0800;
const ETHERNET_IPV6: u16 = 0x86dd;
const ETHERNET_VLAN: u16 = 0x8100;
const ETHERNET_QINQ: u16 = 0x88a8;

/// Reads an Ethernet frame with up to two VLAN tags.
#[inline(always)]
pub fn parse_ethernet<P: Packet>(packet: &P) -> Result<Headers, Unparsed> {
    let mut offset = 12;
    let mut kind = u16::from_be(packet.load(offset).ok_or(Unparsed::Other)?);
    if kind == ETHERNET_VLAN || kind == ETHERNET_QINQ {
        offset += 4;
        kind = u16::from_be(packet.load(offset).ok_or(Unparsed::Other)?);
        if kind == ETHERNET_VLAN || kind == ETHERNET_QINQ {
            offset += 4;
            kind = u16::from_be(packet.load(offset).ok_or(Unparsed::Other)?);
        }
    }
    match kind {
        ETHERNET_IPV4 => parse_ipv4(packet, offset + 2),
        ETHERNET_IPV6 => parse_ipv6(packet, offset + 2),
        _ => Err(Unparsed::Other),
    }
}

/// Reads an IP packet of either version at `offset`.
#[inline(always)]
pub fn parse_ip<P: Packet>(packet: &P, offset: usize) -> Result<Headers, Unparsed> {
    // A whole word: the verifier learns nothing from comparing the start of a packet with its end.
    let first: u32 = packet.load(offset).ok_or(Unparsed::Truncated)?;
    match u32::from_be(first) >> 28 {
        4 => parse_ipv4(packet, offset),
        6 => parse_ipv6(packet, offset),
        _ => Err(Unparsed::Other),
    }
}

#[inline(always)]
fn parse_ipv4<P: Packet>(packet: &P, ip: usize) -> Result<Headers, Unparsed> {
    // Version, length and fragment words; then time to live and protocol.
    let words: [u32; 2] = packet.load(ip).ok_or(Unparsed::Truncated)?;
    let time_protocol: u16 = packet.load(ip + 8).ok_or(Unparsed::Truncated)?;
    let protocol = (u16::from_be(time_protocol) & 0xff) as u8;
    let first = u32::from_be(words[0]);
    let fragment = u32::from_be(words[1]) & 0x1fff;
    let is_tcp = transport(protocol)?;
    if first >> 28 != 4 {
        return Err(Unparsed::Truncated);
    }
    let header_bytes = ((first >> 24 & 0xf) << 2) as usize;
    if header_bytes < 20 {
        return Err(Unparsed::Truncated);
    }
    if fragment != 0 {
        return Err(Unparsed::Fragment);
    }
    ports(packet, ip, ip + header_bytes, false, is_tcp, first & 0xffff)
}

#[inline(always)]
fn parse_ipv6<P: Packet>(packet: &P, ip: usize) -> Result<Headers, Unparsed> {
    let words: [u32; 2] = packet.load(ip).ok_or(Unparsed::Truncated)?;
    if u32::from_be(words[0]) >> 28 != 6 {
        return Err(Unparsed::Truncated);
    }
    let length_next = u32::from_be(words[1]);
    let payload_bytes = length_next >> 16;
    let ip_bytes = if payload_bytes == 0 { 0 } else { payload_bytes + 40 };
    let mut next = (length_next >> 8 & 0xff) as u8;
    let mut offset = ip + 40;
    // RFC 8200, 4.1: hop-by-hop, destination options, routing, fragment, authentication: at most four are walked.
    for _ in 0..4 {
        match next {
            proto::TCP | proto::UDP => break,
            0 | 43 | 60 => {
                let extension: u16 = packet.load(offset).ok_or(Unparsed::Truncated)?;
                let extension = u16::from_be(extension);
                next = (extension >> 8) as u8;
                offset += ((extension as usize & 0xff) + 1) << 3;
            }
            51 => {
                let extension: u16 = packet.load(offset).ok_or(Unparsed::Truncated)?;
                let extension = u16::from_be(extension);
                next = (extension >> 8) as u8;
                offset += ((extension as usize & 0xff) + 2) << 2;
            }
            44 => {
                let extension: u32 = packet.load(offset).ok_or(Unparsed::Truncated)?;
                let extension = u32::from_be(extension);
                next = (extension >> 24) as u8;
                if extension & 0xfff8 != 0 {
                    transport(next)?;
                    return Err(Unparsed::Fragment);
                }
                offset += 8;
            }
            _ => return Err(Unparsed::Other),
        }
    }
    match next {
        proto::TCP | proto::UDP => ports(packet, ip, offset, true, transport(next)?, ip_bytes),
        0 | 43 | 44 | 51 | 60 => Err(Unparsed::Extension),
        _ => Err(Unparsed::Other),
    }
}

#[inline(always)]
fn transport(protocol: u8) -> Result<u32, Unparsed> {
    match protocol {
        proto::UDP => Ok(0),
        proto::TCP => Ok(1),
        _ => Err(Unparsed::Other),
    }
}

#[inline(always)]
fn ports<P: Packet>(
    packet: &P,
    ip: usize,
    transport: usize,
    is_ipv6: bool,
    is_tcp: u32,
    ip_bytes: u32,
) -> Result<Headers, Unparsed> {
    let ports: u32 = packet.load(transport).ok_or(Unparsed::Truncated)?;
    let ports = u32::from_be(ports);
    Ok(Headers {
        ip,
        transport,
        is_ipv6,
        is_tcp,
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        ip_bytes,
    })
}

/// Source or destination address, IPv4 as mapped IPv6. It lies before the ports, so it can be read where they could.
#[inline(always)]
pub fn address<P: Packet>(packet: &P, headers: &Headers, source: bool) -> [u32; 4] {
    if headers.is_ipv6 {
        let offset = headers.ip + if source { 8 } else { 24 };
        let word = |n: usize| packet.load::<u32>(offset + 4 * n).unwrap_or(0);
        [word(0), word(1), word(2), word(3)]
    } else {
        let offset = headers.ip + if source { 12 } else { 16 };
        [0, 0, 0xffffu32.to_be(), packet.load(offset).unwrap_or(0)]
    }
}

/// TCP flags byte; 0 for UDP.
#[inline(always)]
pub fn tcp_flags<P: Packet>(packet: &P, headers: &Headers) -> u8 {
    if headers.is_tcp == 0 {
        return 0;
    }
    // Data offset and reserved bits, then flags (RFC 9293, 3.1).
    packet
        .load::<u16>(headers.transport + 12)
        .map_or(0, |word| u16::from_be(word) as u8)
}

/// Bytes of the IP and transport headers, which every segment of an aggregate carried on the wire.
#[inline(always)]
pub fn header_bytes<P: Packet>(packet: &P, headers: &Headers) -> u64 {
    let transport_bytes = if headers.is_tcp == 1 {
        let word = packet
            .load::<u16>(headers.transport + 12)
            .map_or(0x5000, u16::from_be);
        ((word >> 12) as u64) << 2
    } else {
        8
    };
    (headers.transport - headers.ip) as u64 + transport_bytes
}
