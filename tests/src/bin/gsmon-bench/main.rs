//! What gsmon costs: `cargo xtask bench`. Every figure stands beside its baseline of the same run; of several runs the
//! smallest counts, since a machine can only make a run slower.

mod advice;
mod agent;
mod echo;
mod games;
mod grammars;
mod grammars_b;
mod history;
mod logs;
mod netcode;
mod probes;
mod programs;
mod queries;
mod sockets;
mod softirqs;
mod spikes;
mod veth;

use anyhow::Result;

/// One row.
pub struct Row {
    what: String,
    measured: f64,
    baseline: f64,
    target: Option<f64>,
    unit: &'static str,
}

impl Row {
    /// `measured` includes `baseline`; the target is for the difference.
    fn net(
        what: impl Into<String>,
        measured: f64,
        baseline: f64,
        target: Option<f64>,
        unit: &'static str,
    ) -> Self {
        Self {
            what: what.into(),
            measured,
            baseline,
            target,
            unit,
        }
    }
}

/// Measures something.
type Part = fn() -> Result<Vec<Row>>;

/// Who may run a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Kernel programs are loaded.
    Root,
    /// Anybody.
    Nothing,
}

/// What can be asked for by name, or by what names begin with (`history`); everything when nothing is.
const PARTS: [(&str, Part, Needs); 19] = [
    ("packets", programs::packets, Needs::Root),
    ("veth", veth::veth, Needs::Root),
    ("switches", programs::switches, Needs::Root),
    ("softirqs", softirqs::run, Needs::Root),
    ("sockets", sockets::run, Needs::Nothing),
    ("drain", programs::drain, Needs::Root),
    ("probes", probes::run, Needs::Root),
    ("echo", echo::run, Needs::Root),
    ("agent", agent::run, Needs::Root),
    ("games", games::run, Needs::Root),
    ("queries", queries::run, Needs::Nothing),
    ("grammars", grammars::run, Needs::Nothing),
    ("grammars-b", grammars_b::lines, Needs::Nothing),
    ("logs", logs::run, Needs::Nothing),
    ("history-writing", history::writing, Needs::Nothing),
    ("history-reading", history::reading, Needs::Nothing),
    ("history-spikes", spikes::run, Needs::Nothing),
    ("history-size", history::size, Needs::Nothing),
    ("advice", advice::run, Needs::Nothing),
];

fn main() -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| {
        let begins = |asked: &String| {
            let rest = name.strip_prefix(asked.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        asked.is_empty() || asked.iter().any(begins)
    };
    let root = nix::unistd::geteuid().is_root();
    if !root
        && PARTS
            .iter()
            .any(|(name, _, needs)| wanted(name) && *needs == Needs::Root)
    {
        anyhow::bail!("benches load kernel programs: run them as root (sudo cargo xtask bench)");
    }
    println!(
        "{:<58} {:>10} {:>10} {:>10} {:>8}",
        "WHAT", "GROSS", "BASELINE", "NET", "TARGET"
    );
    for (_, part, _) in PARTS.iter().filter(|(name, _, _)| wanted(name)) {
        for row in part()? {
            let net = row.measured - row.baseline;
            let (target, verdict) = match row.target {
                None => ("-".to_owned(), ""),
                Some(target) => (format!("{target}"), if net <= target { "met" } else { "MISSED" }),
            };
            println!(
                "{:<58} {:>10.2} {:>10.2} {:>10.2} {:>8} {:<6} {verdict}",
                row.what, row.measured, row.baseline, net, target, row.unit
            );
        }
    }
    Ok(())
}
