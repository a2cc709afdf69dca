//! Trees with files as the runtimes write them (shortened).

use super::*;

const ID: &str = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970";
const UID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn read(root: &Path, cgroup: &str) -> Container {
    ContainerFiles::below(root)
        .container(&[cgroup.to_owned()])
        .unwrap()
}

const DOCKER: &str = r#"{"StreamConfig":{},"State":{"Running":true,"Pid":4242},"ID":"4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970",
"Created":"2024-05-01T10:00:00.1Z","Managed":false,"Path":"/start","Args":[],"Config":{"Hostname":"4f797c539e6c","Env":["EULA=TRUE"],
"Image":"itzg/minecraft-server","Labels":{"com.docker.compose.project":"games","com.docker.compose.service":"mc","bad":"a\u001bb"}},
"Image":"sha256:aa","Name":"/games-mc-1","Driver":"overlay2","OS":"linux","LogPath":"/x","MountPoints":{}}"#;

#[test]
fn docker_gives_name_and_labels_also_from_another_data_root() {
    for daemon in [None, Some("/srv/docker")] {
        let root = tempfile::tempdir().unwrap();
        if let Some(place) = daemon {
            write(
                root.path(),
                "etc/docker/daemon.json",
                &format!("{{\"data-root\":\"{place}\"}}"),
            );
        }
        let place = daemon.unwrap_or("/var/lib/docker").trim_start_matches('/');
        write(
            root.path(),
            &format!("{place}/containers/{ID}/config.v2.json"),
            DOCKER,
        );
        let found = read(root.path(), &format!("/system.slice/docker-{ID}.scope"));
        assert_eq!(
            (found.runtime, found.name.as_deref()),
            (Runtime::Docker, Some("games-mc-1"))
        );
        assert_eq!(found.labels["com.docker.compose.service"], "mc");
        assert!(!found.labels.contains_key("bad"));
        // An id that does not say whose: the file says it.
        assert_eq!(read(root.path(), &format!("/{ID}")).runtime, Runtime::Docker);
    }
}

const CONTAINERD: &str = r#"{"ociVersion":"1.1.0","process":{"user":{"uid":0},"args":["/server"],"env":["A=B"],"cwd":"/"},"root":{"path":"rootfs"},
"annotations":{"io.kubernetes.cri.container-name":"server","io.kubernetes.cri.container-type":"container",
"io.kubernetes.cri.image-name":"example/simple-game-server:0.35","io.kubernetes.cri.sandbox-id":"63060edc",
"io.kubernetes.cri.sandbox-name":"fleet-x7k2p-abcde","io.kubernetes.cri.sandbox-namespace":"default",
"io.kubernetes.cri.sandbox-uid":"0f8fad5b-d9cb-469f-a165-70867728950e","agones.dev/container":"server"},"linux":{}}"#;

#[test]
fn containerd_gives_pod_and_container_name() {
    let root = tempfile::tempdir().unwrap();
    for state in ["run/containerd", "run/k3s/containerd"] {
        let place = format!("{state}/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
        write(root.path(), &place, CONTAINERD);
        let under = UID.replace('-', "_");
        let found = read(
            root.path(),
            &format!("/kubepods.slice/kubepods-pod{under}.slice/cri-containerd-{ID}.scope"),
        );
        assert_eq!(found.name.as_deref(), Some("server"));
        assert_eq!(found.pod_name(), Some("fleet-x7k2p-abcde"));
        assert_eq!(found.pod_uid.as_deref(), Some(UID));
        let cgroupfs = read(root.path(), &format!("/kubepods/burstable/pod{UID}/{ID}"));
        assert_eq!(cgroupfs.runtime, Runtime::Containerd);
        fs::remove_file(root.path().join(place)).unwrap();
    }
}

#[test]
fn nerdctl_gives_its_name() {
    let root = tempfile::tempdir().unwrap();
    let text = r#"{"annotations":{"nerdctl/name":"valheim","nerdctl/namespace":"default"}}"#;
    write(
        root.path(),
        &format!("run/containerd/io.containerd.runtime.v2.task/default/{ID}/config.json"),
        text,
    );
    let found = read(root.path(), &format!("/system.slice/nerdctl-{ID}.scope"));
    assert_eq!(found.name.as_deref(), Some("valheim"));
}

#[test]
fn podman_gives_its_name_from_either_list() {
    for list in ["containers.json", "volatile-containers.json"] {
        let root = tempfile::tempdir().unwrap();
        let text = format!(
            r#"[{{"id":"{}","names":["other"],"image":"a","layer":"b"}},
            {{"id":"{ID}","names":["arena"],"image":"d7af","layer":"67b0","metadata":"{{\"image-name\":\"x\",\"name\":\"arena\"}}","created":"2024-01-01T00:00:00Z","flags":{{"MountLabel":""}}}}]"#,
            "a".repeat(64)
        );
        write(
            root.path(),
            &format!("var/lib/containers/storage/overlay-containers/{list}"),
            &text,
        );
        let found = read(
            root.path(),
            &format!("/machine.slice/libpod-{ID}.scope/container"),
        );
        assert_eq!(
            (found.runtime, found.name.as_deref()),
            (Runtime::Podman, Some("arena"))
        );
    }
}

