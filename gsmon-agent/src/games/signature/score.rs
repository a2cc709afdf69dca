//! From evidence to a verdict.

use std::path::Path;

use super::{
    Evidence, LEAST_SAID, Reason, Recognised,
    argv::{Arguments, fits},
    base_name, clean, java, place,
    program::{Known, Program},
    table::{Beside, HOSTED, NameFrom, Naming, STRANGER, Title, USUAL_PORTS},
    titles::TITLES,
};
use crate::config::{Game, Protocol};

/// A server that has not bound its stated port after this long will not: it took another one.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// Ports from here on are handed out by the kernel (`net.ipv4.ip_local_port_range` by default); a game port there is
/// stated or usual.
pub const FIRST_EPHEMERAL: u16 = 32_768;

/// Programs that are never a game server, whatever port they listen on: shells, tools, forwarders, web servers, editors.
const NEVER: &[&str] = &[
    "bash",
    "sh",
    "dash",
    "zsh",
    "fish",
    "ash",
    "busybox",
    "grep",
    "rg",
    "tail",
    "cat",
    "less",
    "vim",
    "vi",
    "nano",
    "emacs",
    "screen",
    "tmux",
    "tmux: server",
    "nc",
    "ncat",
    "netcat",
    "nc.openbsd",
    "nc.traditional",
    "socat",
    "iperf",
    "iperf3",
    "docker-proxy",
    "rootlesskit",
    "slirp4netns",
    "pasta",
    "passt",
    "conmon",
    "containerd",
    "containerd-shim*",
    "dockerd",
    "kubelet",
    "kube-proxy",
    "haproxy",
    "nginx",
    "envoy",
    "traefik",
    "caddy",
    "sshd",
    "ssh",
    "systemd*",
    "sdk-server*",
    "steamcmd",
    "steam",
    "steamwebhelper",
    "wineserver*",
    "python*",
    "perl*",
    "ruby*",
    "tcpdump",
    "strace",
    "gdb",
    "code*",
    "unrealtraceserver",
    "zenserver",
    "unrealmultiuserserver",
];

/// What a process is. `None` for what is no game server, or too doubtful ([`LEAST_SAID`]).
pub fn recognise(evidence: &Evidence) -> Option<Recognised> {
    let program = Program::of(evidence)?;
    if program.name == "java" {
        return java_server(&program, evidence).or_else(|| hosted(&program, evidence));
    }
    let by_name = TITLES.iter().find_map(|title| {
        by_program(title, &program, evidence).filter(|found| found.confidence >= LEAST_SAID)
    });
    by_name
        .or_else(|| hosted(&program, evidence))
        .or_else(|| stranger(&program, evidence).filter(|found| found.confidence >= LEAST_SAID))
}

/// A process of unknown name on a usual port, below [`LEAST_SAID`]: worth asking with a query, not worth telling.
pub fn suspect(evidence: &Evidence) -> Option<Recognised> {
    stranger(&Program::of(evidence)?, evidence)
}

/// Is this a usual port of a family, so that a program of any name there is worth a look?
pub fn is_usual_port(protocol: Protocol, port: u16) -> bool {
    USUAL_PORTS
        .iter()
        .any(|(transport, first, last, _)| *transport == protocol && (first..=last).contains(&&port))
}

fn by_program(title: &'static Title, program: &Program<'_>, evidence: &Evidence) -> Option<Recognised> {
    let given = Arguments(program.arguments);
    let path = program.path.to_ascii_lowercase();
    let applies = title.programs.iter().any(|pattern| fits(pattern, &program.name))
        && (title.paths.is_empty() || title.paths.iter().any(|part| path.contains(part)))
        && !title.refuses.iter().any(|refused| given.find(refused).is_some())
        && (title.beside == Beside::Nothing || evidence.nearby.unity);
    if !applies || is_never(program) {
        return None;
    }
    let mut reasons = Vec::new();
    for group in title.needs {
        let found = group.iter().find_map(|needed| given.find(needed))?;
        if !reasons
            .iter()
            .any(|reason| matches!(reason, Reason::ServerArgument(_)))
        {
            reasons.push(Reason::ServerArgument(shown(found)));
        }
    }
    let name = shown(&program.shown);
    let any = title.programs == ["*"];
    if !any {
        reasons.push(match (title.naming, program.known) {
            (Naming::Shared, _) => Reason::SharedProgram(name),
            (_, Known::Claimed) => Reason::ClaimedProgram(name),
            (Naming::Family, _) => Reason::FamilyProgram(name),
            (Naming::Own, _) => Reason::OwnProgram(name),
        });
    }
    if title.beside == Beside::UnityPlayer {
        reasons.push(Reason::File("UnityPlayer.so or *_Data"));
    }
    Some(verdict(title, program, evidence, reasons))
}

