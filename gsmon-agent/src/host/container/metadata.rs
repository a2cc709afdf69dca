//! Names and labels of containers from the files that runtimes keep for root. Formats:
//!
//! - Docker: `/var/lib/docker/containers/ID/config.v2.json` (`Name` with a leading slash, `Config.Labels`); another
//!   `data-root` from `/etc/docker/daemon.json`.
//! - containerd: `/run/containerd/io.containerd.runtime.v2.task/NAMESPACE/ID/config.json`, the OCI bundle: its
//!   annotations hold `io.kubernetes.cri.*` (CRI plug-in) or `nerdctl/*`. k3s keeps the same below `/run/k3s`.
//! - CRI-O and Podman (containers/storage): `overlay-containers/containers.json` and `volatile-containers.json` list
//!   ids with names; `overlay-containers/ID/userdata/config.json` is the OCI bundle with CRI-O's annotations. Podman
//!   keeps labels in its own database, which is not read.
//! - LXC: the name is in the path; `lxc.uts.name` of `/var/lib/lxc/NAME/config` is the host name.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Container, Owner, Place, Runtime, is_plain_name, places};
use crate::{games::signature::clean, host::bounded::read_regular};

/// Longest description of one container that is read.
const DESCRIPTION_BYTES: u64 = 1 << 20;
/// Longest list of containers that is read.
const LIST_BYTES: u64 = 16 << 20;
/// Namespaces of containerd that are looked into.
const NAMESPACES: usize = 16;
/// Labels that are kept of one container, and their lengths.
const LABELS: usize = 64;
const KEY_CHARS: usize = 128;
const VALUE_CHARS: usize = 256;

/// Where runtimes keep their files.
#[derive(Clone, Debug)]
pub struct ContainerFiles {
    docker: PathBuf,
    containerd: Vec<PathBuf>,
    storage: Vec<PathBuf>,
    lxc: PathBuf,
}

impl Default for ContainerFiles {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

#[derive(Deserialize)]
struct DockerDaemon {
    #[serde(rename = "data-root")]
    data_root: Option<PathBuf>,
}

#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Bundle {
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Default)]
struct Known {
    name: Option<String>,
    labels: BTreeMap<String, String>,
}

impl ContainerFiles {
    /// The usual places below `root`.
    pub fn below(root: &Path) -> Self {
        let daemon: Option<DockerDaemon> = read_json(&root.join("etc/docker/daemon.json"), DESCRIPTION_BYTES);
        let docker = daemon
            .and_then(|daemon| daemon.data_root)
            .unwrap_or_else(|| "/var/lib/docker".into());
        Self {
            docker: root.join(docker.strip_prefix("/").unwrap_or(&docker)),
            containerd: ["run/containerd", "run/k3s/containerd"]
                .map(|state| root.join(state).join("io.containerd.runtime.v2.task"))
                .to_vec(),
            storage: ["var/lib/containers/storage", "run/containers/storage"]
                .map(|storage| root.join(storage).join("overlay-containers"))
                .to_vec(),
            lxc: root.join("var/lib/lxc"),
        }
    }

    /// The container of a process with these cgroup paths; `None` outside of containers.
    pub fn container(&self, cgroups: &[String]) -> Option<Container> {
        let mut inner: Option<Box<Container>> = None;
        for (depth, place) in places(cgroups).into_iter().enumerate() {
            // The files of a container in a container lie inside the outer one.
            let container = if depth == 0 {
                self.describe(place)
            } else {
                Container {
                    runtime: place.runtime,
                    name: (place.runtime == Runtime::Lxc).then(|| place.id.clone()),
                    id: place.id,
                    pod_uid: place.pod_uid,
                    labels: BTreeMap::new(),
                    outer: inner.take(),
                }
            };
            inner = Some(Box::new(container));
        }
        inner.map(|container| *container)
    }

    fn describe(&self, place: Place) -> Container {
        let (runtime, known) = match place.owner {
            Owner::User => (place.runtime, None),
            Owner::System => self.known(&place),
        };
        let known = known.unwrap_or_default();
        Container {
            runtime,
            name: known
                .name
                .or_else(|| (runtime == Runtime::Lxc).then(|| place.id.clone())),
            id: place.id,
            pod_uid: place.pod_uid,
            labels: known.labels,
            outer: None,
        }
    }

