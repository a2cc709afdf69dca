//! Player counts of servers, out of their frames. Not here: reading frames.

use std::collections::BTreeMap;

use crate::history::{Frame, Measure};

/// Players of all these servers together at the beginning of each step, in seconds since 1970: means of each server, summed.
/// With a mode, only while that was played. The step that is not over yet is left out.
pub fn counts<'a>(
    servers: impl IntoIterator<Item = &'a [Frame]>,
    mode: Option<&str>,
    step_seconds: i64,
    now_unix_ms: i64,
) -> Vec<(i64, f64)> {
    let step_ms = step_seconds.max(1) * 1_000;
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    for frames in servers {
        // The mean of a step, by the time that each frame covers.
        let mut steps: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        for frame in frames {
            let Some(players) = frame.get(Measure::Players) else {
                continue;
            };
            let other = mode.is_some_and(|mode| frame.mode.as_deref() != Some(mode));
            let sum = steps.entry((frame.unix_ms - 1).div_euclid(step_ms)).or_default();
            sum.0 += if other { 0.0 } else { players * frame.seconds };
            sum.1 += frame.seconds;
        }
        for (step, (sum, seconds)) in steps {
            *sums.entry(step).or_default() += sum / seconds.max(1e-9);
        }
    }
    let current = now_unix_ms.div_euclid(step_ms);
    sums.into_iter()
        .filter(|(step, _)| *step < current)
        .map(|(step, players)| (step * step_seconds, players))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_summed_by_mode_and_the_running_step_is_left_out() {
        let frame = |end_s: i64, players: f64, mode: &str| {
            let mut frame = Frame::new(end_s * 1_000, 450.0).with(Measure::Players, players);
            frame.mode = Some(mode.into());
            frame
        };
        let a = [
            frame(450, 4.0, "duel"),
            frame(900, 8.0, "race"),
            frame(1_350, 9.0, "duel"),
        ];
        let b = [frame(900, 1.0, "duel")];
        let all = || [&a[..], &b[..]];
        assert_eq!(counts(all(), None, 900, 1_700_000), [(0, 7.0)]);
        assert_eq!(counts(all(), Some("duel"), 900, 1_700_000), [(0, 3.0)]);
        assert_eq!(counts(all(), None, 900, 1_800_000), [(0, 7.0), (900, 9.0)]);
    }
}