fn java_server(program: &Program<'_>, evidence: &Evidence) -> Option<Recognised> {
    let payload = java::payload(program.arguments);
    let (title, what, sure) = java::title(&payload)?;
    let reasons = match (sure, program.known) {
        (java::Sure::Vague, _) => vec![Reason::UsualArgument(shown(&what))],
        (java::Sure::Named, Known::Claimed) => vec![Reason::ClaimedProgram(shown(&what))],
        (java::Sure::Named, _) => vec![Reason::Payload(shown(&what))],
    };
    let inner = Program {
        arguments: payload.arguments,
        ..program.clone()
    };
    Some(verdict(title, &inner, evidence, reasons)).filter(|found| found.confidence >= LEAST_SAID)
}

/// Any program that a panel or an orchestrator runs as a game server and that listens where it should.
fn hosted(program: &Program<'_>, evidence: &Evidence) -> Option<Recognised> {
    let hosted = evidence.hosted.as_ref()?;
    if is_never(program) && evidence.answer.is_none() {
        return None;
    }
    let mut found = verdict(&HOSTED, program, evidence, Vec::new());
    match hosted.port {
        // A panel says the port; a program that listens elsewhere is something else (a bot, a web site).
        Some(port) => found.ports.retain(|(_, listening)| *listening == port),
        // An orchestrator says none: game traffic is UDP, the rest is health checks and metrics.
        None => found.ports.retain(|(protocol, _)| *protocol == Protocol::Udp),
    }
    let (protocol, port) = *found.ports.first()?;
    if hosted.port.is_none() {
        // That it serves UDP at all is the second reason.
        found.reasons.push(Reason::UsualPort(protocol, port));
    }
    found.game = evidence.answer.unwrap_or(Game::Custom);
    found.title = if found.game == Game::Custom {
        "hosted"
    } else {
        title_of(found.game)
    };
    found.confidence = confidence(&found.reasons);
    Some(found).filter(|found| found.confidence >= LEAST_SAID)
}

fn stranger(program: &Program<'_>, evidence: &Evidence) -> Option<Recognised> {
    if is_never(program) {
        return None;
    }
    let (main, game) = USUAL_PORTS.iter().find_map(|(protocol, first, last, game)| {
        let port = evidence
            .listening
            .iter()
            .filter(|(transport, port)| transport == protocol && (first..=last).contains(&port))
            .min_by_key(|(_, port)| *port)?;
        Some((*port, *game))
    })?;
    let mut found = verdict(
        &STRANGER,
        program,
        evidence,
        vec![Reason::UsualPort(main.0, main.1)],
    );
    found.game = evidence.answer.unwrap_or(game);
    found.title = title_of(found.game);
    found.ports = vec![main];
    Some(found)
}

fn verdict(
    title: &Title,
    program: &Program<'_>,
    evidence: &Evidence,
    mut reasons: Vec<Reason>,
) -> Recognised {
    let given = Arguments(program.arguments);
    if let Some(hint) = title.hints.iter().find_map(|hint| given.find(hint)) {
        reasons.push(Reason::UsualArgument(shown(hint)));
    }
    let settings = evidence.nearby.properties.as_ref();
    let is_minecraft = matches!(title.game, Game::Minecraft | Game::MinecraftBedrock);
    if is_minecraft && settings.is_some() {
        reasons.push(Reason::File("server.properties"));
    }
    let by_settings = settings.filter(|_| is_minecraft).and_then(|found| found.port);
    let by_host = evidence.hosted.as_ref().and_then(|hosted| hosted.port);
    let stated = given.port(title.port_arguments).or(by_settings).or(by_host);
    let ports = game_ports(title, stated, evidence);
    if let Some((protocol, port)) = ports.first().copied() {
        if stated == Some(port) {
            reasons.push(Reason::StatedPort(protocol, port));
        } else if is_usual(title, protocol, port) {
            reasons.push(Reason::UsualPort(protocol, port));
        }
    }
    if let Some(hosted) = &evidence.hosted {
        reasons.push(Reason::Hosted(hosted.by));
    }
    // Another family's answer does not make this title likelier; a title without a family takes any.
    let fits = |answer: &Game| *answer == title.game || title.game == Game::Custom;
    if let Some(answer) = evidence.answer.filter(fits) {
        reasons.push(Reason::Answer(answer));
    }
    Recognised {
        game: title.game,
        title: title.name,
        role: title.role,
        name: title.names.iter().find_map(|from| name(*from, given, evidence)),
        confidence: confidence(&reasons),
        log: place::log(title.logs, program, evidence),
        reasons,
        ports,
    }
}

