//! The netcode tier: which layout each flow is read by, the table of layouts, and what was read since the last look.
//!
//! A netcode slot has the number of its flow's detail slot. Counters are monotonic; here they become differences. Which
//! layout a server's flows get is decided above, and applied at the next drain.

use std::time::Duration;

use gsmon_common::{
    flow::FlowKey,
    netcode::{
        Layout, NetcodeCounts, NetcodeSlot, RTT_BUCKETS,
        layouts::{Format, LAYOUTS, LayoutPlace},
    },
};

use super::{
    KernelError,
    attention::{Attention, Budget, OneIn, Together, Turn},
    object::{KernelArray, Object},
    slab::Slab,
};
use crate::config::NetcodeSampling;

/// Readings per drain. Where there are more flows, each is read every second, third, ... drain.
const READINGS: usize = 1_024;

/// By which layouts the flows of one port of a server are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LayoutChoice {
    /// By none.
    #[default]
    Off,
    /// All by one.
    One(LayoutPlace),
    /// Each by another one, to find out which fits.
    Trial(Vec<LayoutPlace>),
}

impl LayoutChoice {
    /// That of the flow with this detail slot.
    fn of(&self, slot: u32) -> LayoutPlace {
        match self {
            Self::Off => LayoutPlace::NONE,
            Self::One(place) => *place,
            Self::Trial(places) if places.is_empty() => LayoutPlace::NONE,
            Self::Trial(places) => places[slot as usize % places.len()],
        }
    }
}

/// By which layouts a server's flows are read: by its local ports. A port that is not in here is read by none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayoutChoices(Vec<(u16, LayoutChoice)>);

impl LayoutChoices {
    /// On one port this, on others nothing.
    pub fn on(port: u16, choice: LayoutChoice) -> Self {
        Self(vec![(port, choice)])
    }

    /// That of a port.
    pub fn of(&self, port: u16) -> &LayoutChoice {
        const OFF: &LayoutChoice = &LayoutChoice::Off;
        let found = self.0.iter().find(|(known, _)| *known == port);
        found.map_or(OFF, |(_, choice)| choice)
    }

    /// That of a port from now on.
    pub fn set(&mut self, port: u16, choice: &LayoutChoice) {
        match self.0.iter_mut().find(|(known, _)| *known == port) {
            Some((_, known)) if known == choice => {}
            Some((_, known)) => known.clone_from(choice),
            None => self.0.push((port, choice.clone())),
        }
    }

    /// Only ports for which `keeps` says so.
    pub fn retain(&mut self, keeps: impl Fn(u16) -> bool) {
        self.0.retain(|(port, _)| keeps(*port));
    }
}

/// What the packets of one flow said since it was read last.
#[derive(Clone, Debug, PartialEq)]
pub struct NetcodeReading {
    /// Whose.
    pub key: FlowKey,
    /// By which layout.
    pub layout: LayoutPlace,
    /// Counters and states now.
    pub now: NetcodeCounts,
    /// As of the last reading; all zero for the first.
    pub before: NetcodeCounts,
    /// Round trips since then, by bucket of `hist::RTT`.
    pub rtt: Vec<(u16, u32)>,
    /// Share of the time in which the flow's packets are read: 1, or less where a calm line rests in between.
    pub share: f64,
}

#[derive(Clone)]
struct Base {
    layout: LayoutPlace,
    counts: NetcodeCounts,
    rtt: [u32; RTT_BUCKETS],
    attention: Attention,
}

const UNREAD: Base = Base {
    layout: LayoutPlace::NONE,
    counts: NetcodeSlot::EMPTY.counts,
    rtt: [0; RTT_BUCKETS],
    attention: Attention::NEW,
};

// SAFETY: `repr(C)`, integers only.
unsafe impl aya::Pod for LayoutPod {}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct LayoutPod(Layout);