#[test]
fn crio_gives_names_and_the_pods_labels() {
    let root = tempfile::tempdir().unwrap();
    let text = r#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.container.name":"server","io.kubernetes.pod.name":"gs-1",
        "io.kubernetes.pod.namespace":"games","io.kubernetes.cri-o.Labels":"{\"agones.dev/gameserver\":\"gs-1\",\"app\":\"x\"}"}}"#;
    write(
        root.path(),
        &format!("var/lib/containers/storage/overlay-containers/{ID}/userdata/config.json"),
        text,
    );
    let found = read(root.path(), &format!("/kubepods/pod{UID}/crio-{ID}"));
    assert_eq!(
        (found.runtime, found.name.as_deref()),
        (Runtime::CriO, Some("server"))
    );
    assert_eq!(found.pod_name(), Some("gs-1"));
    assert_eq!(found.labels["agones.dev/gameserver"], "gs-1");
}

#[test]
fn lxc_gives_its_host_name_else_the_name_in_the_path() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(read(root.path(), "/lxc/101/ns").name.as_deref(), Some("101"));
    write(
        root.path(),
        "var/lib/lxc/101/config",
        "lxc.arch = amd64\nlxc.uts.name = valheim-1\n",
    );
    assert_eq!(
        read(root.path(), "/lxc/101/ns").name.as_deref(),
        Some("valheim-1")
    );
}

#[test]
fn a_users_cgroup_does_not_get_the_name_of_a_container_of_the_system() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        DOCKER,
    );
    let forged = format!("/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope");
    let found = read(root.path(), &forged);
    assert_eq!((found.name, found.labels.len()), (None, 0));
    // Neither does a container in a container: its files are elsewhere.
    let nested = read(root.path(), &format!("/lxc/101/docker-{ID}.scope"));
    assert_eq!(nested.name, None);
    assert_eq!(nested.outer.unwrap().name.as_deref(), Some("101"));
}

#[test]
fn broken_long_and_linked_files_are_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let place = format!("var/lib/docker/containers/{ID}/config.v2.json");
    let cgroup = format!("/docker/{ID}");
    for text in ["", "{", "[]", "{\"Name\":7}", "\u{0}\u{1}"] {
        write(root.path(), &place, text);
        assert_eq!(read(root.path(), &cgroup).name, None, "{text}");
    }
    write(
        root.path(),
        &place,
        &format!("{{\"Name\":\"{}\"}}", "a".repeat(2 << 20)),
    );
    assert_eq!(read(root.path(), &cgroup).name, None);
    write(root.path(), &place, "{\"Name\":\"/\\u001b[31mred\\u202e\"}");
    assert_eq!(read(root.path(), &cgroup).name.as_deref(), Some("[31mred"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_any_file_are_no_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let root = tempfile::tempdir().unwrap();
        for place in [
            format!("var/lib/docker/containers/{ID}/config.v2.json"),
            format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"),
            "var/lib/containers/storage/overlay-containers/containers.json".into(),
            format!("var/lib/containers/storage/overlay-containers/{ID}/userdata/config.json"),
            format!("var/lib/lxc/{ID}/config"),
            "etc/docker/daemon.json".into(),
        ] {
            let path = root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &bytes).unwrap();
        }
        for cgroup in [format!("/{ID}"), format!("/libpod-{ID}"), format!("/lxc/{ID}")] {
            let found = ContainerFiles::below(root.path()).container(&[cgroup]);
            proptest::prop_assert!(found.is_some());
        }
    }
}
