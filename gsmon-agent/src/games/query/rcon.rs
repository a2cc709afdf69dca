//! RCON, the remote console of Source servers and of Minecraft Java: sign in, one command, the whole answer.
//!
//! Format: Valve's "Source RCON Protocol" page, and the protocol wiki's "RCON" page for how Minecraft differs. What the
//! answers mean: `rcon_text`. The password goes over the network as it is: ask on loopback or a trusted network only.
//!
//! Not covered: GoldSrc's console over UDP, Rust's over WebSocket.

use std::{fs::File, io::Read, net::SocketAddr, path::Path, time::Duration, time::Instant};

use super::{
    QueryAnswer, QueryError, rcon_text,
    wire::{Deadline, Tcp},
};
use crate::config::QuerySettings;

/// Bytes of a whole answer, at most: `status` of a full server is below 64 KiB.
const MOST_BYTES: usize = 256 << 10;
/// Bytes of one packet, at most. The protocol says 4,096 of text, newer servers send more.
const MOST_PACKET: usize = 64 << 10;
/// Packets read for one answer.
const MOST_PACKETS: usize = 256;
/// Minecraft splits answers at this length.
const MINECRAFT_SPLIT: usize = 4_096;
/// How long the rest of an answer is waited for, from servers that do not send the mark back.
const PATIENCE: Duration = Duration::from_millis(300);

/// Packet numbers that tell our answers apart.
const SIGN_IN: i32 = 0x67_73_01;
const COMMAND: i32 = 0x67_73_02;
const MARK: i32 = 0x67_73_03;
/// Number of a refused sign-in.
const REFUSED: i32 = -1;

/// Packet types.
const TYPE_VALUE: i32 = 0;
const TYPE_COMMAND: i32 = 2;
const TYPE_SIGNED_IN: i32 = 2;
const TYPE_SIGN_IN: i32 = 3;

/// Whose console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `status`
    Source,
    /// `list`
    Minecraft,
}

pub(super) fn ask(
    dialect: Dialect,
    address: SocketAddr,
    settings: &QuerySettings,
    deadline: Deadline,
) -> Result<QueryAnswer, QueryError> {
    let path = settings.password_file.as_deref().ok_or_else(|| {
        QueryError::Settings("a console wants a password: set query.password_file".to_owned())
    })?;
    let password = password(path)?;
    let mut tcp = Tcp::connect(address, deadline, MOST_BYTES)?;
    tcp.write(&packet(SIGN_IN, TYPE_SIGN_IN, password.as_bytes()))?;
    sign_in(&mut tcp)?;
    let command: &[u8] = match dialect {
        Dialect::Source => b"status",
        Dialect::Minecraft => b"list",
    };
    let start = Instant::now();
    tcp.write(&packet(COMMAND, TYPE_COMMAND, command))?;
    let (text, round_trip) = answer(&mut tcp, dialect, start)?;
    let text = String::from_utf8_lossy(&text);
    let read = match dialect {
        Dialect::Source => rcon_text::status(&text),
        Dialect::Minecraft => rcon_text::list(&text),
    };
    let mut answer = read.ok_or(QueryError::Malformed("the console's answer is of no known form"))?;
    answer.round_trip = round_trip;
    Ok(answer)
}

/// First line of a file.
fn password(path: &Path) -> Result<String, QueryError> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(1_024).read_to_string(&mut text))
        .map_err(|error| {
            QueryError::Settings(format!("cannot read password_file {}: {error}", path.display()))
        })?;
    let password = text.lines().next().unwrap_or_default().trim();
    if password.is_empty() {
        return Err(QueryError::Settings(format!(
            "password_file {} is empty: its first line must be the console's password",
            path.display()
        )));
    }
    Ok(password.to_owned())
}

/// Length, number, type, text, two zero bytes; numbers are little-endian.
fn packet(number: i32, kind: i32, text: &[u8]) -> Vec<u8> {
    let length = i32::try_from(text.len() + 10).unwrap_or(i32::MAX);
    let mut packet = length.to_le_bytes().to_vec();
    packet.extend_from_slice(&number.to_le_bytes());
    packet.extend_from_slice(&kind.to_le_bytes());
    packet.extend_from_slice(text);
    packet.extend_from_slice(&[0, 0]);
    packet
}

/// A packet that came.
struct Packet {
    number: i32,
    kind: i32,
    text: Vec<u8>,
}

