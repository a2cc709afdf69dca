//! The programs: cgroup-skb, XDP and tc, in both directions where the hook has both.

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, xdp_action::XDP_PASS},
    helpers::bpf_get_prandom_u32,
    macros::{cgroup_skb, classifier, xdp},
    programs::{SkBuffContext, TcContext, XdpContext},
};
use gsmon_common::{
    flow::FlowKey,
    server::{HOST_FLAG, Mode, interface, port_index},
    stat::Stat,
};

use super::{
    Direction,
    account::{Load, Outside, account, add_outside},
    netcode::{BenchPacket, Netcode},
    packet::{
        Headers, Packet, SkbPacket, Unparsed, XdpPacket, address, header_bytes, parse_ethernet, parse_ip,
        tcp_flags,
    },
    recent,
    resolve::{by_host_port, by_socket},
};
use crate::{
    atomic::{add, count},
    globals,
    maps::{HOST_PORTS, INTERFACES, LOCAL_ADDRS, PORTS},
};

/// Ingress of every socket below the cgroup (`BPF_CGROUP_INET_INGRESS`, in `sk_filter`), kernel 4.10 and later.
#[cgroup_skb]
pub fn flow_cgroup_ingress(ctx: SkBuffContext) -> i32 {
    at_cgroup(&ctx, ctx.skb.skb, Direction::Receive);
    1
}

/// Egress of every socket below the cgroup (`BPF_CGROUP_INET_EGRESS`, in `ip_finish_output`, before fragmentation).
#[cgroup_skb]
pub fn flow_cgroup_egress(ctx: SkBuffContext) -> i32 {
    at_cgroup(&ctx, ctx.skb.skb, Direction::Transmit);
    1
}

/// Never attached: ingress with a remote address that varies from run to run, for benches.
#[cgroup_skb]
pub fn bench_flow_ingress(ctx: SkBuffContext) -> i32 {
    at_cgroup_from(
        &ctx,
        ctx.skb.skb,
        &SkbPacket(ctx.skb.skb),
        Direction::Receive,
        vary,
    );
    1
}

/// Never attached: egress, likewise.
#[cgroup_skb]
pub fn bench_flow_egress(ctx: SkBuffContext) -> i32 {
    at_cgroup_from(
        &ctx,
        ctx.skb.skb,
        &SkbPacket(ctx.skb.skb),
        Direction::Transmit,
        vary,
    );
    1
}

/// Never attached: ingress whose flow is put back before its netcode is read, as if each packet were the first of its kind.
#[cgroup_skb]
pub fn bench_netcode_ingress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    at_cgroup_from(&ctx, skb, &BenchPacket(skb), Direction::Receive, |remote| remote);
    1
}

/// Never attached: egress, likewise.
#[cgroup_skb]
pub fn bench_netcode_egress(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    at_cgroup_from(&ctx, skb, &BenchPacket(skb), Direction::Transmit, |remote| remote);
    1
}

#[inline(always)]
fn vary(mut remote: [u32; 4]) -> [u32; 4] {
    // SAFETY: a helper without arguments.
    remote[3] ^= unsafe { bpf_get_prandom_u32() } & globals::bench_flow_mask();
    remote
}

/// Ingress of one interface of the agent's own network namespace, before the firewall.
#[xdp]
pub fn flow_xdp_ingress(ctx: XdpContext) -> u32 {
    let packet = XdpPacket(ctx.ctx);
    match parse_ethernet(&packet) {
        Ok(headers) => at_host(&ctx, &packet, &headers, Direction::Receive, |headers, _| {
            (1, headers.ip_bytes as u64)
        }),
        Err(why) => refuse(why, (ctx.data_end() - ctx.data()) as u64),
    }
    XDP_PASS
}

/// Ingress of one interface through clsact, where neither XDP nor cgroup v2 is there.
#[classifier]
pub fn flow_tc_ingress(ctx: TcContext) -> i32 {
    at_tc(&ctx, Direction::Receive);
    TC_ACT_UNSPEC
}

/// Egress of one interface through clsact.
#[classifier]
pub fn flow_tc_egress(ctx: TcContext) -> i32 {
    at_tc(&ctx, Direction::Transmit);
    TC_ACT_UNSPEC
}

/// Goes on with the next filter.
const TC_ACT_UNSPEC: i32 = -1;

/// Counts what could not be read. Malformed packets never reach the cgroup hooks.
#[inline(always)]
fn refuse(why: Unparsed, bytes: u64) {
    let stat = match why {
        Unparsed::Other => return,
        Unparsed::Truncated => Stat::UnparsedTruncated,
        Unparsed::Fragment => Stat::UnparsedFragment,
        Unparsed::Extension => Stat::UnparsedExtension,
    };
    count(stat);
    add(Stat::UnparsedBytes, bytes);
}

/// Local and remote ports of a packet.
#[inline(always)]
fn split(headers: &Headers, direction: Direction) -> (u16, u16) {
    match direction {
        Direction::Receive => (headers.destination_port, headers.source_port),
        Direction::Transmit => (headers.source_port, headers.destination_port),
    }
}

