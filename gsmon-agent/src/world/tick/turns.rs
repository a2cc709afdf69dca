//! How often a loop turned in truth: ticks that came late and were caught up in one go, and ticks that were dropped.
//!
//! Between two ticks of a loop lies one period, or several when it was late. A loop that catches up has then used the CPU
//! of as many ticks at once; one that drops ticks has used that of one. What it cannot tell apart: several ticks caught
//! up, and one tick that happens to cost as much as all that were due.

use super::bursts::Group;

/// Share of the CPU of the ticks that were due by which what was used may differ from it.
const CAUGHT_UP_SHARE: f64 = 0.25;
/// Share of a period by which something lighter than a tick may miss its time and still be a light tick.
const ON_TIME: f64 = 0.1;
/// Gaps longer than this many periods are pauses, and caught up by nobody.
const LONGEST: f64 = 1_000.0;

/// Sets how many ticks each of `ticks` is, and returns the share of the ticks due that took place. `groups` are all
/// groups that `ticks` were picked from; `holes` are ends of bursts before which others were lost, oldest first.
pub fn count(ticks: &mut [Group], groups: &[Group], holes: &[u64], period_ns: f64) -> f64 {
    let usual_ns = usual_cpu_ns(ticks, period_ns);
    let (mut turned, mut due, mut left) = (0.0, 0.0, 0.0);
    for n in 0..ticks.len().saturating_sub(1) {
        let (tick, next) = (ticks[n], ticks[n + 1]);
        let hole = holes.partition_point(|hole| *hole <= tick.end_ns);
        if holes.get(hole).is_some_and(|hole| *hole <= next.end_ns) {
            left = 0.0;
            continue;
        }
        let periods = next.ready_ns.saturating_sub(tick.ready_ns) as f64 / period_ns;
        // What the gap before left undone may be done now: a timer that rings late shifts work to the next one.
        let open: f64 = periods + left;
        let cost = tick.cpu_ns as f64 / usual_ns;
        let caught_up = (1.5..=LONGEST).contains(&open)
            && (cost - open).abs() <= (CAUGHT_UP_SHARE * open).max(0.5)
            && cost >= 1.5;
        due += periods;
        if caught_up {
            ticks[n].turns = open.round() as u32;
            turned += open.round();
            left = 0.0;
            continue;
        }
        turned += 1.0;
        if periods.round() > 1.0 {
            turned += light(groups, &tick, periods.round() - 1.0, period_ns);
            left = periods - 1.0;
        } else {
            // Early and late ticks even each other out.
            due += 1.0 - periods;
            left = 0.0;
        }
    }
    if due > 0.0 { (turned / due).min(1.0) } else { 1.0 }
}

/// Median CPU of the ticks that are followed by the next one in time; of all, where none is.
fn usual_cpu_ns(ticks: &[Group], period_ns: f64) -> f64 {
    let mut costs: Vec<u64> = ticks
        .windows(2)
        .filter(|pair| {
            let gap_ns = pair[1].ready_ns.saturating_sub(pair[0].ready_ns) as f64;
            gap_ns < 1.5 * period_ns
        })
        .map(|pair| pair[0].cpu_ns)
        .collect();
    if costs.is_empty() {
        costs = ticks.iter().map(|tick| tick.cpu_ns).collect();
    }
    let middle = costs.len() / 2;
    if costs.is_empty() {
        return 1.0;
    }
    (*costs.select_nth_unstable(middle).1).max(1) as f64
}

/// Of the `missing` times after `tick`, those at which something too light to count as a tick happened.
fn light(groups: &[Group], tick: &Group, missing: f64, period_ns: f64) -> f64 {
    let first = groups.partition_point(|group| group.ready_ns <= tick.ready_ns);
    let mut found = 0.0;
    let mut last = 0.0;
    for group in &groups[first..] {
        let periods = (group.ready_ns - tick.ready_ns) as f64 / period_ns;
        let number = periods.round();
        if number > missing {
            break;
        }
        if number > last && (periods - number).abs() <= ON_TIME {
            found += 1.0;
            last = number;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD_NS: u64 = 50_000_000;

    fn tick(number: u64, cpu_ns: u64) -> Group {
        Group {
            ready_ns: number * PERIOD_NS,
            start_ns: number * PERIOD_NS,
            end_ns: number * PERIOD_NS + cpu_ns,
            cpu_ns,
            turns: 1,
        }
    }

    #[test]
    fn ticks_caught_up_count_and_dropped_ones_do_not() {
        // 0 1 2 [3 4 5 caught up in one go] 6 7, then 8 and 9 dropped, 10.
        let mut ticks: Vec<Group> = [0, 1, 2].map(|n| tick(n, 2_000_000)).into();
        ticks.push(tick(3, 6_100_000));
        ticks.extend([6, 7, 10].map(|n| tick(n, 2_000_000)));
        let groups = ticks.clone();
        let share = count(&mut ticks, &groups, &[], PERIOD_NS as f64);
        assert_eq!(ticks[3].turns, 3);
        assert_eq!(ticks[5].turns, 1);
        assert!((share - 0.8).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_slow_tick_stays_one() {
        let mut ticks: Vec<Group> = (0..5).map(|n| tick(n, 2_000_000)).collect();
        ticks.push(tick(5, 80_000_000));
        ticks.push(tick(7, 2_000_000));
        let groups = ticks.clone();
        count(&mut ticks, &groups, &[], PERIOD_NS as f64);
        assert_eq!(ticks[5].turns, 1);
    }

    #[test]
    fn light_ticks_are_not_dropped_ones() {
        let groups: Vec<Group> = (0..20)
            .map(|n| tick(n, if n % 5 == 2 { 100_000 } else { 2_000_000 }))
            .collect();
        let mut ticks: Vec<Group> = groups
            .iter()
            .filter(|group| group.cpu_ns > 1_000_000)
            .copied()
            .collect();
        assert_eq!(count(&mut ticks, &groups, &[], PERIOD_NS as f64), 1.0);
    }

    #[test]
    fn what_a_late_timer_shifts_to_the_next_one_is_not_lost() {
        let mut ticks: Vec<Group> = (0..5).map(|n| tick(n, 2_000_000)).collect();
        // 5 rings late by more than a period, and 5, 6 and 7 are done when it does.
        let mut late = tick(6, 5_900_000);
        late.ready_ns += PERIOD_NS / 4;
        ticks.extend([late, tick(8, 2_000_000), tick(9, 2_000_000)]);
        let groups = ticks.clone();
        let share = count(&mut ticks, &groups, &[], PERIOD_NS as f64);
        assert_eq!(ticks[5].turns, 3);
        assert!((share - 1.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn ticks_that_nobody_saw_are_not_dropped_ones() {
        let mut ticks: Vec<Group> = (0..10).chain(50..60).map(|n| tick(n, 2_000_000)).collect();
        let groups = ticks.clone();
        let holes = [ticks[10].end_ns];
        assert_eq!(count(&mut ticks, &groups, &holes, PERIOD_NS as f64), 1.0);
    }
}
