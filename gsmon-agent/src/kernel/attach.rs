//! Attaching programs: for every source the best hook that this kernel has, and the reason in words.

use std::{fs::File, path::Path};

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, RawTracePoint,
        SchedClassifier, TcAttachType, Xdp, XdpMode as AyaXdpMode, tc,
    },
};

use super::{KernelError, Source};
use crate::config::{InterfaceSettings, NetRxTime, XdpMode};

/// An attached program: its name in the object and its hook in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Name in the object.
    pub program: &'static str,
    /// For example `tp_btf/sched_switch`.
    pub hook: String,
}

/// What came of attaching.
#[derive(Debug, Default)]
pub struct Attachment {
    /// Programs that run.
    pub programs: Vec<Attached>,
    /// What is in force and why.
    pub sources: Vec<Source>,
    /// Interfaces where XDP or tc counts ingress, by name.
    pub ingress_interfaces: Vec<(String, String)>,
    /// Interfaces where tc counts egress.
    pub egress_interfaces: Vec<(String, String)>,
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(KernelError::MissingProgram { name })?
        .try_into()
        .map_err(|source| KernelError::Program {
            name,
            source: Box::new(source),
        })
}

fn failed(name: &'static str) -> impl FnOnce(ProgramError) -> KernelError {
    move |source| KernelError::Program {
        name,
        source: Box::new(source),
    }
}

/// A tracepoint with its BTF program and its raw fallback.
struct Tracepoint {
    source: &'static str,
    tracepoint: &'static str,
    btf: &'static str,
    raw: &'static str,
}

const TRACEPOINTS: [Tracepoint; 4] = [
    Tracepoint {
        source: "sched",
        tracepoint: "sched_switch",
        btf: "sched_switch",
        raw: "sched_switch_raw",
    },
    Tracepoint {
        source: "fork",
        tracepoint: "sched_process_fork",
        btf: "process_fork",
        raw: "process_fork_raw",
    },
    Tracepoint {
        source: "exec",
        tracepoint: "sched_process_exec",
        btf: "process_exec",
        raw: "process_exec_raw",
    },
    Tracepoint {
        source: "exit",
        tracepoint: "sched_process_exit",
        btf: "process_exit",
        raw: "process_exit_raw",
    },
];

/// Which kind of tracepoint to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracepoints {
    /// BTF tracepoints, else raw ones.
    Best,
    /// Raw ones, as on kernels without BTF tracepoints.
    Raw,
}

/// Attaches the scheduler and process hooks: BTF tracepoint, else raw tracepoint.
pub fn attach_tracepoints(
    ebpf: &mut Ebpf,
    kind: Tracepoints,
    into: &mut Attachment,
) -> Result<(), KernelError> {
    let btf = kernel_types(kind);
    for point in &TRACEPOINTS {
        attach_tracepoint(ebpf, point, btf.as_ref(), into)?;
    }
    Ok(())
}

/// The running kernel's BTF, where BTF tracepoints are wanted.
fn kernel_types(kind: Tracepoints) -> Option<Btf> {
    match kind {
        Tracepoints::Best => Btf::from_sys_fs().ok(),
        Tracepoints::Raw => None,
    }
}

fn attach_tracepoint(
    ebpf: &mut Ebpf,
    point: &Tracepoint,
    btf: Option<&Btf>,
    into: &mut Attachment,
) -> Result<(), KernelError> {
    let why_not = match btf {
        Some(btf) => match attach_btf(ebpf, point, btf) {
            Ok(()) => {
                into.add(
                    point.source,
                    point.btf,
                    format!("tp_btf/{}", point.tracepoint),
                    "BTF tracepoint: fields are plain loads",
                );
                return Ok(());
            }
            Err(error) => error.to_string(),
        },
        None => "there is no BTF, or it was not asked for".to_owned(),
    };
    let raw: &mut RawTracePoint = program(ebpf, point.raw)?;
    raw.load().map_err(failed(point.raw))?;
    raw.attach(point.tracepoint).map_err(failed(point.raw))?;
    let reason = format!("raw tracepoint instead of a BTF tracepoint: {why_not}");
    into.add(
        point.source,
        point.raw,
        format!("raw_tp/{}", point.tracepoint),
        &reason,
    );
    Ok(())
}

