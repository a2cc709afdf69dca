//! Who manages the game server in a container: Pterodactyl, Pelican (both start servers through Docker with the same
//! variables and labels) or Agones (Kubernetes; its SDK ports are in the environment of the game's containers).

use std::collections::BTreeMap;

use super::Container;
use crate::games::signature::clean;

/// Who manages a game server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Manager {
    /// Pterodactyl, or a panel with its variables that does not name itself.
    Pterodactyl,
    /// Pelican.
    Pelican,
    /// Agones.
    Agones,
}

impl Manager {
    /// Name.
    pub fn as_str(self) -> &'static str {
        match self {
            Manager::Pterodactyl => "Pterodactyl",
            Manager::Pelican => "Pelican",
            Manager::Agones => "Agones",
        }
    }
}

/// A managed game server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// By whom.
    pub manager: Manager,
    /// UUID of the panel's server, or name of the GameServer (equal to its pod's).
    pub instance: Option<String>,
    /// Port that the panel gave it.
    pub port: Option<u16>,
    /// Where the panel says that it is.
    pub location: Option<String>,
}

/// The variables that are read from a process's environment; all others are passed over.
pub const ENVIRON: [&str; 7] = [
    "HOME",
    "HOSTNAME",
    "P_SERVER_UUID",
    "P_SERVER_LOCATION",
    "SERVER_PORT",
    "AGONES_SDK_GRPC_PORT",
    "AGONES_SDK_HTTP_PORT",
];

/// Who manages the server of a process, by its container and its environment. `None` for an installer's container.
pub fn hosting(container: Option<&Container>, environ: &BTreeMap<String, String>) -> Option<Hosting> {
    let label = |name: &str| container.and_then(|container| container.labels.get(name).map(String::as_str));
    if label("ContainerType").is_some_and(|kind| kind != "server_process") {
        return None;
    }
    let variable = |name: &str| environ.get(name).map(String::as_str);
    let panel = match label("Service") {
        Some("Pelican") => Some(Manager::Pelican),
        Some("Pterodactyl") => Some(Manager::Pterodactyl),
        _ => variable("P_SERVER_UUID").map(|_| Manager::Pterodactyl),
    };
    if let Some(manager) = panel {
        return Some(Hosting {
            manager,
            // The panel names the container by the server's UUID.
            instance: variable("P_SERVER_UUID")
                .or_else(|| container.and_then(|container| container.name.as_deref()))
                .and_then(clean),
            port: variable("SERVER_PORT")
                .and_then(|port| port.parse().ok())
                .filter(|port| *port != 0),
            location: variable("P_SERVER_LOCATION").and_then(clean),
        });
    }
    // The SDK's sidecar shares the pod; the annotation names the container with the game.
    if let Some(game) = label("agones.dev/container")
        && container.is_some_and(|container| container.name.as_deref() != Some(game))
    {
        return None;
    }
    let labelled = container.is_some_and(|container| {
        container
            .labels
            .keys()
            .any(|key| key == "agones.dev/gameserver" || key == "agones.dev/container")
    });
    let sdk = ["AGONES_SDK_GRPC_PORT", "AGONES_SDK_HTTP_PORT"]
        .iter()
        .any(|name| environ.contains_key(*name));
    (labelled || sdk).then(|| Hosting {
        manager: Manager::Agones,
        // A pod's host name is its name unless its specification says otherwise.
        instance: container
            .and_then(Container::pod_name)
            .or_else(|| variable("HOSTNAME"))
            .and_then(clean),
        port: None,
        location: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::container::Runtime;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
    }

    fn container(labels: &[(&str, &str)]) -> Container {
        Container {
            runtime: Runtime::Docker,
            id: "a".repeat(64),
            pod_uid: None,
            name: Some("0f8fad5b-d9cb-469f-a165-70867728950e".into()),
            labels: map(labels),
            outer: None,
        }
    }

    #[test]
    fn panels_are_told_by_label_or_environment() {
        let server = container(&[("Service", "Pelican"), ("ContainerType", "server_process")]);
        let found = hosting(Some(&server), &map(&[("SERVER_PORT", "25577")])).unwrap();
        assert_eq!((found.manager, found.port), (Manager::Pelican, Some(25_577)));
        assert_eq!(
            found.instance.as_deref(),
            Some("0f8fad5b-d9cb-469f-a165-70867728950e")
        );
        let environ = map(&[
            ("P_SERVER_UUID", "11111111-2222-3333-4444-555555555555"),
            ("P_SERVER_LOCATION", "home"),
            ("SERVER_PORT", "99999999"),
        ]);
        let found = hosting(None, &environ).unwrap();
        assert_eq!((found.manager, found.port), (Manager::Pterodactyl, None));
        assert_eq!(found.location.as_deref(), Some("home"));
        let installer = container(&[("Service", "Pterodactyl"), ("ContainerType", "server_installer")]);
        assert_eq!(hosting(Some(&installer), &environ), None);
    }

    #[test]
    fn agones_is_told_by_its_sdk_ports_and_named_by_the_pod() {
        let environ = map(&[("AGONES_SDK_GRPC_PORT", "9357"), ("HOSTNAME", "simple-udp-x7k2p")]);
        let found = hosting(None, &environ).unwrap();
        assert_eq!(found.manager, Manager::Agones);
        assert_eq!(found.instance.as_deref(), Some("simple-udp-x7k2p"));
        let pod = container(&[("io.kubernetes.cri.sandbox-name", "fleet-abc-d")]);
        assert_eq!(
            hosting(Some(&pod), &environ).unwrap().instance.as_deref(),
            Some("fleet-abc-d")
        );
        assert_eq!(
            hosting(Some(&pod), &map(&[("HOSTNAME", "x"), ("SERVER_PORT", "80")])),
            None
        );
        let sidecar = container(&[("agones.dev/container", "server"), ("agones.dev/gameserver", "a")]);
        assert_eq!(hosting(Some(&sidecar), &environ), None);
    }
}