    fn known(&self, place: &Place) -> (Runtime, Option<Known>) {
        match place.runtime {
            Runtime::Docker => (Runtime::Docker, self.docker(&place.id)),
            Runtime::Containerd => (Runtime::Containerd, self.containerd(&place.id)),
            Runtime::CriO | Runtime::Podman => (place.runtime, self.stored(&place.id)),
            Runtime::Lxc => (Runtime::Lxc, self.lxc(&place.id)),
            // Whoever has a file about it runs it. Docker's own containers are containerd tasks as well.
            Runtime::Unknown => {
                let docker = self.docker(&place.id).map(|known| (Runtime::Docker, known));
                let found = docker
                    .or_else(|| {
                        self.containerd(&place.id)
                            .map(|known| (Runtime::Containerd, known))
                    })
                    .or_else(|| self.stored(&place.id).map(|known| (Runtime::CriO, known)));
                match found {
                    Some((runtime, known)) => (runtime, Some(known)),
                    None => (Runtime::Unknown, None),
                }
            }
        }
    }

    fn docker(&self, id: &str) -> Option<Known> {
        let path = self.docker.join("containers").join(id).join("config.v2.json");
        let container: DockerContainer = read_json(&path, DESCRIPTION_BYTES)?;
        Some(Known {
            name: container
                .name
                .and_then(|name| clean(name.strip_prefix('/').unwrap_or(&name))),
            labels: short(
                container
                    .config
                    .and_then(|config| config.labels)
                    .unwrap_or_default(),
            ),
        })
    }

    fn containerd(&self, id: &str) -> Option<Known> {
        for tasks in &self.containerd {
            let Ok(namespaces) = fs::read_dir(tasks) else {
                continue;
            };
            for namespace in namespaces.flatten().take(NAMESPACES) {
                let path = namespace.path().join(id).join("config.json");
                if let Some(bundle) = read_json::<Bundle>(&path, DESCRIPTION_BYTES) {
                    let annotations = bundle.annotations.unwrap_or_default();
                    let name = ["io.kubernetes.cri.container-name", "nerdctl/name"]
                        .iter()
                        .find_map(|key| clean(annotations.get(*key)?));
                    return Some(Known {
                        name,
                        labels: short(annotations),
                    });
                }
            }
        }
        None
    }

    fn stored(&self, id: &str) -> Option<Known> {
        let mut known = None;
        for storage in &self.storage {
            for list in ["containers.json", "volatile-containers.json"] {
                let stored: Vec<StoredContainer> =
                    read_json(&storage.join(list), LIST_BYTES).unwrap_or_default();
                if let Some(found) = stored.into_iter().find(|stored| stored.id == id) {
                    let name = found.names.first().and_then(|name| clean(name));
                    known.get_or_insert_with(Known::default).name = name;
                    break;
                }
            }
            let bundle: Option<Bundle> =
                read_json(&storage.join(id).join("userdata/config.json"), DESCRIPTION_BYTES);
            if let Some(mut annotations) = bundle.and_then(|bundle| bundle.annotations) {
                let known = known.get_or_insert_with(Known::default);
                // CRI-O packs the pod's labels into one annotation.
                let packed = annotations.remove("io.kubernetes.cri-o.Labels");
                let packed: Option<BTreeMap<String, String>> =
                    packed.and_then(|text| serde_json::from_str(&text).ok());
                annotations.extend(packed.unwrap_or_default());
                if let Some(name) = annotations.get("io.kubernetes.container.name") {
                    known.name = clean(name);
                }
                known.labels.extend(short(annotations));
            }
        }
        known
    }

    fn lxc(&self, name: &str) -> Option<Known> {
        if !is_plain_name(name) {
            return None;
        }
        let bytes = read_regular(&self.lxc.join(name).join("config"), DESCRIPTION_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        let host_name = text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            matches!(key.trim(), "lxc.uts.name" | "lxc.utsname").then(|| clean(value))?
        });
        Some(Known {
            name: host_name,
            labels: BTreeMap::new(),
        })
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path, limit: u64) -> Option<T> {
    serde_json::from_slice(&read_regular(path, limit)?).ok()
}

/// Labels that are short enough to be labels, without control characters.
fn short(labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .filter(|(key, value)| {
            key.chars().count() <= KEY_CHARS
                && value.chars().count() <= VALUE_CHARS
                && !key.chars().chain(value.chars()).any(char::is_control)
        })
        .take(LABELS)
        .collect()
}

#[cfg(test)]
mod tests;
