//! Leaks: planted ones are found in time, stable servers are left alone, and what cannot be told is said to be so.

use gsmon_agent::{
    analysis::scaling::{LeakVerdict, find_leak},
    history::{Frame, Measure},
};

use super::{Figure, Strictness, each_seed, made::Noise};

/// How a server uses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// Takes what players need.
    Plain,
    /// Grows and is swept, every few minutes a little, every hour or so all.
    Collected,
    /// Maps files that fill up slowly, and tells nothing of anonymous memory.
    PageCache,
    /// Follows players through the day, and keeps what it once took for a while.
    Daily,
    /// Touched in advance.
    PreTouched,
}

const STABLE: [Memory; 4] = [Memory::Plain, Memory::Collected, Memory::PageCache, Memory::Daily];
const MINUTE_MS: i64 = 60_000;
const LEVEL: f64 = 2e9;

/// Minutes of a server; `leak` is the share of its first level that is lost per hour.
fn minutes(memory: Memory, minutes: usize, leak: f64, noise: &mut Noise) -> Vec<Frame> {
    let (mut slow, mut wanders, mut kept, mut heap, mut old) =
        (noise.normal(), 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    let phase = noise.uniform() * 24.0;
    let sweep_at = 0.25 + 0.2 * noise.uniform();
    (0..minutes)
        .map(|minute| {
            let hours = minute as f64 / 60.0;
            let day = (std::f64::consts::TAU * (hours + phase) / 24.0).sin();
            wanders = 0.98 * wanders + 0.2 * noise.normal();
            // Only where days are asked for does the time of day decide how many play.
            let swing = if memory == Memory::Daily {
                14.0 * day
            } else {
                3.0 * wanders
            };
            let players = (20.0 + swing + 3.0 * wanders).clamp(0.0, 60.0).round();
            slow = 0.95 * slow + (1.0f64 - 0.95 * 0.95).sqrt() * noise.normal();
            kept += (players - kept) / 40.0;
            let warm = 0.25 * (1.0 - (-hours / 0.4).exp());
            let used = LEVEL * (0.7 + warm + leak * hours + 0.003 * slow + 0.000_5 * noise.normal());
            let with_players = used + 4e6 * players;
            let bytes = match memory {
                Memory::Plain => with_players,
                Memory::Daily => used + 12e6 * kept,
                Memory::PageCache => with_players + LEVEL * 0.6 * (1.0 - (-hours / 5.0).exp()),
                Memory::PreTouched => 2.0 * LEVEL,
                Memory::Collected => {
                    heap += LEVEL * (0.01 + 0.001 * players) * (0.7 + 0.6 * noise.uniform());
                    if heap > sweep_at * LEVEL {
                        // A small sweep leaves a little; when that has become much, all is swept.
                        old += 0.02 * LEVEL;
                        if old > 0.15 * LEVEL {
                            old = 0.0;
                        }
                        heap = 0.0;
                    }
                    with_players + heap + old
                }
            };
            let mut frame = Frame::new(1_700_000_000_000 + minute as i64 * MINUTE_MS, 60.0)
                .with(Measure::Players, players)
                .with(Measure::RssBytes, bytes);
            if memory != Memory::PageCache {
                frame.set(Measure::RssAnonymousBytes, Some(bytes));
            }
            frame.begins_anew = minute == 0;
            frame
        })
        .collect()
}

fn verdict(frames: &[Frame]) -> Option<LeakVerdict> {
    find_leak(frames, None).ok().map(|report| report.verdict)
}

/// Every six hours the last day (and, once a week, the whole of it) is looked at, `weeks` server-weeks long.
pub fn leaks(weeks: u64, threads: usize, strictness: Strictness) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut all = 0.0;
    for memory in STABLE {
        let own = weeks / STABLE.len() as u64;
        let wrong: usize = each_seed(own, threads, |seed| {
            let week = minutes(memory, 7 * 1_440, 0.0, &mut Noise::new(seed * 16 + memory as u64));
            let days = (6..=7 * 24)
                .step_by(6)
                .map(|hour| (hour.max(24) - 24) * 60..hour * 60);
            let looks = days.chain(std::iter::once(0..week.len()));
            looks
                .filter(|range| verdict(&week[range.clone()]) == Some(LeakVerdict::Leak))
                .count()
        })
        .into_iter()
        .sum();
        all += wrong as f64;
        figures.push(Figure::told(
            format!("false leaks per 100 server-weeks, {memory:?}").to_lowercase(),
            wrong as f64 * 100.0 / own.max(1) as f64,
        ));
    }
    let weeks = weeks / STABLE.len() as u64 * STABLE.len() as u64;
    figures.push(Figure::within(
        "false leaks per 100 server-weeks, all (29 looks a week)",
        all * 100.0 / weeks.max(1) as f64,
        0.0,
        match strictness {
            Strictness::Promised => 1.0,
            // One of few weeks is a large share of a hundred.
            Strictness::Smoke => 3.0,
        },
    ));
    for memory in [Memory::Plain, Memory::Daily] {
        let found = each_seed(weeks, threads, |seed| {
            let frames = minutes(memory, 360, 0.01, &mut Noise::new(seed * 16 + 9 + memory as u64));
            f64::from(u8::from(verdict(&frames) == Some(LeakVerdict::Leak)))
        });
        let share = found.iter().sum::<f64>() / found.len().max(1) as f64;
        let name = format!("planted 1 %/h found within 6 h, {memory:?}").to_lowercase();
        figures.push(match memory {
            Memory::Plain => Figure::within(name, share, strictness.found(), 1.0),
            _ => Figure::told(name, share),
        });
    }
    let collected = each_seed(weeks, threads, |seed| {
        let frames = minutes(Memory::Collected, 1_440, 0.01, &mut Noise::new(seed * 16 + 13));
        f64::from(u8::from(verdict(&frames) == Some(LeakVerdict::Leak)))
    });
    figures.push(Figure::told(
        "planted 1 %/h found within 24 h, with a collector",
        collected.iter().sum::<f64>() / collected.len().max(1) as f64,
    ));
    let touched = each_seed(weeks, threads, |seed| {
        let frames = minutes(Memory::PreTouched, 720, 0.01, &mut Noise::new(seed));
        f64::from(u8::from(matches!(
            verdict(&frames),
            Some(LeakVerdict::CannotTell { .. })
        )))
    });
    figures.push(Figure::within(
        "a heap touched in advance: cannot tell",
        touched.iter().sum::<f64>() / touched.len().max(1) as f64,
        1.0,
        1.0,
    ));
    figures
}
