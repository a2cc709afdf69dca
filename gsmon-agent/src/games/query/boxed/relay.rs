//! A UDP relay on loopback between the crate and one server, for one question.
//!
//! The crate binds IPv4 only, does not connect its socket (so that anybody's datagrams are taken and refusals are never
//! seen), has no end of time for a whole question, and measures nothing. The relay does these. Whatever the crate waits
//! for ends with an empty datagram, which no protocol takes for an answer.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    os::unix::net::UnixStream,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::speech::Failure;

/// Datagrams of the server passed on for one question.
const MOST_DATAGRAMS: u32 = 64;
/// The thread copies datagrams and does nothing else.
const STACK_BYTES: usize = 256 << 10;

/// A relay at work; ends when told or at its time.
pub(super) struct Relay {
    /// Where the crate is to ask.
    pub(super) address: SocketAddr,
    stop: UnixStream,
    thread: JoinHandle<Passed>,
}

/// What the relay saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// From the first request to the first datagram of the server.
    pub(super) round_trip: Option<Duration>,
    /// Why it cut the conversation short, if it did.
    pub(super) cut: Option<Failure>,
}

impl Relay {
    /// Stands before `server` until `end`.
    pub(super) fn start(server: SocketAddr, end: Instant) -> io::Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let outside = UdpSocket::bind(any)?;
        outside.connect(server)?;
        outside.set_nonblocking(true)?;
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        inside.set_nonblocking(true)?;
        let address = inside.local_addr()?;
        let (stop, stopped) = UnixStream::pair()?;
        let thread = std::thread::Builder::new()
            .name("gsmon-relay".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let conversation = Conversation {
                    inside,
                    outside,
                    crate_side: None,
                    first_sent: None,
                    datagrams: 0,
                    passed: Passed::default(),
                };
                conversation.run(&stopped, end)
            })?;
        Ok(Self {
            address,
            stop,
            thread,
        })
    }

    /// Ends it.
    pub(super) fn end(self) -> Passed {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

struct Conversation {
    inside: UdpSocket,
    outside: UdpSocket,
    crate_side: Option<SocketAddr>,
    first_sent: Option<Instant>,
    datagrams: u32,
    passed: Passed,
}

impl Conversation {
    fn run(mut self, stopped: &UnixStream, end: Instant) -> Passed {
        let mut buffer = vec![0; 65_536];
        while self.passed.cut.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.passed.cut = Some(Failure::Timeout);
                break;
            }
            let mut ready = [
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.inside.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.outside.as_fd(), PollFlags::POLLIN),
            ];
            let wait = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            if poll(&mut ready, wait).is_err() {
                continue;
            }
            let [stop, from_crate, from_server] = ready.map(|one| one.any().unwrap_or(true));
            if stop {
                return self.passed;
            }
            if from_crate {
                self.ask(&mut buffer);
            }
            if from_server {
                self.answer(&mut buffer);
            }
        }
        // The crate asks again after a pause of its own; it is told each time that nothing comes, until it gives up.
        self.inside.set_nonblocking(false).ok();
        self.tell_end();
        while let Ok(left) = PollTimeout::try_from(Duration::from_millis(500)) {
            let mut ready = [
                PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.inside.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, left) {
                Ok(1..) if !ready[0].any().unwrap_or(true) => {
                    let _ = self.inside.recv_from(&mut buffer);
                    self.tell_end();
                }
                _ => break,
            }
        }
        self.passed
    }

    fn ask(&mut self, buffer: &mut [u8]) {
        let Ok((length, from)) = self.inside.recv_from(buffer) else {
            return;
        };
        // Whoever speaks first is the crate: it has the address before anybody else can know it.
        if *self.crate_side.get_or_insert(from) != from {
            return;
        }
        self.first_sent.get_or_insert_with(Instant::now);
        if let Err(error) = self.outside.send(&buffer[..length]) {
            self.fail(&error);
        }
    }

    fn answer(&mut self, buffer: &mut [u8]) {
        let length = match self.outside.recv(buffer) {
            Ok(length) => length,
            Err(error) => return self.fail(&error),
        };
        let (Some(to), Some(first_sent)) = (self.crate_side, self.first_sent) else {
            return;
        };
        self.passed.round_trip.get_or_insert_with(|| first_sent.elapsed());
        self.datagrams += 1;
        if self.datagrams > MOST_DATAGRAMS {
            self.passed.cut = Some(Failure::Flood);
            return;
        }
        let _ = self.inside.send_to(&buffer[..length], to);
    }

    fn fail(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
            io::ErrorKind::ConnectionRefused => self.passed.cut = Some(Failure::Refused),
            _ => self.passed.cut = Some(Failure::Timeout),
        }
    }

    fn tell_end(&self) {
        if let Some(to) = self.crate_side {
            let _ = self.inside.send_to(&[], to);
        }
    }
}
