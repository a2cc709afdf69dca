//! The shapes that a cost can have, fitted by least squares: one parameter that is not linear (knee, scale) is looked for on
//! a grid and then more finely.

use serde::{Deserialize, Serialize};

use super::rows::Row;

/// How a figure depends on the number of players.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Not at all.
    Constant,
    /// Each player adds as much.
    Linear,
    /// Each player adds less than the one before, up to a limit.
    Saturating,
    /// Each player adds more than the one before (or less).
    Quadratic,
    /// Two lines that meet at a knee.
    Piecewise,
}

impl Shape {
    /// All of them, the simplest first.
    pub const ALL: [Self; 5] = [
        Self::Constant,
        Self::Linear,
        Self::Saturating,
        Self::Quadratic,
        Self::Piecewise,
    ];

    /// Numbers that it takes.
    pub fn parameters(self) -> usize {
        match self {
            Self::Constant => 1,
            Self::Linear => 2,
            Self::Saturating | Self::Quadratic => 3,
            Self::Piecewise => 4,
        }
    }

    /// In the words of an administrator.
    pub fn words(self) -> &'static str {
        match self {
            Self::Constant => "does not depend on players",
            Self::Linear => "grows in proportion to players",
            Self::Saturating => "levels off",
            Self::Quadratic => "curves: each player adds a different amount than the one before",
            Self::Piecewise => "changes its slope at a knee",
        }
    }
}

/// A fitted shape. Players are scaled by `scale` inside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Which.
    pub shape: Shape,
    /// Constant, then what multiplies the curves.
    coefficients: [f64; 3],
    /// Knee or scale, in scaled players.
    bend: f64,
    /// Players that are 1.
    scale: f64,
}

/// Rows of about one number of players, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cell {
    /// Players.
    pub players: f64,
    /// Weight.
    pub weight: f64,
    /// Sum of the figure.
    pub sum: f64,
    /// Rows.
    pub rows: usize,
}

/// Which rows are of about one number of players: rows are added up again and again, with other rows left out each time.
#[derive(Clone, Debug)]
pub struct Grouped<'a> {
    rows: &'a [Row],
    /// The group of each row; `None` of those without weight.
    group_of: Vec<Option<usize>>,
    groups: usize,
}

impl<'a> Grouped<'a> {
    /// Groups rows by quarters of a player.
    pub fn of(rows: &'a [Row]) -> Self {
        let key = |row: &Row| (row.weight > 0.0).then(|| (row.players * 4.0).round() as i64);
        let mut keys: Vec<i64> = rows.iter().filter_map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let group_of = |row: &Row| keys.binary_search(&key(row)?).ok();
        Self {
            rows,
            group_of: rows.iter().map(group_of).collect(),
            groups: keys.len(),
        }
    }

    /// Adds up the rows that are kept, by their places.
    pub fn cells(&self, kept: impl Fn(usize) -> bool) -> Vec<Cell> {
        let mut cells = vec![Cell::default(); self.groups];
        for (index, (row, group)) in self.rows.iter().zip(&self.group_of).enumerate() {
            let Some(cell) = group.filter(|_| kept(index)).map(|group| &mut cells[group]) else {
                continue;
            };
            cell.players += row.players * row.weight;
            cell.weight += row.weight;
            cell.sum += row.value * row.weight;
            cell.rows += 1;
        }
        cells.retain(|cell| cell.rows > 0);
        cells.iter_mut().for_each(|cell| cell.players /= cell.weight);
        cells
    }

    /// Adds up all rows.
    pub fn all(&self) -> Vec<Cell> {
        self.cells(|_| true)
    }
}

/// Points of the grid.
const GRID: usize = 24;
/// Halvings after the grid.
const REFINED: usize = 24;

