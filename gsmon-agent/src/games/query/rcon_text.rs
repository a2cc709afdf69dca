//! What consoles print: `status` of Source servers (GoldSrc-like tables, Counter-Strike 2's own), `list` of Minecraft.
//!
//! Names are quoted in `status` and may hold anything but a line end, quotes included: a row is read from both ends. Not
//! covered: lists that plugins print in their own way; they yield counts where the count is worded as the game words it.

use std::{net::SocketAddr, sync::LazyLock};

use regex::Regex;

use super::{
    super::event::{KindEvidence, PlayerKind, PlayerRef},
    Listed, QueryAnswer,
    wire::{MOST_PLAYERS, some, text},
};

/// A pattern of this file; all of them are compiled in a test.
fn pattern(expression: &str) -> Option<Regex> {
    Regex::new(expression).ok()
}

static COUNTS: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^(\d+) humans?, (\d+) bots? \((\d+)(?:/\d+)? max\)"));
static OLD_COUNTS: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"^(\d+)(?: active)? \((\d+) max\)"));
/// `# userid [slot] "name" uniqueid ...`; greedy, so the name ends at the last quote.
static ROW: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r#"^#\s*(\d+)\s+(?:\d+\s+)?"(.*)"\s+(\S+)\s*(.*)$"#));
/// Counter-Strike 2: `id time ping loss state rate [adr] 'name'`.
static ROW_2: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^\s*(\d+)\s+(\S+)\s+\d+\s+\d+\s+(\w+)\s+\d+\s+(?:(\S+:\d+)\s+)?'(.*)'$"));
static LIST: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"^There are (\d+)(?:/| of a max(?:imum)?(?: of)? | out of maximum )(\d+) players online[:.]?\s*(.*)$",
    )
});

/// Number of nobody in Counter-Strike 2's table: a connection that is not accepted yet.
const NOBODY: u64 = 65_535;