fn attach_btf(ebpf: &mut Ebpf, point: &Tracepoint, btf: &Btf) -> Result<(), KernelError> {
    let loaded: &mut BtfTracePoint = program(ebpf, point.btf)?;
    loaded.load(point.tracepoint, btf).map_err(failed(point.btf))?;
    loaded.attach().map_err(failed(point.btf))?;
    Ok(())
}

/// Is the time in NET_RX softirqs measured?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoftirqHooks {
    /// Yes.
    Attached,
    /// Not asked for, or not to be had; everything else goes on.
    Absent,
}

/// What the source is called.
const NET_RX_SOURCE: &str = "net_rx_softirq";

const SOFTIRQ_POINTS: [Tracepoint; 2] = [
    Tracepoint {
        source: NET_RX_SOURCE,
        tracepoint: "softirq_entry",
        btf: "softirq_entry",
        raw: "softirq_entry_raw",
    },
    Tracepoint {
        source: NET_RX_SOURCE,
        tracepoint: "softirq_exit",
        btf: "softirq_exit",
        raw: "softirq_exit_raw",
    },
];

/// Attaches the pair that times NET_RX softirqs: BTF tracepoints, else raw ones, else nothing, with the reason.
pub fn attach_softirq(
    ebpf: &mut Ebpf,
    kind: Tracepoints,
    wanted: NetRxTime,
    into: &mut Attachment,
) -> SoftirqHooks {
    let how = match wanted {
        NetRxTime::Every => "every run is timed",
        NetRxTime::Sampled => "one run in 16 is timed, all are counted",
        NetRxTime::Off => {
            into.absent(NET_RX_SOURCE, "turned off: agent.net_rx_time");
            return SoftirqHooks::Absent;
        }
    };
    let mut attached = Attachment::default();
    let btf = kernel_types(kind);
    for point in &SOFTIRQ_POINTS {
        if let Err(error) = attach_tracepoint(ebpf, point, btf.as_ref(), &mut attached) {
            // A half is worth nothing: the entry alone would leave runs begun.
            for done in &attached.programs {
                unload(ebpf, done.program);
            }
            into.absent(
                NET_RX_SOURCE,
                &format!("this kernel lets no program see softirqs: {error}"),
            );
            return SoftirqHooks::Absent;
        }
    }
    for source in &mut attached.sources {
        source.reason = format!("{how}; {}", source.reason);
    }
    into.sources.append(&mut attached.sources);
    into.programs.append(&mut attached.programs);
    SoftirqHooks::Attached
}

/// Detaches a tracepoint program.
fn unload(ebpf: &mut Ebpf, name: &str) {
    use aya::programs::Program;
    let result = match ebpf.program_mut(name) {
        Some(Program::BtfTracePoint(program)) => program.unload(),
        Some(Program::RawTracePoint(program)) => program.unload(),
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::warn!(%error, program = name, "a program that is of no use stays attached");
    }
}

/// Attaches one program of the object that the agent itself never attaches, for benches.
pub fn attach_baseline(
    ebpf: &mut Ebpf,
    name: &'static str,
    tracepoint: &'static str,
) -> Result<(), KernelError> {
    let btf = Btf::from_sys_fs().map_err(|error| {
        KernelError::Offsets(super::OffsetError::NoBtf {
            message: error.to_string(),
        })
    })?;
    let loaded: &mut BtfTracePoint = program(ebpf, name)?;
    loaded.load(tracepoint, &btf).map_err(failed(name))?;
    loaded.attach().map_err(failed(name))?;
    Ok(())
}