#[inline(always)]
fn flow_key(
    server: u32,
    headers: &Headers,
    remote: [u32; 4],
    (local_port, remote_port): (u16, u16),
) -> FlowKey {
    FlowKey {
        // SAFETY: plain bytes of the same size.
        remote_addr: unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(remote) },
        server: server as u16,
        local_port,
        remote_port,
        protocol: headers.protocol(),
        pad: 0,
    }
}

/// Packets and bytes of an skb whose IP header is at `headers.ip`.
#[inline(always)]
fn skb_load(skb: *mut __sk_buff, packet: &SkbPacket, headers: &Headers) -> (u64, u64) {
    // SAFETY: the context is valid for the program's run.
    let (length, segments) = unsafe { ((*skb).len as u64, (*skb).gso_segs as u64) };
    let bytes = length - headers.ip as u64;
    if segments > 1 {
        (segments, bytes + (segments - 1) * header_bytes(packet, headers))
    } else {
        (1, bytes)
    }
}

#[inline(always)]
fn at_cgroup(ctx: &SkBuffContext, skb: *mut __sk_buff, direction: Direction) {
    at_cgroup_from(ctx, skb, &SkbPacket(skb), direction, |remote| remote);
}

#[inline(always)]
fn at_cgroup_from(
    ctx: &SkBuffContext,
    skb: *mut __sk_buff,
    payload: &impl Netcode,
    direction: Direction,
    remote_of: impl Fn([u32; 4]) -> [u32; 4],
) {
    let packet = SkbPacket(skb);
    let headers = match parse_ip(&packet, 0) {
        Ok(headers) => headers,
        // SAFETY: the context is valid for the program's run.
        Err(why) => return refuse(why, unsafe { (*skb).len } as u64),
    };
    let ports @ (local_port, _) = split(&headers, direction);
    let Some(entry) = PORTS.get(port_index(headers.is_tcp, local_port)) else {
        return;
    };
    if entry.mode == Mode::Closed as u32 {
        return;
    }
    let receiving = direction == Direction::Receive;
    let local = address(&packet, &headers, !receiving);
    let remote = remote_of(address(&packet, &headers, receiving));
    let found = by_socket(skb, entry, local, local_port, headers.protocol());
    let server = found & !HOST_FLAG;
    if server == 0 {
        return;
    }
    let (packets, bytes) = skb_load(skb, &packet, &headers);
    let load = Load {
        packets,
        bytes,
        tcp_flags: tcp_flags(&packet, &headers),
        ip: headers.ip as u32,
        udp: headers.udp(),
    };
    if found & HOST_FLAG != 0 {
        let counted = if receiving {
            interface::INGRESS_COUNTED
        } else {
            interface::EGRESS_COUNTED
        };
        // SAFETY: the context is valid for the program's run.
        let index = unsafe { (*skb).ifindex };
        if INTERFACES.get(index).copied().unwrap_or(0) & counted != 0 {
            return add_outside(server, direction, load, Outside::Delivered);
        }
    }
    account(
        ctx,
        payload,
        &flow_key(server, &headers, remote, ports),
        direction,
        load,
    );
}

#[inline(always)]
fn at_tc(ctx: &TcContext, direction: Direction) {
    let skb = ctx.skb.skb;
    let packet = SkbPacket(skb);
    // SAFETY: the context is valid for the program's run.
    let (index, length) = unsafe { ((*skb).ifindex, (*skb).len as u64) };
    let flags = INTERFACES.get(index).copied().unwrap_or(0);
    let parsed = if flags & interface::NO_LINK_HEADER != 0 {
        parse_ip(&packet, 0)
    } else {
        parse_ethernet(&packet)
    };
    match parsed {
        Ok(headers) => at_host(ctx, &packet, &headers, direction, |headers, packet| {
            skb_load(skb, packet, headers)
        }),
        Err(why) => refuse(why, length),
    }
}

/// Counts a packet of the agent's own network namespace at a hook without sockets.
#[inline(always)]
fn at_host<C: EbpfContext, P: Packet + Netcode>(
    ctx: &C,
    packet: &P,
    headers: &Headers,
    direction: Direction,
    measure: impl Fn(&Headers, &P) -> (u64, u64),
) {
    let ports @ (local_port, _) = split(headers, direction);
    let Some(entry) = HOST_PORTS.get(port_index(headers.is_tcp, local_port)) else {
        return;
    };
    if entry.mode == Mode::Closed as u32 {
        return;
    }
    let receiving = direction == Direction::Receive;
    let local = address(packet, headers, !receiving);
    let remote = address(packet, headers, receiving);
    // SAFETY: plain bytes of the same size; the map's value is not used.
    let is_local = recent::is_local(&local)
        || unsafe { LOCAL_ADDRS.get(core::mem::transmute::<[u32; 4], [u8; 16]>(local)) }.is_some();
    if !is_local {
        count(Stat::NotLocal);
        return;
    }
    let server = by_host_port(entry, local, local_port, headers.protocol()) & !HOST_FLAG;
    if server == 0 {
        return;
    }
    let (packets, bytes) = measure(headers, packet);
    let load = Load {
        packets,
        bytes,
        tcp_flags: tcp_flags(packet, headers),
        ip: headers.ip as u32,
        udp: headers.udp(),
    };
    account(
        ctx,
        packet,
        &flow_key(server, headers, remote, ports),
        direction,
        load,
    );
}
