//! What the types of a `[[server]]` entry cannot say: ranges, patterns, settings that belong together, and entries that
//! claim one endpoint.

use std::{collections::HashSet, time::Duration};

use regex::Regex;

use gamedig::protocols::{Protocol, types::ProprietaryProtocol};

use super::{FieldError, GameServer, QueryProtocol, QuerySettings, probe::MOST_PROBES};

/// Checks one entry; `position` is one-based.
pub fn server(server: &GameServer, position: usize) -> Result<(), FieldError> {
    let length = server.name.chars().count();
    if length == 0 || length > 128 || server.name.chars().any(char::is_control) {
        return Err(FieldError::BadName { position });
    }
    if server.port == Some(0) {
        return Err(FieldError::OutOfRange {
            field: format!("port of server `{}`", server.name),
            value: "0".into(),
            expected: "1 to 65535",
        });
    }
    if server.port.is_none()
        && server.executable.is_none()
        && server.command_line.is_none()
        && server.cgroup.is_none()
        && server.systemd_unit.is_none()
    {
        return Err(FieldError::NoCriterion {
            name: server.name.clone(),
        });
    }
    if let Some(rate) = server.tick_rate_hz
        && !(1..=1_000).contains(&rate)
    {
        return Err(FieldError::OutOfRange {
            field: format!("tick_rate_hz of server `{}`", server.name),
            value: rate.to_string(),
            expected: "1 to 1000",
        });
    }
    if let Some(name) = &server.region {
        super::check_region_name(name).map_err(|message| bad(server, format!("region: {message}")))?;
    }
    if let Some(pattern) = &server.command_line {
        regex(server, "command_line", pattern)?;
    }
    log(server)?;
    query(server)?;
    session(server)?;
    companions(server)?;
    probes(server)
}

fn regex(server: &GameServer, field: &str, pattern: &str) -> Result<Regex, FieldError> {
    Regex::new(pattern).map_err(|error| FieldError::BadPattern {
        name: server.name.clone(),
        field: field.to_owned(),
        message: format!("no regular expression: {error}"),
    })
}

fn bad(server: &GameServer, message: impl Into<String>) -> FieldError {
    FieldError::BadSource {
        name: server.name.clone(),
        message: message.into(),
    }
}

fn log(server: &GameServer) -> Result<(), FieldError> {
    let Some(log) = &server.log else { return Ok(()) };
    let named = [
        log.file.is_some(),
        log.fifo.is_some(),
        log.journald_unit.is_some(),
        log.stdin.is_some(),
    ];
    if named.into_iter().filter(|named| *named).count() != 1 {
        return Err(bad(
            server,
            "[server.log] needs exactly one of file, fifo, journald_unit and stdin",
        ));
    }
    if log
        .file
        .as_ref()
        .or(log.fifo.as_ref())
        .is_some_and(|path| !path.is_absolute())
    {
        return Err(bad(server, "[server.log] needs an absolute path"));
    }
    Ok(())
}

/// `protocol = "gamedig"` and `game`.
fn gamedig(server: &GameServer, query: &QuerySettings) -> Result<(), FieldError> {
    let is_gamedig = query.protocol == Some(QueryProtocol::Gamedig);
    if is_gamedig != query.game.is_some() {
        return Err(bad(
            server,
            "[server.query] protocol = \"gamedig\" and game belong together",
        ));
    }
    let Some(name) = &query.game else {
        return Ok(());
    };
    match gamedig::GAMES.get(name).map(|game| &game.protocol) {
        Some(Protocol::Quake(_)) => Err(bad(
            server,
            format!(
                "[server.query] gamedig lists no players of `{name}`: set protocol = \"quake1\", \"quake2\" or \"quake3\" instead"
            ),
        )),
        Some(Protocol::PROPRIETARY(ProprietaryProtocol::Eco)) => Err(bad(
            server,
            "[server.query] Eco answers over HTTP: set protocol = \"http\"",
        )),
        Some(Protocol::PROPRIETARY(ProprietaryProtocol::Minecraft(None))) => Err(bad(
            server,
            "[server.query] which Minecraft? minecraftjava, minecraftbedrock or minecraftlegacy...",
        )),
        Some(_) => Ok(()),
        None => {
            let mut known: Vec<&str> = gamedig::GAMES.keys().copied().collect();
            known.sort_unstable();
            Err(bad(
                server,
                format!(
                    "[server.query] gamedig knows no game `{name}`, only: {}",
                    known.join(", ")
                ),
            ))
        }
    }
}

