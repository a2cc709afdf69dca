//! Sockets and bytes of all query protocols: one deadline per question, bounded datagrams and bytes, a reader that
//! cannot run past the end. A conversation can be held with a server, or be one that has been held and is read again.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{QueryError, TIMEOUTS};

/// Datagrams read for one question, at most.
const MOST_DATAGRAMS: u32 = 64;
/// A UDP datagram is never larger.
const DATAGRAM_BYTES: usize = 65_536;
/// What an answer that is not needed is waited for, besides some round trips.
const PATIENCE: Duration = Duration::from_millis(100);
/// Bytes kept of one text.
const TEXT_BYTES: usize = 512;
/// Players read from one list.
pub(super) const MOST_PLAYERS: usize = 4_096;

/// When a question has taken long enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// From now on; very short and very long times are brought into range.
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout.clamp(TIMEOUTS.0, TIMEOUTS.1))
    }

    /// What is left, never zero.
    pub(super) fn left(self) -> Result<Duration, QueryError> {
        let left = self.0.saturating_duration_since(Instant::now());
        // Socket timeouts of zero would mean none at all.
        (left > Duration::from_micros(100))
            .then_some(left)
            .ok_or(QueryError::Timeout)
    }

    /// Earlier: at half of what is left.
    pub(super) fn half(self) -> Self {
        let now = Instant::now();
        Self(now + self.0.saturating_duration_since(now) / 2)
    }

    /// Earlier: after `time`, if that is sooner.
    pub(super) fn or_after(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }
}

/// A UDP conversation with one server.
pub(super) struct Udp {
    side: Side,
    buffer: Vec<u8>,
    datagrams: u32,
    round_trip: Option<Duration>,
}

/// Who answers.
enum Side {
    /// The server. The socket is connected: only its datagrams arrive.
    Server(UdpSocket),
    /// Nobody any more: what a server has answered to gamedig's questions, in order.
    Heard(std::vec::IntoIter<Vec<u8>>),
}