/// Attaches the empty program to both cgroup hooks, for benches.
pub fn attach_empty_cgroup(ebpf: &mut Ebpf, root: &Path) -> Result<(), KernelError> {
    const NAME: &str = "empty_cgroup";
    let cgroup = File::open(root).map_err(|source| KernelError::Cgroup {
        path: root.to_owned(),
        source,
    })?;
    let skb: &mut CgroupSkb = program(ebpf, NAME)?;
    skb.load().map_err(failed(NAME))?;
    for kind in [CgroupSkbAttachType::Ingress, CgroupSkbAttachType::Egress] {
        skb.attach(&cgroup, kind, CgroupAttachMode::Single)
            .map_err(failed(NAME))?;
    }
    Ok(())
}

/// Attaches both cgroup hooks at the root of cgroup v2.
pub fn attach_cgroup(ebpf: &mut Ebpf, root: &Path, into: &mut Attachment) -> Result<(), KernelError> {
    let cgroup = File::open(root).map_err(|source| KernelError::Cgroup {
        path: root.to_owned(),
        source,
    })?;
    let directions = [
        (
            "flow_ingress",
            "flow_cgroup_ingress",
            CgroupSkbAttachType::Ingress,
            "cgroup_skb/ingress",
        ),
        (
            "flow_egress",
            "flow_cgroup_egress",
            CgroupSkbAttachType::Egress,
            "cgroup_skb/egress",
        ),
    ];
    for (source, name, kind, hook) in directions {
        let skb: &mut CgroupSkb = program(ebpf, name)?;
        skb.load().map_err(failed(name))?;
        // bpf links are always of the multi kind: others' programs stay.
        skb.attach(&cgroup, kind, CgroupAttachMode::Single)
            .map_err(failed(name))?;
        into.add(
            source,
            name,
            hook.to_owned(),
            "sees the sockets of every container and network namespace",
        );
    }
    Ok(())
}

/// Attaches what the configuration asks for on interfaces of the agent's own network namespace. `no_cgroup` says that
/// the cgroup hooks are missing, so that `auto` means tc.
pub fn attach_interfaces(
    ebpf: &mut Ebpf,
    interfaces: &[InterfaceSettings],
    cgroup: CgroupHooks,
    into: &mut Attachment,
) -> Result<(), KernelError> {
    for interface in interfaces {
        if !Path::new("/sys/class/net").join(&interface.name).exists() {
            return Err(KernelError::UnknownInterface {
                name: interface.name.clone(),
            });
        }
        match (interface.xdp, cgroup) {
            (XdpMode::Native, _) => {
                attach_xdp(ebpf, &interface.name, AyaXdpMode::Driver, "xdp-native", into)?
            }
            (XdpMode::Generic, _) => attach_xdp(ebpf, &interface.name, AyaXdpMode::Skb, "xdp-generic", into)?,
            (XdpMode::Tc, _) | (XdpMode::Auto, CgroupHooks::Absent) => {
                attach_tc(ebpf, &interface.name, into)?
            }
            (XdpMode::Auto, CgroupHooks::Attached) | (XdpMode::Off, _) => {}
        }
    }
    Ok(())
}

/// Are the cgroup hooks in force?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupHooks {
    /// Yes.
    Attached,
    /// No cgroup v2 on this host.
    Absent,
}

