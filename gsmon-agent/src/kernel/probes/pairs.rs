//! Programs at the entry and the return of functions: attaching and detaching.

use std::{num::NonZeroU32, path::Path};

use aya::{
    Ebpf,
    programs::{
        ProgramError, ProgramType, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
    sys::{BpfHelper, is_helper_supported},
};
use gsmon_common::probe::FIXED_SLOTS;

use super::{cap::Level, cost::MachineCost, error::ProbeError};
use crate::{config::ProbeMeasure, kernel::attach::Attached};

/// Names of the programs of one slot each.
const FIXED: [(&str, &str); FIXED_SLOTS as usize] = [
    ("probe_entry_1", "probe_return_1"),
    ("probe_entry_2", "probe_return_2"),
    ("probe_entry_3", "probe_return_3"),
    ("probe_entry_4", "probe_return_4"),
    ("probe_entry_5", "probe_return_5"),
    ("probe_entry_6", "probe_return_6"),
    ("probe_entry_7", "probe_return_7"),
    ("probe_entry_8", "probe_return_8"),
];

/// How a program knows its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// From its attach cookie.
    Cookie,
    /// It has one.
    Fixed,
}

impl Binding {
    /// The best of this kernel.
    pub fn best() -> Self {
        match is_helper_supported(ProgramType::KProbe, BpfHelper::BPF_FUNC_get_attach_cookie) {
            Ok(true) => Binding::Cookie,
            _ => Binding::Fixed,
        }
    }

    /// Hook and reason.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Binding::Cookie => (
                "uprobe+uretprobe",
                "one pair of programs for all functions, told apart by attach cookie",
            ),
            Binding::Fixed => (
                "uprobe+uretprobe",
                "one pair of programs per function: this kernel has no attach cookies (5.15)",
            ),
        }
    }
}

/// What is attached at one function of one process.
#[derive(Debug, Default)]
pub struct Pair {
    entry: Option<UProbeLinkId>,
    back: Option<UProbeLinkId>,
}

/// The programs.
pub struct Pairs {
    binding: Binding,
    loaded: Vec<Attached>,
    cost: Option<MachineCost>,
}

impl Pairs {
    /// Nothing is loaded yet.
    pub fn new(binding: Binding) -> Self {
        Self {
            binding,
            loaded: Vec::new(),
            cost: None,
        }
    }

    /// How slots are found.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// What calls cost, once it was measured.
    pub fn cost(&self) -> Option<MachineCost> {
        self.cost
    }

    /// Programs loaded since the last call.
    pub fn take_loaded(&mut self) -> Vec<Attached> {
        std::mem::take(&mut self.loaded)
    }

    fn names(&self, slot: u32) -> (&'static str, &'static str) {
        match self.binding {
            Binding::Cookie => ("probe_entry", "probe_return"),
            Binding::Fixed => FIXED[(slot as usize - 1).min(FIXED.len() - 1)],
        }
    }

    /// Brings what is attached to what a level wants. The return comes first and goes last: an entry without it would
    /// be taken for a call that never returns.
    #[expect(clippy::too_many_arguments, reason = "one place in one process")]
    pub fn attach(
        &mut self,
        ebpf: &mut Ebpf,
        pair: &mut Pair,
        path: &Path,
        offset: u64,
        pid: u32,
        slot: u32,
        level: Level,
    ) -> Result<(), ProbeError> {
        let (entry, back) = self.names(slot);
        if level.wants_return() && pair.back.is_none() {
            pair.back = Some(self.attach_one(ebpf, back, path, offset, pid, slot)?);
        }
        if level.wants_entry() && pair.entry.is_none() {
            pair.entry = Some(self.attach_one(ebpf, entry, path, offset, pid, slot)?);
        }
        if !level.wants_entry() {
            detach_one(ebpf, entry, &mut pair.entry);
        }
        if !level.wants_return() {
            detach_one(ebpf, back, &mut pair.back);
        }
        Ok(())
    }

    /// Takes both away.
    pub fn detach(&mut self, ebpf: &mut Ebpf, pair: &mut Pair, slot: u32) {
        let (entry, back) = self.names(slot);
        detach_one(ebpf, entry, &mut pair.entry);
        detach_one(ebpf, back, &mut pair.back);
    }

    fn attach_one(
        &mut self,
        ebpf: &mut Ebpf,
        name: &'static str,
        path: &Path,
        offset: u64,
        pid: u32,
        slot: u32,
    ) -> Result<UProbeLinkId, ProbeError> {
        let refused = |source: ProgramError| ProbeError::Refused {
            source: Box::new(source),
        };
        let program: &mut UProbe = ebpf
            .program_mut(name)
            .ok_or(ProbeError::MissingProgram { name })?
            .try_into()
            .map_err(refused)?;
        if program.fd().is_err() {
            program.load().map_err(refused)?;
            let hook = if name.contains("entry") {
                "uprobe"
            } else {
                "uretprobe"
            };
            self.loaded.push(Attached {
                program: name,
                hook: hook.to_owned(),
            });
        }
        let point = UProbeAttachPoint {
            location: UProbeAttachLocation::AbsoluteOffset(offset),
            cookie: (self.binding == Binding::Cookie).then_some(u64::from(slot)),
        };
        let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).ok_or(ProbeError::Ended)?);
        program.attach(point, path, scope).map_err(refused)
    }

    /// Takes over what calls were measured to cost.
    pub fn set_cost(&mut self, cost: MachineCost) {
        self.cost = Some(cost);
    }
}

/// Attaches the empty programs, for benches; they go with the object.
pub fn attach_empty(
    ebpf: &mut Ebpf,
    path: &Path,
    offset: u64,
    pid: u32,
    measure: ProbeMeasure,
) -> Result<(), ProbeError> {
    let refused = |source: ProgramError| ProbeError::Refused {
        source: Box::new(source),
    };
    let names: &[&'static str] = match measure {
        ProbeMeasure::Time => &["empty_uretprobe", "empty_uprobe"],
        ProbeMeasure::Calls => &["empty_uprobe"],
    };
    for name in names {
        let program: &mut UProbe = ebpf
            .program_mut(name)
            .ok_or(ProbeError::MissingProgram { name })?
            .try_into()
            .map_err(refused)?;
        program.load().map_err(refused)?;
        let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).ok_or(ProbeError::Ended)?);
        program
            .attach(UProbeAttachLocation::AbsoluteOffset(offset), path, scope)
            .map_err(refused)?;
    }
    Ok(())
}

fn detach_one(ebpf: &mut Ebpf, name: &str, link: &mut Option<UProbeLinkId>) {
    let Some(link) = link.take() else { return };
    let program: Option<&mut UProbe> = ebpf.program_mut(name).and_then(|program| program.try_into().ok());
    if let Some(Err(error)) = program.map(|program| program.detach(link)) {
        tracing::warn!(%error, "a function probe could not be taken away");
    }
}