impl Udp {
    pub(super) fn connect(address: SocketAddr) -> Result<Self, QueryError> {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local)?;
        socket.connect(address)?;
        Ok(Self {
            side: Side::Server(socket),
            buffer: vec![0; DATAGRAM_BYTES],
            datagrams: 0,
            round_trip: None,
        })
    }

    /// What a server has answered to gamedig's questions, to be read as if it were answering now.
    pub(super) fn heard(datagrams: Vec<Vec<u8>>) -> Self {
        Self {
            side: Side::Heard(datagrams.into_iter()),
            buffer: Vec::new(),
            datagrams: 0,
            round_trip: None,
        }
    }

    /// What the server is to send back with its answer: by chance, or what gamedig has asked for.
    pub(super) fn token<const N: usize>(&self, gamedigs: [u8; N]) -> [u8; N] {
        match self.side {
            Side::Server(_) => std::array::from_fn(|_| random() as u8),
            Side::Heard(_) => gamedigs,
        }
    }

    /// From the first request to the first datagram that `judge` took.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip.unwrap_or_default()
    }

    /// Deadline of a second question whose answer is welcome but not needed: many servers keep silent to it, and that
    /// must not hold a thread for the whole time, every time.
    pub(super) fn optional(&self, deadline: Deadline) -> Deadline {
        deadline.half().or_after(PATIENCE + self.round_trip() * 8)
    }

    /// Sends `requests` and shows `judge` what comes until it has its answer. Datagrams for which it says `None` are
    /// passed over: strange ones, or parts. Sends once more when nothing has been taken by half of the time.
    pub(super) fn ask<T>(
        &mut self,
        requests: &[&[u8]],
        deadline: Deadline,
        mut judge: impl FnMut(&[u8]) -> Result<Option<T>, QueryError>,
    ) -> Result<T, QueryError> {
        if let Side::Heard(datagrams) = &mut self.side {
            for datagram in datagrams {
                if let Some(answer) = judge(&datagram)? {
                    return Ok(answer);
                }
            }
            return Err(QueryError::Timeout);
        }
        let start = Instant::now();
        let mut again = Some(deadline.half());
        let mut came = false;
        self.send(requests)?;
        loop {
            let left = match deadline.left() {
                Ok(left) => left,
                Err(_) if came => {
                    return Err(QueryError::Malformed("what came is no answer, or not all of it"));
                }
                Err(error) => return Err(error),
            };
            let wait = match again.map(Deadline::left) {
                Some(Ok(until)) => until.min(left),
                Some(Err(_)) => {
                    again = None;
                    if !came {
                        self.send(requests)?;
                    }
                    left
                }
                None => left,
            };
            let length = match self.receive(wait) {
                Ok(length) => length,
                Err(error) if is_pause(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            came = true;
            self.datagrams += 1;
            if self.datagrams > MOST_DATAGRAMS {
                return Err(QueryError::Malformed("datagrams without end"));
            }
            if let Some(answer) = judge(&self.buffer[..length])? {
                self.round_trip.get_or_insert(start.elapsed());
                return Ok(answer);
            }
        }
    }

    fn send(&self, requests: &[&[u8]]) -> Result<(), QueryError> {
        if let Side::Server(socket) = &self.side {
            for request in requests {
                socket.send(request)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, wait: Duration) -> io::Result<usize> {
        match &self.side {
            Side::Server(socket) => {
                socket.set_read_timeout(Some(wait))?;
                socket.recv(&mut self.buffer)
            }
            Side::Heard(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Time passed, or a signal came: nothing is wrong.
fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// A TCP conversation.
pub(super) struct Tcp {
    stream: TcpStream,
    deadline: Deadline,
    bytes_left: usize,
    limit: usize,
}

impl Tcp {
    /// Connects; reads at most `limit` bytes in all.
    pub(super) fn connect(address: SocketAddr, deadline: Deadline, limit: usize) -> Result<Self, QueryError> {
        let stream = TcpStream::connect_timeout(&address, deadline.left()?)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            deadline,
            bytes_left: limit,
            limit,
        })
    }

    /// An earlier deadline from here on: `time` from now, if that is sooner.
    pub(super) fn hurry(&mut self, time: Duration) {
        self.deadline = self.deadline.or_after(time);
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), QueryError> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(Some(self.deadline.left()?))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(QueryError::Malformed("the connection ended early")),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads exactly as much as `bytes` holds.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Result<(), QueryError> {
        self.bytes_left = self
            .bytes_left
            .checked_sub(bytes.len())
            .ok_or(QueryError::TooLarge { limit: self.limit })?;
        let mut filled = 0;
        while filled < bytes.len() {
            self.stream.set_read_timeout(Some(self.deadline.left()?))?;
            match self.stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(QueryError::Malformed("the connection ended early")),
                Ok(read) => filled += read,
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Reads fields off the front of some bytes.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], QueryError> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(QueryError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], QueryError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(QueryError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, QueryError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16_le(&mut self) -> Result<u16, QueryError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32_le(&mut self) -> Result<u32, QueryError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64_le(&mut self) -> Result<u64, QueryError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u16_be(&mut self) -> Result<u16, QueryError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32_be(&mut self) -> Result<u32, QueryError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Up to the next `end`, which is passed over and must be there.
    pub(super) fn until(&mut self, end: u8) -> Result<&'a [u8], QueryError> {
        let position = self
            .0
            .iter()
            .position(|byte| *byte == end)
            .ok_or(QueryError::Malformed("a text has no end"))?;
        let taken = &self.0[..position];
        self.0 = &self.0[position + 1..];
        Ok(taken)
    }

    /// A text that ends with a zero byte.
    pub(super) fn text(&mut self) -> Result<Arc<str>, QueryError> {
        self.until(0).map(text)
    }

    /// Takes `prefix` off the front; false when something else is there.
    pub(super) fn skip(&mut self, prefix: &[u8]) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
}

/// Bytes as text: UTF-8, anything else replaced; cut where it is longer than any game allows.
pub(super) fn text(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES)]).into()
}

/// The text unless it is empty.
pub(super) fn some(text: Arc<str>) -> Option<Arc<str>> {
    (!text.is_empty()).then_some(text)
}

/// A decimal number in text, spaces around it allowed.
pub(super) fn number<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.trim().parse().ok()
}

/// Unpredictable enough to tell an answer from a stale or forged one, and for jitter.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_reading_runs_past_the_end(bytes in prop::collection::vec(any::<u8>(), 0..64), steps in prop::collection::vec(0u8..8, 0..64)) {
            let mut reader = Reader::new(&bytes);
            for step in steps {
                let before = reader.rest().len();
                let _ = match step {
                    0 => reader.u8().map(drop),
                    1 => reader.u16_le().map(drop),
                    2 => reader.u32_be().map(drop),
                    3 => reader.u64_le().map(drop),
                    4 => reader.text().map(drop),
                    5 => reader.take(usize::from(bytes.first().copied().unwrap_or(9))).map(drop),
                    6 => reader.until(b'\\').map(drop),
                    _ => { reader.skip(b"\xff"); Ok(()) }
                };
                prop_assert!(reader.rest().len() <= before);
            }
        }

        #[test]
        fn text_is_bounded(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            prop_assert!(text(&bytes).chars().count() <= TEXT_BYTES);
        }
    }

    #[test]
    fn a_deadline_is_brought_into_range_and_ends() {
        assert!(Deadline::after(Duration::from_secs(3_600)).left().unwrap() <= TIMEOUTS.1);
        let soon = Deadline::after(Duration::ZERO);
        assert!(soon.left().is_ok());
        std::thread::sleep(Duration::from_millis(15));
        assert!(matches!(soon.left(), Err(QueryError::Timeout)));
    }
}
