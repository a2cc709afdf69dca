//! What the source tells beside what agents say: never instead of it, and never in sums. Pure.

use serde::Serialize;

use super::{
    board::HostState,
    source::{ServerFromSource, SourcePicture},
    verdict::{self, Verdict},
    view::{FleetDocument, FleetServer},
};

/// One server of `GET /api/v1/servers`.
#[derive(Clone, Debug, Serialize)]
pub struct SourcedServer<'a> {
    /// As its agent says.
    #[serde(flatten)]
    pub server: FleetServer<'a>,
    /// As the source says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_source: Option<ServerFromSource>,
}

/// Puts the source into the document of the fleet. A source that is silent is a warning: no agent has fewer players for it.
pub fn fleet(mut document: FleetDocument, source: Option<SourcePicture>) -> FleetDocument {
    let Some(mut source) = source else { return document };
    for agent in &mut document.agents {
        agent.from_source = source.hosts.remove(&*agent.host);
    }
    // At the start nobody has looked yet.
    if source.document.state == HostState::Unknown && source.document.failures_in_a_row > 0 {
        document.verdict = verdict::worst([document.verdict, Verdict::Warning]);
    }
    document.source = Some(source.document);
    document
}

/// Puts what the source tells beside each server.
pub fn servers<'a>(found: Vec<FleetServer<'a>>, source: Option<&SourcePicture>) -> Vec<SourcedServer<'a>> {
    found
        .into_iter()
        .map(|server| {
            let (host, name) = match &server {
                FleetServer::Known { host, server, .. } => (*host, server.name.as_str()),
                FleetServer::Unknown { host, name, .. } => (*host, *name),
            };
            let told = source.and_then(|source| source.hosts.get(host)?.servers.get(name));
            SourcedServer {
                from_source: told.copied(),
                server,
            }
        })
        .collect()
}
