//! Bound UDP sockets and listening TCP sockets of a network namespace, through sock_diag (inet_diag(7)).
//!
//! A netlink socket stays in the namespace it was made in, so a namespace is entered once, on a thread of its own, and
//! dumped from anywhere afterwards.
//!
//! Not here: how full sockets are and what they drop ([`super::socket_state`]).

use std::{
    fs::File,
    io,
    net::{IpAddr, UdpSocket},
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
    thread,
    time::Duration,
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::sched::{CloneFlags, setns};

use crate::{config::Protocol, kernel::netns_cookie::netns_cookie};

/// A network namespace, by the inode of its `/proc/PID/ns/net`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId(pub u64);

impl NetnsId {
    /// The namespace behind a path such as `/proc/1/ns/net` or `/run/netns/arena`.
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        Ok(Self(std::fs::metadata(path)?.ino()))
    }

    /// The namespace of this process.
    pub fn own() -> io::Result<Self> {
        Self::of(Path::new("/proc/self/ns/net"))
    }
}

/// A socket that others can send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSocket {
    /// Transport.
    pub protocol: Protocol,
    /// Local address; unspecified for any, IPv4-mapped ones as IPv4.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// Inode, as in `/proc/PID/fd`.
    pub inode: u64,
    /// Socket cookie, as kernel programs see it.
    pub cookie: u64,
    /// Where it lives.
    pub netns: NetnsId,
}

