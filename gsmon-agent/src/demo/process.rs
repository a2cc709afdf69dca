//! Parent side: start a demo process, ask it, end it. Bounded waits everywhere; a dropped handle ends its process.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::de::DeserializeOwned;

use super::{
    bots::BotsArgs,
    companion::CompanionArgs,
    planted::{Paid, PlantedArgs},
    server::ServerArgs,
    truth::{BotsTruth, Ready, ServerTruth},
};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long may take what a planted server is told: seconds of CPU, on a machine whose cores others want too.
const WORK_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an ending process may take before it is killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a demo process failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Spawn {
        /// Which program.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It said nothing in time.
    #[error("a demo process did not answer `{request}` within {seconds} s")]
    Silent {
        /// What was asked.
        request: String,
        /// The limit.
        seconds: u64,
    },
    /// It has ended or its pipe is broken.
    #[error("a demo process has ended: {0}")]
    Ended(std::io::Error),
    /// It said something else.
    #[error("a demo process answered `{line}`: {source}")]
    Answer {
        /// What it said.
        line: String,
        /// Why that is no answer.
        source: serde_json::Error,
    },
}

/// A running demo process.
#[derive(Debug)]
pub struct DemoProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    /// What it said first.
    pub ready: Ready,
}

impl DemoProcess {
    /// Starts a server. `launcher` goes in front of the command, for example `ip netns exec NAME`.
    pub fn server(gsmon: &Path, launcher: &[String], args: &ServerArgs) -> Result<Self, DemoError> {
        let mut words = vec![
            ("--kind", value_name(&args.kind)),
            ("--header", value_name(&args.header)),
            ("--address", args.address.to_string()),
            ("--port", args.port.to_string()),
            ("--tick-hz", args.tick_hz.to_string()),
            ("--base-work-us", args.base_work_us.to_string()),
            ("--work-per-player-us", args.work_per_player_us.to_string()),
            ("--ticks-per-snapshot", args.ticks_per_snapshot.to_string()),
            ("--max-players", args.max_players.to_string()),
            ("--lifetime-seconds", args.lifetime_seconds.to_string()),
        ];
        if args.lag.is_on() {
            let round_trips: Vec<String> = args.lag.player_rtt_ms.iter().map(u64::to_string).collect();
            words.extend([
                ("--lag-us-per-100ms", args.lag.lag_us_per_100ms.to_string()),
                ("--player-rtt-ms", round_trips.join(",")),
            ]);
        }
        let diary = &args.diary;
        if let (Some(path), Some(family)) = (&diary.log, &diary.log_family) {
            words.extend([
                ("--log", path.display().to_string()),
                ("--log-family", value_name(family)),
                ("--house-bots", diary.house_bots.to_string()),
            ]);
        }
        Self::start(gsmon, launcher, "demo-server", &words)
    }

    /// Starts a group of bots.
    pub fn bots(gsmon: &Path, launcher: &[String], args: &BotsArgs) -> Result<Self, DemoError> {
        let words = [
            ("--header", value_name(&args.header)),
            ("--address", args.address.to_string()),
            ("--port", args.port.to_string()),
            ("--count", args.count.to_string()),
            ("--input-hz", args.input_hz.to_string()),
            ("--homes", value_name(&args.homes)),
            ("--stay-seconds", args.stay_seconds.to_string()),
            ("--seed", args.seed.to_string()),
            ("--lifetime-seconds", args.lifetime_seconds.to_string()),
        ];
        Self::start(gsmon, launcher, "demo-bots", &words)
    }

    /// Starts a server that does what it is told.
    pub fn planted(gsmon: &Path, launcher: &[String], args: &PlantedArgs) -> Result<Self, DemoError> {
        let words = [
            ("--name", args.name.clone()),
            ("--load", args.load.clone()),
            ("--directory", args.directory.display().to_string()),
            ("--lifetime-seconds", args.lifetime_seconds.to_string()),
        ];
        Self::start(gsmon, launcher, "demo-planted", &words)
    }

    /// Starts a companion that is no child of its server.
    pub fn companion(gsmon: &Path, launcher: &[String], args: &CompanionArgs) -> Result<Self, DemoError> {
        Self::start(gsmon, launcher, "demo-companion", &args.words())
    }

    fn start(
        gsmon: &Path,
        launcher: &[String],
        subcommand: &str,
        words: &[(&str, String)],
    ) -> Result<Self, DemoError> {
        let program = launcher.first().map_or_else(|| gsmon.to_owned(), PathBuf::from);
        let mut command = Command::new(&program);
        if !launcher.is_empty() {
            command.args(&launcher[1..]).arg(gsmon);
        }
        command.arg(subcommand);
        for (name, value) in words {
            command.arg(name).arg(value);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| DemoError::Spawn {
                program: program.clone(),
                source,
            })?;
        let stdin = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut process = Self {
            child,
            stdin,
            lines,
            ready: Ready { port: 0, pid: 0 },
        };
        // A planted server may do some work first.
        process.ready = process.hear("ready", WORK_TIMEOUT)?;
        Ok(process)
    }

    fn hear<T: DeserializeOwned>(&self, request: &str, within: Duration) -> Result<T, DemoError> {
        let line = self.lines.recv_timeout(within).map_err(|_| DemoError::Silent {
            request: request.to_owned(),
            seconds: within.as_secs(),
        })?;
        serde_json::from_str(&line).map_err(|source| DemoError::Answer { line, source })
    }

    fn ask<T: DeserializeOwned>(&mut self, request: &str, within: Duration) -> Result<T, DemoError> {
        let stdin = self
            .stdin
            .as_mut()
            .ok_or_else(|| DemoError::Ended(std::io::Error::from(std::io::ErrorKind::BrokenPipe)))?;
        writeln!(stdin, "{request}")
            .and_then(|()| stdin.flush())
            .map_err(DemoError::Ended)?;
        self.hear(request, within)
    }

    /// Asks a server: `truth`, `mark`, `hold` or `resume`.
    pub fn ask_server(&mut self, request: &str) -> Result<ServerTruth, DemoError> {
        self.ask(request, ANSWER_TIMEOUT)
    }

    /// Tells a planted server what to do, as [`super::planted`] lists it.
    pub fn tell(&mut self, what: &str) -> Result<Paid, DemoError> {
        self.ask(what, WORK_TIMEOUT)
    }

    /// Waits for the process to end by itself or by a signal.
    pub fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait()
    }

    /// Asks bots: `truth`, `pause` or `resume`.
    pub fn ask_bots(&mut self, request: &str) -> Result<BotsTruth, DemoError> {
        self.ask(request, ANSWER_TIMEOUT)
    }
}

impl Drop for DemoProcess {
    fn drop(&mut self) {
        // End of stdin asks it to leave politely.
        self.stdin = None;
        let end = Instant::now() + END_TIMEOUT;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn value_name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}
