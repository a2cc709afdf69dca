//! Synthetic loops of every shape, over many seeds.

use gsmon_common::sched::Burst;
use proptest::prelude::*;

use super::*;

struct Random(u64);

impl Random {
    /// xorshift64*, 0 to 1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

/// Wall pieces of work, turned into bursts: pieces that touch are one burst.
fn bursts(mut work: Vec<(f64, f64)>) -> Vec<Burst> {
    work.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut joined: Vec<(f64, f64, f64)> = Vec::new();
    for (start, cpu) in work {
        match joined.last_mut() {
            Some((_, end, total)) if start <= *end => {
                *end += cpu;
                *total += cpu;
            }
            _ => joined.push((start, start + cpu, cpu)),
        }
    }
    joined
        .into_iter()
        .map(|(_, end, cpu)| Burst {
            end_ns: end as u64,
            cpu_ns: cpu as u32,
            ..Burst::default()
        })
        .collect()
}

const SECOND: f64 = 1e9;
const US: f64 = 1e3;

fn detect(work: Vec<(f64, f64)>, batches: &[f64]) -> Option<TickEstimate> {
    let all = bursts(work);
    let newest = &all[all.len().saturating_sub(504)..];
    let batches: Vec<u64> = batches.iter().map(|time| *time as u64).collect();
    let cpu_ns = all.iter().map(|burst| u64::from(burst.cpu_ns)).sum();
    let missed = (all.len() - newest.len()) as u64;
    let thread = ThreadWindow {
        tid: 1,
        bursts: newest,
        missed,
        cpu_ns,
        wait_ns: 0,
        interval_ns: 1_000_000_000,
    };
    let evidence = Evidence {
        threads: &[thread],
        batches: &batches,
    };
    Detector::default().update(2_000_000_000, &evidence)
}

fn tick_starts(random: &mut Random, rate_hz: f64) -> Vec<f64> {
    let period = SECOND / rate_hz;
    let phase = random.between(0.0, period);
    (0..)
        .map(|n| SECOND + phase + n as f64 * period)
        .take_while(|time| *time < 2.0 * SECOND)
        .collect()
}

fn median(times: &[u64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) / 2] as f64
}

/// Runs `make` over 100 seeds; rate within 1 % and median tick time within 10 % in at least 98 of them.
fn holds(rate_hz: f64, make: impl Fn(&mut Random, &[f64]) -> (Vec<(f64, f64)>, Vec<f64>)) {
    let mut good = 0;
    for seed in 1..=100u64 {
        let mut random = Random(seed * 7_919);
        let jitter = 60.0 * US;
        let starts: Vec<f64> = tick_starts(&mut random, rate_hz)
            .into_iter()
            .map(|time| time + random.between(0.0, jitter))
            .collect();
        let (work, walls) = make(&mut random, &starts);
        let walls: Vec<u64> = walls.iter().map(|wall| *wall as u64).collect();
        if let Some(found) = detect(work, &[]) {
            let rate_ok = (found.rate_hz - rate_hz).abs() <= 0.01 * rate_hz;
            let time_ok = (median(&found.tick_times_ns) / median(&walls) - 1.0).abs() <= 0.1;
            assert!(
                (found.rate_hz - rate_hz).abs() <= 0.02 * rate_hz,
                "seed {seed}: {found:?}"
            );
            good += usize::from(rate_ok && time_ok);
        }
    }
    assert!(good >= 98, "{good} of 100 at {rate_hz} Hz");
}

#[test]
fn a_sleeping_loop() {
    for rate_hz in [20.0, 60.0, 128.0] {
        holds(rate_hz, |random, starts| {
            let walls: Vec<f64> = starts
                .iter()
                .map(|_| random.between(1_000.0, 3_000.0) * US)
                .collect();
            (starts.iter().copied().zip(walls.iter().copied()).collect(), walls)
        });
    }
}