/// Why sockets could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The namespace could not be entered.
    #[error("cannot enter network namespace {path}: {source} (CAP_SYS_ADMIN is needed)")]
    Enter {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel did not answer.
    #[error("sock_diag: {0}")]
    Netlink(#[from] io::Error),
    /// An answer that makes no sense.
    #[error("sock_diag answered with something unreadable: {0}")]
    Decode(String),
}

/// An open door to a namespace.
pub struct NetnsHandle {
    /// Which.
    pub id: NetnsId,
    /// `SO_NETNS_COOKIE`, where the kernel has it.
    pub cookie: Option<u64>,
    socket: Socket,
    /// Number of the last request, so that a late answer to an older one is told apart.
    asked: u32,
    /// `sockstat` and `sockstat6` of the namespace.
    counts: Option<[File; 2]>,
    /// `snmp` and `snmp6` of the namespace.
    pub(super) protocol_counts: Option<[File; 2]>,
    /// UDP sockets in use at the last dump, of both address families; `None` where it failed.
    in_use: Option<[u64; 2]>,
    udp: Vec<BoundSocket>,
    looks: u64,
    connected: Vec<BoundSocket>,
    /// UDP sockets in use when the connected ones were dumped last.
    in_use_then: Option<[u64; 2]>,
    connected_changes: u64,
    buffer: Vec<u8>,
}

/// A look at what may have changed is a whole one once in so many times: as many sockets may have come as have gone.
const WHOLE_EVERY: u64 = 10;
/// Connected UDP sockets are dumped in whole looks alone, where their number changed, and in one of so many looks in any
/// case: a host may have thousands of them, none is a game server's listening socket, and they matter only as strangers
/// on a game port.
const CONNECTED_EVERY: u64 = 6 * WHOLE_EVERY;

impl NetnsHandle {
    /// Opens the agent's own namespace.
    pub fn own() -> Result<Self, SocketError> {
        Self::here(NetnsId::own()?)
    }

    /// Opens the namespace behind `path`.
    pub fn open(path: &Path) -> Result<Self, SocketError> {
        let enter = |source| SocketError::Enter {
            path: path.display().to_string(),
            source,
        };
        let id = NetnsId::of(path).map_err(enter)?;
        if NetnsId::own().is_ok_and(|own| own == id) {
            return Self::here(id);
        }
        let namespace = File::open(path).map_err(enter)?;
        // setns changes the calling thread only; this one ends right after.
        let opened = thread::Builder::new().name("gsmon-netns".into()).spawn(move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            Ok::<_, io::Error>(Self::here(id))
        })?;
        match opened.join() {
            Ok(Ok(handle)) => handle,
            Ok(Err(source)) => Err(enter(source)),
            Err(_) => Err(enter(io::Error::other("the thread that entered it panicked"))),
        }
    }

    fn here(id: NetnsId) -> Result<Self, SocketError> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // A dump answers at once; a bound on waiting keeps a kernel bug from stopping the agent.
        let timeout = nix::sys::time::TimeVal::new(1, 0);
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &timeout)
            .map_err(io::Error::from)?;
        let cookie = UdpSocket::bind("127.0.0.1:0")
            .or_else(|_| UdpSocket::bind("0.0.0.0:0"))
            .and_then(|probe| netns_cookie(probe.as_fd()))
            .ok();
        let open = |name| File::open(format!("/proc/thread-self/net/{name}")).ok();
        let both = |v4, v6| Some([open(v4)?, open(v6)?]);
        Ok(Self {
            id,
            cookie,
            socket,
            asked: 0,
            counts: both("sockstat", "sockstat6"),
            protocol_counts: both("snmp", "snmp6"),
            in_use: None,
            udp: Vec::new(),
            looks: 0,
            connected: Vec::new(),
            in_use_then: None,
            connected_changes: 0,
            buffer: Vec::new(),
        })
    }

    /// All bound UDP sockets that anybody may send to, and listening TCP sockets. Connected UDP sockets are in
    /// [`NetnsHandle::connected`]: a host may have thousands, and most looks bring no news of them.
    pub fn dump(&mut self) -> Result<Vec<BoundSocket>, SocketError> {
        // Before the dump: what comes during it is news at the next look.
        let in_use = self.count();
        let with_connected =
            in_use.is_none() || in_use != self.in_use_then || self.looks.is_multiple_of(CONNECTED_EVERY);
        self.dump_udp(in_use)?;
        if with_connected {
            let mut connected = self.dump_all(Protocol::Udp, StateFlags::ESTABLISHED)?;
            self.in_use_then = in_use;
            if connected != self.connected {
                connected.shrink_to_fit();
                self.connected = connected;
                self.connected_changes += 1;
            }
        }
        self.with_listening()
    }

    /// The same, where nobody has come or gone since the last look: then the UDP sockets are those of the last dump as
    /// long as there are as many (a dump walks over all UDP sockets of the host, in whatever namespace), and a whole one
    /// is made from time to time.
    pub fn dump_if_changed(&mut self) -> Result<Vec<BoundSocket>, SocketError> {
        let in_use = self.count();
        if in_use.is_none() || self.looks.is_multiple_of(WHOLE_EVERY) {
            return self.dump();
        }
        if in_use == self.in_use {
            self.looks += 1;
        } else {
            self.dump_udp(in_use)?;
        }
        self.with_listening()
    }

    fn dump_udp(&mut self, in_use: Option<[u64; 2]>) -> Result<(), SocketError> {
        self.looks += 1;
        // A dump that fails is made again at the next look.
        self.in_use = None;
        self.udp = self.dump_all(Protocol::Udp, StateFlags::CLOSE)?;
        self.in_use = in_use;
        Ok(())
    }

    /// With listening TCP sockets, which are few and found in a table of their own: always as they are now.
    fn with_listening(&mut self) -> Result<Vec<BoundSocket>, SocketError> {
        let mut found = self.udp.clone();
        found.extend(self.dump_all(Protocol::Tcp, StateFlags::LISTEN)?);
        Ok(found)
    }

    /// UDP sockets in use, from the lines `UDP: inuse N ...` and `UDP6: inuse N`.
    fn count(&self) -> Option<[u64; 2]> {
        let [v4, v6] = self.counts.as_ref()?;
        Some([udp_in_use(v4)?, udp_in_use(v6)?])
    }

    /// Connected UDP sockets, as of one of the last dumps.
    pub fn connected(&self) -> &[BoundSocket] {
        &self.connected
    }

    /// Grows when they are different.
    pub fn connected_changes(&self) -> u64 {
        self.connected_changes
    }

    fn dump_all(&mut self, protocol: Protocol, states: StateFlags) -> Result<Vec<BoundSocket>, SocketError> {
        let mut found = Vec::new();
        let id = self.id;
        for family in [AF_INET, AF_INET6] {
            let request = InetRequest {
                family,
                protocol: number_of(protocol),
                extensions: ExtensionFlags::empty(),
                states: states.clone(),
                socket_id: nobody(family),
            };
            self.exchange(request, Ask::Dump { filter: &[] }, |response| {
                found.extend(bound(id, response, protocol));
            })?;
        }
        Ok(found)
    }

    /// Asks sock_diag and passes on every answer.
    pub(super) fn exchange(
        &mut self,
        request: InetRequest,
        ask: Ask<'_>,
        mut answer: impl FnMut(&InetResponse),
    ) -> Result<(), SocketError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(65_536, 0);
        let result = self.exchange_in(&mut buffer, request, ask, &mut answer);
        self.buffer = buffer;
        result
    }

    fn exchange_in(
        &mut self,
        buffer: &mut [u8],
        request: InetRequest,
        ask: Ask<'_>,
        answer: &mut dyn FnMut(&InetResponse),
    ) -> Result<(), SocketError> {
        self.asked = self.asked.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.sequence_number = self.asked;
        header.flags = NLM_F_REQUEST;
        let mut filter: &[u8] = &[];
        if let Ask::Dump { filter: wanted } = ask {
            header.flags |= NLM_F_DUMP;
            filter = wanted;
        }
        let mut packet = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        bytes.extend_from_slice(filter);
        // The first field of the header is the length of everything.
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.socket.send(&bytes, 0)?;
        // Bounded: 16 Ki datagrams of several sockets each.
        for _ in 0..16_384 {
            let size = self.socket.recv(&mut &mut *buffer, 0)?;
            if read_datagram(&buffer[..size], self.asked, &ask, answer)? == Dump::Done {
                return Ok(());
            }
        }
        Err(SocketError::Decode("a dump without end".into()))
    }
}