/// Fits a shape; `None` where the cells do not tell its parameters.
pub fn fit(shape: Shape, cells: &[Cell], scale: f64) -> Option<Model> {
    if cells.len()
        <= shape
            .parameters()
            .saturating_sub(usize::from(shape == Shape::Constant))
    {
        return None;
    }
    let scale = scale.max(1e-9);
    let at = |bend: f64| solve(shape, cells, scale, bend);
    let Some((low, high)) = bends(shape, cells, scale) else {
        return at(0.0).map(|(model, _)| model);
    };
    let point = |step: f64| match shape {
        // Scales lie on a logarithmic grid.
        Shape::Saturating => low * (high / low).powf(step),
        _ => low + (high - low) * step,
    };
    let loss = |step: f64| at(point(step)).map_or(f64::INFINITY, |(_, loss)| loss);
    let best = (0..=GRID)
        .map(|index| index as f64 / GRID as f64)
        .map(|step| (step, loss(step)))
        .min_by(|a, b| a.1.total_cmp(&b.1))?;
    let width = 1.0 / GRID as f64;
    let (mut left, mut right) = ((best.0 - width).max(0.0), (best.0 + width).min(1.0));
    let golden = 0.618_033_988_75;
    let (mut a, mut b) = (right - golden * (right - left), left + golden * (right - left));
    let (mut loss_a, mut loss_b) = (loss(a), loss(b));
    for _ in 0..REFINED {
        // One of the two points is a point of the shorter stretch as well.
        if loss_a <= loss_b {
            (right, b, loss_b) = (b, a, loss_a);
            a = right - golden * (right - left);
            loss_a = loss(a);
        } else {
            (left, a, loss_a) = (a, b, loss_b);
            b = left + golden * (right - left);
            loss_b = loss(b);
        }
    }
    let middle = f64::midpoint(left, right);
    let step = if loss(middle) <= best.1 { middle } else { best.0 };
    at(point(step)).map(|(model, _)| model)
}

/// Where the parameter that is not linear may lie: neither end may have too few rows on its far side, however little they
/// weigh.
fn bends(shape: Shape, cells: &[Cell], scale: f64) -> Option<(f64, f64)> {
    let all: usize = cells.iter().map(|cell| cell.rows).sum();
    let at = |share: f64| {
        let mut passed = 0;
        cells
            .iter()
            .find(|cell| {
                passed += cell.rows;
                passed as f64 >= share * all as f64
            })
            .or(cells.last())
            .map_or(0.0, |cell| cell.players / scale)
    };
    let span = (cells.last()?.players - cells.first()?.players) / scale;
    match shape {
        Shape::Piecewise => {
            let (low, high) = (at(0.08), at(0.92));
            (high > low).then_some((low, high))
        }
        Shape::Saturating => (span > 0.0).then_some((span / 10.0, span * 2.0)),
        _ => None,
    }
}

/// Least squares once the bend is known, and the sum of squares less that of the figure itself.
fn solve(shape: Shape, cells: &[Cell], scale: f64, bend: f64) -> Option<(Model, f64)> {
    let mut model = Model {
        shape,
        coefficients: [0.0; 3],
        bend,
        scale,
    };
    let columns = model.linear();
    let (gram, against) = match shape {
        Shape::Constant => sums(cells, scale, |_| [1.0]),
        Shape::Linear => sums(cells, scale, |x| [1.0, x]),
        Shape::Saturating => sums(cells, scale, |x| [1.0, saturated(x, bend)]),
        Shape::Quadratic => sums(cells, scale, |x| [1.0, x, x * x]),
        Shape::Piecewise => sums(cells, scale, |x| [1.0, x, (x - bend).max(0.0)]),
    };
    model.coefficients = gauss(gram, against, columns)?;
    let loss: f64 = (0..columns).map(|i| -model.coefficients[i] * against[i]).sum();
    model
        .coefficients
        .iter()
        .all(|value| value.is_finite())
        .then_some((model, loss))
}

/// Products of the curves with each other and with the figure.
fn sums<const COLUMNS: usize>(
    cells: &[Cell],
    scale: f64,
    basis: impl Fn(f64) -> [f64; COLUMNS],
) -> ([[f64; 3]; 3], [f64; 3]) {
    let mut gram = [[0.0; 3]; 3];
    let mut against = [0.0; 3];
    for cell in cells {
        let row = basis(cell.players / scale);
        for i in 0..COLUMNS {
            against[i] += row[i] * cell.sum;
            for j in i..COLUMNS {
                gram[i][j] += cell.weight * row[i] * row[j];
            }
        }
    }
    for (row, column) in [(1, 0), (2, 0), (2, 1)] {
        gram[row][column] = gram[column][row];
    }
    (gram, against)
}

