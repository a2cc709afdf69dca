//! Which format is spoken on a port of a server: configured, usual for the game, or found out.
//!
//! Candidates are tried on the traffic itself, different ones on different flows, and each is judged by what it made of
//! the packets: how many fit, whether the client's numbers follow one another, whether acknowledgements name what was
//! sent. What is encrypted or unknown fits none well enough: then nothing is told, and it is tried again later.

use std::collections::HashMap;

use gsmon_common::netcode::{Parts, layouts::LayoutPlace};
use serde::{Deserialize, Serialize};

use super::{
    Candidates,
    line::{Reading, has_resent_numbers},
};
use crate::{
    games::netcode::Candidate,
    kernel::{LayoutChoice, NetcodeReading},
};

/// Packets by which a candidate is judged.
const JUDGED_BY: u64 = 24;
/// A candidate of which less was read in this time is left for later.
const TRIAL_MS: i64 = 8_000;
/// Candidates that are tried at once, where there are so many flows.
const AT_ONCE: usize = 8;
/// Good enough to be read by.
const GOOD: f64 = 0.7;
/// So good that what is usual for the game needs no comparison.
const SURE: f64 = 0.95;
/// The same where nothing in the format answers.
const SURE_BY_NUMBERS: f64 = 0.75;
/// Times that what is usual for the game is looked at before it is judged: a player who comes in says other things at first.
const USUAL_LOOKS: u32 = 4;
/// Turns of the spin bit by which it is judged.
const JUDGED_BY_TURNS: u64 = 6;
/// Packets by which a format in use is judged again.
const REVIEWED_BY: u64 = 400;
/// First pause after nothing was found; it doubles.
const FIRST_PAUSE_MS: i64 = 30_000;
const LONGEST_PAUSE_MS: i64 = 600_000;

/// How far reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetcodeState {
    /// Not asked for, or nothing to try.
    #[default]
    Off,
    /// Candidates are tried.
    Looking,
    /// It is read.
    Reading,
    /// Nothing fits: encrypted, or not known to gsmon.
    Unreadable,
}

/// How a format is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// The configuration says so.
    Configuration,
    /// It is usual for the game, and fits.
    Game,
    /// It fits the traffic best.
    Traffic,
    /// The kernel's own TCP knows.
    Kernel,
}

/// What a candidate made of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    read: u64,
    unread: u64,
    numbers: u64,
    lost: u64,
    strays: u64,
    repeated: u64,
    rtt_samples: u64,
    spin_turns: u64,
    spin_single: u64,
}

impl Evidence {
    fn add(&mut self, read: &Reading) {
        self.read += read.read;
        self.unread += read.unread;
        self.numbers += read.up_sent;
        self.lost = self.lost.saturating_add_signed(read.up_lost);
        self.strays += read.strays;
        self.repeated += read.repeated;
        self.rtt_samples += read.rtt_samples;
        // An endpoint leaves the bit to chance on some of its connections (RFC 9000, 17.4).
        let by_chance = read.spin_turns > JUDGED_BY_TURNS && read.spin_single * 4 > read.spin_turns;
        if !by_chance {
            self.spin_turns += read.spin_turns;
            self.spin_single += read.spin_single;
        }
    }

    /// Is there enough to judge by? The spin bit turns once in a round trip, however many packets there are.
    fn is_enough(&self, candidate: &Candidate) -> bool {
        let fits = self.read as f64 >= GOOD * self.packets() as f64;
        let waits = spins(candidate) && fits && self.spin_turns < JUDGED_BY_TURNS;
        self.packets() >= JUDGED_BY && !waits
    }

    fn packets(&self) -> u64 {
        self.read + self.unread
    }

    /// 0 to 1.
    pub fn score(&self, candidate: &Candidate) -> f64 {
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                part as f64 / whole as f64
            }
        };
        let fits = share(self.read, self.packets());
        let layout = &candidate.layout;
        // A number that stands still is none.
        let order = if layout.tells_up_loss() {
            // Where numbers are of reliable packets only, a client may have none, and what it acknowledges is as good.
            let acknowledged = if has_resent_numbers(layout) {
                self.rtt_samples
            } else {
                0
            };
            let useful = self.numbers.saturating_sub(1) + acknowledged;
            // Of what counts packets most arrive; what goes up by hundreds counts something else.
            let dense = (2.0 * (1.0 - share(self.lost, self.numbers))).clamp(0.0, 1.0);
            let dense = if self.numbers == 0 { 1.0 } else { dense };
            let once = 1.0 - share(self.repeated, self.read + self.repeated);
            share(useful, useful + self.strays * 2) * once * dense
        } else {
            1.0
        };
        if !layout.tells_rtt() && !layout.tells_up_loss() {
            // Nothing to go by but the game's word.
            return if candidate.usual { 0.8 * fits } else { 0.0 };
        }
        if self.numbers + self.strays + self.rtt_samples + self.spin_turns == 0 {
            return 0.0;
        }
        let answered = match (layout.tells_rtt(), layout.tells_up_loss()) {
            // Nothing answers: the numbers alone must do.
            (false, _) => 0.8,
            (true, true) => 0.6 + 0.4 * (self.rtt_samples as f64 / 4.0).min(1.0),
            // Nothing but an echo: of a tick that was sent.
            (true, false) if !spins(candidate) => (self.rtt_samples as f64 / 4.0).min(1.0),
            // The spin bit alone: it must turn, and not by chance. Numbers in order say more than that: a bit of theirs
            // turns as regularly.
            (true, false) => {
                let steady = 1.0 - 2.0 * share(self.spin_single, self.spin_turns);
                if self.spin_turns >= JUDGED_BY_TURNS {
                    0.77 * steady.max(0.0)
                } else {
                    0.0
                }
            }
        };
        fits * order * answered
    }
}

