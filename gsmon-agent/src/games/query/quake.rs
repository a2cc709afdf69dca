//! Quake's `status` questions: QuakeWorld (1), Quake II (2) and the Quake III family's `getstatus` (3).
//!
//! Formats: `SVC_Status` of QuakeWorld, Quake II and ioquake3. A bot's ping is 0; since a person on the same host can have
//! that too, ioquake3's `getinfo` is asked for its number of human players, and where that contradicts the pings nobody
//! is called human or bot. ioquake3 answers one address about once a second: shorter intervals lose answers.
//!
//! Not covered: answers that servers cut at 16 KiB; Doom 3's `getInfo`.
//!
//! Asked through gamedig first (`super::reader`), which reads a server without players; of any other it lists nobody and says
//! that nobody is there.

use std::collections::HashMap;

use super::{
    super::event::{KindEvidence, PlayerKind, PlayerRef},
    Listed, QueryAnswer, QueryError,
    wire::{self, Deadline, MOST_PLAYERS, Reader, Udp, number, some, text},
};

/// Which Quake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// QuakeWorld: `id frags minutes ping "name" "skin" top bottom`.
    One,
    /// Quake II: `frags ping "name"`.
    Two,
    /// Quake III and its kin: the same.
    Three,
}

impl Dialect {
    fn question(self) -> &'static [u8] {
        match self {
            Self::One | Self::Two => b"\xff\xff\xff\xffstatus\n",
            Self::Three => b"\xff\xff\xff\xffgetstatus\n",
        }
    }

    fn answer(self) -> &'static [u8] {
        match self {
            Self::One => b"\xff\xff\xff\xffn",
            Self::Two => b"\xff\xff\xff\xffprint\n",
            Self::Three => b"\xff\xff\xff\xffstatusResponse\n",
        }
    }

    /// Which number of a player's line is the ping.
    fn ping_at(self) -> usize {
        match self {
            Self::One => 3,
            Self::Two | Self::Three => 1,
        }
    }
}

pub(super) fn ask(dialect: Dialect, udp: &mut Udp, deadline: Deadline) -> Result<QueryAnswer, QueryError> {
    let mut answer = udp.ask(&[dialect.question()], deadline, |datagram| {
        let mut reader = Reader::new(datagram);
        reader
            .skip(dialect.answer())
            .then(|| status(dialect, reader.rest()))
            .transpose()
    })?;
    answer.round_trip = udp.round_trip();
    let humans = (dialect == Dialect::Three && answer.online > Some(0))
        .then(|| {
            let deadline = udp.optional(deadline);
            humans(udp, deadline)
        })
        .flatten();
    if let (Some(humans), Some(online)) = (humans, answer.online) {
        believe(&mut answer, humans, online);
    }
    Ok(answer)
}

/// Reads a status: a line of settings, then a line per player.
fn status(dialect: Dialect, body: &[u8]) -> Result<QueryAnswer, QueryError> {
    let mut lines = body.split(|byte| *byte == b'\n');
    let settings = settings(lines.next().unwrap_or_default());
    if settings.is_empty() {
        return Err(QueryError::Malformed("a status without settings"));
    }
    let find = |names: &[&[u8]]| names.iter().find_map(|name| settings.get(*name).copied());
    let listed: Vec<(PlayerRef, i64)> = lines
        .filter_map(|line| player(dialect, line))
        .take(MOST_PLAYERS)
        .collect();
    let player_round_trips = listed
        .iter()
        .filter_map(|(player, ping)| {
            let ping = u16::try_from(*ping)
                .ok()
                .filter(|ping| (1..UNMEASURED_PING).contains(ping))?;
            Some((player.name.clone()?, ping))
        })
        .collect();
    let players: Vec<PlayerRef> = listed.into_iter().map(|(player, _)| player).collect();
    let bots = players
        .iter()
        .filter(|player| player.kind.is_some_and(|known| known.kind == PlayerKind::Bot))
        .count();
    let shown = |names: &[&[u8]]| find(names).and_then(|value| some(text(value)));
    Ok(QueryAnswer {
        name: shown(&[b"sv_hostname", b"hostname"]),
        version: shown(&[b"version", b"*version"]),
        map: shown(&[b"mapname", b"map"]),
        mode: shown(&[b"g_gametype", b"gametype"]),
        online: u32::try_from(players.len()).ok(),
        bots: u32::try_from(bots).ok(),
        max: find(&[b"sv_maxclients", b"maxclients"]).and_then(number),
        players: Some(Listed::Everybody(players)),
        player_round_trips,
        ..QueryAnswer::default()
    })
}

