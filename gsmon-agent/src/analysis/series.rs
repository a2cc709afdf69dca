//! Frames of one server, and where they may be compared with their neighbours.

use crate::history::{Frame, Measure};

/// Frames of one server in the order of time.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Server.
    pub server: &'a str,
    /// Oldest first.
    pub frames: &'a [Frame],
}

/// Runs of frames without a gap and of about one length: older frames are means over longer times, and a mean over five
/// seconds is not to be held against single seconds.
pub fn runs(frames: &[Frame]) -> Vec<&[Frame]> {
    let mut runs = Vec::new();
    let mut begin = 0;
    for index in 1..frames.len() {
        let (before, now) = (&frames[index - 1], &frames[index]);
        let ratio = now.seconds / before.seconds.max(1e-9);
        if now.begins_anew || !(0.4..2.5).contains(&ratio) {
            runs.push(&frames[begin..index]);
            begin = index;
        }
    }
    if begin < frames.len() {
        runs.push(&frames[begin..]);
    }
    runs
}

/// A figure per frame; NaN where it is absent.
pub fn column(frames: &[Frame], measure: Measure) -> Vec<f64> {
    frames
        .iter()
        .map(|frame| frame.get(measure).unwrap_or(f64::NAN))
        .collect()
}

/// Figures of the frames that have all of them, with the index of each such frame.
pub fn complete(frames: &[Frame], measures: &[Measure]) -> Vec<(usize, Vec<f64>)> {
    frames
        .iter()
        .enumerate()
        .filter_map(|(index, frame)| {
            let row: Option<Vec<f64>> = measures.iter().map(|measure| frame.get(*measure)).collect();
            Some((index, row?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_changes_of_length_end_a_run() {
        let mut frames: Vec<Frame> = (0..3).map(|index| Frame::new(index * 5_000, 5.0)).collect();
        frames.extend((0..4).map(|index| Frame::new(16_000 + index * 1_000, 1.0)));
        frames[5].begins_anew = true;
        let lengths: Vec<usize> = runs(&frames).iter().map(|run| run.len()).collect();
        assert_eq!(lengths, [3, 2, 2]);
        assert!(runs(&[]).is_empty());
    }
}