/// Has it nothing but the spin bit?
fn spins(candidate: &Candidate) -> bool {
    candidate.layout.has(Parts::SPIN)
}

/// Finds out and keeps watch.
pub struct Recognition {
    /// The first of equally good ones wins.
    candidates: Candidates,
    known_by: KnownBy,
    state: NetcodeState,
    choice: LayoutChoice,
    reading: Option<Candidate>,
    evidence: HashMap<LayoutPlace, Evidence>,
    judged: HashMap<LayoutPlace, f64>,
    /// How often each had packets enough to be judged.
    looks: HashMap<LayoutPlace, u32>,
    batch_began_ms: Option<i64>,
    /// Of the format in use.
    confidence: Option<f64>,
    pause_ms: i64,
    again_ms: i64,
}

impl Recognition {
    /// Nothing is read.
    pub fn off() -> Self {
        Self::new(KnownBy::Traffic, Candidates::default())
    }

    /// One of these. With [`KnownBy::Configuration`] there is one, and it is used whatever comes of it.
    pub fn new(known_by: KnownBy, candidates: Candidates) -> Self {
        let mut found = Self {
            candidates,
            known_by,
            state: NetcodeState::Off,
            choice: LayoutChoice::Off,
            reading: None,
            evidence: HashMap::new(),
            judged: HashMap::new(),
            looks: HashMap::new(),
            batch_began_ms: None,
            confidence: None,
            pause_ms: FIRST_PAUSE_MS,
            again_ms: 0,
        };
        found.restart();
        found
    }

    /// From the beginning.
    pub fn restart(&mut self) {
        self.evidence.clear();
        self.judged.clear();
        self.looks.clear();
        self.batch_began_ms = None;
        self.confidence = None;
        self.reading = None;
        self.choice = LayoutChoice::Off;
        self.pause_ms = FIRST_PAUSE_MS;
        self.again_ms = 0;
        self.state = NetcodeState::Off;
        if let (KnownBy::Configuration, Some(first)) = (self.known_by, self.candidates.first().cloned()) {
            self.choice = LayoutChoice::One(first.place);
            self.reading = Some(first);
            self.state = NetcodeState::Reading;
        } else if !self.candidates.is_empty() {
            self.state = NetcodeState::Looking;
        }
    }

    /// By which layouts flows are to be read.
    pub fn choice(&self) -> &LayoutChoice {
        &self.choice
    }

    /// The format in use.
    pub fn reading(&self) -> Option<&Candidate> {
        self.reading.as_ref()
    }

    /// How far it has come.
    pub fn state(&self) -> NetcodeState {
        self.state
    }

    /// How sure the format in use is; `None` while too little was read.
    pub fn confidence(&self) -> Option<f64> {
        self.confidence
    }

    /// How the format in use is known.
    pub fn known_by(&self) -> KnownBy {
        match (&self.reading, self.known_by) {
            (Some(candidate), KnownBy::Game) if !candidate.usual => KnownBy::Traffic,
            (_, known_by) => known_by,
        }
    }