#[test]
fn a_loop_that_wakes_for_every_packet() {
    holds(60.0, |random, starts| {
        let walls: Vec<f64> = starts
            .iter()
            .map(|_| random.between(1_500.0, 2_500.0) * US)
            .collect();
        let mut work: Vec<(f64, f64)> = starts.iter().copied().zip(walls.iter().copied()).collect();
        for _ in 0..240 {
            let time = random.between(SECOND, 2.0 * SECOND);
            let cpu = random.between(5.0, 20.0) * US;
            // A packet that comes during a tick is handled after it.
            let inside = starts
                .iter()
                .zip(&walls)
                .find(|(start, wall)| time >= **start && time < **start + **wall);
            work.push((inside.map_or(time, |(start, wall)| start + wall), cpu));
        }
        (work, walls)
    });
}

#[test]
fn a_tick_that_waits_for_a_lock() {
    holds(30.0, |random, starts| {
        let mut work = Vec::new();
        let mut walls = Vec::new();
        for start in starts {
            let first = random.between(900.0, 1_100.0) * US;
            let wait = random.between(300.0, 500.0) * US;
            let second = random.between(700.0, 900.0) * US;
            work.extend([(*start, first), (start + first + wait, second)]);
            walls.push(first + wait + second);
        }
        (work, walls)
    });
}

#[test]
fn a_tick_that_waits_for_workers() {
    holds(30.0, |random, starts| {
        let mut work = Vec::new();
        let mut walls = Vec::new();
        for start in starts {
            let wait = random.between(1_500.0, 2_500.0) * US;
            work.extend([(*start, 80.0 * US), (start + 80.0 * US + wait, 120.0 * US)]);
            walls.push(200.0 * US + wait);
        }
        (work, walls)
    });
}

#[test]
fn one_millisecond_ticks() {
    holds(1000.0, |random, starts| {
        let walls: Vec<f64> = starts.iter().map(|_| random.between(80.0, 120.0) * US).collect();
        (starts.iter().copied().zip(walls.iter().copied()).collect(), walls)
    });
}

/// One CPU that others hold for milliseconds at a time. A loop that sleeps until its deadline, runs when it is let, and
/// catches up without sleeping when it is late.
fn crowded(random: &mut Random, rate_hz: f64, cpu: (f64, f64)) -> (Vec<Burst>, Vec<f64>) {
    let period = SECOND / rate_hz;
    let mut deadline = SECOND + random.between(0.0, period);
    let (mut all, mut walls) = (Vec::new(), Vec::new());
    let (mut now, mut begun) = (deadline, None::<(f64, f64, f64)>);
    while deadline < 2.0 * SECOND {
        let wait = |random: &mut Random| match random.unit() {
            roll if roll < 0.5 => random.between(500.0, 8_000.0) * US,
            _ => 0.0,
        };
        if now <= deadline {
            // Asleep until the deadline, then as long in the run queue as others please.
            if let Some((ready, start, work)) = begun.take() {
                all.push(Burst {
                    end_ns: now as u64,
                    cpu_ns: work as u32,
                    wait_ns: (now - start - work) as u32,
                    ready_wait_ns: (start - ready) as u32,
                    pad: 0,
                });
            }
            now = deadline + wait(random);
            begun = Some((deadline, now, 0.0));
        }
        let wait_inside = if random.unit() < 0.1 { wait(random) } else { 0.0 };
        let work = random.between(cpu.0, cpu.1) * US;
        walls.push(work + wait_inside);
        now += work + wait_inside;
        if let Some((_, _, sum)) = &mut begun {
            *sum += work;
        }
        deadline += period;
    }
    (all, walls)
}