/// `\key\value\key\value`
fn settings(line: &[u8]) -> HashMap<&[u8], &[u8]> {
    let line = line.strip_prefix(b"\\").unwrap_or(line);
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b'\\').collect();
    parts
        .chunks_exact(2)
        .take(MOST_PLAYERS)
        .map(|pair| (pair[0], pair[1]))
        .collect()
}

/// What stands for a ping that was not measured: the largest that is shown (`SV_CalcPings`).
const UNMEASURED_PING: u16 = 999;

/// A player's line, and the ping in it. The name may hold anything but a quote, spaces included.
fn player(dialect: Dialect, line: &[u8]) -> Option<(PlayerRef, i64)> {
    let mut reader = Reader::new(line);
    let numbers: Vec<i64> = reader
        .until(b'"')
        .ok()?
        .split(|byte| *byte == b' ')
        .filter_map(number)
        .collect();
    let name = text(reader.until(b'"').ok()?);
    let ping = *numbers.get(dialect.ping_at())?;
    let kind = match ping {
        0 => PlayerKind::Bot,
        _ => PlayerKind::Human,
    };
    let player = PlayerRef {
        name: some(name),
        slot: (dialect == Dialect::One)
            .then(|| numbers.first().copied().and_then(|id| id.try_into().ok()))
            .flatten(),
        ..PlayerRef::default()
    };
    Some((player.with_kind(kind, KindEvidence::Query), ping))
}

/// How many people are there, by ioquake3's own count.
fn humans(udp: &mut Udp, deadline: Deadline) -> Option<u32> {
    let challenge = format!("{:x}", wire::random());
    let question = [b"\xff\xff\xff\xffgetinfo ", challenge.as_bytes(), b"\n"].concat();
    udp.ask(&[&question], deadline, |datagram| {
        let mut reader = Reader::new(datagram);
        if !reader.skip(b"\xff\xff\xff\xffinfoResponse\n") {
            return Ok(None);
        }
        let settings = settings(reader.rest().trim_ascii_end());
        let ours = settings.get(&b"challenge"[..]) == Some(&challenge.as_bytes());
        Ok(ours.then(|| settings.get(&b"g_humanplayers"[..]).copied().and_then(number)))
    })
    .ok()
    .flatten()
}