fn query(server: &GameServer) -> Result<(), FieldError> {
    let Some(query) = &server.query else {
        return Ok(());
    };
    let ranges = [
        (
            "interval",
            query.interval,
            Duration::from_millis(500),
            Duration::from_secs(3_600),
            "500ms to 1h",
        ),
        (
            "timeout",
            query.timeout,
            Duration::from_millis(50),
            Duration::from_secs(30),
            "50ms to 30s",
        ),
    ];
    for (field, value, low, high, expected) in ranges {
        if value < low || value > high {
            return Err(FieldError::OutOfRange {
                field: format!("query.{field} of server `{}`", server.name),
                value: humantime::format_duration(value).to_string(),
                expected,
            });
        }
    }
    let is_http = query.protocol == Some(QueryProtocol::Http);
    if is_http != query.url.is_some() || (query.fields.is_some() && !is_http) {
        return Err(bad(
            server,
            "[server.query] protocol = \"http\" and url belong together; fields only to them",
        ));
    }
    gamedig(server, query)?;
    let pointers = query.fields.iter().flat_map(|fields| {
        [
            &fields.online,
            &fields.bots,
            &fields.max,
            &fields.map,
            &fields.mode,
            &fields.phase,
            &fields.players,
            &fields.player_name,
            &fields.player_id,
            &fields.player_bot,
            &fields.tick_rate,
        ]
    });
    for pointer in pointers.flatten() {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(bad(
                server,
                format!("[server.query.fields] `{pointer}` is no JSON pointer: it begins with / (RFC 6901)"),
            ));
        }
    }
    let needs_password = matches!(
        query.protocol,
        Some(QueryProtocol::SourceRcon | QueryProtocol::MinecraftRcon)
    );
    if needs_password && query.password_file.is_none() {
        return Err(bad(server, "[server.query] a console needs password_file"));
    }
    Ok(())
}

fn session(server: &GameServer) -> Result<(), FieldError> {
    let Some(pattern) = &server.session.room_threads else {
        return Ok(());
    };
    let pattern = regex(server, "session.room_threads", pattern)?;
    if pattern.capture_names().flatten().all(|name| name != "room") {
        return Err(FieldError::BadPattern {
            name: server.name.clone(),
            field: "session.room_threads".into(),
            message: "it must have a capture named room, as in ^room-(?<room>.+)$".into(),
        });
    }
    Ok(())
}

fn companions(server: &GameServer) -> Result<(), FieldError> {
    let mut names = HashSet::new();
    for companion in &server.companions {
        if !names.insert(companion.name.as_str()) {
            return Err(bad(
                server,
                format!("two companions are called `{}`", companion.name),
            ));
        }
        if companion.executable.is_none() && companion.command_line.is_none() {
            return Err(bad(
                server,
                format!("companion `{}` needs executable or command_line", companion.name),
            ));
        }
        if let Some(pattern) = &companion.command_line {
            regex(
                server,
                &format!("companion `{}`: command_line", companion.name),
                pattern,
            )?;
        }
    }
    Ok(())
}

fn probes(server: &GameServer) -> Result<(), FieldError> {
    if server.probes.len() > MOST_PROBES {
        return Err(bad(
            server,
            format!(
                "{} probes are too many: at most {MOST_PROBES} per server",
                server.probes.len()
            ),
        ));
    }
    let mut names = HashSet::new();
    for probe in &server.probes {
        probe
            .check()
            .map_err(|message| bad(server, format!("[[server.probe]] `{}`: {message}", probe.name)))?;
        if !names.insert(probe.name.as_str()) {
            return Err(bad(server, format!("two probes are called `{}`", probe.name)));
        }
    }
    Ok(())
}

