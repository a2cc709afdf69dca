//! What explains the floors of memory beside a leak: players now and of late, the most there were, a slow start.
//!
//! Not here: the floors (`points`), when growth is called a leak (the parent).

use super::points::Point;
use crate::analysis::stats::{
    regress::{Design, Fit},
    robust::effective_size,
};

/// What a slow start leaves falls off within so many hours.
const START_HOURS: f64 = 0.5;
/// An explanation does about as well as the best within this distance of Akaike's criterion.
const PLAUSIBLE: f64 = 6.0;

/// What explains a floor beside time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Players now.
    Players,
    /// Players of late; memory that they took is given back late.
    Late(usize),
    /// The same, of a server that was started in the range.
    LateAnew(usize),
    /// The most players that were ever there: memory that was taken once is often kept.
    Most,
    /// What is left of a slow start.
    Start,
}

impl Cause {
    /// How strong it was.
    pub fn at(self, point: &Point) -> f64 {
        match self {
            Self::Players => point.players,
            Self::Late(index) => point.late[index],
            Self::LateAnew(index) => point.late_anew[index],
            Self::Most => point.most,
            Self::Start => (-point.hours / START_HOURS).exp(),
        }
    }
}

/// One set of causes, beside growth.
pub struct Explanation {
    /// Causes beside growth.
    pub causes: &'static [Cause],
    /// The fit: the constant, growth per hour, causes.
    pub fit: Fit,
}

/// What the data allow.
pub struct Explanations {
    /// What is taken.
    pub best: Explanation,
    /// Least growth per hour that any explanation leaves which does about as well.
    pub least_slope: f64,
}

/// Sets of causes that are tried.
const CAUSES: &[&[Cause]] = {
    use Cause::{Late, LateAnew, Most, Players, Start};
    &[
        &[],
        &[Players],
        &[Players, Most],
        &[Players, Late(0)],
        &[Players, Late(1)],
        &[Players, Late(2)],
        &[Players, Late(3)],
        &[Start],
        &[Players, Start],
        &[Players, Most, Start],
        &[Players, LateAnew(0), Start],
        &[Players, LateAnew(1), Start],
        &[Players, LateAnew(2), Start],
        &[Players, LateAnew(3), Start],
    ]
};

/// The same where a collector runs or files are in it. The first that can be fitted is taken.
const FEWER_CAUSES: &[&[Cause]] = {
    use Cause::{Late, Most, Players};
    &[
        &[Players, Late(1)],
        &[Players],
        &[],
        &[Players, Late(1), Late(3)],
        &[Players, Most],
    ]
};

impl Explanation {
    /// All that can be fitted.
    fn all(floors: &[Point], y: &[f64], causes: &[&'static [Cause]]) -> Vec<Self> {
        let of = |causes: &'static [Cause]| {
            let mut design = Design::new(causes.len() + 2);
            for floor in floors {
                let mut row = vec![floor.hours];
                row.extend(causes.iter().map(|cause| cause.at(floor)));
                design.push(&row);
            }
            let fit = design.fit(y)?;
            Some(Self { causes, fit })
        };
        causes.iter().filter_map(|causes| of(causes)).collect()
    }

    fn squares(&self) -> f64 {
        let squares: f64 = self
            .fit
            .residuals
            .iter()
            .map(|residual| residual * residual)
            .sum();
        squares.max(f64::MIN_POSITIVE)
    }

    fn slope(&self) -> f64 {
        self.fit.coefficients.get(1).copied().unwrap_or(f64::NAN)
    }
}

impl Explanations {
    /// The best by Akaike's criterion over independent floors, beside those that come near it.
    pub fn likely(floors: &[Point], y: &[f64]) -> Option<Self> {
        let all = Explanation::all(floors, y, CAUSES);
        let closest = all.iter().min_by(|a, b| a.squares().total_cmp(&b.squares()))?;
        let size = effective_size(&closest.fit.residuals);
        let cost = |tried: &Explanation| size * tried.squares().ln() + 2.0 * tried.causes.len() as f64;
        let lowest = all.iter().map(cost).fold(f64::INFINITY, f64::min);
        let likely = all.iter().filter(|tried| cost(tried) < lowest + PLAUSIBLE);
        let least_slope = likely.map(Explanation::slope).fold(f64::INFINITY, f64::min);
        let best = all.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))?;
        Some(Self { best, least_slope })
    }

    /// The first that can be fitted, beside all others.
    pub fn any(floors: &[Point], y: &[f64]) -> Option<Self> {
        let all = Explanation::all(floors, y, FEWER_CAUSES);
        let least_slope = all.iter().map(Explanation::slope).fold(f64::INFINITY, f64::min);
        let best = all.into_iter().next()?;
        Some(Self { best, least_slope })
    }
}