/// What is asked of sock_diag.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Every socket that fits, narrowed down by netlink attributes.
    Dump {
        /// Attributes, ready to send.
        filter: &'a [u8],
    },
    /// The one socket of this address.
    One,
}

fn read_datagram(
    mut bytes: &[u8],
    asked: u32,
    ask: &Ask<'_>,
    answer: &mut dyn FnMut(&InetResponse),
) -> Result<Dump, SocketError> {
    while bytes.len() >= 16 {
        let message = NetlinkMessage::<SockDiagMessage>::deserialize(bytes)
            .map_err(|error| SocketError::Decode(error.to_string()))?;
        let length = (message.header.length as usize).next_multiple_of(4);
        // What came too late for the question before this one is nobody's answer.
        if message.header.sequence_number == asked {
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(Dump::Done),
                NetlinkPayload::Error(error) => return Err(SocketError::Netlink(error.to_io())),
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    answer(&response);
                    if matches!(ask, Ask::One) {
                        return Ok(Dump::Done);
                    }
                }
                _ => {}
            }
        }
        if length == 0 {
            break;
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
    Ok(Dump::More)
}

/// IANA number of a transport.
pub(super) fn number_of(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => IPPROTO_UDP,
        Protocol::Tcp => IPPROTO_TCP,
    }
}

/// No address and no port of this family: any.
pub(super) fn nobody(family: u8) -> SocketId {
    if family == AF_INET {
        SocketId::new_v4()
    } else {
        SocketId::new_v6()
    }
}

fn bound(netns: NetnsId, response: &InetResponse, protocol: Protocol) -> Option<BoundSocket> {
    let id = &response.header.socket_id;
    (id.source_port != 0).then(|| BoundSocket {
        protocol,
        address: id.source_address.to_canonical(),
        port: id.source_port,
        inode: u64::from(response.header.inode),
        cookie: u64::from_ne_bytes(id.cookie),
        netns,
    })
}

#[derive(PartialEq, Eq)]
enum Dump {
    More,
    Done,
}

fn udp_in_use(file: &File) -> Option<u64> {
    let mut buffer = [0; 1_024];
    let length = file.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    text.lines().find_map(|line| {
        let rest = line
            .strip_prefix("UDP: inuse ")
            .or_else(|| line.strip_prefix("UDP6: inuse "))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// How long a namespace that could not be opened is left alone.
pub const RETRY_CLOSED_NETNS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_udp_socket_is_found_with_its_inode() {
        use std::os::{fd::AsRawFd, unix::fs::MetadataExt};
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd()))
            .unwrap()
            .ino();
        let port = socket.local_addr().unwrap().port();
        let found = NetnsHandle::own().unwrap().dump().unwrap();
        let found = found
            .iter()
            .find(|found| found.inode == inode)
            .expect("the socket is listed");
        assert_eq!((found.protocol, found.port), (Protocol::Udp, port));
        assert_eq!(found.address, IpAddr::from([127, 0, 0, 1]));
        assert_ne!(found.cookie, 0);
    }

    #[test]
    fn a_look_at_what_changed_finds_a_socket_that_came() {
        let mut netns = NetnsHandle::own().unwrap();
        netns.dump().unwrap();
        assert!(netns.in_use.is_some(), "the counts of sockets in use are read");
        for _ in 0..2 * WHOLE_EVERY {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = socket.local_addr().unwrap().port();
            // Other tests open and close sockets too: as many may have gone as have come.
            let found = (0..=WHOLE_EVERY).any(|_| {
                let found = netns.dump_if_changed().unwrap();
                found.iter().any(|found| found.port == port)
            });
            assert!(found);
        }
    }

    #[test]
    fn a_listener_that_comes_as_a_connection_goes_is_found_at_the_next_look() {
        let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(first.local_addr().unwrap()).unwrap();
        let mut netns = NetnsHandle::own().unwrap();
        for _ in 0..2 {
            netns.dump_if_changed().unwrap();
        }
        drop(connection);
        let second = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = second.local_addr().unwrap().port();
        let found = netns.dump_if_changed().unwrap();
        assert!(
            found
                .iter()
                .any(|found| found.protocol == Protocol::Tcp && found.port == port)
        );
    }

    #[test]
    fn a_listening_tcp_socket_is_found_and_a_connection_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let found = NetnsHandle::own().unwrap().dump().unwrap();
        let mine: Vec<_> = found
            .iter()
            .filter(|found| found.protocol == Protocol::Tcp && found.port == address.port())
            .collect();
        assert_eq!(mine.len(), 1);
    }
}
