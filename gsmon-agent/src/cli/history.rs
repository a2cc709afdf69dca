//! `gsmon history export|events|sessions|stats|check|vacuum`: works on the file, with or without a running agent.

use std::{
    io::{BufWriter, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use super::{
    Failure, Outcome, StateArg,
    happened::{self, HappenedArgs},
    print_json,
    source::SourceArgs,
    times,
};
use crate::{
    config::Config,
    history::{
        HistorySource, Resolution, SourceError, StoredLine, TimeRange,
        disk::{CheckReport, HistoryReader, HistoryStats, vacuum},
        export::{Csv, Export, ExportError, Parquet},
        records::{Record, write_csv, write_parquet},
    },
    top::harmless::harmless,
};

#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write frames, spikes, players' lines, events or sessions into a file for other programs.
    #[command(
        after_help = "Examples:\n  sudo gsmon history export --range 24h -o day.csv\n  sudo gsmon history export --format parquet --range 7d --resolution minute --server arena -o week.parquet\n  sudo gsmon history export --what spikes --range 35d -o spikes.csv\n  sudo gsmon history export --range 2026-03-01T00:00:00Z..2026-03-02T00:00:00Z --resolution raw | gzip > day.csv.gz"
    )]
    Export(ExportArgs),
    /// Joins, leaves, phases, sessions, actions, starts, marks.
    #[command(
        after_help = "Examples:\n  sudo gsmon history events arena --range 24h\n  gsmon history events --source http://prometheus:9090 --json | jq .absent"
    )]
    Events(HappenedArgs),
    /// Sessions that ran, and what they used.
    #[command(
        after_help = "Examples:\n  sudo gsmon history sessions arena --range 7d\n  gsmon history sessions --source http://prometheus:9090"
    )]
    Sessions(HappenedArgs),
    /// What is in the file.
    Stats(FileArgs),
    /// Read everything and say what is damaged.
    Check(FileArgs),
    /// Give free space back to the file system.
    Vacuum(FileArgs),
}

#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// The file [default: that of the configuration].
    #[arg(long)]
    file: Option<PathBuf>,
    /// Configuration that names the file [default: /etc/gsmon.toml where there is one].
    #[arg(long, short)]
    config: Option<PathBuf>,
    #[command(flatten)]
    state: StateArg,
    /// One JSON document.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// What is written: frames have a row per interval, lines one per player (by pseudonym) and minute.
    #[arg(long, value_enum, default_value_t = What::Frames)]
    what: What,
    /// csv or parquet.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// 24h, 7d, or two times with `..` between them (local or RFC 3339).
    #[arg(long, default_value = "24h", value_parser = times::parse_range)]
    range: TimeRange,
    /// Of frames: fitting, raw, minute or hour.
    #[arg(long, default_value = "fitting")]
    resolution: Resolution,
    /// This server only.
    #[arg(long)]
    server: Option<String>,
    /// Write here instead of to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Csv,
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Frames,
    Spikes,
    Lines,
    Events,
    Sessions,
}

impl FileArgs {
    /// Where it is.
    pub fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let usual = std::path::Path::new(super::run::DEFAULT_CONFIG);
        let config = match &self.config {
            Some(path) => Config::read(path).map_err(|error| Failure::Usage(error.into()))?,
            None if usual.exists() => Config::read(usual).map_err(|error| Failure::Usage(error.into()))?,
            None => Config::default(),
        };
        Ok(config.history.file(&self.state.state_dir))
    }
}

