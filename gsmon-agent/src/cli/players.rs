//! `gsmon players [SERVER [ID]]`: a client of the running agent. Addresses are shown only when asked for.

use std::process::ExitCode;

use serde_json::Value;

use super::{Failure, Outcome, SocketArg, print_json, runtime};
use crate::{
    games::event::PlayerKind,
    serve::{Route, fetch},
    top::{
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
        units::{count, duration},
    },
    world::session::{
        ask::ServerPlayers,
        picture::{CountBasis, PlayerCounts, PlayerSnapshot, PlayerState},
    },
};

#[derive(Debug, clap::Args)]
pub struct PlayersArgs {
    /// Players of this server only.
    server: Option<String>,
    /// Players of this session only.
    #[arg(requires = "server")]
    id: Option<String>,
    /// With their addresses.
    #[arg(long)]
    addresses: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArg,
}

/// Are addresses shown?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addresses {
    Shown,
    Hidden,
}

pub fn run(args: &PlayersArgs) -> Outcome {
    let addresses = match args.addresses {
        true => Addresses::Shown,
        false => Addresses::Hidden,
    };
    let found = runtime()?.block_on(ask(args))?;
    if args.json {
        print_json(&document(&found, addresses)?)?;
    } else {
        for server in &found {
            print!("{}", text(server, addresses));
        }
        if found.is_empty() {
            println!("there are no servers");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(args: &PlayersArgs) -> Result<Vec<ServerPlayers>, Failure> {
    let socket = &args.socket.socket;
    let Some(server) = &args.server else {
        return Ok(fetch(socket, &Route::to(&["players"])).await?);
    };
    let mut route = Route::to(&["servers", server, "players"]);
    if let Some(id) = &args.id {
        route = route.with("session", id);
    }
    Ok(vec![fetch(socket, &route).await?])
}

fn document(found: &[ServerPlayers], addresses: Addresses) -> Result<Value, serde_json::Error> {
    let mut document = serde_json::to_value(found)?;
    if addresses == Addresses::Hidden {
        hide(&mut document);
    }
    Ok(document)
}

/// Takes out everything that holds an address.
fn hide(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Object(fields) => {
            fields.remove("address");
            fields.remove("remote");
            fields.values_mut().for_each(hide);
        }
        _ => {}
    }
}

/// `2 humans, 1 bot, 1 connecting (by name)`
fn counts_text(counts: &PlayerCounts) -> String {
    let parts: Vec<String> = [
        (counts.humans, "human", "humans"),
        (counts.bots, "bot", "bots"),
        (counts.unknown, "unknown", "unknown"),
        (counts.connecting, "connecting", "connecting"),
    ]
    .into_iter()
    .filter_map(|(number, one, many)| match number? {
        0 if one != "human" => None,
        1 => Some(format!("1 {one}")),
        number => Some(format!("{number} {many}")),
    })
    .collect();
    let by = match counts.by {
        Some(CountBasis::Roster) => "by name",
        Some(CountBasis::Count) => "as the game counts",
        Some(CountBasis::Flows) => "by flows",
        None => return "players are not known".to_owned(),
    };
    let mut text = format!("{} ({by})", parts.join(", "));
    if let Some(difference) = counts.disagreement.filter(|difference| *difference != 0) {
        text += &format!("; {difference:+} against the game's own count");
    }
    if counts.proxied {
        text += "; behind a proxy";
    }
    text
}

fn text(found: &ServerPlayers, addresses: Addresses) -> String {
    let mut text = format!("{}: {}\n", harmless(&found.server), counts_text(&found.counts));
    let mut columns = vec![
        TextColumn::words("NAME", Room::Free(32)),
        TextColumn::words("KIND", Room::Needed),
        TextColumn::words("STATE", Room::Spare(1)),
        TextColumn::figures("TIME", Room::Needed),
        TextColumn::words("SESSION", Room::Spare(2)),
        TextColumn::figures("PKTIN", Room::Needed),
        TextColumn::figures("PKTOUT", Room::Needed),
    ];
    if addresses == Addresses::Shown {
        columns.push(TextColumn::words("ADDRESS", Room::Needed));
    }
    let rows: Vec<Vec<String>> = found
        .players
        .iter()
        .chain(found.departed.iter())
        .map(|player| row(player, addresses))
        .collect();
    if !rows.is_empty() {
        text += &table(&columns, &rows, LINE);
    }
    text
}

fn row(player: &PlayerSnapshot, addresses: Addresses) -> Vec<String> {
    let flow = player.flow.as_ref();
    let mut row = vec![
        player.name.as_deref().unwrap_or("-").to_owned(),
        match player.kind {
            Some(PlayerKind::Human) => "human",
            Some(PlayerKind::Bot) => "bot",
            None => "-",
        }
        .to_owned(),
        match player.state {
            PlayerState::Connecting => "connecting",
            PlayerState::Playing => "playing",
            PlayerState::Left => "left",
        }
        .to_owned(),
        duration(Some(player.in_game_ms)),
        player.session.as_deref().unwrap_or("-").to_owned(),
        count(flow.map(|flow| flow.rx.packets)),
        count(flow.map(|flow| flow.tx.packets)),
    ];
    if addresses == Addresses::Shown {
        row.push(match (flow, player.address) {
            (Some(flow), _) => flow.remote.to_string(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "-".to_owned(),
        });
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        top::harmless::width,
        world::session::ask::{players, tests::a_snapshot},
    };

    fn found() -> ServerPlayers {
        players(&a_snapshot(), "arena one").unwrap()
    }

    #[test]
    fn the_table_has_who_is_there_and_who_has_left() {
        let text = text(&found(), Addresses::Hidden);
        let heading = "arena one: 2 humans, 1 bot, 1 connecting (by name); -1 against the game's own count";
        assert_eq!(text.lines().next(), Some(heading));
        for part in [
            "Ann", "human", "Sarge", "bot", "1m30s", "900", "1800", "gone", "left",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        for line in text.lines().skip(1) {
            assert!(width(line) <= LINE, "{line}");
        }
    }

    #[test]
    fn addresses_are_shown_only_when_asked_for() {
        let found = found();
        let part = "192.0.2.7";
        assert!(!text(&found, Addresses::Hidden).contains(part));
        assert!(text(&found, Addresses::Shown).contains("192.0.2.7:27960"));
        let found = [found];
        let json = |addresses| document(&found, addresses).unwrap().to_string();
        assert!(!json(Addresses::Hidden).contains(part) && json(Addresses::Hidden).contains("Ann"));
        assert!(json(Addresses::Shown).contains(part));
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let text = text(&found(), Addresses::Hidden);
        assert!(text.contains("\\u{1b}[2Jx\\u{202e}\\n"), "{text}");
        assert!(!text.chars().any(|sign| sign.is_control() && sign != '\n'));
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let silent = players(&a_snapshot(), "silent").unwrap();
        assert_eq!(
            text(&silent, Addresses::Hidden),
            "silent: players are not known\n"
        );
    }
}