#[test]
fn a_loop_on_a_crowded_cpu() {
    for (rate_hz, cpu) in [
        (20.0, (1_000.0, 3_000.0)),
        (60.0, (1_000.0, 1_500.0)),
        (1_000.0, (280.0, 350.0)),
    ] {
        let mut good = 0;
        for seed in 1..=100u64 {
            let mut random = Random(seed * 65_537);
            let (all, _) = crowded(&mut random, rate_hz, cpu);
            let newest = &all[all.len().saturating_sub(504)..];
            let thread = ThreadWindow {
                tid: 1,
                bursts: newest,
                missed: (all.len() - newest.len()) as u64,
                cpu_ns: all.iter().map(|burst| u64::from(burst.cpu_ns)).sum(),
                wait_ns: 0,
                interval_ns: 1_000_000_000,
            };
            let evidence = Evidence {
                threads: &[thread],
                batches: &[],
            };
            if let Some(found) = Detector::default().update(2_000_000_000, &evidence) {
                assert!(
                    (found.rate_hz - rate_hz).abs() <= 0.02 * rate_hz,
                    "seed {seed}: {found:?}"
                );
                good += 1;
            }
        }
        assert!(good >= 95, "{good} of 100 at {rate_hz} Hz");
    }
}

#[test]
fn one_crowded_second_does_not_change_a_known_rate() {
    let mut detector = Detector::default();
    let mut random = Random(11);
    let mut told = |second: u64, rate_hz: f64| {
        let starts = tick_starts(&mut random, rate_hz);
        let moved = (second as f64 - 1.0) * SECOND;
        let all = bursts(starts.iter().map(|start| (start + moved, 2_000.0 * US)).collect());
        let thread = ThreadWindow {
            tid: 1,
            bursts: &all,
            missed: 0,
            cpu_ns: 100_000_000,
            wait_ns: 0,
            interval_ns: 1_000_000_000,
        };
        let evidence = Evidence {
            threads: &[thread],
            batches: &[],
        };
        detector
            .update((second + 1) * 1_000_000_000, &evidence)
            .map(|found| found.rate_hz.round())
    };
    let rates: Vec<Option<f64>> = (1..=40)
        .map(|second| told(second, if second == 12 || second > 20 { 30.0 } else { 60.0 }))
        .collect();
    assert_eq!(rates[10], Some(60.0));
    assert_ne!(rates[11], Some(60.0), "what is not there is not told");
    assert_eq!(rates[13], Some(60.0));
    assert_eq!(
        rates[39],
        Some(30.0),
        "a change that stays is believed: {rates:?}"
    );
}

#[test]
fn a_spinning_loop_is_timed_by_what_it_sends() {
    let mut random = Random(5);
    let batches: Vec<u64> = tick_starts(&mut random, 64.0)
        .into_iter()
        .map(|time| time as u64)
        .collect();
    let thread = ThreadWindow {
        tid: 9,
        bursts: &[],
        missed: 0,
        cpu_ns: 590_000_000,
        wait_ns: 400_000_000,
        interval_ns: 1_000_000_000,
    };
    let evidence = Evidence {
        threads: &[thread],
        batches: &batches,
    };
    let found = Detector::default().update(2_000_000_000, &evidence).unwrap();
    assert_eq!((found.method, found.thread), (TickMethod::SendCadence, Some(9)));
    assert!((found.rate_hz - 64.0).abs() < 0.64 && found.tick_times_ns.is_empty());
}

