//! The child's side: privileges off, then question after question until the agent hangs up.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    time::Duration,
};

use gamedig::{
    ExtraRequestSettings, GDError, GDErrorKind, Game, TimeoutSettings,
    games::minecraft::{GameMode, VersionedResponse as Minecraft},
    protocols::{
        GenericResponse,
        gamespy::VersionedResponse as Gamespy,
        quake::VersionedResponse as Quake,
        types::{CommonResponse, GatherToggle, GenericPlayer},
    },
};

use super::{
    super::{
        a2s,
        minecraft::{description, uuid},
        wire::number,
    },
    confine::confine,
    speech::{Failure, Question, Reading, Reply, Row, RowKind},
};

/// The thread that hears questions needs hardly any.
const STACK_BYTES: usize = 256 << 10;
/// Bytes of a question, at most.
const QUESTION_BYTES: u64 = 4_096;

/// Serves questions on standard input, which must be the agent's socket; ends when the agent does.
///
/// # Errors
/// When standard input is no socket, or privileges cannot be given up.
pub fn serve() -> io::Result<()> {
    let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut replies = agent.try_clone()?;
    // What the crate panics about is told as a failure, not on the agent's terminal.
    std::panic::set_hook(Box::new(|_| {}));
    if let Err(error) = confine() {
        say(&mut replies, &Reply::Cannot(error.to_string()))?;
        return Err(io::Error::other(error));
    }
    let (sender, questions) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("gsmon-hear".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let mut lines = BufReader::new(agent);
            while let Some(question) = hear(&mut lines) {
                if sender.send(question).is_err() {
                    break;
                }
            }
            // The agent is gone, or makes no sense: nobody waits for an answer, so a question under way ends too.
            std::process::exit(0);
        })?;
    say(&mut replies, &Reply::Ready)?;
    for question in questions {
        let reply = match catch_unwind(AssertUnwindSafe(|| ask(&question))) {
            Ok(Ok(reading)) => Reply::Answer(reading),
            Ok(Err(failure)) => Reply::Failed(failure),
            Err(_) => Reply::Failed(Failure::Panicked),
        };
        say(&mut replies, &reply)?;
    }
    Ok(())
}

fn say(replies: &mut UnixStream, reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    replies.write_all(&line)
}

fn hear(lines: &mut impl BufRead) -> Option<Question> {
    let mut line = Vec::new();
    io::Read::take(&mut *lines, QUESTION_BYTES)
        .read_until(b'\n', &mut line)
        .ok()?;
    serde_json::from_slice(&line).ok()
}

/// Asks through the crate.
fn ask(question: &Question) -> Result<Reading, Failure> {
    let game = question.wanted.game().ok_or(Failure::UnknownGame)?;
    read(&game, question)
}

fn read(game: &Game, question: &Question) -> Result<Reading, Failure> {
    let (address, time) = (question.address, Duration::from_millis(question.timeout_ms));
    // Nothing is asked twice: the crate takes the second answer to one question for the answer to the next.
    let time = Some(time.max(Duration::from_millis(1)));
    let timeouts = TimeoutSettings::new(time, time, time, 0).map_err(|error| failure(&error))?;
    let settings = ExtraRequestSettings {
        // Minecraft proxies choose by it.
        hostname: Some(question.host.clone()),
        // Nobody here wants rules, and many servers keep silent about them.
        gather_rules: Some(GatherToggle::Skip),
        gather_players: Some(GatherToggle::Try),
        ..game.request_settings.clone()
    };
    let response = gamedig::query_with_timeout_and_extra_settings(
        game,
        &address.ip(),
        Some(address.port()),
        Some(timeouts),
        Some(settings),
    );
    match response {
        Ok(response) => Ok(reading(response.as_ref())),
        Err(error) => Err(failure(&error)),
    }
}

fn failure(error: &GDError) -> Failure {
    match error.kind {
        GDErrorKind::PacketReceive | GDErrorKind::PacketSend | GDErrorKind::SocketConnect => Failure::Timeout,
        _ => Failure::Unreadable,
    }
}

/// What the crate says in common, and the little that it says only in its own types.
fn reading(response: &dyn CommonResponse) -> Reading {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let mut reading = Reading {
        name: owned(response.name()),
        version: owned(response.game_version()),
        map: owned(response.map()),
        mode: owned(response.game_mode()),
        online: response.players_online(),
        bots: response.players_bots(),
        max: response.players_maximum(),
        players: response.players().map(|players| {
            players
                .iter()
                .map(|player| Row {
                    name: player.name().to_owned(),
                    id: match player.as_original() {
                        GenericPlayer::Minecraft(player) => uuid(&player.id).map(|id| id.to_string()),
                        _ => None,
                    },
                    kind: None,
                })
                .collect()
        }),
    };
    let entry = |entries: &HashMap<String, String>, names: &[&str]| {
        names.iter().find_map(|name| entries.get(*name)).cloned()
    };
    match response.as_original() {
        GenericResponse::Valve(response) if u64::from(response.info.appid) == a2s::RUST => {
            let extra = response.info.extra_data.as_ref();
            if let Some(keywords) = extra.and_then(|extra| extra.keywords.as_ref()) {
                a2s::tagged_counts(keywords.as_bytes(), &mut reading.online, &mut reading.max);
            }
        }
        GenericResponse::Quake(response) => {
            let entries = match response {
                Quake::One(response) => &response.unused_entries,
                Quake::TwoAndThree(response) => &response.unused_entries,
            };
            reading.mode = entry(entries, &["g_gametype", "gametype"]);
        }
        GenericResponse::GameSpy(Gamespy::One(response)) => {
            // The crate counts rows; what the server counts is left among the rest.
            let counted = entry(&response.unused_entries, &["numplayers"]);
            if let Some(counted) = counted.and_then(|counted| number(counted.as_bytes())) {
                reading.online = counted;
            }
        }
        GenericResponse::GameSpy(Gamespy::Two(response)) => {
            reading.version = entry(&response.unused_entries, &["gamever"]);
            reading.mode = entry(&response.unused_entries, &["gametype"]);
        }
        // Rows of number 0 are the teams' scores.
        GenericResponse::Unreal2(response) => {
            let rows = |players: &[gamedig::protocols::unreal2::Player], kind| -> Vec<Row> {
                players
                    .iter()
                    .filter(|player| player.id != 0)
                    .map(|player| Row {
                        name: player.name.clone(),
                        id: None,
                        kind: Some(kind),
                    })
                    .collect()
            };
            let bots = rows(&response.players.bots, RowKind::Bot);
            let humans = rows(&response.players.players, RowKind::Human);
            if bots.len() + humans.len() == reading.online as usize {
                reading.bots = u32::try_from(bots.len()).ok();
            }
            reading.players = Some(humans.into_iter().chain(bots).collect());
        }
        GenericResponse::Minecraft(Minecraft::Java(response)) => {
            reading.name = description(&response.description).map(|text| text.to_string());
        }
        GenericResponse::Minecraft(Minecraft::Bedrock(response)) => {
            reading.mode = response.game_mode.map(|mode| mode_name(mode).to_owned());
        }
        GenericResponse::Mindustry(response) => {
            reading.name = Some(response.host.clone());
            reading.version = Some(response.version.to_string());
        }
        _ => {}
    }
    reading
}

/// A mode as servers write it.
fn mode_name(mode: GameMode) -> &'static str {
    match mode {
        GameMode::Survival => "Survival",
        GameMode::Creative => "Creative",
        GameMode::Hardcore => "Hardcore",
        GameMode::Spectator => "Spectator",
        GameMode::Adventure => "Adventure",
    }
}
