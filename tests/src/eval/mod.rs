//! Analyses held against made-up servers whose costs are planted: how often intervals hold the truth, how far values are
//! off. `made` makes servers; the others ask one question each. Nothing here needs root, a kernel or a clock.

pub mod advice;
pub mod forecast;
pub mod leaks;
pub mod made;
pub mod modes;
pub mod shapes;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// A number that is to lie in a range.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How it came out.
    pub value: f64,
    /// Where it is to lie, both ends included; nothing is asked of figures without.
    pub wanted: Option<(f64, f64)>,
}

impl Figure {
    /// A figure that must lie in a range.
    pub fn within(name: impl Into<String>, value: f64, low: f64, high: f64) -> Self {
        Self {
            name: name.into(),
            value,
            wanted: Some((low, high)),
        }
    }

    /// A figure that is told only.
    pub fn told(name: impl Into<String>, value: f64) -> Self {
        Self {
            name: name.into(),
            value,
            wanted: None,
        }
    }

    /// Does it lie where it is to lie?
    pub fn holds(&self) -> bool {
        self.wanted
            .is_none_or(|(low, high)| (low..=high).contains(&self.value))
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<58} {:>9.4}", self.name, self.value)?;
        match self.wanted {
            Some((low, high)) if self.holds() => write!(f, "   within {low} to {high}"),
            Some((low, high)) => write!(f, "   MISSED: wanted {low} to {high}"),
            None => Ok(()),
        }
    }
}

/// How strictly coverage is judged: few seeds tell it less well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// 93.5 to 96.5 %, as promised.
    Promised,
    /// 90 to 98.5 %, for a few hundred seeds.
    Smoke,
}

impl Strictness {
    /// Bounds of the share of 95 % intervals that hold the truth.
    pub fn coverage(self) -> (f64, f64) {
        match self {
            Self::Promised => (0.935, 0.965),
            Self::Smoke => (0.90, 0.985),
        }
    }
}

impl Strictness {
    /// Least share of planted leaks that must be found.
    pub fn found(self) -> f64 {
        match self {
            Self::Promised => 0.95,
            Self::Smoke => 0.8,
        }
    }
}

/// Runs seeds on as many threads as are asked for, in the order of seeds.
pub fn each_seed<T: Send>(seeds: u64, threads: usize, of: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let mut all: Vec<(u64, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1))
            .map(|_| {
                scope.spawn(|| {
                    let mut own = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds {
                            return own;
                        }
                        own.push((seed, of(seed)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    all.sort_by_key(|(seed, _)| *seed);
    all.into_iter().map(|(_, value)| value).collect()
}
