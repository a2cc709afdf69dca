//! `gsmon findings`: what detectors found.

use std::process::ExitCode;

use super::{Outcome, SocketArg, print_json, runtime, times};
use crate::{
    history::{StoredFinding, TimeRange},
    serve::{Route, fetch},
    top::harmless::harmless,
};

#[derive(Debug, clap::Args)]
pub struct FindingsArgs {
    /// This server only.
    server: Option<String>,
    /// 24h, 7d, or two times with `..` between them.
    #[arg(long, default_value = "24h", value_parser = times::parse_range)]
    range: TimeRange,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: SocketArg,
}

pub fn run(args: &FindingsArgs) -> Outcome {
    let route = Route::to(&["findings"])
        .with("from", &args.range.from_unix_ms.to_string())
        .with("to", &args.range.to_unix_ms.to_string());
    let route = match &args.server {
        Some(server) => route.with("server", server),
        None => route,
    };
    let found: Vec<StoredFinding> = runtime()?.block_on(fetch(&args.socket.socket, &route))?;
    if args.json {
        print_json(&found)?;
        return Ok(ExitCode::SUCCESS);
    }
    if found.is_empty() {
        println!("nothing was found");
    }
    for finding in &found {
        println!(
            "{}  {}  {}: {} ({}; found again until {})",
            times::date_and_time(finding.unix_ms),
            finding.severity.name(),
            harmless(&finding.server),
            harmless(&finding.says),
            finding.detector.name(),
            times::date_and_time(finding.last_unix_ms)
        );
    }
    Ok(ExitCode::SUCCESS)
}