/// The netcode tables.
pub(super) struct NetcodeTable {
    slots: Slab<NetcodeSlot>,
    layouts: KernelArray<LayoutPod>,
    /// Of each layout in the table, as kernel programs have it.
    numbers: Vec<u32>,
    /// Of each layout in the table: how much of a calm line is read.
    one_in: Vec<OneIn>,
    sampling: NetcodeSampling,
    bases: Vec<Base>,
    choices: Vec<LayoutChoices>,
    /// Flows that have a layout.
    pub used: usize,
    /// Of them, those that rest.
    pub resting: usize,
    /// How the lines of each server fare in this drain, and of which servers all are to be read again since the last.
    together: Vec<Together>,
    roused: Vec<bool>,
    budget: Budget,
    drains: usize,
}

impl NetcodeTable {
    /// Takes the maps and fills in the formats that are known.
    pub fn new(object: &mut Object, sampling: NetcodeSampling) -> Result<Self, KernelError> {
        let limits = object.options.limits;
        let servers = limits.servers as usize + 1;
        let mut table = Self {
            slots: object.slab("NETCODE", limits.details + 1)?,
            layouts: object.take("LAYOUTS")?,
            numbers: vec![0; LAYOUTS as usize],
            one_in: vec![OneIn::of(&Layout::NONE); LAYOUTS as usize],
            sampling,
            bases: Vec::new(),
            choices: vec![LayoutChoices::default(); servers],
            used: 0,
            resting: 0,
            together: vec![Together::default(); servers],
            roused: vec![false; servers],
            budget: Budget::default(),
            drains: 0,
        };
        for format in Format::ALL {
            table.set_layout(format.into(), format.layout())?;
        }
        Ok(table)
    }

    /// Puts a layout into the table. What is read by another one there goes on without a break.
    pub fn set_layout(&mut self, place: LayoutPlace, layout: Layout) -> Result<(), KernelError> {
        if let Some(number) = self.numbers.get_mut(place.index() as usize) {
            *number = place.number(&layout);
        }
        if let Some(one_in) = self.one_in.get_mut(place.index() as usize) {
            *one_in = OneIn::of(&layout);
        }
        self.layouts
            .set(place.index(), LayoutPod(layout), 0)
            .map_err(|source| KernelError::Map {
                name: "LAYOUTS",
                source,
            })
    }

    /// From the next drain on.
    pub fn choose(&mut self, server: u32, choices: &LayoutChoices) {
        if let Some(known) = self.choices.get_mut(server as usize)
            && known != choices
        {
            known.clone_from(choices);
        }
    }

    /// How often a part of the table could not be mapped.
    pub fn refused(&self) -> u64 {
        self.slots.refused()
    }

    /// From the next drain on.
    pub fn set_sampling(&mut self, sampling: NetcodeSampling) {
        self.sampling = sampling;
    }

    /// `elapsed` after the one before.
    pub fn begin_drain(&mut self, elapsed: Duration) {
        self.drains += 1;
        self.budget.close(elapsed);
        for (together, roused) in self.together.iter_mut().zip(&mut self.roused) {
            *roused = std::mem::take(together).wakes_all();
        }
    }

    /// Is this flow read by any layout?
    pub fn reads(&self, detail: u32) -> bool {
        self.bases
            .get(detail as usize)
            .is_some_and(|base| base.layout != LayoutPlace::NONE)
    }

    /// The layout that a flow is to be read by from now on, where it is another one.
    pub fn change(&mut self, key: &FlowKey, detail: u32) -> Option<LayoutPlace> {
        let wanted = self
            .choices
            .get(usize::from(key.server))
            .map_or(LayoutPlace::NONE, |choices| choices.of(key.local_port).of(detail));
        let index = detail as usize;
        let known = self
            .bases
            .get(index)
            .map_or(LayoutPlace::NONE, |base| base.layout);
        (wanted != known).then_some(wanted)
    }

    /// How kernel programs are told of a layout.
    pub fn number(&self, layout: LayoutPlace) -> u32 {
        self.numbers.get(layout.index() as usize).copied().unwrap_or(0)
    }

    /// Makes a slot ready for a layout, when no program reads by the former one.
    pub fn begin(&mut self, detail: u32, layout: LayoutPlace) {
        let index = detail as usize;
        if self.bases.len() <= index {
            self.bases.resize(index + 1, UNREAD);
        }
        let before = std::mem::replace(&mut self.bases[index], UNREAD);
        self.bases[index].layout = layout;
        self.used += usize::from(layout != LayoutPlace::NONE);
        self.used -= usize::from(before.layout != LayoutPlace::NONE);
        self.resting -= usize::from(before.attention.rests());
        if layout != LayoutPlace::NONE {
            self.slots.set(index, NetcodeSlot::EMPTY);
        }
    }