pub fn run(args: &HistoryArgs) -> Outcome {
    match &args.action {
        Action::Export(args) => export(args),
        Action::Events(args) => happened::events(args),
        Action::Sessions(args) => happened::sessions(args),
        Action::Stats(args) => {
            let stats = HistoryReader::open(&args.path()?)?.stats()?;
            match args.json {
                true => print_json(&stats)?,
                false => print!("{}", stats_text(&stats)),
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Check(args) => {
            let report = HistoryReader::open(&args.path()?)?.check()?;
            match args.json {
                true => print_json(&report)?,
                false => print!("{}", check_text(&report)),
            }
            Ok(match report.is_sound() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            })
        }
        Action::Vacuum(args) => {
            let (before, after) = vacuum(&args.path()?)?;
            match args.json {
                true => print_json(&serde_json::json!({ "bytes_before": before, "bytes_after": after }))?,
                false => println!("{} before, {} now", mebibytes(before), mebibytes(after)),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn export(args: &ExportArgs) -> Outcome {
    let reader: Box<dyn HistorySource> = match args.source.open()? {
        Some(source) => Box::new(source),
        None => Box::new(HistoryReader::open(&args.file.path()?)?),
    };
    let reader = &*reader;
    let servers = match &args.server {
        Some(server) => vec![server.clone()],
        None => reader.servers()?,
    };
    let Some(path) = &args.output else {
        if args.format == Format::Parquet && std::io::stdout().is_terminal() {
            return Err(Failure::Usage(anyhow::anyhow!(
                "a Parquet file is not for a terminal: name a file with -o"
            )));
        }
        let rows = write(args, reader, &servers, std::io::stdout())?;
        return told(args.what, rows);
    };
    // Whole or not at all: the file appears under its name when it is complete.
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let cannot = |error: std::io::Error| anyhow::anyhow!("cannot write {}: {error}", path.display());
    let file = std::fs::File::create(&partial).map_err(cannot)?;
    let written = write(args, reader, &servers, file);
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    let rows = written?;
    std::fs::rename(&partial, path).map_err(cannot)?;
    told(args.what, rows)
}

/// An export without a row is most often a mistake in what was asked for.
fn told(what: What, rows: u64) -> Outcome {
    let what = match what {
        What::Frames => "frames",
        What::Spikes => "spikes",
        What::Lines => "lines of players",
        What::Events => "events",
        What::Sessions => "sessions",
    };
    eprintln!("{rows} {what}");
    Ok(ExitCode::SUCCESS)
}

fn write(
    args: &ExportArgs,
    reader: &dyn HistorySource,
    servers: &[String],
    out: impl Write + Send + 'static,
) -> Result<u64, Failure> {
    let out = BufWriter::new(out);
    let range = args.range;
    match args.what {
        What::Frames => {}
        What::Spikes => {
            return write_rows(
                args.format,
                out,
                &of_all(servers, |it| reader.spikes(Some(it), range))?,
            );
        }
        What::Lines => {
            return write_rows(
                args.format,
                out,
                &of_all(servers, |it| sorted_lines(reader, it, range))?,
            );
        }
        What::Events => {
            return write_rows(
                args.format,
                out,
                &of_all(servers, |it| reader.events(Some(it), range))?,
            );
        }
        What::Sessions => {
            return write_rows(
                args.format,
                out,
                &of_all(servers, |it| reader.sessions(Some(it), range))?,
            );
        }
    }
    let mut export: Box<dyn Export> = match args.format {
        Format::Csv => Box::new(Csv::new(out)?),
        Format::Parquet => Box::new(Parquet::new(out)?),
    };
    let mut rows = 0;
    let mut failed: Option<ExportError> = None;
    for server in servers {
        reader.each_frame(server, args.range, args.resolution, &mut |frame| {
            if failed.is_none() {
                failed = export.add(server, &frame).err();
                rows += 1;
            }
        })?;
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
    }
    export.finish()?;
    Ok(rows)
}

/// Rows of all servers; they are few beside frames, and fit into memory.
fn of_all<R>(
    servers: &[String],
    of: impl Fn(&str) -> Result<Vec<R>, SourceError>,
) -> Result<Vec<R>, SourceError> {
    let mut rows = Vec::new();
    for server in servers {
        rows.append(&mut of(server)?);
    }
    Ok(rows)
}

fn sorted_lines(
    reader: &dyn HistorySource,
    server: &str,
    range: TimeRange,
) -> Result<Vec<StoredLine>, SourceError> {
    let mut lines = reader.lines(server, range)?;
    lines.sort_by_key(|line| (line.from_unix_ms, line.player));
    Ok(lines)
}

fn write_rows<R: Record>(format: Format, out: impl Write + Send, rows: &[R]) -> Result<u64, Failure> {
    Ok(match format {
        Format::Csv => write_csv(out, rows)?,
        Format::Parquet => write_parquet(out, rows)?,
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn stats_text(stats: &HistoryStats) -> String {
    let mut text = format!(
        "{}, of it {} free; {} servers; schema {}\n",
        mebibytes(stats.bytes),
        mebibytes(stats.free_bytes),
        stats.servers,
        stats.schema_version
    );
    for table in &stats.tables {
        let time = |told: Option<i64>| told.map_or_else(|| "-".to_owned(), times::date_and_time);
        let bytes = table.blob_bytes.map_or_else(String::new, mebibytes);
        let frames = table
            .frames
            .map_or_else(String::new, |frames| format!("{frames} frames"));
        text += &format!(
            "  {:<16} {:>9} rows  {:>18}  {:>12}  {} to {}\n",
            table.table,
            table.rows,
            frames,
            bytes,
            time(table.oldest_unix_ms),
            time(table.newest_unix_ms)
        );
    }
    text
}

fn check_text(report: &CheckReport) -> String {
    let mut text = format!("{} blocks with {} frames were read\n", report.read, report.frames);
    for line in report.database.iter().chain(&report.blocks) {
        text += &format!("damaged: {}\n", harmless(line));
    }
    text += match report.is_sound() {
        true => "the file is sound\n",
        false => {
            "what is damaged is left out of roll-ups; move the file away to begin a new one (docs/history.md)\n"
        }
    };
    text
}
