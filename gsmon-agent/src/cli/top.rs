//! `gsmon top`: a client of the running agent.

use std::process::ExitCode;

use super::{Outcome, SocketArg, runtime};
use crate::{serve::fetch_snapshot, top};

#[derive(Debug, clap::Args)]
pub struct TopArgs {
    #[command(flatten)]
    socket: SocketArg,
    /// Print one table and end.
    #[arg(long)]
    once: bool,
    /// With --once: the whole snapshot as one JSON document.
    #[arg(long, requires = "once")]
    json: bool,
}

pub fn run(args: &TopArgs) -> Outcome {
    let socket = args.socket.socket.clone();
    runtime()?.block_on(async {
        let first = fetch_snapshot(&socket).await?;
        if args.json {
            super::print_json(&first)?;
        } else if args.once {
            print!("{}", top::text::once(&first));
        } else {
            top::run(top::Source::Socket(socket), None).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}
