//! The container of a process, from its cgroup paths: Docker, containerd (nerdctl, `ctr`), CRI-O, Podman, Kubernetes
//! pods with the systemd and the cgroupfs driver, LXC; cgroup v1 and v2; containers in containers.
//!
//! What runtimes keep on disk about a container (name, labels) is `metadata`; who manages a game server in it
//! (Pterodactyl, Pelican, Agones) is `hosting`. Not here: systemd-nspawn, and the names of rootless containers, whose
//! files lie in homes that their users control.

use std::collections::BTreeMap;

mod hosting;
mod metadata;

pub use self::{
    hosting::{ENVIRON, Hosting, Manager, hosting},
    metadata::ContainerFiles,
};

/// What runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd without Docker: Kubernetes, nerdctl, `ctr`.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// LXC, LXD, Incus, Proxmox.
    Lxc,
    /// The path has a container's id and does not say whose.
    Unknown,
}

impl Runtime {
    /// Lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Runtime::Docker => "docker",
            Runtime::Containerd => "containerd",
            Runtime::CriO => "cri-o",
            Runtime::Podman => "podman",
            Runtime::Lxc => "lxc",
            Runtime::Unknown => "unknown",
        }
    }
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Full id (64 hexadecimal digits); for LXC the name.
    pub id: String,
    /// UID of its Kubernetes pod.
    pub pod_uid: Option<String>,
    /// Name, where the runtime's files tell it.
    pub name: Option<String>,
    /// Labels (Docker) or annotations (OCI), as far as they are short.
    pub labels: BTreeMap<String, String>,
    /// The container that this one runs in.
    pub outer: Option<Box<Container>>,
}

impl Container {
    /// Name of its Kubernetes pod: `io.kubernetes.pod.name` of the kubelet, or containerd's sandbox name.
    pub fn pod_name(&self) -> Option<&str> {
        ["io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name"]
            .iter()
            .find_map(|key| self.labels.get(*key))
            .map(String::as_str)
    }
}

/// Where a cgroup path places a process; what can be told without reading any file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What runs the container.
    pub runtime: Runtime,
    /// Its id.
    pub id: String,
    /// UID of its pod.
    pub pod_uid: Option<String>,
    /// Who made it.
    pub owner: Owner,
}

/// Who made a container's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The system.
    System,
    /// A user, below `user@UID.service`: there a path can claim anything, so no file of the system is asked about it.
    User,
}

/// Nesting deeper than this is not followed.
const DEEPEST: usize = 8;

/// Containers of a process, outermost first, from its cgroup paths (one per hierarchy). The hierarchy that tells most
/// is believed: with cgroup v1 some controllers may be left out.
pub fn places(cgroups: &[String]) -> Vec<Place> {
    let mut best = Vec::new();
    for path in cgroups {
        let found = places_in(path);
        if found.len() > best.len() {
            best = found;
        }
    }
    best
}

fn places_in(path: &str) -> Vec<Place> {
    let mut found: Vec<Place> = Vec::new();
    let mut pod = None;
    let mut owner = Owner::System;
    let mut before = "";
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if segment.starts_with("user@") && segment.ends_with(".service") {
            owner = Owner::User;
        }
        // containerd with the cgroupfs driver under a kubelet with the systemd driver: slice:prefix:id.
        let (slice, last) = match segment.split_once(':') {
            Some((slice, rest)) => (slice, rest.rsplit(':').next().unwrap_or(rest)),
            None => (segment, segment),
        };
        if let Some(uid) = pod_uid(slice) {
            pod = Some(uid);
        }
        let runtime_and_id = if slice == last {
            named(segment)
                .or_else(|| bare(segment, before, pod.is_some()))
                .or_else(|| lxc(segment, before))
        } else {
            is_id(last).then(|| {
                let runtime = if segment.contains(":cri-containerd:") {
                    Runtime::Containerd
                } else if segment.contains(":crio:") {
                    Runtime::CriO
                } else {
                    Runtime::Unknown
                };
                (runtime, last)
            })
        };
        if let Some((runtime, id)) = runtime_and_id
            && found.len() < DEEPEST
            && found.last().is_none_or(|outer| outer.id != id)
        {
            found.push(Place {
                runtime,
                id: id.to_owned(),
                pod_uid: pod.take(),
                owner,
            });
        }
        before = segment;
    }
    found
}

