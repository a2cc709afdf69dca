//! What probing a call costs the thread that makes it: measured once, on functions of the agent itself.
//!
//! It depends on the first instruction of the function. The kernel replaces it by a trap; what stood there it carries out
//! itself where it is a push, else it lets the thread run it alone with a second trap behind it, which is dear on virtual
//! machines.

use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    time::Instant,
};

use aya::Ebpf;
use gsmon_common::probe::ProbeSlot;

use super::{
    cap::Level,
    pairs::{Pair, Pairs},
};
use crate::kernel::slab::Slab;

/// Calls per round, and rounds: the fastest counts.
const ROUND_CALLS: u32 = 300;
const ROUNDS: u32 = 4;

/// Cost of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairCost {
    /// Counting it, nanoseconds.
    pub entry_ns: f64,
    /// Timing it, nanoseconds.
    pub pair_ns: f64,
}

/// How the kernel gets over the first instruction of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstInstruction {
    /// It carries it out.
    Emulated,
    /// The thread runs it alone, between two traps.
    Stepped,
}

impl FirstInstruction {
    /// Of the function at an offset of a file.
    pub fn at(file: &File, offset: u64) -> Self {
        let mut bytes = [0; 2];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Self::of(bytes),
            Err(_) => FirstInstruction::Stepped,
        }
    }

    /// Pushes of x86-64. What else the kernel carries out (and it does more from version to version) counts as stepped,
    /// which is the dearer of the two.
    fn of(bytes: [u8; 2]) -> Self {
        let is_push = |byte: u8| (0x50..=0x57).contains(&byte);
        let rex = (0x40..=0x4f).contains(&bytes[0]);
        if cfg!(target_arch = "x86_64") && (is_push(bytes[0]) || rex && is_push(bytes[1])) {
            FirstInstruction::Emulated
        } else {
            FirstInstruction::Stepped
        }
    }
}

/// Costs on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineCost {
    emulated: Option<PairCost>,
    stepped: Option<PairCost>,
}

impl MachineCost {
    /// Of a function; where its kind was not measured, the other kind must do.
    pub fn of(&self, first: FirstInstruction) -> Option<PairCost> {
        match first {
            FirstInstruction::Emulated => self.emulated.or(self.stepped),
            FirstInstruction::Stepped => self.stepped.or(self.emulated),
        }
    }
}

/// Measures with an unused slot.
pub fn measure(pairs: &mut Pairs, ebpf: &mut Ebpf, slots: &Slab<ProbeSlot>, slot: u32) -> MachineCost {
    let mut cost = MachineCost::default();
    let functions: [fn(u32) -> u32; 2] = [leaf, not_leaf];
    let Ok(executable) = File::open("/proc/self/exe") else {
        return cost;
    };
    for function in functions {
        let Some(offset) = own_offset(function as *const () as u64) else {
            continue;
        };
        let place = match FirstInstruction::at(&executable, offset) {
            FirstInstruction::Emulated => &mut cost.emulated,
            FirstInstruction::Stepped => &mut cost.stepped,
        };
        if place.is_none() {
            *place = measure_one(pairs, ebpf, slots, slot, function, offset);
        }
    }
    if cost == MachineCost::default() {
        tracing::warn!("the cost of a function probe cannot be measured here");
    }
    cost
}

fn measure_one(
    pairs: &mut Pairs,
    ebpf: &mut Ebpf,
    slots: &Slab<ProbeSlot>,
    slot: u32,
    function: fn(u32) -> u32,
    offset: u64,
) -> Option<PairCost> {
    let path = Path::new("/proc/self/exe");
    let own = std::process::id();
    let bare = fastest_round(function);
    let mut pair = Pair::default();
    let mut with = |pairs: &mut Pairs, level: Level| -> Option<f64> {
        // SAFETY: each projects a field of the value that the slab passes; programs only read them.
        unsafe {
            slots.write_field(slot as usize, |value| &raw mut (*value).timed_limit, u64::MAX);
            slots.write_field(
                slot as usize,
                |value| &raw mut (*value).timed_ratio,
                level.ratio(),
            );
            slots.write_field(slot as usize, |value| &raw mut (*value).tgid, own);
        }
        pairs
            .attach(ebpf, &mut pair, path, offset, own, slot, level)
            .ok()?;
        Some((fastest_round(function) - bare).max(0.0))
    };
    let entry_ns = with(pairs, Level::Counting);
    let pair_ns = with(pairs, Level::Timing(1.0));
    pairs.detach(ebpf, &mut pair, slot);
    Some(PairCost {
        entry_ns: entry_ns?,
        pair_ns: pair_ns?,
    })
}

/// Nanoseconds per call.
fn fastest_round(function: fn(u32) -> u32) -> f64 {
    let function = black_box(function);
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for n in 0..ROUND_CALLS {
                black_box(function(black_box(n)));
            }
            start.elapsed().as_nanos() as f64 / f64::from(ROUND_CALLS)
        })
        .fold(f64::MAX, f64::min)
}

/// Keeps nothing over a call: begins with its work.
#[inline(never)]
fn leaf(n: u32) -> u32 {
    n.wrapping_mul(3)
}

/// Keeps something over a call: begins with a push.
#[inline(never)]
fn not_leaf(n: u32) -> u32 {
    leaf(black_box(n)).wrapping_add(n)
}

/// Where an address of this process is in its executable.
fn own_offset(address: u64) -> Option<u64> {
    let executable = fs::read_link("/proc/self/exe").ok()?;
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (start, end) = (number(start)?, number(end)?);
        let in_file = number(fields.nth(1)?)?;
        let in_executable = line.ends_with(executable.to_str()?);
        (in_executable && (start..end).contains(&address)).then(|| address - start + in_file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn pushes_are_known() {
        for (bytes, first) in [
            ([0x55, 0x48], FirstInstruction::Emulated),
            ([0x41, 0x57], FirstInstruction::Emulated),
            ([0x48, 0x83], FirstInstruction::Stepped),
            ([0xf3, 0x0f], FirstInstruction::Stepped),
            ([0x41, 0x89], FirstInstruction::Stepped),
        ] {
            assert_eq!(FirstInstruction::of(bytes), first, "{bytes:x?}");
        }
    }

    #[test]
    fn functions_of_this_process_are_found_in_its_file() {
        let address = leaf as *const () as u64;
        let offset = own_offset(address).unwrap();
        assert_eq!(offset % 4_096, address % 4_096);
        assert_eq!(own_offset(1), None);
    }
}
