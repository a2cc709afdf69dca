//! The object for tests and benches: programs run on made-up packets, empty programs at the real hooks, made-up flows.
//! Nothing here runs in an agent that measures.

use std::time::{Duration, Instant};

use aya::maps::Array;
use gsmon_common::netcode::replay::Before;

use super::{
    Kernel, KernelError, KernelOptions, ProbeError, ServerSlotId,
    attach::{self, Attached},
    object::Object,
    object_options, probes,
};
use crate::config::ProbeSettings;

/// Empty programs at both cgroup hooks and nothing else, for benches. Dropping it detaches them.
#[doc(hidden)]
pub struct EmptyHooks {
    _object: Object,
}

impl EmptyHooks {
    /// Attaches them at the root of cgroup v2, where there is one: without it gsmon has no cgroup hooks either.
    pub fn attach(options: &KernelOptions) -> Result<Self, KernelError> {
        let mut object = Object::load(object_options(options))?;
        if let Some(root) = &options.cgroup_root {
            attach::attach_empty_cgroup(&mut object.ebpf, root)?;
        }
        Ok(Self { _object: object })
    }
}

/// Empty programs at a function of a process and nothing else attached, for benches. Dropping it detaches them.
#[doc(hidden)]
pub struct EmptyProbe {
    _object: Object,
}

impl EmptyProbe {
    /// Attaches them where gsmon's own would be.
    pub fn attach(options: &KernelOptions, probe: &ProbeSettings, pid: u32) -> Result<Self, ProbeError> {
        let mut object = Object::load(object_options(options))
            .map_err(|_| ProbeError::MissingProgram { name: "empty_uprobe" })?;
        probes::attach_empty(&mut object.ebpf, probe, pid)?;
        Ok(Self { _object: object })
    }
}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct BeforePod(Before);

// SAFETY: plain numbers, repr(C).
unsafe impl aya::Pod for BeforePod {}

impl Kernel {
    /// Runs a program of the object on a packet (`BPF_PROG_TEST_RUN`), loading it if need be, without attaching it.
    /// Returns its verdict and the mean time of a run. For tests and benches.
    pub fn test_run(
        &mut self,
        name: &'static str,
        packet: &[u8],
        repeat: u32,
    ) -> Result<(u32, Duration), KernelError> {
        use aya::{
            TestRun, TestRunOptions,
            programs::{Program, ProgramError},
        };
        let failed = |source: ProgramError| KernelError::Program {
            name,
            source: Box::new(source),
        };
        let mut options = TestRunOptions::new();
        options.data_in = Some(packet);
        options.repeat = repeat;
        let program = self
            .object
            .ebpf
            .program_mut(name)
            .ok_or(KernelError::MissingProgram { name })?;
        let result = match program {
            Program::Xdp(program) => {
                if program.fd().is_err() {
                    program.load().map_err(failed)?;
                }
                program.test_run(options)
            }
            Program::CgroupSkb(program) => {
                if program.fd().is_err() {
                    program.load().map_err(failed)?;
                }
                program.test_run(options)
            }
            Program::SchedClassifier(program) => {
                if program.fd().is_err() {
                    program.load().map_err(failed)?;
                }
                program.test_run(options)
            }
            _ => return Err(KernelError::MissingProgram { name }),
        };
        let result = result.map_err(failed)?;
        Ok((result.return_value, result.duration))
    }

    /// Sends a frame through an XDP program of the object `repeat` times as the kernel receives frames
    /// (`BPF_F_TEST_XDP_LIVE_FRAMES`, 5.18), in batches of 64, and then into the stack of the loopback interface, which
    /// has no use for it. For tests and benches.
    pub fn live_frames(
        &mut self,
        name: &'static str,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Duration, KernelError> {
        use aya::{
            TestRun, TestRunOptions,
            programs::{Program, ProgramError, TestRunAttrs},
        };
        let failed = |source: ProgramError| KernelError::Program {
            name,
            source: Box::new(source),
        };
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        options.attrs = TestRunAttrs::new().xdp_live_frames(64);
        let Some(Program::Xdp(program)) = self.object.ebpf.program_mut(name) else {
            return Err(KernelError::MissingProgram { name });
        };
        if program.fd().is_err() {
            program.load().map_err(failed)?;
        }
        let start = Instant::now();
        program.test_run(options).map_err(failed)?;
        Ok(start.elapsed())
    }

    /// Attaches one more BTF tracepoint program, for benches; it goes with this value.
    #[doc(hidden)]
    pub fn attach_baseline(
        &mut self,
        name: &'static str,
        tracepoint: &'static str,
    ) -> Result<(), KernelError> {
        attach::attach_baseline(&mut self.object.ebpf, name, tracepoint)?;
        self.attachment.programs.push(Attached {
            program: name,
            hook: format!("tp_btf/{tracepoint}"),
        });
        Ok(())
    }

    /// Leaves a tc filter behind, for tests of the clean-up.
    #[doc(hidden)]
    pub fn leave_tc_filter(&mut self, interface: &str) -> Result<(), KernelError> {
        attach::leave_tc_filter(&mut self.object.ebpf, interface)
    }

    /// What the netcode benches put back before each packet.
    #[doc(hidden)]
    pub fn put_back_for_bench(&mut self, before: Before) -> Result<(), KernelError> {
        let map = self
            .object
            .ebpf
            .map_mut("BENCH")
            .ok_or(KernelError::MissingMap { name: "BENCH" })?;
        let failed = |source| KernelError::Map {
            name: "BENCH",
            source,
        };
        let mut map: Array<_, BeforePod> = Array::try_from(map).map_err(failed)?;
        map.set(0, BeforePod(before), 0).map_err(failed)
    }

    /// A packet each way for every made-up flow.
    #[doc(hidden)]
    pub fn move_for_bench(&mut self) {
        self.flows.move_for_bench();
    }

    /// Made-up flows for the drain bench.
    #[doc(hidden)]
    pub fn fill_for_bench(&mut self, server: ServerSlotId, flows: u32) -> Result<(), KernelError> {
        self.flows.fill_for_bench(server, flows)
    }
}
