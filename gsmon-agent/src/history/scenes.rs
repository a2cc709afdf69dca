//! What is seldom new or seldom there, beside the figures of a ring: mode and map as runs, actions where there were any.
//!
//! Frames are named by their place, oldest first, as in the ring's columns.

use std::{collections::VecDeque, sync::Arc};

use super::frame::{Acted, Frame};

/// Mode and map over several frames, and actions of some of them.
#[derive(Debug, Default)]
pub struct Scenes {
    runs: VecDeque<Run>,
    /// Frames that were taken away since the beginning: the number of the oldest.
    oldest: u64,
    frames: u64,
    /// By number of the frame.
    acted: VecDeque<(u64, Arc<[Acted]>)>,
}

#[derive(Debug)]
struct Run {
    mode: Option<Arc<str>>,
    map: Option<Arc<str>>,
    frames: u64,
}

impl Scenes {
    /// Adds what a frame has of it.
    pub fn push(&mut self, frame: &Frame) {
        match self.runs.back_mut() {
            Some(run) if run.mode == frame.mode && run.map == frame.map => run.frames += 1,
            _ => self.runs.push_back(Run {
                mode: frame.mode.clone(),
                map: frame.map.clone(),
                frames: 1,
            }),
        }
        if !frame.acted.is_empty() {
            self.acted
                .push_back((self.oldest + self.frames, frame.acted.clone()));
        }
        self.frames += 1;
    }

    /// Takes the oldest frame away.
    pub fn pop(&mut self) {
        let Some(run) = self.runs.front_mut() else { return };
        run.frames -= 1;
        if run.frames == 0 {
            self.runs.pop_front();
        }
        self.oldest += 1;
        self.frames -= 1;
        while self
            .acted
            .front()
            .is_some_and(|(number, _)| *number < self.oldest)
        {
            self.acted.pop_front();
        }
    }

    /// Gives a frame what it had.
    pub fn fill(&self, index: usize, frame: &mut Frame) {
        let mut left = index as u64;
        for run in &self.runs {
            if left < run.frames {
                frame.mode.clone_from(&run.mode);
                frame.map.clone_from(&run.map);
                break;
            }
            left -= run.frames;
        }
        let number = self.oldest + index as u64;
        if let Ok(at) = self.acted.binary_search_by_key(&number, |(number, _)| *number) {
            frame.acted = self.acted[at].1.clone();
        }
    }

    /// Memory, words aside.
    pub fn bytes(&self) -> usize {
        let acted: usize = self
            .acted
            .iter()
            .map(|(_, acted)| size_of::<(u64, Arc<[Acted]>)>() + size_of_val::<[Acted]>(acted))
            .sum();
        acted + self.runs.capacity() * size_of::<Run>()
    }
}

/// Adds up by name, in the order of names.
pub fn merged(first: &Arc<[Acted]>, second: &Arc<[Acted]>) -> Arc<[Acted]> {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => return first.clone(),
        (true, _) => return second.clone(),
        _ => {}
    }
    let mut sum: Vec<Acted> = first.to_vec();
    for acted in second.iter() {
        match sum.iter_mut().find(|known| known.action == acted.action) {
            Some(known) => known.times = known.times.saturating_add(acted.times),
            None => sum.push(acted.clone()),
        }
    }
    sum.sort_by(|a, b| a.action.cmp(&b.action));
    sum.into()
}