/// `docker-ID.scope` and its like. Monitors (`crio-conmon-ID.scope`, `libpod-conmon-ID.scope`) are no containers: what
/// follows their prefix is no id.
fn named(segment: &str) -> Option<(Runtime, &str)> {
    const PREFIXES: [(&str, Runtime); 7] = [
        ("docker-", Runtime::Docker),
        ("cri-containerd-", Runtime::Containerd),
        ("nerdctl-", Runtime::Containerd),
        ("containerd-", Runtime::Containerd),
        ("crio-", Runtime::CriO),
        ("libpod-payload-", Runtime::Podman),
        ("libpod-", Runtime::Podman),
    ];
    let stem = segment.strip_suffix(".scope").unwrap_or(segment);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = stem.strip_prefix(prefix)?;
        is_id(id).then_some((*runtime, id))
    })
}

/// An id alone, with the cgroupfs driver: the segment in front of it may say whose.
fn bare<'a>(segment: &'a str, before: &str, in_pod: bool) -> Option<(Runtime, &'a str)> {
    is_id(segment).then(|| {
        let runtime = match before {
            "docker" | "moby" => Runtime::Docker,
            "default" | "k8s.io" | "buildkit" if !in_pod => Runtime::Containerd,
            _ => Runtime::Unknown,
        };
        (runtime, segment)
    })
}

