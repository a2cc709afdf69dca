//! Visits of players out of counts of players. Counts do not say who leaves: those who have been there longest go first,
//! so that the fewest come and go that the counts allow.

use std::collections::VecDeque;

/// A player's stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// First step.
    pub from_step: usize,
    /// Step in which the player is gone.
    pub to_step: usize,
}

/// Visits whose number at each step is that of the counts, rounded.
pub fn of_counts(counts: &[f64]) -> Vec<Visit> {
    let mut there: VecDeque<usize> = VecDeque::new();
    let mut visits = Vec::new();
    for (step, count) in counts.iter().enumerate() {
        let wanted = count.max(0.0).round() as usize;
        while there.len() > wanted {
            if let Some(from_step) = there.pop_front() {
                visits.push(Visit {
                    from_step,
                    to_step: step,
                });
            }
        }
        while there.len() < wanted {
            there.push_back(step);
        }
    }
    visits.extend(there.into_iter().map(|from_step| Visit {
        from_step,
        to_step: counts.len(),
    }));
    visits
}

/// Players at each step.
pub fn counts(visits: &[Visit], steps: usize) -> Vec<f64> {
    let mut changes = vec![0i64; steps + 1];
    for visit in visits {
        changes[visit.from_step.min(steps)] += 1;
        changes[visit.to_step.min(steps)] -= 1;
    }
    let mut there = 0;
    let counts = changes[..steps].iter().map(|change| {
        there += change;
        there as f64
    });
    counts.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_become_visits_and_counts_again(whole in proptest::collection::vec(0u32..50, 0..80)) {
            let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
            prop_assert_eq!(counts(&of_counts(&whole), whole.len()), whole);
        }
    }
}
