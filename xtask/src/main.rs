//! Development tasks: `cargo xtask TASK`. One file per task.

mod bench;
mod ebpf;
mod eval;
mod lint;
mod test;
mod toolchain;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "gsmon's development tasks",
    after_help = "Example:\n  cargo xtask ebpf --check"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel object, or check that the committed one is what the source gives.
    Ebpf(ebpf::EbpfArgs),
    /// Run all tests; writes target/test-report/junit.xml and report.json.
    Test(test::TestArgs),
    /// clippy with warnings denied, user and kernel crates apart.
    Clippy,
    /// rustfmt for both workspaces.
    Fmt {
        /// Only say what differs.
        #[arg(long)]
        check: bool,
    },
    /// Measure what the hot paths cost, beside empty programs in the same run; needs root.
    Bench(bench::BenchArgs),
    /// Hold an analysis against made-up servers whose costs are planted.
    Eval(eval::EvalArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Ebpf(args) => ebpf::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Clippy => lint::clippy(),
        Task::Fmt { check } => lint::fmt(if check { lint::Fmt::Check } else { lint::Fmt::Write }),
        Task::Bench(args) => bench::run(&args),
        Task::Eval(args) => eval::run(&args),
    }
}

/// The top of the checkout.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}