/// Weighs the pings against the server's own count.
fn believe(answer: &mut QueryAnswer, humans: u32, online: u32) {
    let bots = online.checked_sub(humans);
    if bots == answer.bots {
        return;
    }
    // Somebody came or went in between, or a person has a ping of 0.
    answer.bots = bots;
    if let Some(Listed::Everybody(players)) = &mut answer.players {
        for player in players {
            player.kind = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::testing::{asked, udp_server},
        *,
    };
    use crate::config::QueryProtocol;

    /// An OpenArena server's answer, shortened.
    const STATUS: &[u8] = b"\xff\xff\xff\xffstatusResponse\n\\com_protocol\\71\\sv_hostname\\test-oa\\sv_maxclients\\16\\\
        g_gametype\\0\\version\\ioq3 1.36\\mapname\\oa_dm1\n3 0 \"Sarge\"\n-1 48 \"^1a b \\ c\"\n0 0 \"Grunt\"\n";

    fn info(humans: u32, request: &[u8]) -> Vec<u8> {
        let challenge = String::from_utf8(request[12..].to_vec()).unwrap();
        let body = format!(
            "\\g_humanplayers\\{humans}\\clients\\3\\challenge\\{}",
            challenge.trim()
        );
        [b"\xff\xff\xff\xffinfoResponse\n", body.as_bytes()].concat()
    }

    fn kinds(answer: &QueryAnswer) -> Vec<Option<PlayerKind>> {
        let players = answer.players.as_ref().unwrap().players();
        players
            .iter()
            .map(|player| player.kind.map(|known| known.kind))
            .collect()
    }

    #[test]
    fn round_trips_are_those_that_the_server_has_measured() {
        let status = [STATUS, b"1 999 \"Lost\"\n"].concat();
        let answer = super::status(Dialect::Three, &status[19..]).unwrap();
        assert_eq!(answer.player_round_trips, [("^1a b \\ c".into(), 48)]);
    }

    #[test]
    fn bots_are_players_with_a_ping_of_0() {
        let server = udp_server(|request| match request {
            b"\xff\xff\xff\xffgetstatus\n" => vec![b"\xff\xff\xff\xffdisconnect".to_vec(), STATUS.to_vec()],
            _ => vec![info(1, request)],
        });
        let answer = asked(QueryProtocol::Quake3, server.address).unwrap();
        assert_eq!(answer.name.as_deref(), Some("test-oa"));
        assert_eq!(
            (answer.map.as_deref(), answer.mode.as_deref()),
            (Some("oa_dm1"), Some("0"))
        );
        assert_eq!(
            (answer.online, answer.bots, answer.max),
            (Some(3), Some(2), Some(16))
        );
        let (human, bot) = (Some(PlayerKind::Human), Some(PlayerKind::Bot));
        assert_eq!(kinds(&answer), [bot, human, bot]);
        let names: Vec<_> = answer
            .players
            .unwrap()
            .players()
            .iter()
            .map(|player| player.name.clone())
            .collect();
        assert_eq!(
            names,
            [
                Some("Sarge".into()),
                Some("^1a b \\ c".into()),
                Some("Grunt".into())
            ]
        );
    }

    #[test]
    fn the_servers_own_count_of_people_overrules_pings() {
        let server = udp_server(|request| match request {
            b"\xff\xff\xff\xffgetstatus\n" => vec![STATUS.to_vec()],
            _ => vec![info(2, request)],
        });
        let answer = asked(QueryProtocol::Quake3, server.address).unwrap();
        assert_eq!((answer.online, answer.bots), (Some(3), Some(1)));
        assert_eq!(kinds(&answer), [None; 3]);
    }

    #[test]
    fn a_server_without_getinfo_is_taken_by_its_pings() {
        let server = udp_server(|request| match request {
            b"\xff\xff\xff\xffgetstatus\n" => vec![STATUS.to_vec()],
            _ => Vec::new(),
        });
        assert_eq!(
            asked(QueryProtocol::Quake3, server.address).unwrap().bots,
            Some(2)
        );
    }

    #[test]
    fn the_older_quakes_are_read() {
        let server = udp_server(|request| {
            assert_eq!(request, b"\xff\xff\xff\xffstatus\n");
            vec![
                b"\xff\xff\xff\xffprint\n\\hostname\\q2\\maxclients\\8\\mapname\\q2dm1\n5 37 \"Grunt\"\n0 0 \"bot\"\n".to_vec(),
                b"\xff\xff\xff\xffn\\hostname\\qw\\maxclients\\8\\map\\dm6\\*version\\MVDSV\n7 12 3 25 \"a name\" \"base\" 4 4\n\0".to_vec(),
            ]
        });
        let answer = asked(QueryProtocol::Quake2, server.address).unwrap();
        assert_eq!(
            (answer.name.as_deref(), answer.map.as_deref()),
            (Some("q2"), Some("q2dm1"))
        );
        assert_eq!(
            (answer.online, answer.bots, answer.max),
            (Some(2), Some(1), Some(8))
        );
        let answer = asked(QueryProtocol::Quake1, server.address).unwrap();
        assert_eq!(
            (answer.version.as_deref(), answer.online, answer.bots),
            (Some("MVDSV"), Some(1), Some(0))
        );
        let player = answer.players.unwrap().players()[0].clone();
        assert_eq!((player.slot, player.name.as_deref()), (Some(7), Some("a name")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\\\a-z0-9 \"\n-]{0,120}") {
            for dialect in [Dialect::One, Dialect::Two, Dialect::Three] {
                let _ = status(dialect, &bytes);
                let _ = status(dialect, text.as_bytes());
            }
        }

        #[test]
        fn any_name_without_quote_is_read_as_it_is(name in "[^\"\n\\x00]{1,30}", score in any::<i16>(), ping in 0u16..1_000) {
            let line = format!("{score} {ping} \"{name}\"");
            let (player, _) = player(Dialect::Three, line.as_bytes()).unwrap();
            prop_assert_eq!(player.name.as_deref(), Some(name.as_str()));
            prop_assert_eq!(player.kind.unwrap().kind == PlayerKind::Bot, ping == 0);
        }
    }
}