    /// What is to be done with a flow in a drain that has seen so many packets of it.
    pub fn turn(&mut self, key: &FlowKey, detail: u32, elapsed: Duration, packets: u64) -> Turn {
        let Some(base) = self.bases.get_mut(detail as usize) else {
            return Turn::Rest;
        };
        if base.layout == LayoutPlace::NONE {
            return Turn::Rest;
        }
        self.budget.carry(packets);
        let roused = self.roused.get(usize::from(key.server)).copied().unwrap_or(false);
        if roused || self.sampling == NetcodeSampling::Always {
            base.attention.rouse();
        }
        base.attention.turn(elapsed)
    }

    /// Lets a flow rest that was read for long enough. True when a rest begins. While formats are tried, none rests.
    pub fn settle(&mut self, key: &FlowKey, detail: u32) -> bool {
        let chosen = self
            .choices
            .get(usize::from(key.server))
            .is_some_and(|choices| matches!(choices.of(key.local_port), LayoutChoice::One(_)));
        let Some(base) = self.bases.get_mut(detail as usize) else {
            return false;
        };
        let Some(one_in) = self.one_in.get(base.layout.index() as usize) else {
            return false;
        };
        let rests = chosen
            && self.sampling == NetcodeSampling::Sampled
            && base.attention.settle(*one_in, self.budget);
        self.resting += usize::from(rests);
        rests
    }

    /// Makes the slot of a flow that rests ready to be read on. No program has written there since the drain before: what
    /// comes next is held against nothing that came before. How kernel programs are told.
    pub fn wake(&mut self, detail: u32) -> u32 {
        self.resting -= 1;
        // SAFETY: projects a field of the value that the slab passes.
        self.slots.write_field(
            detail as usize,
            |slot| unsafe { &raw mut (*slot).counts.state },
            0u32,
        );
        self.bases
            .get(detail as usize)
            .map_or(0, |base| self.number(base.layout))
    }

    /// What was read of a flow, if it is its turn.
    pub fn read(&mut self, key: FlowKey, detail: u32) -> Option<NetcodeReading> {
        let turns = (self.used - self.resting).div_ceil(READINGS).max(1);
        // All flows of a server at once: the others' pictures stay as they are.
        if !(self.drains + usize::from(key.server)).is_multiple_of(turns) {
            return None;
        }
        let index = detail as usize;
        let base = self.bases.get_mut(index)?;
        if base.layout == LayoutPlace::NONE {
            return None;
        }
        // SAFETY: projects a field of the value that the slab passes.
        let now = self
            .slots
            .read_field(index, |slot| unsafe { &raw mut (*slot).counts })?;
        let before = std::mem::replace(&mut base.counts, now);
        let mood = base.attention.hear(&before, &now);
        if let Some(one_in) = self.one_in.get(base.layout.index() as usize) {
            let noted = |counts: &NetcodeCounts| counts.read.wrapping_add(counts.unread);
            self.budget
                .spend(u64::from(noted(&now).wrapping_sub(noted(&before))), *one_in);
        }
        if let Some(together) = self.together.get_mut(usize::from(key.server)) {
            together.add(mood);
        }
        let mut rtt = Vec::new();
        if now.rtt_samples != before.rtt_samples {
            // SAFETY: as above.
            let counts: [u32; RTT_BUCKETS] = self
                .slots
                .read_field(index, |slot| unsafe { &raw mut (*slot).rtt })?;
            for (bucket, (now, before)) in counts.iter().zip(&base.rtt).enumerate() {
                let new = now.wrapping_sub(*before);
                if new > 0 {
                    rtt.push((bucket as u16, new));
                }
            }
            base.rtt = counts;
            // The shortest is of the time between two looks.
            // SAFETY: as above.
            self.slots
                .write_field(index, |slot| unsafe { &raw mut (*slot).counts.rtt_min_us }, 0u32);
        }
        Some(NetcodeReading {
            key,
            layout: base.layout,
            now,
            before,
            rtt,
            share: base.attention.share(),
        })
    }
}
