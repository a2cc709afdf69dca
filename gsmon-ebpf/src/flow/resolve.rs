//! From a packet to its server: by port and scope where a port has one server, by table where several share it.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_skb_cgroup_id},
};
use gsmon_common::server::{EndpointKey, EndpointKind, Mode, PortEntry, ScopeKind};

use crate::{globals, maps::ENDPOINTS};

/// Scope of the packet's socket.
#[inline(always)]
fn scope(skb: *mut __sk_buff) -> u64 {
    // SAFETY: both helpers take the context and return 0 when there is no full socket.
    unsafe {
        if globals::scope_kind() == ScopeKind::Netns as u32 {
            bpf_get_netns_cookie(skb.cast())
        } else {
            bpf_skb_cgroup_id(skb)
        }
    }
}

/// Server (with its host flag) of a packet whose socket is known; 0 when it is nobody's.
#[inline(always)]
pub fn by_socket(skb: *mut __sk_buff, entry: &PortEntry, local: [u32; 4], port: u16, protocol: u8) -> u32 {
    if entry.mode == Mode::Single as u32 {
        return if scope(skb) == entry.scope {
            entry.server
        } else {
            0
        };
    }
    // SAFETY: the helper takes the context and returns 0 when there is no socket.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let mut key = EndpointKey {
        scope: cookie,
        addr: [0; 16],
        port: 0,
        protocol: 0,
        kind: EndpointKind::Cookie as u8,
        pad: 0,
    };
    if let Some(server) = look_up(&key) {
        return server;
    }
    key.scope = scope(skb);
    key.kind = EndpointKind::Scope as u8;
    by_address(&mut key, local, port, protocol)
}

/// Server of a packet to the agent's own network namespace, at a hook without sockets.
#[inline(always)]
pub fn by_host_port(entry: &PortEntry, local: [u32; 4], port: u16, protocol: u8) -> u32 {
    if entry.mode == Mode::Single as u32 {
        return entry.server;
    }
    let mut key = EndpointKey {
        kind: EndpointKind::Host as u8,
        ..EndpointKey::default()
    };
    by_address(&mut key, local, port, protocol)
}

#[inline(always)]
fn by_address(key: &mut EndpointKey, local: [u32; 4], port: u16, protocol: u8) -> u32 {
    key.port = port;
    key.protocol = protocol;
    // SAFETY: plain bytes of the same size.
    key.addr = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(local) };
    if let Some(server) = look_up(key) {
        return server;
    }
    key.addr = [0; 16];
    look_up(key).unwrap_or(0)
}

#[inline(always)]
fn look_up(key: &EndpointKey) -> Option<u32> {
    // SAFETY: the value is a u32 that the agent replaces as a whole.
    unsafe { ENDPOINTS.get(key) }.copied()
}
