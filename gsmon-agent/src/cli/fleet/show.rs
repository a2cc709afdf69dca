//! The clients: tables over all hosts, as text or JSON. What is not known is `-`, never zero.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::FleetSocketArg;
use crate::{
    cli::{Outcome, print_json, runtime},
    fleet::{
        HostState, Verdict,
        source::{ServerFromSource, SourceDocument},
        view::{AgentDocument, FleetDocument, FleetPlayer, FleetPlayers},
    },
    games::event::Phase,
    serve::{ClientError, Route, fetch, report::KnownAs},
    top::{
        fleet::{HOSTS, either, sums},
        harmless::harmless,
        table::{LINE, Room, TextColumn, table},
        units::{bytes, duration, number},
    },
    world::{
        session::{phase, picture::PlayerCounts},
        snapshot::{ServerRates, ServerState, TickSnapshot},
    },
};

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Of this host only.
    host: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: FleetSocketArg,
}

#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Print one table and end.
    #[arg(long)]
    once: bool,
    /// With --once: one JSON document.
    #[arg(long, requires = "once")]
    json: bool,
    #[command(flatten)]
    socket: FleetSocketArg,
}

/// Exit code of a check that could not be made.
const UNKNOWN: u8 = 3;

/// The part of a server that tables show.
#[derive(Debug, Deserialize)]
struct ServerRow {
    host: String,
    host_state: HostState,
    name: String,
    state: Option<ServerState>,
    rates: Option<ServerRates>,
    tick: Option<TickSnapshot>,
    game_state: Option<GameRow>,
    #[serde(default)]
    from_source: Option<ServerFromSource>,
}

#[derive(Debug, Deserialize)]
struct GameRow {
    phase: Option<Phase>,
    player_counts: PlayerCounts,
}

/// There is no such host.
#[derive(Debug, thiserror::Error)]
#[error("there is no host called `{asked}`; there are: {known}")]
struct UnknownHost {
    asked: String,
    known: String,
}

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
#[error("no gsmon fleet is running (nobody answers on {0}): start it with `gsmon fleet --config fleet.toml`")]
struct NoFleet(std::path::PathBuf);

async fn ask<T: serde::de::DeserializeOwned>(socket: &FleetSocketArg, route: &Route) -> anyhow::Result<T> {
    fetch(&socket.socket, route).await.map_err(|error| match error {
        ClientError::NoAgent { path } => NoFleet(path).into(),
        error => error.into(),
    })
}

fn document(socket: &FleetSocketArg, host: Option<&str>) -> anyhow::Result<FleetDocument> {
    let mut fleet: FleetDocument = runtime()?.block_on(ask(socket, &Route::to(&["fleet"])))?;
    let Some(asked) = host else { return Ok(fleet) };
    if !fleet.agents.iter().any(|agent| *agent.host == *asked) {
        let known: Vec<&str> = fleet.agents.iter().map(|agent| &*agent.host).collect();
        return Err(UnknownHost {
            asked: asked.to_owned(),
            known: known.join(", "),
        }
        .into());
    }
    fleet.agents.retain(|agent| *agent.host == *asked);
    Ok(fleet)
}

