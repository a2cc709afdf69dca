//! One host judged: a verdict and its reasons. Only from what is known; what is not known is a verdict of its own.

use serde::{Deserialize, Serialize};

use super::board::{HostPicture, HostState};
use crate::world::snapshot::{ServerState, Snapshot, SourceReport};

/// Servers named in a reason at most.
const MOST_NAMES: usize = 3;

/// How a host is. The later, the worse, except that nothing is known of an unknown one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to say.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// Players cannot play there.
    Critical,
    /// The agent is silent.
    Unknown,
}

impl Verdict {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }

    /// Exit code as monitoring plugins have it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

/// The worst of several hosts: a server that is gone outweighs an agent that is silent.
pub fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Unknown => 2,
        Verdict::Critical => 3,
    };
    verdicts.into_iter().max_by_key(rank).unwrap_or(Verdict::Unknown)
}

/// The verdict on a host and why.
pub fn judge(host: &HostPicture) -> (Verdict, Vec<String>) {
    let Some(report) = &host.report else {
        let mut reasons = vec!["the agent is silent".to_owned()];
        if let Some(error) = &host.error {
            reasons = vec![error.to_string()];
        } else if host.readings == 0 {
            reasons = vec!["it was not read yet".to_owned()];
        }
        return (Verdict::Unknown, reasons);
    };
    let mut verdict = Verdict::Ok;
    let mut reasons = Vec::new();
    let mut find = |found: Verdict, reason: String| {
        verdict = verdict.max(found);
        reasons.push(reason);
    };
    for (state, found, what) in [
        (ServerState::Gone, Verdict::Critical, "gone"),
        (ServerState::Waiting, Verdict::Warning, "not found yet"),
    ] {
        if let Some(names) = named(&report.snapshot, state) {
            find(found, format!("{what}: {names}"));
        }
    }
    if host.state == HostState::Stale {
        let age = host.age.map_or(0, |age| age.as_secs());
        let why = host.error.as_deref().unwrap_or("the agent repeats itself");
        find(Verdict::Warning, format!("what it said is {age} s old ({why})"));
    }
    for reason in without_hooks(&report.snapshot.sources) {
        find(Verdict::Warning, reason);
    }
    (verdict, reasons)
}

/// `sched by /proc, flow_ingress by none: why`: sources that measure less than they could, together where they have one
/// reason.
fn without_hooks(sources: &[SourceReport]) -> Vec<String> {
    let mut by_reason: Vec<(&str, Vec<String>)> = Vec::new();
    for source in sources {
        if !matches!(source.hook.as_str(), "none" | "/proc") {
            continue;
        }
        let what = format!("{} by {}", source.source, source.hook);
        match by_reason.iter_mut().find(|(reason, _)| *reason == source.reason) {
            Some((_, sources)) => sources.push(what),
            None => by_reason.push((&source.reason, vec![what])),
        }
    }
    by_reason
        .into_iter()
        .map(|(reason, sources)| format!("{}: {reason}", sources.join(", ")))
        .collect()
}

fn named(snapshot: &Snapshot, state: ServerState) -> Option<String> {
    let names: Vec<&str> = snapshot
        .servers
        .iter()
        .filter(|server| server.state == state)
        .map(|server| server.name.as_str())
        .collect();
    let shown = names
        .iter()
        .take(MOST_NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        0 => None,
        n if n > MOST_NAMES => Some(format!("{shown} and {} more", n - MOST_NAMES)),
        _ => Some(shown),
    }
}
