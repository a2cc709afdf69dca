//! What reading a format adds to the flow program: packet by packet of a stream, each with its flow put back to what the
//! packets before it had made of it, so that all of it counts: what is stamped, answered, sent again, or passed over.
//!
//! ENet, RakNet, KCP, Luanti, QUIC and Teeworlds are captures of published implementations (of Teeworlds the end of loading
//! and play, 25 snapshots and 22 inputs a second); the others are made here: 50 packets a second each way, 40 ms there and back.

use anyhow::{Context, Result};
use gsmon_agent::kernel::{Kernel, LayoutChoice, LayoutChoices, ServerSlotId, calm_one_in};
use gsmon_common::netcode::{
    Layout, NetcodeSlot, Way, decode,
    layouts::{Format, LayoutPlace},
    replay::Before,
};
use gsmon_tests::{PORT, packet::Spec};

use crate::{Row, programs::best_of};

#[path = "../../../../gsmon-common/src/netcode/captures.rs"]
mod captures;

const REPEAT: u32 = 100_000;
const RUNS: usize = 4;
/// Packets of a made stream, each way.
const MADE: u32 = 12;
/// There and back.
const ROUND_TRIP_MS: u32 = 40;
/// From one packet to the next.
const STEP_MS: u32 = 20;

struct Packet {
    at_ns: u64,
    way: Way,
    payload: Vec<u8>,
}

/// Nanoseconds of a packet: read by its format, and by one that fits nothing. The program is the same: two programs differ
/// by more than what is to be measured.
struct Cost {
    way: Way,
    read: f64,
    unread: f64,
}

impl Cost {
    fn net(&self) -> f64 {
        self.read - self.unread
    }
}

/// Nanoseconds per packet by format and way: the mean of the stream, and its dearest packet.
pub fn rows(kernel: &mut Kernel, server: ServerSlotId) -> Result<Vec<Row>> {
    let nothing = LayoutPlace::custom(0).context("the table has no room for a layout that fits nothing")?;
    kernel.set_layout(nothing, Layout::NONE)?;
    let sought = sought_in_vain(kernel, server, nothing)?;
    let mut rows = Vec::new();
    for (format, stream) in streams()? {
        let costs = measure(kernel, server, [format.into(), nothing], format, &stream)?;
        for (way, side) in [(Way::Up, "from"), (Way::Down, "to")] {
            let of_way: Vec<&Cost> = costs.iter().filter(|cost| cost.way == way).collect();
            let mean = |of: &dyn Fn(&Cost) -> f64| {
                of_way.iter().map(|cost| of(cost)).sum::<f64>() / of_way.len() as f64
            };
            let Some(worst) = of_way.iter().max_by(|a, b| a.net().total_cmp(&b.net())) else {
                continue;
            };
            let name = format.name();
            let (read, unread) = (
                mean(&|cost| cost.read),
                mean(&|cost| cost.unread) - sought[way as usize],
            );
            rows.push(Row::net(
                format!(
                    "netcode: {name} {side} a player, while read, mean of {}",
                    of_way.len()
                ),
                read,
                unread,
                None,
                "ns",
            ));
            // A flow that rests has no layout: that costs what a flow without netcode does.
            let one_in = calm_one_in(&format.layout());
            rows.push(Row::net(
                format!("netcode: {name} {side} a player, a calm line, read 1/{one_in} of the time"),
                (read - unread) / f64::from(one_in),
                0.0,
                Some(30.0),
                "ns",
            ));
            rows.push(Row::net(
                format!("netcode: {} {side} a player, dearest packet", format.name()),
                worst.read,
                worst.unread - sought[way as usize],
                None,
                "ns",
            ));
        }
    }
    Ok(rows)
}

/// What a format costs that fits nothing, by way: the same packet of a flow with it, and of one without any.
fn sought_in_vain(kernel: &mut Kernel, server: ServerSlotId, nothing: LayoutPlace) -> Result<[f64; 2]> {
    let mut costs = [0.0; 2];
    for (way, program) in [
        (Way::Up, "flow_cgroup_ingress"),
        (Way::Down, "flow_cgroup_egress"),
    ] {
        let packet = Packet {
            at_ns: 1_000_000_000,
            way,
            payload: source(way, 100, 0),
        };
        let of = |kernel: &mut Kernel, choice| -> Result<f64> {
            choose(kernel, server, choice)?;
            best_of(kernel, program, &frame(&packet), REPEAT, RUNS)
        };
        let with = of(kernel, LayoutChoice::One(nothing))?;
        costs[way as usize] = with - of(kernel, LayoutChoice::Off)?;
    }
    Ok(costs)
}

fn choose(kernel: &mut Kernel, server: ServerSlotId, choice: LayoutChoice) -> Result<()> {
    kernel.choose_layouts(server, &LayoutChoices::on(PORT, choice));
    let packet = Packet {
        at_ns: 0,
        way: Way::Up,
        payload: source(Way::Up, 0, 0),
    };
    for _ in 0..2 {
        kernel.test_run("flow_cgroup_ingress", &frame(&packet), 1)?;
        kernel.drain();
    }
    Ok(())
}

fn measure(
    kernel: &mut Kernel,
    server: ServerSlotId,
    places: [LayoutPlace; 2],
    format: Format,
    stream: &[Packet],
) -> Result<Vec<Cost>> {
    let mut times = Vec::new();
    for place in places {
        choose(kernel, server, LayoutChoice::One(place))?;
        times.push(time(kernel, format, stream)?);
    }
    let [read, unread] = &times[..] else {
        return Ok(Vec::new());
    };
    let costs = stream.iter().zip(read.iter().zip(unread));
    Ok(costs
        .map(|(packet, (read, unread))| Cost {
            way: packet.way,
            read: *read,
            unread: *unread,
        })
        .collect())
}

