//! A process beside a server: a steady share of a core, some memory, some writing to disk.

use std::{
    fs::File,
    io::{Seek, Write},
    path::PathBuf,
    sync::mpsc::TryRecvError,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    game_loop::burn,
    planted::touched,
    truth::{CpuTruth, Ready, Request, answer, requests},
};

/// Arguments of a companion.
#[derive(Clone, Debug, Args)]
pub struct CompanionArgs {
    /// A word to be found by in its command line.
    #[arg(long)]
    pub tag: String,
    /// Cores that it keeps busy.
    #[arg(long, default_value_t = 0.05)]
    pub cores: f64,
    /// Memory that it holds.
    #[arg(long, default_value_t = 0)]
    pub mib: usize,
    /// MiB that it writes per second; needs `directory`.
    #[arg(long, default_value_t = 0)]
    pub write_mib: usize,
    /// Where it writes.
    #[arg(long, default_value = "/tmp")]
    pub directory: PathBuf,
    /// Ends by itself after so many seconds.
    #[arg(long, default_value_t = 120)]
    pub lifetime_seconds: u64,
}

impl CompanionArgs {
    /// As a command line.
    pub fn words(&self) -> [(&'static str, String); 6] {
        [
            ("--tag", self.tag.clone()),
            ("--cores", self.cores.to_string()),
            ("--mib", self.mib.to_string()),
            ("--write-mib", self.write_mib.to_string()),
            ("--directory", self.directory.display().to_string()),
            ("--lifetime-seconds", self.lifetime_seconds.to_string()),
        ]
    }
}

/// Time between two bursts of work.
const PERIOD: Duration = Duration::from_millis(20);

/// Runs until its parent or its time says so.
pub fn run(args: &CompanionArgs) -> std::io::Result<()> {
    let held = touched(args.mib);
    let inbox = requests();
    answer(&Ready {
        port: 0,
        pid: std::process::id(),
    });
    let end = Instant::now() + Duration::from_secs(args.lifetime_seconds);
    let mut file = match args.write_mib {
        0 => None,
        _ => Some(File::create(
            args.directory.join(format!("{}.bin", std::process::id())),
        )?),
    };
    let mut next = Instant::now();
    let mut next_write = next;
    while Instant::now() < end {
        burn(PERIOD.mul_f64(args.cores.clamp(0.0, 1.0)));
        if let Some(file) = &mut file
            && Instant::now() >= next_write
        {
            next_write += Duration::from_secs(1);
            file.rewind()?;
            file.write_all(&vec![0x5a; args.write_mib << 20])?;
            file.sync_data()?;
        }
        match inbox.try_recv() {
            Ok(Request::Quit) | Err(TryRecvError::Disconnected) => break,
            Ok(_) => {
                answer(&CpuTruth::read());
            }
            Err(TryRecvError::Empty) => {}
        }
        next += PERIOD;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    std::hint::black_box(&held);
    Ok(())
}