/// Two servers may share a port only where something else tells them apart.
pub fn endpoints(first: &GameServer, second: &GameServer) -> Result<(), FieldError> {
    let (Some(a), Some(b)) = (first.port_match(), second.port_match()) else {
        return Ok(());
    };
    let addresses_overlap = match (a.address, b.address) {
        (Some(x), Some(y)) => x == y,
        _ => true,
    };
    let told_apart = first.netns != second.netns
        || first.executable != second.executable
        || first.command_line != second.command_line
        || first.cgroup != second.cgroup
        || first.systemd_unit != second.systemd_unit;
    if a.port == b.port && a.protocol == b.protocol && addresses_overlap && !told_apart {
        let address = a
            .address
            .or(b.address)
            .map_or("any address".to_owned(), |ip| ip.to_string());
        return Err(FieldError::DuplicateEndpoint {
            first: first.name.clone(),
            second: second.name.clone(),
            endpoint: format!("{:?} port {} on {address}", a.protocol, a.port),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn refused(text: &str) -> String {
        let text = format!("[[server]]\nname = \"a\"\nport = 1\n{text}");
        Config::parse(&text, std::path::Path::new("gsmon.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_remedy() {
        for (text, parts) in [
            ("[server.log]\n", ["exactly one", "`a`"]),
            (
                "[server.log]\nfile = \"/x\"\nfifo = \"/y\"\n",
                ["exactly one", "fifo"],
            ),
            (
                "[server.log]\nfile = \"latest.log\"\n",
                ["absolute", "[server.log]"],
            ),
            (
                "[server.query]\ninterval = \"10ms\"\n",
                ["query.interval", "500ms to 1h"],
            ),
            (
                "[server.query]\nprotocol = \"http\"\n",
                ["url", "belong together"],
            ),
            (
                "[server.query]\nprotocol = \"http\"\nurl = \"http://127.0.0.1/\"\nfields = { online = \"players\" }\n",
                ["`players`", "RFC 6901"],
            ),
            (
                "[server.query]\nprotocol = \"gamedig\"\n",
                ["game", "belong together"],
            ),
            (
                "[server.query]\nprotocol = \"gamedig\"\ngame = \"pong\"\n",
                ["`pong`", "mindustry"],
            ),
            (
                "[server.query]\nprotocol = \"gamedig\"\ngame = \"warsow\"\n",
                ["`warsow`", "quake3"],
            ),
            (
                "[server.query]\nprotocol = \"source-rcon\"\n",
                ["password_file", "`a`"],
            ),
            (
                "[server.session]\nroom_threads = \"room-.+\"\n",
                ["capture named room", "room_threads"],
            ),
            (
                "[server.session]\nroom_threads = \"(\"\n",
                ["no regular expression", "room_threads"],
            ),
            (
                "[[server.companion]]\nname = \"eac\"\n",
                ["`eac`", "needs executable"],
            ),
            (
                "[[server.companion]]\nname = \"e\"\nexecutable = \"e\"\n[[server.companion]]\nname = \"e\"\nexecutable = \"f\"\n",
                ["two companions", "`e`"],
            ),
            (
                "[[server.probe]]\nname = \"p\"\n",
                ["either symbol or offset", "`p`"],
            ),
            (
                "[[server.probe]]\nname = \"p\"\nsymbol = \"f\"\noffset = 1\n",
                ["either symbol or offset", "`p`"],
            ),
            (
                "[[server.probe]]\nname = \"Lag Comp\"\nsymbol = \"f\"\n",
                ["lower-case", "`Lag Comp`"],
            ),
            (
                "[[server.probe]]\nname = \"p\"\nsymbol = \"f\"\nobject = \"bin/server\"\n",
                ["absolute path", "`p`"],
            ),
            (
                "[[server.probe]]\nname = \"p\"\nsymbol = \"f\"\nmax_calls_per_second = 0\n",
                ["1 to 1000000", "`p`"],
            ),
            (
                "[[server.probe]]\nname = \"p\"\nsymbol = \"f\"\n[[server.probe]]\nname = \"p\"\nsymbol = \"g\"\n",
                ["two probes", "`p`"],
            ),
        ] {
            let message = refused(text);
            for part in parts {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
    }

    #[test]
    fn a_whole_entry_is_taken() {
        let text = r#"
            [[server]]
            name = "custom"
            executable = "myserver"
            proxied = true
            [server.log]
            journald_unit = "myserver.service"
            from = "saved"
            [server.query]
            protocol = "http"
            url = "http://127.0.0.1:8080/status"
            interval = "5s"
            fields = { online = "/players/online", players = "/players/list", player_name = "" }
            [server.session]
            bounds = "rooms"
            room_threads = '^room-(?<room>.+)$'
            [server.grammar]
            prefix = '^\[\d+:\d+\] '
            [[server.grammar.rule]]
            event = "join"
            pattern = '(?<name>.+) joined'
            [[server.companion]]
            name = "anticheat"
            executable = "eac_server"
            [[server.probe]]
            name = "lag_compensation"
            symbol = "Game::LagCompensation::Rewind"
            object = "libserver.so"
            max_calls_per_second = 5000
            [[server.probe]]
            name = "physics"
            offset = 0x1a2b40
            measure = "calls"
        "#;
        let config = Config::parse(text, std::path::Path::new("gsmon.toml")).unwrap();
        assert_eq!(config.servers[0].companions[0].name, "anticheat");
        assert_eq!(config.servers[0].probes[1].offset, Some(0x1a_2b40));
    }
}