fn receive(tcp: &mut Tcp) -> Result<Packet, QueryError> {
    let mut head = [0; 12];
    tcp.read(&mut head)?;
    let field = |at: usize| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = usize::try_from(field(0)).unwrap_or(usize::MAX);
    if length > MOST_PACKET {
        return Err(QueryError::TooLarge { limit: MOST_PACKET });
    }
    // Number and type are counted in, and so are the two zero bytes, which some servers leave out.
    let mut text = vec![
        0;
        length
            .checked_sub(8)
            .ok_or(QueryError::Malformed("a packet shorter than its head"))?
    ];
    tcp.read(&mut text)?;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    text.truncate(end);
    Ok(Packet {
        number: field(4),
        kind: field(8),
        text,
    })
}

/// Waits for the answer to the sign-in; Source sends an empty value first.
fn sign_in(tcp: &mut Tcp) -> Result<(), QueryError> {
    for _ in 0..4 {
        let packet = receive(tcp)?;
        match (packet.kind, packet.number) {
            (TYPE_SIGNED_IN, REFUSED) => return Err(QueryError::Denied),
            (TYPE_SIGNED_IN, SIGN_IN) => return Ok(()),
            _ => {}
        }
    }
    Err(QueryError::Malformed("no answer to the sign-in"))
}

