//! Facts about this machine for `gsmon doctor` and for choosing hooks: kernel, cgroup v2, capabilities, interfaces.
//! Reads only; decides nothing.

use std::{fs, path::PathBuf};

/// Inode of the initial PID namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Capabilities that gsmon asks about, with their bit (capabilities(7)).
pub const CAPABILITIES: [(&str, u32, &str); 6] = [
    ("CAP_BPF", 39, "load kernel programs and tables"),
    ("CAP_PERFMON", 38, "attach to tracepoints"),
    ("CAP_NET_ADMIN", 12, "count packets"),
    ("CAP_SYS_PTRACE", 19, "see which process holds a socket"),
    ("CAP_DAC_READ_SEARCH", 2, "read /proc of other users' processes"),
    ("CAP_SYS_ADMIN", 21, "enter the network namespaces of containers"),
];

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Driver; absent for virtual devices.
    pub driver: Option<String>,
    /// Devices that carry it.
    pub lower: Vec<String>,
}

/// This machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// For example `6.1.0-18-amd64`.
    pub kernel_release: String,
    /// Major and minor version.
    pub kernel_version: Option<(u32, u32)>,
    /// Where cgroup v2 is mounted.
    pub cgroup_root: Option<PathBuf>,
    /// Effective capabilities, a bit mask.
    pub capabilities: u64,
    /// Is this the host's PID namespace? Kernel programs speak of host PIDs.
    pub initial_pid_namespace: bool,
    /// `kernel.pid_max`
    pub pid_max: u32,
    /// Interfaces of the agent's network namespace.
    pub interfaces: Vec<Interface>,
    /// Memory of the machine.
    pub memory_bytes: u64,
}

impl Platform {
    /// Looks around.
    pub fn detect() -> Self {
        let kernel_release = read("/proc/sys/kernel/osrelease");
        Self {
            kernel_version: parse_version(&kernel_release),
            kernel_release,
            cgroup_root: cgroup_root(&read("/proc/self/mountinfo")),
            capabilities: capabilities(&read("/proc/self/status")),
            initial_pid_namespace: fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| {
                use std::os::unix::fs::MetadataExt;
                namespace.ino() == INITIAL_PID_NAMESPACE
            }),
            pid_max: read("/proc/sys/kernel/pid_max").parse().unwrap_or(4_194_304),
            interfaces: interfaces(),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
        }
    }

    /// Capabilities of [`CAPABILITIES`] that are missing. Before 5.8, CAP_SYS_ADMIN stands for the first two.
    pub fn missing_capabilities(&self) -> Vec<(&'static str, &'static str)> {
        CAPABILITIES
            .iter()
            .filter(|(_, bit, _)| self.capabilities & (1 << bit) == 0)
            .map(|(name, _, purpose)| (*name, *purpose))
            .collect()
    }

    /// Why the kernel side cannot run, in words that say what to do; empty when it can.
    pub fn obstacles(&self) -> Vec<String> {
        let mut obstacles = Vec::new();
        if !self.initial_pid_namespace {
            obstacles.push(
                "gsmon runs in a PID namespace of its own, but kernel programs count by host PID: run it on the host (docker: --pid=host)"
                    .to_owned(),
            );
        }
        match self.kernel_version {
            Some(version) if version < (5, 10) => obstacles.push(format!(
                "kernel {} is too old: 5.10 or later is needed (ring buffer, mapped tables, BTF)",
                self.kernel_release
            )),
            _ => {}
        }
        if !std::path::Path::new(crate::kernel::VMLINUX_BTF).exists() {
            obstacles.push(format!(
                "this kernel has no BTF at {}: use one built with CONFIG_DEBUG_INFO_BTF=y",
                crate::kernel::VMLINUX_BTF
            ));
        }
        for (name, purpose) in self.missing_capabilities() {
            if matches!(name, "CAP_BPF" | "CAP_PERFMON" | "CAP_NET_ADMIN") {
                obstacles.push(format!(
                    "{name} is missing ({purpose}): run as root or use the systemd unit"
                ));
            }
        }
        obstacles
    }
}

/// Addresses of the agent's network namespace.
pub fn local_addresses() -> Vec<std::net::IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    all.filter_map(|interface| {
        let address = interface.address?;
        if let Some(v4) = address.as_sockaddr_in() {
            return Some(std::net::IpAddr::V4(v4.ip()));
        }
        address.as_sockaddr_in6().map(|v6| std::net::IpAddr::V6(v6.ip()))
    })
    .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Mount point of cgroup v2 (proc_pid_mountinfo(5)): field 5, and the type after the hyphen.
fn cgroup_root(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_cgroup2 = kind.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn capabilities(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn memory_bytes(meminfo: &str) -> u64 {
    meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

fn interfaces() -> Vec<Interface> {
    let Ok(entries) = fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut interfaces: Vec<Interface> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let driver = fs::read_link(entry.path().join("device/driver"))
                .ok()
                .and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
            let lower = fs::read_dir(entry.path())
                .ok()?
                .flatten()
                .filter_map(|file| {
                    file.file_name()
                        .to_str()?
                        .strip_prefix("lower_")
                        .map(str::to_owned)
                })
                .collect();
            Some(Interface { name, driver, lower })
        })
        .collect();
    interfaces.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_v2_is_found_wherever_it_is_mounted() {
        let text = "25 1 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    26 1 0:23 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup_root(text), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup_root("25 1 0:22 / /x rw - cgroup cgroup rw"), None);
    }

    #[test]
    fn versions_and_masks() {
        assert_eq!(parse_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(parse_version("odd"), None);
        assert_eq!(
            capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            0x1ff_ffff_ffff
        );
    }

    #[test]
    fn missing_capabilities_are_named() {
        let platform = Platform {
            capabilities: 0,
            ..Platform::detect()
        };
        assert_eq!(platform.missing_capabilities().len(), CAPABILITIES.len());
        assert!(platform.obstacles().iter().any(|line| line.contains("CAP_BPF")));
    }
}