fn attach_xdp(
    ebpf: &mut Ebpf,
    interface: &str,
    mode: AyaXdpMode,
    words: &str,
    into: &mut Attachment,
) -> Result<(), KernelError> {
    const NAME: &str = "flow_xdp_ingress";
    let xdp: &mut Xdp = program(ebpf, NAME)?;
    if xdp.fd().is_err() {
        xdp.load().map_err(failed(NAME))?;
    }
    xdp.attach(interface, mode).map_err(|source| {
        let busy = matches!(&source, ProgramError::SyscallError(error)
            if matches!(error.io_error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST)));
        if busy {
            KernelError::ForeignXdp {
                interface: interface.to_owned(),
            }
        } else {
            KernelError::Xdp {
                interface: interface.to_owned(),
                mode: words.to_owned(),
                source: Box::new(source),
            }
        }
    })?;
    let hook = format!("{words}/{interface}");
    into.add(
        "flow_ingress",
        NAME,
        hook.clone(),
        "asked for in the configuration; sees packets before the firewall",
    );
    into.ingress_interfaces.push((interface.to_owned(), hook));
    Ok(())
}

fn attach_tc(ebpf: &mut Ebpf, interface: &str, into: &mut Attachment) -> Result<(), KernelError> {
    // EEXIST when somebody else has made it, which is as good.
    let _ = tc::qdisc_add_clsact(interface);
    for (source, name, kind, words) in TC_PROGRAMS {
        let classifier: &mut SchedClassifier = program(ebpf, name)?;
        if classifier.fd().is_err() {
            classifier.load().map_err(failed(name))?;
        }
        classifier.attach(interface, kind).map_err(failed(name))?;
        let hook = format!("{words}/{interface}");
        into.add(
            source,
            name,
            hook.clone(),
            "counts the agent's own network namespace on this interface",
        );
        match kind {
            TcAttachType::Ingress => into.ingress_interfaces.push((interface.to_owned(), hook)),
            _ => into.egress_interfaces.push((interface.to_owned(), hook)),
        }
    }
    Ok(())
}

/// tc programs by name and direction.
const TC_PROGRAMS: [(&str, &str, TcAttachType, &str); 2] = [
    (
        "flow_ingress",
        "flow_tc_ingress",
        TcAttachType::Ingress,
        "tc-ingress",
    ),
    ("flow_egress", "flow_tc_egress", TcAttachType::Egress, "tc-egress"),
];

/// Removes what a killed agent can leave behind: tc filters on kernels before 6.6, known by their names. Everything
/// else ends with the process. Only for an agent that holds the host's lock.
pub fn remove_leftovers() {
    let Ok(interfaces) = std::fs::read_dir("/sys/class/net") else {
        return;
    };
    for entry in interfaces.flatten() {
        let Ok(interface) = entry.file_name().into_string() else {
            continue;
        };
        for (_, name, kind, _) in TC_PROGRAMS {
            // An error says that there is no clsact, or nothing of ours in it.
            if tc::qdisc_detach_program(&interface, kind, name).is_ok() {
                tracing::warn!(
                    interface,
                    program = name,
                    "removed what a killed agent had left attached"
                );
            }
        }
    }
}

/// Leaves a tc filter behind, as a killed agent does on kernels before 6.6, for tests.
pub fn leave_tc_filter(ebpf: &mut Ebpf, interface: &str) -> Result<(), KernelError> {
    use aya::programs::tc::{NlOptions, TcAttachOptions};
    const NAME: &str = "flow_tc_ingress";
    let _ = tc::qdisc_add_clsact(interface);
    let classifier: &mut SchedClassifier = program(ebpf, NAME)?;
    classifier.load().map_err(failed(NAME))?;
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let link = classifier
        .attach_with_options(interface, TcAttachType::Ingress, options)
        .and_then(|link| classifier.take_link(link))
        .map_err(failed(NAME))?;
    std::mem::forget(link);
    Ok(())
}

impl Attachment {
    fn absent(&mut self, source: &'static str, reason: &str) {
        self.sources.push(Source {
            name: source,
            hook: "none".into(),
            reason: reason.to_owned(),
        });
    }

    fn add(&mut self, source: &'static str, program: &'static str, hook: String, reason: &str) {
        self.sources.push(Source {
            name: source,
            hook: hook.clone(),
            reason: reason.to_owned(),
        });
        self.programs.push(Attached { program, hook });
    }
}
