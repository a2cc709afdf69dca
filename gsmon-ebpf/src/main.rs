//! gsmon's kernel programs, one file per hook family. Written for the running kernel: offsets of kernel fields come
//! from its BTF at load time ([`globals`]), and every program only adds to counters that the agent maps into memory.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(
    internal_features,
    reason = "the BPF target has no stable atomic add that ignores the old value"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod atomic;
mod baseline;
mod flow;
mod globals;
mod maps;
mod probe;
mod process;
mod sched;
mod softirq;
mod task;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