/// Nanoseconds of each packet, each with its flow put back to what the packets before it had made of it.
fn time(kernel: &mut Kernel, format: Format, stream: &[Packet]) -> Result<Vec<f64>> {
    let layout = format.layout();
    let mut slot = NetcodeSlot::EMPTY;
    let mut times = Vec::new();
    for packet in stream {
        let before = slot;
        let length = packet.payload.len() as u32;
        decode(
            &packet.payload[..],
            length,
            &layout,
            packet.way,
            packet.at_ns,
            &mut slot,
        );
        kernel.put_back_for_bench(Before::new(&before, &slot, packet.at_ns))?;
        let program = match packet.way {
            Way::Up => "bench_netcode_ingress",
            Way::Down => "bench_netcode_egress",
        };
        times.push(best_of(kernel, program, &frame(packet), REPEAT, RUNS)?);
    }
    Ok(times)
}

fn frame(packet: &Packet) -> Vec<u8> {
    let spec = Spec {
        payload: packet.payload.len(),
        ..Spec::udp()
    };
    let spec = if packet.way == Way::Down {
        spec.back()
    } else {
        spec
    };
    let mut frame = spec.build();
    let start = frame.len() - packet.payload.len();
    frame[start..].copy_from_slice(&packet.payload);
    frame
}

fn streams() -> Result<Vec<(Format, Vec<Packet>)>> {
    let kcp = captured(captures::KCP)?;
    let behind_header = kcp
        .iter()
        .map(|packet| Packet {
            payload: [&[1, 0, 0, 0, 0][..], &packet.payload].concat(),
            ..*packet
        })
        .collect();
    let raknet = [captures::RAKNET, captures::RAKNET_RANGE].map(captured);
    let [raknet, range] = raknet;
    Ok(vec![
        (Format::ENet, captured(captures::ENET)?),
        (Format::RakNet, raknet?.into_iter().chain(range?).collect()),
        (Format::Kcp, kcp),
        (Format::Kcp2k, behind_header),
        (Format::LiteNetLib, made(litenetlib)),
        (Format::Luanti, captured(captures::LUANTI)?),
        (Format::Quic, captured(captures::QUIC)?),
        (Format::Teeworlds, captured(captures::TEEWORLDS)?),
        (Format::UnityTransport, made(unity_transport)),
        (Format::Unreal5, made(unreal5)),
        (Format::Source, made(source)),
        (Format::Quake3, made(source)),
    ])
}

fn captured(seen: &[captures::Seen]) -> Result<Vec<Packet>> {
    seen.iter()
        .map(|(at_us, way, hex)| {
            let payload = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16))
                .collect::<Result<_, _>>()?;
            Ok(Packet {
                at_ns: at_us * 1_000,
                way: *way,
                payload,
            })
        })
        .collect()
}

/// Both ways by turns; `payload` has the number of the packet and, of the client's, what it acknowledges.
fn made(payload: fn(Way, u32, u32) -> Vec<u8>) -> Vec<Packet> {
    let mut stream = Vec::new();
    for number in 0..MADE {
        let at_ms = 1_000 + number * STEP_MS;
        let at = |ms: u32| u64::from(ms) * 1_000_000;
        stream.push(Packet {
            at_ns: at(at_ms),
            way: Way::Down,
            payload: payload(Way::Down, 100 + number, 0),
        });
        let back = number.saturating_sub(ROUND_TRIP_MS / STEP_MS);
        stream.push(Packet {
            at_ns: at(at_ms) + 500_000,
            way: Way::Up,
            payload: payload(Way::Up, 200 + number, 100 + back),
        });
    }
    stream
}

fn source(_: Way, number: u32, acknowledged: u32) -> Vec<u8> {
    let mut payload = [number, acknowledged].map(u32::to_le_bytes).concat();
    payload.resize(60, 0);
    payload
}

fn unreal5(_: Way, number: u32, acknowledged: u32) -> Vec<u8> {
    // Two packed words behind six bits of session: acknowledged, number, and a history in which all arrived.
    let packed = u64::from(acknowledged) << 10 | u64::from(number) << 24 | u64::from(u32::MAX >> 6) << 38;
    let mut payload = packed.to_le_bytes().to_vec();
    payload.resize(60, 0);
    payload
}

fn unity_transport(_: Way, number: u32, acknowledged: u32) -> Vec<u8> {
    let mut payload = vec![1, 1, 2, 3, 4, 5, 6, 7, 8, 3, 0, 8];
    for word in [12, number, acknowledged] {
        payload.extend((word as u16).to_le_bytes());
    }
    payload.extend(u64::MAX.to_le_bytes());
    payload.resize(60, 0);
    payload
}

/// Two reliable packets in one datagram; now and then a ping and its pong.
fn litenetlib(way: Way, number: u32, acknowledged: u32) -> Vec<u8> {
    let [number, acknowledged] = [number, acknowledged].map(|word| (word as u16).to_le_bytes());
    if number[0] % 4 == 0 && way == Way::Down {
        return [&[4][..], &number].concat();
    }
    if acknowledged[0] % 4 == 0 && way == Way::Up {
        return [&[5][..], &acknowledged, &[0; 8]].concat();
    }
    let double = u16::from_le_bytes(number) * 2;
    let reliable = |number: u16| {
        let [low, high] = number.to_le_bytes();
        [7, 0, 1, low, high, 0, 42, 42, 42]
    };
    [&[13][..], &reliable(double), &reliable(double + 1)].concat()
}