fn lxc<'a>(segment: &'a str, before: &str) -> Option<(Runtime, &'a str)> {
    let name = if before == "lxc" || before == "lxc.payload" {
        segment
    } else {
        segment.strip_prefix("lxc.payload.")?
    };
    is_plain_name(name).then_some((Runtime::Lxc, name))
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name that is safe as one component of a path.
fn is_plain_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// `podUID` (cgroupfs driver) or `kubepods-burstable-podUID.slice` (systemd driver, dashes as underscores). Pods from
/// files have a hash of 32 digits as UID.
fn pod_uid(segment: &str) -> Option<String> {
    let text = match segment.strip_suffix(".slice") {
        Some(slice) if slice.contains("kubepods") => slice.rsplit_once("-pod")?.1,
        Some(_) => return None,
        None => segment.strip_prefix("pod")?,
    };
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let separators = text.bytes().filter(|byte| matches!(byte, b'-' | b'_')).count();
    let is_uid = digits == 32 && digits + separators == text.len() && matches!(separators, 0 | 4);
    is_uid.then(|| text.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970";
    const B: &str = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d";
    const UID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn only(path: &str) -> Option<(Runtime, String, Option<String>)> {
        let mut found = places(&[path.to_owned()]);
        assert!(found.len() <= 1, "{path}: {found:?}");
        found.pop().map(|place| (place.runtime, place.id, place.pod_uid))
    }

    #[test]
    fn every_layout_is_read() {
        let under = UID.replace('-', "_");
        for (path, runtime, id, pod) in [
            (format!("/docker/{A}"), Runtime::Docker, A, None),
            (
                format!("/system.slice/docker-{A}.scope"),
                Runtime::Docker,
                A,
                None,
            ),
            (format!("/{A}"), Runtime::Unknown, A, None),
            (
                format!("/system.slice/nerdctl-{A}.scope"),
                Runtime::Containerd,
                A,
                None,
            ),
            (format!("/default/{A}"), Runtime::Containerd, A, None),
            (format!("/../../docker-{A}.scope/init"), Runtime::Docker, A, None),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{under}.slice/cri-containerd-{A}.scope"
                ),
                Runtime::Containerd,
                A,
                Some(UID),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{under}.slice/crio-{A}.scope/container"),
                Runtime::CriO,
                A,
                Some(UID),
            ),
            (
                format!("/kubepods/besteffort/pod{UID}/{A}"),
                Runtime::Unknown,
                A,
                Some(UID),
            ),
            (
                format!("/kubepods/pod{UID}/crio-{A}"),
                Runtime::CriO,
                A,
                Some(UID),
            ),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-besteffort-pod{under}.slice:cri-containerd:{A}"
                ),
                Runtime::Containerd,
                A,
                Some(UID),
            ),
            (
                format!("/kubepods/burstable/pod8e95b4ea4f0a1a3b1f0f3e1c2d3b4a59/{A}"),
                Runtime::Unknown,
                A,
                Some("8e95b4ea4f0a1a3b1f0f3e1c2d3b4a59"),
            ),
            (
                format!("/machine.slice/libpod-{A}.scope/container"),
                Runtime::Podman,
                A,
                None,
            ),
            (format!("/libpod_parent/libpod-{A}"), Runtime::Podman, A, None),
            (
                format!("/system.slice/arena.service/libpod-payload-{A}"),
                Runtime::Podman,
                A,
                None,
            ),
            ("/lxc/web".into(), Runtime::Lxc, "web", None),
            ("/lxc/101/ns/init.scope".into(), Runtime::Lxc, "101", None),
            (
                "/lxc.payload.games_mc/system.slice/mc.service".into(),
                Runtime::Lxc,
                "games_mc",
                None,
            ),
        ] {
            assert_eq!(
                only(&path),
                Some((runtime, id.to_owned(), pod.map(str::to_owned))),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_no_container_is_none() {
        for path in [
            "/".to_owned(),
            "/system.slice/docker.service".into(),
            "/user.slice/user-1000.slice/session-3.scope".into(),
            format!("/kubepods/pod{UID}/crio-conmon-{A}"),
            format!("/machine.slice/libpod-conmon-{A}.scope"),
            format!("/system.slice/var-lib-docker-containers-{A}-mounts-shm.mount"),
            format!("/system.slice/docker-{}.scope", &A[1..]),
            "/lxc.monitor.web".into(),
            "/lxc.payload.../x".into(),
            format!("/kubepods/burstable/pod{UID}"),
        ] {
            assert_eq!(only(&path), None, "{path}");
        }
    }

    #[test]
    fn containers_in_containers_are_outermost_first() {
        let path = format!("/docker/{A}/kubelet/kubepods/burstable/pod{UID}/{B}");
        let found = places(&[path]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].runtime, found[0].id.as_str()), (Runtime::Docker, A));
        assert_eq!(
            (found[0].pod_uid.as_deref(), found[1].pod_uid.as_deref()),
            (None, Some(UID))
        );
        assert_eq!(found[1].id, B);
        let lxc = places(&[format!("/lxc.payload.web/system.slice/docker-{A}.scope")]);
        assert_eq!([lxc[0].runtime, lxc[1].runtime], [Runtime::Lxc, Runtime::Docker]);
    }

    #[test]
    fn the_hierarchy_that_tells_most_is_believed_and_users_are_marked() {
        let found = places(&["/".into(), "/user.slice".into(), format!("/docker/{A}")]);
        assert_eq!(found[0].owner, Owner::System);
        let path =
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{A}.scope/container");
        assert_eq!(places(&[path])[0].owner, Owner::User);
    }

    proptest::proptest! {
        #[test]
        fn any_path_is_bounded_and_ids_are_plain(paths in proptest::collection::vec("[ -~]{0,400}", 0..5)) {
            let found = places(&paths);
            proptest::prop_assert!(found.len() <= DEEPEST);
            for place in found {
                proptest::prop_assert!(is_id(&place.id) || is_plain_name(&place.id));
            }
        }

        #[test]
        fn pieces_of_paths_in_any_order_are_no_panic(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "kubepods", "lxc", "lxc.payload.", "docker", "pod", ":cri-containerd:", ":", "..",
                    "user@1000.service", A, "libpod-4f", ".slice", "kubepods-pod0f8fad5b_d9cb_469f_a165_70867728950e.slice",
                ]),
                0..20,
            )
        ) {
            for joint in ["/", ""] {
                for place in places(&[pieces.join(joint)]) {
                    proptest::prop_assert!(!place.id.contains('/') && !place.id.starts_with('.'));
                }
            }
        }
    }
}
