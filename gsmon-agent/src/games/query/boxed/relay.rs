//! Carries one question's bytes between the crate in its worker and the server, and reads none of them.
//!
//! The worker speaks to a port on loopback only; the agent speaks to the server, from whatever network namespace that is
//! in, so that one worker serves all namespaces. On the way the relay gives what the crate lacks: IPv6, refusals, datagrams
//! of nobody but the server, a round trip, an end to floods, and an end of time for the whole question. Whatever the crate
//! waits for then ends with an empty datagram, which no protocol takes for an answer, or with the end of the connection.
//! It keeps the datagrams, so that somebody else can read them too.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::super::{QueryError, wire::Deadline};

/// Datagrams of the server carried for one question.
const MOST_DATAGRAMS: u32 = 64;
/// Bytes of the server carried over one connection; fewer than sockets hold, so that carrying never waits.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// Bytes of datagrams kept of one question; an ordinary answer has less than a tenth of it.
const MOST_KEPT_BYTES: usize = 256 << 10;
/// How long a server may keep silent, besides some round trips, once it has answered at all. Many keep their lists of
/// players to themselves; others keep a connection open, to whose end the crate reads.
const PATIENCE: Duration = Duration::from_millis(100);

/// How a game is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Why the conversation was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Time,
    Refused,
    /// Datagrams without end.
    Flood,
    /// More bytes in a connection than are carried.
    TooLarge,
    Failed,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The worker has something to say.
    Worker,
    /// Something was carried, or it is time for something.
    Carried,
}

/// One conversation.
pub(super) struct Relay {
    /// Where the crate is to ask.
    pub(super) address: SocketAddr,
    sides: Sides,
    buffer: Vec<u8>,
    /// The server's datagrams, in order; none of them once they are too many to keep.
    heard: Option<Vec<Vec<u8>>>,
    heard_bytes: usize,
    end: Instant,
    first_sent: Option<Instant>,
    round_trip: Option<Duration>,
    cut: Option<Cut>,
}

enum Sides {
    Udp {
        inside: UdpSocket,
        outside: UdpSocket,
        from: Option<SocketAddr>,
        datagrams: u32,
        /// When the server has been silent for long enough.
        quiet: Option<Instant>,
    },
    Tcp {
        listener: TcpListener,
        inside: Option<TcpStream>,
        outside: Option<TcpStream>,
        bytes: usize,
        /// When the server has been silent for long enough.
        quiet: Option<Instant>,
    },
}