    /// What was read in an interval; `flows` is how many flows players have.
    pub fn hear<'a>(
        &mut self,
        readings: impl Iterator<Item = &'a NetcodeReading>,
        flows: usize,
        now_ms: i64,
    ) {
        for read in readings {
            let Some(candidate) = self
                .candidates
                .iter()
                .find(|candidate| candidate.place == read.layout)
            else {
                continue;
            };
            let reading = Reading::new(read, &candidate.layout);
            self.evidence.entry(read.layout).or_default().add(&reading);
        }
        match self.state {
            NetcodeState::Off => {}
            NetcodeState::Reading => self.review(),
            NetcodeState::Looking => self.look(flows, now_ms),
            NetcodeState::Unreadable => {
                if self.reading.is_some() {
                    self.review();
                } else if now_ms >= self.again_ms && flows > 0 {
                    self.judged.clear();
                    self.looks.clear();
                    self.evidence.clear();
                    self.batch_began_ms = None;
                    self.state = NetcodeState::Looking;
                }
            }
        }
    }

    fn look(&mut self, flows: usize, now_ms: i64) {
        if flows == 0 {
            return;
        }
        let began_ms = *self.batch_began_ms.get_or_insert(now_ms);
        let overdue = now_ms - began_ms > TRIAL_MS;
        let tried: Vec<LayoutPlace> = match &self.choice {
            LayoutChoice::Trial(places) => places.clone(),
            _ => Vec::new(),
        };
        let mut open = Vec::new();
        for place in &tried {
            let Some(candidate) = self.candidates.iter().find(|candidate| candidate.place == *place) else {
                continue;
            };
            let evidence = self.evidence.get(place).copied().unwrap_or_default();
            if evidence.is_enough(candidate) {
                let score = evidence.score(candidate);
                let sure = if candidate.layout.tells_rtt() {
                    SURE
                } else {
                    SURE_BY_NUMBERS
                };
                if score >= sure && candidate.usual {
                    return self.settle(candidate.clone(), score);
                }
                let looks = self.looks.entry(*place).or_default();
                *looks += 1;
                if candidate.usual && *looks < USUAL_LOOKS {
                    self.evidence.remove(place);
                    open.push(*place);
                    continue;
                }
                self.judged.insert(*place, score);
            } else if overdue && !(tried.len() == 1 && evidence.packets() < JUDGED_BY) {
                // Too little traffic on its flows, and not on all flows: others get their turn, and it counts as not
                // fitting. Where it is tried on all of them, nothing else could be judged by so little: players who load
                // a map say hardly anything for many seconds.
                self.judged.insert(*place, 0.0);
            } else {
                open.push(*place);
            }
        }
        let waiting = |last: bool| {
            self.candidates
                .iter()
                .filter(move |candidate| (spins(candidate) && !candidate.usual) == last)
                .map(|candidate| candidate.place)
                .filter(|place| !self.judged.contains_key(place) && !open.contains(place))
        };
        // What is usual for the game is tried alone, so that it is found at once.
        let usual_open = self
            .candidates
            .iter()
            .any(|candidate| candidate.usual && !self.judged.contains_key(&candidate.place));
        let room = if usual_open { 1 } else { flows.clamp(1, AT_ONCE) };
        let mut fresh: Vec<LayoutPlace> = waiting(false).take(room.saturating_sub(open.len())).collect();
        // The spin bit does not spin on all flows: it is looked for on all of them at once, when nothing else is left.
        if open.is_empty() && fresh.is_empty() {
            fresh.extend(waiting(true).next());
        }
        if open.is_empty() && fresh.is_empty() {
            return self.conclude(now_ms);
        }
        if !fresh.is_empty() || open.len() != tried.len() {
            for place in &fresh {
                self.evidence.remove(place);
            }
            self.batch_began_ms = Some(now_ms);
            open.extend(fresh);
            self.choice = LayoutChoice::Trial(open);
        }
    }

    fn conclude(&mut self, now_ms: i64) {
        let mut best: Option<(&Candidate, f64)> = None;
        for candidate in self.candidates.iter() {
            let score = self.judged.get(&candidate.place).copied().unwrap_or(0.0);
            // The first of equally good ones.
            if best.is_none_or(|(_, found)| score > found + 0.02) {
                best = Some((candidate, score));
            }
        }
        match best {
            Some((candidate, score)) if score >= GOOD => self.settle(candidate.clone(), score),
            _ => {
                self.choice = LayoutChoice::Off;
                self.state = NetcodeState::Unreadable;
                self.again_ms = now_ms + self.pause_ms;
                self.pause_ms = (self.pause_ms * 2).min(LONGEST_PAUSE_MS);
            }
        }
    }

    fn settle(&mut self, candidate: Candidate, score: f64) {
        self.choice = LayoutChoice::One(candidate.place);
        self.evidence.clear();
        self.confidence = Some(score);
        self.reading = Some(candidate);
        self.state = NetcodeState::Reading;
        self.pause_ms = FIRST_PAUSE_MS;
    }

    /// Does the format in use still fit?
    fn review(&mut self) {
        let Some(candidate) = self.reading.clone() else {
            return;
        };
        let Some(evidence) = self.evidence.get_mut(&candidate.place) else {
            return;
        };
        let enough = match self.confidence {
            Some(_) => REVIEWED_BY,
            None => JUDGED_BY,
        };
        if evidence.packets() < enough {
            return;
        }
        let score = std::mem::take(evidence).score(&candidate);
        self.confidence = Some(score);
        let fits = score >= GOOD / 2.0;
        if self.known_by == KnownBy::Configuration {
            self.state = if fits {
                NetcodeState::Reading
            } else {
                NetcodeState::Unreadable
            };
        } else if !fits {
            self.restart();
        }
    }
}

#[cfg(test)]
mod tests;
