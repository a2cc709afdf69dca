//! From a flow's key to its slot in a few nanoseconds: recently seen flows, and local addresses, found without a look-up
//! in a hash table.
//!
//! A line of the cache holds two slots with a tag each. What it names is believed only if the slot's own key is the key
//! of the packet; the agent clears the key of a slot before it frees it. Everything else goes to the hash table.

use gsmon_common::{
    flow::{FlowKey, RecentFlows},
    limits,
};

use crate::{
    globals,
    maps::{FLOW_RECENT, FLOW_SLOTS, FLOWS, LOCAL_RECENT},
};

/// Odd constants with well-spread bits: the multipliers of MurmurHash3's finaliser.
const MIX: [u64; 2] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];

#[inline(always)]
fn words(key: &FlowKey) -> [u64; 3] {
    // SAFETY: plain bytes of the same size, without padding.
    unsafe { core::mem::transmute::<FlowKey, [u64; 3]>(*key) }
}

/// Slot of a flow, `None` when it has none.
#[inline(always)]
pub fn slot_of(key: &FlowKey) -> Option<u32> {
    let words = words(key);
    let mut hash = (words[0].wrapping_mul(MIX[1]) ^ words[1] ^ globals::hash_seed()).wrapping_mul(MIX[0]);
    hash = (hash ^ hash >> 32 ^ words[2]).wrapping_mul(MIX[1]);
    let tag = (hash >> 52) as u32;
    let line = FLOW_RECENT.get_ptr_mut((hash >> 32) as u32 & (limits::RECENT_FLOWS - 1))?;
    // SAFETY: non-null map pointer; an aligned word is read and written as a whole.
    let recent = RecentFlows(unsafe { core::ptr::read_volatile(line.cast::<u64>()) });
    if let Some(slot) = recent.find(tag)
        && holds(slot, &words)
    {
        return Some(slot);
    }
    // SAFETY: the value is a u32 that is never changed in place.
    let slot = *unsafe { FLOWS.get(key) }?;
    // SAFETY: as above. Two CPUs may overwrite each other's entry: it is found in the table next time.
    unsafe { core::ptr::write_volatile(line.cast::<u64>(), recent.with(tag, slot).0) };
    Some(slot)
}

#[inline(always)]
fn holds(slot: u32, words: &[u64; 3]) -> bool {
    let Some(flow) = FLOW_SLOTS.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: non-null map pointer; the key is 8-aligned in its slot. A key that is being written equals neither its old
    // nor its new value until its last word, which is never zero.
    unsafe {
        let own = (&raw const (*flow).key).cast::<u64>();
        core::ptr::read_volatile(own.add(2)) == words[2]
            && core::ptr::read_volatile(own.add(1)) == words[1]
            && core::ptr::read_volatile(own) == words[0]
    }
}

/// Is this one of the local addresses that the agent has put where their last byte says?
#[inline(always)]
pub fn is_local(address: &[u32; 4]) -> bool {
    let Some(known) = LOCAL_RECENT.get(address[3].swap_bytes() & 0xff) else {
        return false;
    };
    // SAFETY: plain bytes of the same size.
    let known = unsafe { core::mem::transmute::<[u8; 16], [u32; 4]>(*known) };
    known[3] == address[3] && known[2] == address[2] && known[1] == address[1] && known[0] == address[0]
}