/// Reads the answer to `status`.
pub(super) fn status(printed: &str) -> Option<QueryAnswer> {
    let mut answer = QueryAnswer::default();
    let mut players = Vec::new();
    for line in printed.lines() {
        if let Some(player) = row(line).or_else(|| row_2(line)) {
            if players.len() < MOST_PLAYERS {
                players.push(player);
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let value = value.trim();
        // The first of each: what follows the head is the table.
        match key.trim() {
            "hostname" if answer.name.is_none() => answer.name = some(text(value.as_bytes())),
            "version" if answer.version.is_none() => {
                answer.version = value
                    .split([' ', '/'])
                    .next()
                    .and_then(|version| some(text(version.as_bytes())));
            }
            "map" if answer.map.is_none() => {
                answer.map = value.split(' ').next().and_then(|map| some(text(map.as_bytes())));
            }
            "players" if answer.online.is_none() => counts(value, &mut answer),
            _ => {}
        }
    }
    answer.online?;
    answer.players = Listed::by_count(players, answer.online);
    Some(answer)
}

fn counts(value: &str, answer: &mut QueryAnswer) {
    if let Some(found) = COUNTS.as_ref().and_then(|pattern| pattern.captures(value)) {
        let number = |group: usize| found[group].parse::<u32>().ok();
        let (humans, bots) = (number(1), number(2));
        answer.online = humans
            .zip(bots)
            .and_then(|(humans, bots)| humans.checked_add(bots));
        answer.bots = bots;
        // Counter-Strike 2 prints a limit of 0.
        answer.max = number(3).filter(|max| *max > 0);
    } else if let Some(found) = OLD_COUNTS.as_ref().and_then(|pattern| pattern.captures(value)) {
        answer.online = found[1].parse().ok();
        answer.max = found[2].parse().ok();
    }
}

fn row(line: &str) -> Option<PlayerRef> {
    let found = ROW.as_ref()?.captures(line)?;
    let player = PlayerRef {
        slot: found[1].parse().ok(),
        name: some(text(found[2].as_bytes())),
        ..PlayerRef::default()
    };
    if &found[3] == "BOT" {
        return Some(player.with_kind(PlayerKind::Bot, KindEvidence::Identity));
    }
    let player = PlayerRef {
        platform_id: some(text(found[3].as_bytes())),
        ..player
    }
    .with_kind(PlayerKind::Human, KindEvidence::Identity);
    Some(match found[4].split_whitespace().next_back() {
        Some(address) => addressed(player, address),
        None => player,
    })
}

fn row_2(line: &str) -> Option<PlayerRef> {
    let found = ROW_2.as_ref()?.captures(line)?;
    let slot = found[1].parse().ok().filter(|slot| *slot != NOBODY)?;
    let kind = if &found[2] == "BOT" {
        PlayerKind::Bot
    } else {
        PlayerKind::Human
    };
    let player = PlayerRef {
        slot: Some(slot),
        name: some(text(found[5].as_bytes())),
        ..PlayerRef::default()
    }
    .with_kind(kind, KindEvidence::Query);
    Some(match found.get(4) {
        Some(address) => addressed(player, address.as_str()),
        None => player,
    })
}

fn addressed(player: PlayerRef, address: &str) -> PlayerRef {
    match address.parse::<SocketAddr>() {
        Ok(address) => player.with_address(address.ip(), Some(address.port())),
        Err(_) => player,
    }
}

/// Reads the answer to `list`, of 1.7 to 1.12 (`2/20`) and since.
pub(super) fn list(printed: &str) -> Option<QueryAnswer> {
    let plain = without_colours(printed);
    let mut lines = plain.trim().splitn(2, '\n');
    let found = LIST.as_ref()?.captures(lines.next()?.trim_end())?;
    let online = found[1].parse().ok()?;
    let rest = [&found[3], lines.next().unwrap_or_default()].concat();
    // A line per group, or a prefix with a colon, is a plugin's list and not of names alone.
    let own = !rest.contains([':', '\n']);
    let players = rest
        .split(", ")
        .map(str::trim)
        .filter(|name| own && !name.is_empty())
        .take(MOST_PLAYERS)
        .map(|name| PlayerRef {
            name: some(text(name.as_bytes())),
            ..PlayerRef::default()
        });
    Some(QueryAnswer {
        players: Listed::by_count(players.collect(), Some(online)),
        online: Some(online),
        max: found[2].parse().ok(),
        ..QueryAnswer::default()
    })
}

/// Takes out the game's colour codes, a section sign and one more.
fn without_colours(printed: &str) -> String {
    let mut characters = printed.chars();
    let mut plain = String::with_capacity(printed.len());
    while let Some(character) = characters.next() {
        match character {
            '\u{a7}' => drop(characters.next()),
            character => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_patterns_compile() {
        for pattern in [&COUNTS, &OLD_COUNTS, &ROW, &ROW_2, &LIST] {
            assert!(pattern.is_some());
        }
    }

    #[test]
    fn global_offensives_table_has_slots_and_rates() {
        let answer = status(
            "hostname: gs\nversion : 1.37.9.5/13795 1263/8012 secure  [G:1:1]\nudp/ip  : 192.0.2.1:27015\nos      :  Linux\n\
             map     : de_dust2\nplayers : 2 humans, 1 bots (16/0 max) (not hibernating)\n\n\
             # userid name uniqueid connected ping loss state rate adr\n\
             #  2 1 \"Ann: \"q\"\" STEAM_1:0:1234 03:12 41 0 active 196608 192.0.2.9:27005\n\
             # 3 \"Vitaly\" BOT active 64\n#  5 3 \"players : 9 humans\" STEAM_1:1:77 00:12 80 0 spawning 196608 [2001:db8::7]:27005\n#end\n",
        )
        .unwrap();
        assert_eq!(
            (answer.version.as_deref(), answer.map.as_deref()),
            (Some("1.37.9.5"), Some("de_dust2"))
        );
        assert_eq!(
            (answer.online, answer.bots, answer.max),
            (Some(3), Some(1), Some(16))
        );
        let expected = vec![
            PlayerRef::identified("STEAM_1:0:1234")
                .with_name("Ann: \"q\"")
                .with_address("192.0.2.9".parse().unwrap(), Some(27_005))
                .with_kind(PlayerKind::Human, KindEvidence::Identity),
            PlayerRef::named("Vitaly").with_kind(PlayerKind::Bot, KindEvidence::Identity),
            PlayerRef::identified("STEAM_1:1:77")
                .with_name("players : 9 humans")
                .with_address("2001:db8::7".parse().unwrap(), Some(27_005))
                .with_kind(PlayerKind::Human, KindEvidence::Identity),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .zip([2, 3, 5])
            .map(|(player, slot)| PlayerRef {
                slot: Some(slot),
                ..player
            })
            .collect();
        assert_eq!(answer.players, Some(Listed::Everybody(expected)));
    }

    #[test]
    fn counter_strike_2_has_its_own_table() {
        let answer = status(
            "Server:  Running [0.0.0.0:27015]\nhostname : two\nversion  : 1.40.1.8/14018 10145 secure  public\n\
             players  : 1 humans, 1 bots (0 max) (not hibernating) (unreserved)\n---------spawngroups----\n\
             loaded spawngroup(  1)  : SV:  [1: de_mirage | main lump | mapload]\n---------players--------\n\
             \x20 id     time ping loss      state   rate adr name\n65535 [NoChan]    0    0 challenging      0unknown ''\n\
             \x20   0      BOT    0    0     active      0 'Cal'\n    2    01:23   20    0     active 786432 192.0.2.9:61234 'it's me'\n#end\n",
        )
        .unwrap();
        assert_eq!(
            (answer.name.as_deref(), answer.online, answer.bots, answer.max),
            (Some("two"), Some(2), Some(1), None)
        );
        let Some(Listed::Everybody(players)) = answer.players else {
            panic!()
        };
        assert_eq!(players[0].kind.unwrap().kind, PlayerKind::Bot);
        assert_eq!(
            (players[1].name.as_deref(), players[1].port),
            (Some("it's me"), Some(61_234))
        );
    }

    #[test]
    fn old_engines_do_not_count_bots_apart() {
        let answer =
            status("hostname:  old\nmap     :  crossfire at: 0 x\nplayers :  3 active (8 max)\n").unwrap();
        assert_eq!(
            (answer.online, answer.bots, answer.max, answer.players),
            (Some(3), None, Some(8), None)
        );
        assert_eq!(status("Unknown command \"status\"\n"), None);
    }

    #[test]
    fn list_is_read_in_all_its_wordings() {
        let names = vec![PlayerRef::named("Ann"), PlayerRef::named("Bob")];
        for printed in [
            "There are 2 of a max of 20 players online: Ann, Bob",
            "There are 2 of a max 20 players online: Ann, Bob",
            "There are 2/20 players online:\nAnn, Bob",
            "There are 2/20 players online:Ann, Bob\n",
            "\u{a7}6There are \u{a7}c2\u{a7}6 of a max of \u{a7}c20\u{a7}6 players online: Ann, Bob",
        ] {
            let answer = list(printed).unwrap_or_else(|| panic!("{printed}"));
            assert_eq!((answer.online, answer.max), (Some(2), Some(20)), "{printed}");
            assert_eq!(
                answer.players,
                Some(Listed::Everybody(names.clone())),
                "{printed}"
            );
        }
        let plugin = list("There are \u{a7}c2\u{a7}6 out of maximum \u{a7}c20\u{a7}6 players online.\n\u{a7}6default\u{a7}r: Ann, Bob").unwrap();
        assert_eq!((plugin.online, plugin.players), (Some(2), None));
        let nobody = list("There are 0 of a max of 20 players online: ").unwrap();
        assert_eq!(nobody.players, Some(Listed::Everybody(Vec::new())));
        assert_eq!(list("Unknown or incomplete command"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(printed in "(#|There are |players : |[0-9\"' :/()\n]|\\PC){0,60}") {
            let _ = status(&printed);
            let _ = list(&printed);
        }

        #[test]
        fn a_name_cannot_forge_a_field_of_its_row(name in "[^\r\n]{1,60}") {
            let line = format!("#      7 \"{name}\"       [U:1:22202]         05:08       63    0 active 192.0.2.7:27005");
            let player = row(&line).unwrap();
            prop_assert_eq!(player.platform_id.as_deref(), Some("[U:1:22202]"));
            prop_assert_eq!(player.slot, Some(7));
            prop_assert_eq!(player.port, Some(27_005));
        }
    }
}