#[test]
fn the_cadence_of_a_known_faster_loop_is_no_tick() {
    let mut detector = Detector::default();
    let mut random = Random(7);
    let mut rate_after = |second: u64, late_ns: f64| {
        let start = second as f64 * SECOND;
        let work = (0..1_000)
            .map(|n| {
                (
                    start + f64::from(n) * 1e6 + random.between(0.0, late_ns),
                    60.0 * US,
                )
            })
            .filter(|(at, _)| *at < start + SECOND);
        let all = bursts(work.collect());
        let batches: Vec<u64> = (0..50).map(|n| start as u64 + n * 20_000_000).collect();
        let thread = ThreadWindow {
            tid: 1,
            bursts: &all[all.len() - 500..],
            missed: all.len() as u64 - 500,
            cpu_ns: 60_000_000,
            wait_ns: 0,
            interval_ns: 1_000_000_000,
        };
        let evidence = Evidence {
            threads: &[thread],
            batches: &batches,
        };
        let found = detector.update((second + 1) * 1_000_000_000, &evidence);
        found.map(|found| found.rate_hz.round())
    };
    assert_eq!(rate_after(1, 0.0), Some(1_000.0));
    let after: Vec<_> = (2..20).map(|second| rate_after(second, 5e6)).collect();
    // The bursts of the good second are kept for some more.
    assert!(
        after[..10]
            .iter()
            .all(|rate| rate.is_none_or(|rate| rate == 1_000.0)),
        "{after:?}"
    );
    assert_eq!(after.last(), Some(&Some(50.0)));
    assert_eq!(rate_after(20, 0.0), Some(1_000.0));
}

#[test]
fn random_wake_ups_are_no_tick() {
    let mut claims = 0;
    for seed in 1..=100u64 {
        let mut random = Random(seed * 104_729);
        let work = (0..300)
            .map(|_| {
                (
                    random.between(SECOND, 2.0 * SECOND),
                    random.between(5.0, 50.0) * US,
                )
            })
            .collect();
        claims += usize::from(detect(work, &[]).is_some());
    }
    assert!(claims <= 5, "{claims} of 100");
}

#[test]
fn witnesses_that_contradict_each_other_say_nothing() {
    let mut random = Random(3);
    let starts = tick_starts(&mut random, 20.0);
    let work: Vec<(f64, f64)> = starts.iter().map(|start| (*start, 2_000.0 * US)).collect();
    let other = tick_starts(&mut random, 33.0);
    assert!(detect(work.clone(), &other).is_none());
    let agreed = detect(work, &starts).unwrap();
    assert_eq!(agreed.method, TickMethod::BurstsAndCadence);
}

#[test]
fn a_slow_tick_is_found_over_several_intervals() {
    let mut detector = Detector::default();
    let mut found = None;
    let mut told = Vec::new();
    for second in 1..=6u64 {
        let all: Vec<Burst> = (0..4)
            .map(|n| Burst {
                end_ns: second * 1_000_000_000 + n * 250_000_000 + 2_000_000,
                cpu_ns: 2_000_000,
                ..Burst::default()
            })
            .collect();
        let thread = ThreadWindow {
            tid: 1,
            bursts: &all,
            missed: 0,
            cpu_ns: 8_000_000,
            wait_ns: 0,
            interval_ns: 1_000_000_000,
        };
        let evidence = Evidence {
            threads: &[thread],
            batches: &[],
        };
        found = detector.update((second + 1) * 1_000_000_000, &evidence).or(found);
        told.extend(found.iter().flat_map(|found| found.new_tick_times_ns.clone()));
    }
    assert!((found.unwrap().rate_hz - 4.0).abs() < 0.04);
    assert_eq!(
        told,
        vec![2_000_000; 24],
        "every tick is told once, those before the first estimate too"
    );
}

proptest! {
    #[test]
    fn arbitrary_bursts_are_no_panic(
        raw in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>()), 0..200),
        batches in prop::collection::vec(any::<u64>(), 0..100),
        now_ns in any::<u64>(),
    ) {
        let all: Vec<Burst> = raw
            .into_iter()
            .map(|(end_ns, cpu_ns, wait_ns, ready_wait_ns)| Burst { end_ns, cpu_ns, wait_ns, ready_wait_ns, pad: 0 })
            .collect();
        let thread = ThreadWindow { tid: 1, bursts: &all, missed: 3, cpu_ns: 5, wait_ns: 9, interval_ns: 0 };
        let evidence = Evidence { threads: &[thread], batches: &batches };
        let mut detector = Detector::default();
        for _ in 0..3 {
            let _ = detector.update(now_ns, &evidence);
        }
    }
}
