//! What gsmon costs: `cargo xtask bench`. Every figure stands beside its baseline of the same run; of several runs the
//! smallest counts, since a machine can only make a run slower.

mod agent;
mod echo;
mod programs;

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

/// What can be asked for by name; everything when nothing is.
const PARTS: [(&str, Part); 5] = [
    ("packets", programs::packets),
    ("switches", programs::switches),
    ("drain", programs::drain),
    ("echo", echo::run),
    ("agent", agent::run),
];

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("benches load kernel programs: run them as root (sudo cargo xtask bench)");
    }
    println!(
        "{:<58} {:>10} {:>10} {:>10} {:>8}",
        "WHAT", "GROSS", "BASELINE", "NET", "TARGET"
    );
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
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