fn saturated(x: f64, bend: f64) -> f64 {
    -(-x / bend).exp_m1()
}

/// Solves a small symmetric system; `None` when it is singular.
fn gauss(mut a: [[f64; 3]; 3], mut b: [f64; 3], n: usize) -> Option<[f64; 3]> {
    let sizes: Vec<f64> = (0..n).map(|i| a[i][i]).collect();
    for i in 0..n {
        if a[i][i].is_nan() || a[i][i] <= 1e-9 * sizes[i] {
            return None;
        }
        for j in i + 1..n {
            let factor = a[j][i] / a[i][i];
            let pivot = a[i];
            for (k, pivot) in pivot.iter().enumerate().take(n).skip(i) {
                a[j][k] -= factor * pivot;
            }
            b[j] -= factor * b[i];
        }
    }
    let mut x = [0.0; 3];
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|j| a[i][j] * x[j]).sum();
        x[i] = (b[i] - rest) / a[i][i];
    }
    Some(x)
}

impl Model {
    fn linear(&self) -> usize {
        match self.shape {
            Shape::Constant => 1,
            Shape::Linear | Shape::Saturating => 2,
            Shape::Quadratic | Shape::Piecewise => 3,
        }
    }

    fn basis(&self, x: f64) -> [f64; 3] {
        match self.shape {
            Shape::Constant => [1.0, 0.0, 0.0],
            Shape::Linear => [1.0, x, 0.0],
            Shape::Saturating => [1.0, saturated(x, self.bend), 0.0],
            Shape::Quadratic => [1.0, x, x * x],
            Shape::Piecewise => [1.0, x, (x - self.bend).max(0.0)],
        }
    }

    /// The figure at so many players.
    pub fn at(&self, players: f64) -> f64 {
        let basis = self.basis(players / self.scale);
        basis.iter().zip(&self.coefficients).map(|(x, b)| x * b).sum()
    }

    /// Players at the knee of a piecewise shape.
    pub fn knee(&self) -> Option<f64> {
        (self.shape == Shape::Piecewise).then_some(self.bend * self.scale)
    }

    /// Players that are 1 inside.
    pub fn scale(&self) -> f64 {
        self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: impl Fn(f64) -> f64) -> Vec<Row> {
        (0..200)
            .map(|index| {
                let players = f64::from((index * 7) % 41);
                Row {
                    unix_ms: 0,
                    players,
                    value: of(players),
                    weight: 1.0,
                    group: 0,
                }
            })
            .collect()
    }

    #[test]
    fn exact_shapes_are_found_exactly() {
        type Planted = fn(f64) -> f64;
        let planted: [(Shape, Planted); 5] = [
            (Shape::Constant, |_| 3.0),
            (Shape::Linear, |n| 3.0 + 0.5 * n),
            (Shape::Saturating, |n| 3.0 + 8.0 * (1.0 - (-n / 12.0).exp())),
            (Shape::Quadratic, |n| 3.0 + 0.1 * n + 0.02 * n * n),
            (Shape::Piecewise, |n| 3.0 + 0.1 * n + 0.6 * (n - 22.0).max(0.0)),
        ];
        for (shape, of) in planted {
            let model = fit(shape, &Grouped::of(&rows(of)).all(), 40.0).unwrap();
            for players in [0.0, 7.0, 19.0, 30.0, 40.0] {
                assert!(
                    (model.at(players) - of(players)).abs() < 1e-4,
                    "{shape:?} at {players}"
                );
            }
        }
        let model = fit(Shape::Piecewise, &Grouped::of(&rows(planted[4].1)).all(), 40.0).unwrap();
        assert!((model.knee().unwrap() - 22.0).abs() < 0.01);
    }

    #[test]
    fn too_few_numbers_of_players_are_refused() {
        let two: Vec<Row> = rows(|n| n).into_iter().filter(|row| row.players < 2.0).collect();
        let two = Grouped::of(&two).all();
        assert!(fit(Shape::Linear, &two, 1.0).is_none() || two.len() > 2);
        for shape in [Shape::Saturating, Shape::Quadratic, Shape::Piecewise] {
            assert_eq!(fit(shape, &two, 1.0), None);
        }
        assert_eq!(fit(Shape::Constant, &[], 1.0), None);
    }
}
