//! Offsets of kernel fields, from the BTF of the running kernel. Nothing is baked in: rustc emits no CO-RE
//! relocations, and a wrong offset reads garbage in silence.

use std::path::Path;

use btf_rs::{Btf, Type};

/// Where the kernel publishes its own types.
pub const VMLINUX_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why offsets could not be found.
#[derive(Debug, thiserror::Error)]
pub enum OffsetError {
    /// No BTF.
    #[error(
        "this kernel has no BTF at {VMLINUX_BTF} ({message}): use a kernel built with CONFIG_DEBUG_INFO_BTF=y (distribution kernels since 5.10 have it)"
    )]
    NoBtf {
        /// What the reader said.
        message: String,
    },
    /// A field that gsmon needs is not there under any name it knows.
    #[error("this kernel's task_struct has no field {field}: please report kernel {release}", release = kernel_release())]
    NoField {
        /// Dotted path.
        field: &'static str,
    },
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Byte offsets inside `task_struct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOffsets {
    /// `pid`
    pub pid: u64,
    /// `tgid`
    pub tgid: u64,
    /// `__state`, or `state` up to 5.13
    pub state: u64,
    /// `se.sum_exec_runtime`
    pub cpu: u64,
    /// `sched_info.run_delay`
    pub run_delay: u64,
    /// `nvcsw`
    pub nvcsw: u64,
    /// `nivcsw`
    pub nivcsw: u64,
    /// `exit_code`
    pub exit_code: u64,
}

impl TaskOffsets {
    /// Reads the running kernel's BTF.
    pub fn of_running_kernel() -> Result<Self, OffsetError> {
        let btf = Btf::from_file(Path::new(VMLINUX_BTF)).map_err(|error| OffsetError::NoBtf {
            message: error.to_string(),
        })?;
        Self::of(&btf)
    }

    fn of(btf: &Btf) -> Result<Self, OffsetError> {
        let field = |names: &[&'static [&'static str]], label| {
            names
                .iter()
                .find_map(|path| offset_of(btf, "task_struct", path))
                .ok_or(OffsetError::NoField { field: label })
        };
        Ok(Self {
            pid: field(&[&["pid"]], "pid")?,
            tgid: field(&[&["tgid"]], "tgid")?,
            state: field(&[&["__state"], &["state"]], "__state")?,
            cpu: field(&[&["se", "sum_exec_runtime"]], "se.sum_exec_runtime")?,
            run_delay: field(&[&["sched_info", "run_delay"]], "sched_info.run_delay")?,
            nvcsw: field(&[&["nvcsw"]], "nvcsw")?,
            nivcsw: field(&[&["nivcsw"]], "nivcsw")?,
            exit_code: field(&[&["exit_code"]], "exit_code")?,
        })
    }
}

/// Can a program be attached to `tracepoint` through BTF? The kernel describes each one by a typedef of its own.
pub fn has_btf_tracepoint(tracepoint: &str) -> bool {
    Btf::from_file(Path::new(VMLINUX_BTF)).is_ok_and(|btf| {
        btf.resolve_types_by_name(&format!("btf_trace_{tracepoint}"))
            .is_ok_and(|types| !types.is_empty())
    })
}

/// Byte offset of a dotted path; anonymous structs and unions are looked into.
fn offset_of(btf: &Btf, name: &str, path: &[&str]) -> Option<u64> {
    btf.resolve_types_by_name(name)
        .ok()?
        .into_iter()
        .find_map(|kind| member(btf, &kind, path))
}

fn member(btf: &Btf, kind: &Type, path: &[&str]) -> Option<u64> {
    let Type::Struct(composite) = strip(btf, kind.clone())? else {
        return None;
    };
    for member_of in &composite.members {
        let inner = || btf.resolve_chained_type(member_of).ok();
        let name = btf.resolve_name(member_of).unwrap_or_default();
        let base = u64::from(member_of.bit_offset() / 8);
        if name.is_empty() {
            if let Some(offset) = inner().and_then(|kind| member(btf, &kind, path)) {
                return Some(base + offset);
            }
        } else if name == path[0] {
            if path.len() == 1 {
                return Some(base);
            }
            return inner()
                .and_then(|kind| member(btf, &kind, &path[1..]))
                .map(|offset| base + offset);
        }
    }
    None
}

/// The type behind typedefs and qualifiers; a union reads as a struct.
fn strip(btf: &Btf, mut kind: Type) -> Option<Type> {
    for _ in 0..16 {
        kind = match kind {
            Type::Typedef(inner) => btf.resolve_chained_type(&inner).ok()?,
            Type::Volatile(inner) => btf.resolve_chained_type(&inner).ok()?,
            Type::Const(inner) => btf.resolve_chained_type(&inner).ok()?,
            Type::Union(inner) => return Some(Type::Struct(inner)),
            other => return Some(other),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field() {
        let offsets = TaskOffsets::of_running_kernel().unwrap();
        assert_eq!(offsets.tgid, offsets.pid + 4);
        assert_eq!(offsets.nivcsw, offsets.nvcsw + 8);
        assert!(offsets.cpu > 0 && offsets.run_delay > offsets.cpu);
        assert!(has_btf_tracepoint("sched_switch") && !has_btf_tracepoint("no_such_point"));
    }
}