pub fn top(args: &TopArgs) -> Outcome {
    if !args.once {
        // Nobody there is said before the screen is taken.
        document(&args.socket, None)?;
        runtime()?.block_on(crate::top::fleet::run(args.socket.socket.clone()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let fleet = document(&args.socket, None)?;
    match args.json {
        true => print_json(&fleet)?,
        false => print!("{}", fleet_text(&fleet)),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn health(args: &ShowArgs) -> Outcome {
    let fleet = match document(&args.socket, args.host.as_deref()) {
        Ok(fleet) => fleet,
        Err(error) => {
            // A check that cannot be made says so in its exit code, unlike other commands.
            eprintln!("gsmon: {error}");
            return Ok(ExitCode::from(UNKNOWN));
        }
    };
    if args.json {
        print_json(&fleet.agents)?;
    } else {
        print!("{}", health_text(&fleet.agents));
        if let (None, Some(source)) = (&args.host, &fleet.source) {
            print!("{}", source_text(source));
        }
    }
    let verdict = match (&args.host, fleet.agents.first()) {
        (Some(_), Some(agent)) => agent.verdict,
        _ => fleet.verdict,
    };
    Ok(ExitCode::from(verdict.exit_code()))
}

pub fn servers(args: &ShowArgs) -> Outcome {
    let mut route = Route::to(&["servers"]);
    if let Some(host) = &args.host {
        route = route.with("host", host);
    }
    let found: Vec<Value> = runtime()?.block_on(ask(&args.socket, &route))?;
    if args.json {
        print_json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<ServerRow> = serde_json::from_value(Value::Array(found))?;
    print!("{}", servers_text(&rows));
    Ok(ExitCode::SUCCESS)
}

pub fn players(args: &ShowArgs) -> Outcome {
    let mut found: FleetPlayers = runtime()?.block_on(ask(&args.socket, &Route::to(&["players"])))?;
    if let Some(host) = &args.host {
        document(&args.socket, Some(host))?;
        let there = |player: &FleetPlayer| player.places.iter().any(|place| *place.host == **host);
        found.players.retain(there);
    }
    if args.json {
        print_json(&found)?;
    } else {
        print!("{}", players_text(&found));
    }
    Ok(ExitCode::SUCCESS)
}

fn fleet_text(fleet: &FleetDocument) -> String {
    const COLUMNS: [TextColumn; 9] = [
        TextColumn::words("HOST", Room::Free(24)),
        TextColumn::words("VERDICT", Room::Needed),
        TextColumn::words("STATE", Room::Needed),
        TextColumn::figures("AGE", Room::Needed),
        TextColumn::figures("UP", Room::Needed),
        TextColumn::figures("PLAYERS", Room::Needed),
        TextColumn::figures("CPU%", Room::Needed),
        TextColumn::figures("MEM", Room::Needed),
        TextColumn::figures("AGENT", Room::Spare(1)),
    ];
    let rows: Vec<Vec<String>> = fleet
        .agents
        .iter()
        .map(|agent| HOSTS.iter().map(|column| column.cell(agent)).collect())
        .collect();
    format!("{}{}\n", table(&COLUMNS, &rows, LINE), sums(fleet))
}

fn health_text(agents: &[AgentDocument]) -> String {
    let mut text = String::new();
    for agent in agents {
        let said = match agent.verdict {
            Verdict::Ok => {
                let totals = agent.totals.unwrap_or_default();
                format!("{} of {} servers up", totals.servers_up, totals.servers)
            }
            _ => agent.reasons.join("; "),
        };
        let line = format!("{}: {}: {said}", agent.host, agent.verdict.name().to_uppercase());
        text += &format!("{}\n", harmless(&line));
    }
    text
}

fn source_text(source: &SourceDocument) -> String {
    let why = source.error.as_deref().unwrap_or("it has not been asked yet");
    let said = match source.state {
        HostState::Fresh => "answers".to_owned(),
        HostState::Stale => format!("what it told is old: {why}"),
        HostState::Unknown => format!("tells nothing: {why}"),
    };
    let mut text = format!("[source]: {}\n", harmless(&said));
    if !source.other_instances.is_empty() {
        text += &format!(
            "[source] has instances of no agent here: {}; name one as `instance` of its [[agent]]\n",
            harmless(&source.other_instances.join(", "))
        );
    }
    text
}

fn servers_text(rows: &[ServerRow]) -> String {
    const COLUMNS: [TextColumn; 8] = [
        TextColumn::words("HOST", Room::Free(20)),
        TextColumn::words("SERVER", Room::Free(24)),
        TextColumn::words("STATE", Room::Needed),
        TextColumn::words("PHASE", Room::Spare(1)),
        TextColumn::figures("PLAYERS", Room::Needed),
        TextColumn::figures("CPU%", Room::Needed),
        TextColumn::figures("HZ", Room::Needed),
        TextColumn::figures("MEM", Room::Needed),
    ];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let rates = row.rates.as_ref();
            let source = row.from_source.unwrap_or_default();
            let counts = row.game_state.as_ref().map(|game| &game.player_counts);
            let phase = row.game_state.as_ref().and_then(|game| game.phase);
            let state = match (row.host_state, row.state) {
                (HostState::Fresh, Some(state)) => state_name(state).to_owned(),
                (HostState::Stale, Some(state)) => format!("{} (stale)", state_name(state)),
                _ => "unknown".to_owned(),
            };
            vec![
                row.host.clone(),
                row.name.clone(),
                state,
                phase.map_or("-", phase::name).to_owned(),
                either(
                    counts
                        .and_then(|counts| counts.humans)
                        .map(|humans| humans as f64),
                    source.humans,
                    |humans| number(Some(humans), 0),
                ),
                either(
                    rates.and_then(|rates| rates.cpu_cores),
                    source.cpu_cores,
                    |cores| number(Some(cores * 100.0), 1),
                ),
                either(
                    row.tick.as_ref().map(|tick| tick.rate_hz),
                    source.tick_rate_hz,
                    |hz| number(Some(hz), 1),
                ),
                either(
                    rates.and_then(|rates| rates.rss_bytes).map(|bytes| bytes as f64),
                    source.rss_bytes,
                    |size| bytes(Some(size)),
                ),
            ]
        })
        .collect();
    if cells.is_empty() {
        return "no servers are known\n".to_owned();
    }
    table(&COLUMNS, &cells, LINE)
}

fn state_name(state: ServerState) -> &'static str {
    match state {
        ServerState::Waiting => "waiting",
        ServerState::Up => "up",
        ServerState::Gone => "gone",
    }
}

fn players_text(found: &FleetPlayers) -> String {
    const COLUMNS: [TextColumn; 4] = [
        TextColumn::words("PLAYER", Room::Needed),
        TextColumn::words("KNOWN BY", Room::Needed),
        TextColumn::figures("IN GAME", Room::Needed),
        TextColumn::words("WHERE", Room::Free(120)),
    ];
    let rows: Vec<Vec<String>> = found
        .players
        .iter()
        .map(|player| {
            let places: Vec<String> = player
                .places
                .iter()
                .map(|place| format!("{}/{}", place.host, place.server))
                .collect();
            vec![
                player.pseudonym.to_string(),
                match player.known_by {
                    KnownAs::PlatformId => "id".to_owned(),
                    KnownAs::Name => "name".to_owned(),
                },
                duration(player.places.iter().map(|place| place.in_game_ms).max()),
                places.join(", "),
            ]
        })
        .collect();
    let mut text = match rows.is_empty() {
        true => String::new(),
        false => table(&COLUMNS, &rows, LINE),
    };
    text += &format!(
        "{} of {} hosts: {} players, {} without a pseudonym, {} bots\n",
        found.of_hosts,
        found.hosts,
        found.players.len(),
        found.unnamed,
        found.bots
    );
    let join =
        |hosts: &[std::sync::Arc<str>]| hosts.iter().map(|host| &**host).collect::<Vec<_>>().join(", ");
    if !found.hosts_without_key.is_empty() {
        text += &format!(
            "no shared_key_file under [api.remote], so that players are not joined: {}\n",
            harmless(&join(&found.hosts_without_key))
        );
    }
    if found.keys.len() > 1 {
        text += "these hosts have different shared keys; players are joined within each only:\n";
        for (key, hosts) in &found.keys {
            text += &format!("  {}: {}\n", harmless(key), harmless(&join(hosts)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(host: &str, known: bool) -> Value {
        let totals = json!({
            "hosts": 1, "of_hosts": 1, "stale_hosts": 0, "servers": 2, "servers_up": 1, "humans": 7,
            "humans_of_servers": 1, "cpu_cores": 0.5, "cpu_of_servers": 1, "rss_bytes": null, "rss_of_servers": 0
        });
        json!({
            "host": host, "state": if known { "fresh" } else { "unknown" },
            "age_seconds": if known { json!(2.0) } else { Value::Null },
            "verdict": if known { "ok" } else { "unknown" },
            "reasons": if known { json!([]) } else { json!(["cannot connect\u{1b}[2J"]) },
            "totals": if known { totals } else { Value::Null },
            "error": null, "failures_in_a_row": 0, "readings": 1, "errors": {}
        })
    }

    #[test]
    fn a_silent_host_has_no_figures_and_sums_say_what_they_are_of() {
        let document = json!({
            "verdict": "unknown",
            "totals": {
                "hosts": 2, "of_hosts": 1, "stale_hosts": 0, "servers": 2, "servers_up": 1, "humans": 7,
                "humans_of_servers": 1, "cpu_cores": 0.5, "cpu_of_servers": 1, "rss_bytes": null, "rss_of_servers": 0
            },
            "agents": [agent("a", true), agent("b", false)]
        });
        let fleet: FleetDocument = serde_json::from_value(document).unwrap();
        let text = fleet_text(&fleet);
        let words = |line: usize| {
            text.lines()
                .nth(line)
                .unwrap()
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(1)[..7],
            ["a", "ok", "fresh", "2.0s", "1/2", "7", "50.0"],
            "{text}"
        );
        assert_eq!(
            words(2),
            ["b", "unknown", "unknown", "-", "-", "-", "-", "-", "-"],
            "{text}"
        );
        assert!(
            text.contains("\n1 of 2 hosts: 1/2 servers up, 7 players"),
            "{text}"
        );
        let health = health_text(&fleet.agents);
        assert!(health.contains("a: OK: 1 of 2 servers up\n"), "{health}");
        assert!(
            health.contains("b: UNKNOWN: cannot connect\\u{1b}[2J\n"),
            "{health}"
        );
    }

    #[test]
    fn a_server_of_a_silent_host_is_unknown() {
        let rows: Vec<ServerRow> = serde_json::from_value(json!([
            { "host": "b", "host_state": "unknown", "name": "arena" }
        ]))
        .unwrap();
        let text = servers_text(&rows);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            words,
            ["b", "arena", "unknown", "-", "-", "-", "-", "-"],
            "{text}"
        );
    }

    #[test]
    fn players_who_cannot_be_joined_are_told() {
        let found = FleetPlayers {
            hosts: 3,
            of_hosts: 2,
            hosts_without_key: vec!["b".into()],
            keys: [
                ("1".to_owned(), vec!["a".into()]),
                ("2".to_owned(), vec!["c".into()]),
            ]
            .into(),
            bots: 1,
            unnamed: 4,
            players: Vec::new(),
        };
        let text = players_text(&found);
        assert!(
            text.contains("2 of 3 hosts: 0 players, 4 without a pseudonym, 1 bots"),
            "{text}"
        );
        assert!(
            text.contains("shared_key_file") && text.contains("different shared keys"),
            "{text}"
        );
    }
}