/// Reads the answer to the command to its end.
///
/// Its length is not stated. A second packet that the server must send back marks the end: Source takes it right away;
/// Minecraft reads one packet at a time, so it gets one only where the answer may go on.
fn answer(tcp: &mut Tcp, dialect: Dialect, start: Instant) -> Result<(Vec<u8>, Duration), QueryError> {
    if dialect == Dialect::Source {
        tcp.write(&packet(MARK, TYPE_VALUE, b""))?;
    }
    let mut text = Vec::new();
    let mut round_trip = None;
    let mut marked = dialect == Dialect::Source;
    for _ in 0..MOST_PACKETS {
        let packet = match receive(tcp) {
            Ok(packet) => packet,
            // It does not send marks back.
            Err(QueryError::Timeout) if round_trip.is_some() => break,
            Err(error) => return Err(error),
        };
        match packet.number {
            COMMAND => {}
            MARK => break,
            _ => continue,
        }
        let first = round_trip.is_none();
        round_trip.get_or_insert(start.elapsed());
        text.extend_from_slice(&packet.text);
        match dialect {
            Dialect::Minecraft if first && packet.text.len() < MINECRAFT_SPLIT => break,
            Dialect::Minecraft if !marked => {
                tcp.write(&self::packet(MARK, TYPE_VALUE, b""))?;
                marked = true;
            }
            _ => {}
        }
        if first {
            tcp.hurry(PATIENCE);
        }
    }
    let round_trip = round_trip.ok_or(QueryError::Malformed("no answer to the command"))?;
    Ok((text, round_trip))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpStream};

    use proptest::prelude::*;

    use super::{
        super::{
            Listed,
            testing::{ask, read, settings, tcp_server, write},
        },
        *,
    };
    use crate::{config::QueryProtocol, games::PlayerRef};

    fn secret(text: &str) -> (tempfile::NamedTempFile, QuerySettings) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let settings = QuerySettings {
            password_file: Some(file.path().to_owned()),
            ..settings()
        };
        (file, settings)
    }

    /// Reads a packet: number, type, text.
    fn next(stream: &mut TcpStream) -> Option<(i32, i32, Vec<u8>)> {
        let number = |bytes: Vec<u8>| i32::from_le_bytes(bytes.try_into().unwrap());
        let length = number(read(stream, 4)?);
        let (id, kind) = (number(read(stream, 4)?), number(read(stream, 4)?));
        let mut text = read(stream, length as usize - 8)?;
        assert_eq!(text.split_off(text.len() - 2), [0, 0]);
        Some((id, kind, text))
    }

    fn say(stream: &mut TcpStream, id: i32, kind: i32, text: &[u8]) {
        let mut bytes = (text.len() as i32 + 10).to_le_bytes().to_vec();
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(b"\0\0");
        write(stream, &bytes);
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        SentBack,
        Ignored,
    }

    /// Valve's server: an empty value before the sign-in's answer, text in parts, the mark mirrored with four bytes.
    fn source(stream: &mut TcpStream, text: &[u8], mark: Mark) {
        let Some((id, 3, password)) = next(stream) else {
            return;
        };
        say(stream, id, 0, b"");
        say(stream, if password == b"secret" { id } else { -1 }, 2, b"");
        let Some((id, 2, command)) = next(stream) else {
            return;
        };
        assert_eq!(command, b"status");
        for part in text.chunks(50) {
            say(stream, id, 0, part);
        }
        let Some((id, 0, empty)) = next(stream) else {
            return;
        };
        assert!(empty.is_empty());
        if mark == Mark::SentBack {
            say(stream, id, 0, b"");
            say(stream, id, 0, b"\x01");
        } else {
            read(stream, 1);
        }
    }

    const STATUS: &str = "hostname: Rust never sleeps\nversion : 8835751/24 8835751 secure\nudp/ip  : 127.0.0.1:27015\n\
        map     : cp_dustbowl at: 0 x, 0 y, 0 z\nplayers : 1 humans, 1 bots (24 max)\nedicts  : 600 used of 2048 max\n\
        # userid name                uniqueid            connected ping loss state  adr\n\
        #      3 \"Bot \"x\" BOT\"       BOT                                     active\n\
        #      7 \"# 4 \"y\" BOT\"       [U:1:22202]         05:08       63    0 active 192.0.2.7:27005\n";

    #[test]
    fn a_source_console_is_asked_in_parts() {
        for mark in [Mark::SentBack, Mark::Ignored] {
            let server = tcp_server(move |stream| source(stream, STATUS.as_bytes(), mark));
            let (_file, settings) = secret("secret\n");
            let answer = ask(QueryProtocol::SourceRcon, server.address, &settings).unwrap();
            assert_eq!(answer.name.as_deref(), Some("Rust never sleeps"));
            assert_eq!(
                (answer.online, answer.bots, answer.max),
                (Some(2), Some(1), Some(24))
            );
            assert!(matches!(answer.players, Some(Listed::Everybody(ref players)) if players.len() == 2));
        }
    }

    #[test]
    fn a_wrong_or_missing_password_is_told() {
        let server = tcp_server(|stream| source(stream, b"", Mark::SentBack));
        let (_file, settings) = secret("guess");
        let error = ask(QueryProtocol::SourceRcon, server.address, &settings).unwrap_err();
        assert!(matches!(error, QueryError::Denied), "{error}");
        let (_file, settings) = secret("\n");
        let error = ask(QueryProtocol::SourceRcon, server.address, &settings).unwrap_err();
        assert!(error.to_string().contains("is empty"), "{error}");
        let error = ask(QueryProtocol::SourceRcon, server.address, &self::settings()).unwrap_err();
        assert!(error.to_string().contains("password_file"), "{error}");
    }

    /// Minecraft's server: parts of 4,096, any packet type but its own answered with an error text.
    fn minecraft(stream: &mut TcpStream, text: &[u8]) {
        while let Some((id, kind, body)) = next(stream) {
            match kind {
                3 => say(stream, id, 2, b""),
                2 => {
                    assert_eq!(body, b"list");
                    text.chunks(4_096).for_each(|part| say(stream, id, 0, part));
                }
                other => say(stream, id, 0, format!("Unknown request {other:x}").as_bytes()),
            }
        }
    }

    #[test]
    fn a_minecraft_console_is_asked_short_and_long() {
        let (_file, settings) = secret("secret");
        let server =
            tcp_server(|stream| minecraft(stream, b"There are 2 of a max of 20 players online: Ann, Bob"));
        let start = Instant::now();
        let answer = ask(QueryProtocol::MinecraftRcon, server.address, &settings).unwrap();
        assert!(start.elapsed() < PATIENCE, "nothing is waited for");
        assert_eq!((answer.online, answer.max), (Some(2), Some(20)));
        let names = vec![PlayerRef::named("Ann"), PlayerRef::named("Bob")];
        assert_eq!(answer.players, Some(Listed::Everybody(names)));
        let many: Vec<String> = (0..600).map(|number| format!("player_number_{number}")).collect();
        let text = format!(
            "There are 600 of a max of 700 players online: {}",
            many.join(", ")
        );
        let server = tcp_server(move |stream| minecraft(stream, text.as_bytes()));
        let answer = ask(QueryProtocol::MinecraftRcon, server.address, &settings).unwrap();
        assert!(matches!(answer.players, Some(Listed::Everybody(ref players)) if players.len() == 600));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_console_of_garbage_is_an_error_in_time(bytes in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 10, 14, 255]), 0..120)) {
            let (_file, settings) = secret("secret");
            let settings = QuerySettings { timeout: Duration::from_millis(60), ..settings };
            let server = tcp_server(move |stream| write(stream, &bytes));
            let start = Instant::now();
            prop_assert!(ask(QueryProtocol::SourceRcon, server.address, &settings).is_err());
            prop_assert!(start.elapsed() < Duration::from_secs(2));
        }
    }
}
