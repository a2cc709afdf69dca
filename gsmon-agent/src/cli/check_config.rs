//! `gsmon check-config F`

use std::{path::PathBuf, process::ExitCode};

use super::{Failure, Outcome};
use crate::{config::Config, games::voices, host::RegionSources};

#[derive(Debug, clap::Args)]
pub struct CheckConfigArgs {
    /// The file.
    file: PathBuf,
    /// Print what was understood, with all defaults, as one JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &CheckConfigArgs) -> Outcome {
    let config = Config::read(&args.file).map_err(|error| Failure::Usage(error.into()))?;
    voices::check(&config.servers).map_err(|error| Failure::Usage(error.into()))?;
    RegionSources::load(&config.regions).map_err(|error| Failure::Usage(error.into()))?;
    if args.json {
        super::print_json(&config)?;
    } else {
        println!("{}: fine, {} servers", args.file.display(), config.servers.len());
    }
    Ok(ExitCode::SUCCESS)
}