/// The socket that speaks to the server.
pub(super) enum Outside {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Outside {
    /// Connects to the server from the calling thread's network namespace.
    pub(super) fn connect(
        transport: Transport,
        server: SocketAddr,
        deadline: Deadline,
    ) -> Result<Self, QueryError> {
        match transport {
            Transport::Udp => {
                let any: SocketAddr = match server {
                    SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                    SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
                };
                let socket = UdpSocket::bind(any)?;
                socket.connect(server)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => {
                let stream = TcpStream::connect_timeout(&server, deadline.left()?)?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
        }
    }
}

impl Relay {
    /// Stands before the server at the other end of `outside`, until `end`. To be called in the worker's namespace.
    pub(super) fn new(outside: Outside, end: Instant) -> io::Result<Self> {
        let here = (Ipv4Addr::LOCALHOST, 0);
        let (address, sides) = match outside {
            Outside::Udp(outside) => {
                let inside = UdpSocket::bind(here)?;
                inside.set_nonblocking(true)?;
                let address = inside.local_addr()?;
                let sides = Sides::Udp {
                    inside,
                    outside,
                    from: None,
                    datagrams: 0,
                    quiet: None,
                };
                (address, sides)
            }
            Outside::Tcp(outside) => {
                let listener = TcpListener::bind(here)?;
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let sides = Sides::Tcp {
                    listener,
                    inside: None,
                    outside: Some(outside),
                    bytes: 0,
                    quiet: None,
                };
                (address, sides)
            }
        };
        Ok(Self {
            address,
            sides,
            buffer: vec![0; 65_536],
            heard: Some(Vec::new()),
            heard_bytes: 0,
            end,
            first_sent: None,
            round_trip: None,
            cut: None,
        })
    }

    /// From the first request to the first bytes of the server.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The server's datagrams, in order; none where they were too many to keep, or where a connection was carried.
    pub(super) fn into_heard(self) -> Vec<Vec<u8>> {
        self.heard.unwrap_or_default()
    }

    /// Why it was cut short, if it was.
    pub(super) fn cut(&self) -> Option<Cut> {
        self.cut
    }

    /// Waits until something happens, `until` at most, and carries it.
    pub(super) fn step(&mut self, worker: BorrowedFd<'_>, until: Instant) -> io::Result<Step> {
        let now = Instant::now();
        let open = self.cut.is_none();
        let (Sides::Tcp { quiet, .. } | Sides::Udp { quiet, .. }) = &self.sides;
        let quiet = *quiet;
        if quiet.is_some_and(|at| at <= now) {
            self.hang_up();
        } else if open && self.end <= now {
            self.cut_short(Cut::Time);
        }
        let own = [quiet, (open && self.cut.is_none()).then_some(self.end)];
        let next = own.into_iter().flatten().fold(until, Instant::min);
        let left = next.saturating_duration_since(now) + Duration::from_millis(1);
        let ready = {
            let input = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut files = vec![input(worker)];
            match &self.sides {
                Sides::Udp { inside, outside, .. } => {
                    files.extend([input(inside.as_fd()), input(outside.as_fd())]);
                }
                Sides::Tcp {
                    listener,
                    inside,
                    outside,
                    ..
                } => {
                    files.push(match inside {
                        Some(inside) => input(inside.as_fd()),
                        None => input(listener.as_fd()),
                    });
                    files.extend(outside.as_ref().map(|outside| input(outside.as_fd())));
                }
            }
            match poll(
                &mut files,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let ready = |index: usize| files.get(index).and_then(PollFd::any).unwrap_or(false);
            [ready(0), ready(1), ready(2)]
        };
        let [from_worker, from_crate, from_server] = ready;
        if from_crate {
            self.carry_request();
        }
        if from_server {
            self.carry_answer();
        }
        Ok(if from_worker { Step::Worker } else { Step::Carried })
    }

    fn carry_request(&mut self) {
        match &mut self.sides {
            Sides::Udp {
                inside,
                outside,
                from,
                quiet,
                ..
            } => {
                let Ok((length, peer)) = inside.recv_from(&mut self.buffer) else {
                    return;
                };
                // Whoever speaks first is the crate: nobody else has been told the port.
                if *from.get_or_insert(peer) != peer {
                    return;
                }
                if self.cut.is_some() {
                    // Every request of its own ends at once from here on.
                    let _ = inside.send_to(&[], peer);
                    return;
                }
                self.first_sent.get_or_insert_with(Instant::now);
                *quiet = self.round_trip.map(patience);
                if let Err(error) = outside.send(&self.buffer[..length]) {
                    self.fail(&error);
                }
            }
            Sides::Tcp {
                listener,
                inside,
                outside,
                ..
            } => {
                let Some(stream) = inside else {
                    if let Ok((stream, _)) = listener.accept() {
                        if self.cut.is_some() {
                            let _ = stream.shutdown(Shutdown::Both);
                        }
                        let _ = stream.set_nonblocking(true);
                        *inside = Some(stream);
                    }
                    return;
                };
                match stream.read(&mut self.buffer) {
                    Ok(0) => (*inside, *outside) = (None, None),
                    Ok(length) => {
                        self.first_sent.get_or_insert_with(Instant::now);
                        if let Some(outside) = outside
                            && let Err(error) = outside.write_all(&self.buffer[..length])
                        {
                            self.fail(&error);
                        }
                    }
                    Err(error) => self.fail(&error),
                }
            }
        }
    }

    fn carry_answer(&mut self) {
        match &mut self.sides {
            Sides::Udp {
                inside,
                outside,
                from,
                datagrams,
                quiet,
            } => {
                let length = match outside.recv(&mut self.buffer) {
                    Ok(length) => length,
                    Err(error) => return self.fail(&error),
                };
                let (Some(to), Some(sent), None) = (*from, self.first_sent, self.cut) else {
                    return;
                };
                let round_trip = *self.round_trip.get_or_insert_with(|| sent.elapsed());
                *quiet = Some(patience(round_trip));
                *datagrams += 1;
                if *datagrams > MOST_DATAGRAMS {
                    return self.cut_short(Cut::Flood);
                }
                let _ = inside.send_to(&self.buffer[..length], to);
                self.heard_bytes += length;
                if self.heard_bytes > MOST_KEPT_BYTES {
                    self.heard = None;
                }
                if let Some(heard) = &mut self.heard {
                    heard.push(self.buffer[..length].to_vec());
                }
            }
            Sides::Tcp {
                inside,
                outside,
                bytes,
                quiet,
                ..
            } => {
                let (Some(inside), Some(stream)) = (inside, outside) else {
                    return;
                };
                match stream.read(&mut self.buffer) {
                    Ok(0) => self.hang_up(),
                    Ok(length) => {
                        if let Some(sent) = self.first_sent {
                            self.round_trip.get_or_insert_with(|| sent.elapsed());
                        }
                        *quiet = Some(patience(self.round_trip.unwrap_or_default()));
                        *bytes += length;
                        if *bytes > MOST_BYTES {
                            return self.cut_short(Cut::TooLarge);
                        }
                        if let Err(error) = inside.write_all(&self.buffer[..length]) {
                            self.fail(&error);
                        }
                    }
                    Err(error) => self.fail(&error),
                }
            }
        }
    }

    /// The server has said what it has to say; the crate's next request is carried again.
    fn hang_up(&mut self) {
        match &mut self.sides {
            Sides::Udp {
                inside, from, quiet, ..
            } => {
                *quiet = None;
                if let Some(to) = from {
                    let _ = inside.send_to(&[], *to);
                }
            }
            Sides::Tcp {
                inside,
                outside,
                quiet,
                ..
            } => {
                (*outside, *quiet) = (None, None);
                if let Some(inside) = inside {
                    let _ = inside.shutdown(Shutdown::Write);
                }
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
            io::ErrorKind::ConnectionRefused => self.cut_short(Cut::Refused),
            _ => self.cut_short(Cut::Failed),
        }
    }

    /// Ends the conversation, and what the crate waits for.
    fn cut_short(&mut self, cut: Cut) {
        self.cut.get_or_insert(cut);
        self.hang_up();
    }
}

/// Until when a server of that round trip may keep silent from now on.
fn patience(round_trip: Duration) -> Instant {
    Instant::now() + PATIENCE + round_trip * 8
}