fn confidence(reasons: &[Reason]) -> f64 {
    1.0 - reasons
        .iter()
        .map(|reason| 1.0 - reason.weight())
        .product::<f64>()
}

fn is_usual(title: &Title, protocol: Protocol, port: u16) -> bool {
    title
        .ports
        .iter()
        .any(|(transport, first, last)| *transport == protocol && (*first..=*last).contains(&port))
}

/// The main game port first, then others in the usual ranges.
fn game_ports(title: &Title, stated: Option<u16>, evidence: &Evidence) -> Vec<(Protocol, u16)> {
    let mut listening = evidence.listening.clone();
    listening.sort_unstable_by_key(|(protocol, port)| (*port, *protocol));
    listening.dedup();
    // The demo server and unknown ones may use either transport.
    let usual = title.ports.first().map(|(protocol, _, _)| *protocol);
    let fits = |protocol: Protocol| usual.is_none_or(|usual| usual == protocol);
    let stated_port = listening
        .iter()
        .find(|(protocol, port)| Some(*port) == stated && fits(*protocol));
    let by_range = || {
        title.ports.iter().find_map(|(protocol, first, last)| {
            listening
                .iter()
                .find(|(transport, port)| transport == protocol && (first..=last).contains(&port))
        })
    };
    let lowest = || {
        let lasting = listening
            .iter()
            .find(|(protocol, port)| fits(*protocol) && *port < FIRST_EPHEMERAL);
        lasting.or_else(|| listening.iter().find(|(protocol, _)| fits(*protocol)))
    };
    let main = match stated_port {
        Some(port) => Some(port),
        // It will bind the stated port, or has given that up.
        None if stated.is_some() && evidence.age < PATIENCE => None,
        None => by_range().or_else(lowest),
    };
    let Some(main) = main.copied() else {
        return Vec::new();
    };
    let others = listening
        .iter()
        .copied()
        .filter(|(protocol, port)| (*protocol, *port) != main && is_usual(title, *protocol, *port));
    std::iter::once(main).chain(others).collect()
}

fn name(from: NameFrom, given: Arguments<'_>, evidence: &Evidence) -> Option<String> {
    let settings = evidence.nearby.properties.as_ref();
    match from {
        NameFrom::Argument(value) => clean(given.value(&value)?),
        NameFrom::PathArgument(value) => {
            let path = given.value(&value)?.trim_end_matches('/');
            clean(&Path::new(path).file_stem()?.to_string_lossy())
        }
        NameFrom::ServerName => settings?.server_name.clone(),
        NameFrom::LevelName => settings?.level_name.clone(),
    }
}

fn is_never(program: &Program<'_>) -> bool {
    NEVER.iter().any(|pattern| fits(pattern, &program.name))
}

fn shown(text: &str) -> String {
    clean(base_name(text)).unwrap_or_default()
}

/// Title of a family, where nothing says more.
fn title_of(game: Game) -> &'static str {
    match game {
        Game::Minecraft => "Minecraft",
        Game::MinecraftBedrock => "Minecraft Bedrock",
        Game::Source => "Source",
        Game::Quake3 => "Quake III",
        Game::Teeworlds => "Teeworlds",
        Game::Luanti => "Luanti",
        Game::Unreal => "Unreal",
        Game::Ark => "ARK",
        Game::Palworld => "Palworld",
        Game::Unity => "Unity",
        Game::Valheim => "Valheim",
        Game::Rust => "Rust",
        Game::Factorio => "Factorio",
        Game::Demo => "gsmon demo",
        Game::Custom => "unknown",
    }
}
