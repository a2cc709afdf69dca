//! What threads finished of probed functions between two of their sleeps: rings that the programs fill, one per thread
//! and slot. Not here: which of these sums belong to one tick (world).

use std::collections::HashMap;

use gsmon_common::{
    limits,
    probe::{CALL_BATCHES, CallBatch, CallRing},
};

use super::super::{
    KernelError,
    object::{FreeStack, Object},
    slab::Slab,
};

/// Batches of a ring that can be read: the one after the newest may be being written.
const READABLE: u64 = CALL_BATCHES as u64 - 1;

/// Calls that one thread finished between two of its sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSum {
    /// CLOCK_MONOTONIC at the entry of the first.
    pub start_ns: u64,
    /// Wall time of those that are new since the last drain.
    pub time_ns: u64,
}

/// What the rings of one slot hold that is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotSums {
    /// By ring, oldest first.
    pub sums: Vec<CallSum>,
    /// Batches that were overwritten before anybody read them.
    pub overwritten: u64,
}

/// How far a ring has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    head: u64,
    /// Time of the newest batch then: it may have grown since.
    newest_ns: u32,
}

/// All rings.
pub struct CallRings {
    rings: Slab<CallRing>,
    free: FreeStack,
    /// No ring above has ever been used: they are given out from the first.
    highest: u32,
    seen: HashMap<u32, Seen>,
}

impl CallRings {
    /// Maps them; all are free.
    pub fn new(object: &mut Object) -> Result<Self, KernelError> {
        let mut free: FreeStack = object.take("CALL_RING_FREE")?;
        for ring in (1..limits::CALL_RINGS).rev() {
            free.push(ring, 0).map_err(|source| KernelError::Map {
                name: "CALL_RING_FREE",
                source,
            })?;
        }
        Ok(Self {
            rings: object.slab("CALL_RINGS", limits::CALL_RINGS)?,
            free,
            highest: 0,
            seen: HashMap::new(),
        })
    }

    /// What is new, by slot.
    pub fn read(&mut self) -> HashMap<u32, SlotSums> {
        while self.highest + 1 < limits::CALL_RINGS && self.slot(self.highest + 1) != 0 {
            self.highest += 1;
        }
        let mut slots: HashMap<u32, SlotSums> = HashMap::new();
        for ring in 1..=self.highest {
            let slot = self.slot(ring);
            if slot != 0 {
                self.read_one(ring, slots.entry(slot).or_default());
            }
        }
        slots
    }

    fn slot(&self, ring: u32) -> u32 {
        self.rings
            // SAFETY: projects a field of the value that the slab passes.
            .read_field(ring as usize, |ring| unsafe { &raw mut (*ring).slot })
            .unwrap_or(0)
    }

    fn batch(&self, ring: u32, number: u64) -> CallBatch {
        let position = number as usize & (CALL_BATCHES - 1);
        self.rings
            // SAFETY: projects an element of the value that the slab passes; the position is inside the array.
            .read_field(ring as usize, |ring| unsafe {
                (&raw mut (*ring).batches).cast::<CallBatch>().add(position)
            })
            .unwrap_or_default()
    }

    fn read_one(&mut self, ring: u32, into: &mut SlotSums) {
        let head = self
            .rings
            // SAFETY: projects a field of the value that the slab passes.
            .read_field(ring as usize, |ring| unsafe { &raw mut (*ring).head })
            .unwrap_or(0);
        if head == 0 {
            return;
        }
        let seen = self.seen.get(&ring).copied().unwrap_or_default();
        let oldest = head.saturating_sub(READABLE);
        into.overwritten += oldest.saturating_sub(seen.head);
        let mut newest_ns = 0;
        for number in oldest.max(seen.head.saturating_sub(1))..head {
            let batch = self.batch(ring, number);
            let known_ns = if number + 1 == seen.head {
                seen.newest_ns
            } else {
                0
            };
            let time_ns = u64::from(batch.time_ns.saturating_sub(known_ns));
            if number >= seen.head || time_ns > 0 {
                into.sums.push(CallSum {
                    start_ns: batch.start_ns,
                    time_ns,
                });
            }
            newest_ns = batch.time_ns;
        }
        self.seen.insert(ring, Seen { head, newest_ns });
    }

    /// Gives back the ring of a thread that has none of it any more: no program writes to it.
    pub fn give_back(&mut self, ring: u32) {
        if ring == 0 || ring >= limits::CALL_RINGS {
            return;
        }
        self.seen.remove(&ring);
        // SAFETY: each projects a field of the value that the slab passes.
        unsafe {
            self.rings
                .write_field(ring as usize, |ring| &raw mut (*ring).head, 0);
            self.rings
                .write_field(ring as usize, |ring| &raw mut (*ring).slot, 0);
        }
        if self.free.push(ring, 0).is_err() {
            tracing::warn!(ring, "a ring of probed calls could not be given back");
        }
    }

    /// How often a value was asked for whose part of the table could not be mapped.
    pub fn refused(&self) -> u64 {
        self.rings.refused()
    }

    /// Rings in use, as of the last drain.
    pub fn used(&self) -> u64 {
        self.seen.len() as u64
    }
}
