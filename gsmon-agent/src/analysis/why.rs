//! What a ticket needs: in a window of time, was it the server, a neighbour on the host, the network path, or one player's
//! own line?

use serde::{Deserialize, Serialize};

use super::{
    spikes::{Side, Spike, SpikeOf, explain_spikes},
    stats::robust::{mean, median, quantile},
};
use crate::history::{Frame, Measure, PlayerPoint};

/// Where the trouble was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// What the game and its players did.
    Server,
    /// Others on the host, or the host itself.
    Host,
    /// The path that many players share.
    NetworkPath,
    /// One player's own line.
    PlayersLine,
    /// The server spiked, and nothing that is measured fits.
    Unexplained,
    /// Nothing out of the ordinary was seen.
    Nothing,
    /// There are no frames of that time.
    NotKnown,
}

/// A figure of the network that was worse in the window than at other times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worse {
    /// Which.
    pub measure: Measure,
    /// Highest five-second mean in the window.
    pub value: f64,
    /// Median at other times.
    pub usual: f64,
    /// 95 % of the other times are below this.
    pub usual_high: f64,
    /// Chance that a window of this length has such a value.
    pub p_value: f64,
    /// Times that it was held against.
    pub observations: usize,
}

/// One figure of a player's line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineFigure {
    /// Which: RTT, jitter, loss.
    pub measure: Measure,
    /// In the window: median, and range of the middle 80 %.
    pub value: f64,
    /// 10 % are below.
    pub low: f64,
    /// 10 % are above.
    pub high: f64,
    /// Of this player at other times; absent when it was not there.
    pub usual: Option<f64>,
    /// Median of the other players in the window.
    pub others: Option<f64>,
    /// Their share (0 to 1) that was worse off than this player.
    pub others_worse_ratio: Option<f64>,
    /// Is it bad?
    pub bad: bool,
}

/// A player's network in the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerLine {
    /// Player.
    pub player: String,
    /// Frames of the window in which its network is measured; with none, nothing can be said.
    pub frames: usize,
    /// What is measured.
    pub figures: Vec<LineFigure>,
    /// Were the others as badly off?
    pub others_too: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhyReport {
    /// Server.
    pub server: String,
    /// Window.
    pub from_unix_ms: i64,
    /// Window.
    pub to_unix_ms: i64,
    /// Seconds of the window of which there are frames.
    pub seconds: f64,
    /// Where the trouble was, the likeliest first.
    pub blame: Vec<Blame>,
    /// Spikes in the window.
    pub spikes: Vec<Spike>,
    /// What was worse on the network.
    pub worse: Vec<Worse>,
    /// The player that was asked about.
    pub player: Option<PlayerLine>,
}

/// A time, ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First, milliseconds since the Unix epoch.
    pub from_unix_ms: i64,
    /// Last.
    pub to_unix_ms: i64,
}

impl Window {
    fn holds(&self, frame: &Frame) -> bool {
        (self.from_unix_ms..=self.to_unix_ms).contains(&frame.unix_ms)
    }
}

/// Looks into a window. `frames` should be all there are: what is usual comes from outside the window.
pub fn why(server: &str, frames: &[Frame], window: Window, player: Option<&str>) -> WhyReport {
    let inside: Vec<&Frame> = frames.iter().filter(|frame| window.holds(frame)).collect();
    let spikes: Vec<Spike> = explain_spikes(frames)
        .into_iter()
        .filter(|spike| (window.from_unix_ms..=window.to_unix_ms).contains(&spike.unix_ms))
        .collect();
    let worse = worse(frames, window);
    let player = player.map(|player| line(player, frames, window));
    WhyReport {
        server: server.to_owned(),
        from_unix_ms: window.from_unix_ms,
        to_unix_ms: window.to_unix_ms,
        seconds: inside.iter().map(|frame| frame.seconds).sum(),
        blame: blame(inside.is_empty(), &spikes, &worse, player.as_ref()),
        spikes,
        worse,
        player,
    }
}

fn blame(no_frames: bool, spikes: &[Spike], worse: &[Worse], player: Option<&PlayerLine>) -> Vec<Blame> {
    if no_frames {
        return vec![Blame::NotKnown];
    }
    // Heights of spikes by what comes first for each; players feel tick time, not CPU.
    let mut heights: Vec<(Blame, f64)> = Vec::new();
    let mut add = |blame: Blame, height: f64| match heights.iter_mut().find(|(known, _)| *known == blame) {
        Some((_, sum)) => *sum += height,
        None => heights.push((blame, height)),
    };
    for spike in spikes {
        let blame = match spike.causes.first().map(|evidence| evidence.side) {
            Some(Side::Server) => Blame::Server,
            Some(Side::Host) => Blame::Host,
            Some(Side::Network) => Blame::NetworkPath,
            None => Blame::Unexplained,
        };
        let felt = if spike.of == SpikeOf::TickTime { 1.0 } else { 0.25 };
        add(blame, felt * (spike.peak / spike.usual.max(1e-9) - 1.0));
    }
    heights.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut blames: Vec<Blame> = Vec::new();
    let bad_line = player.is_some_and(|line| line.figures.iter().any(|figure| figure.bad));
    // Whoever asks about a player wants to know of its line first.
    match player {
        Some(line) if bad_line && !line.others_too => blames.push(Blame::PlayersLine),
        Some(_) if bad_line => blames.push(Blame::NetworkPath),
        _ => {}
    }
    blames.extend(heights.into_iter().map(|(blame, _)| blame));
    if !worse.is_empty() {
        blames.push(Blame::NetworkPath);
    }
    let mut seen: Vec<Blame> = Vec::new();
    blames.retain(|blame| {
        !seen.contains(blame) && {
            seen.push(*blame);
            true
        }
    });
    if blames.is_empty() {
        blames.push(Blame::Nothing);
    }
    blames
}

/// What is known of a window whose frames are gone: the spikes that were found in their time, with what they came from. How
/// players' networks were is not known then.
pub fn why_of_kept_spikes(server: &str, window: Window, spikes: Vec<Spike>) -> WhyReport {
    WhyReport {
        server: server.to_owned(),
        from_unix_ms: window.from_unix_ms,
        to_unix_ms: window.to_unix_ms,
        seconds: 0.0,
        blame: blame(spikes.is_empty(), &spikes, &[], None),
        spikes,
        worse: Vec::new(),
        player: None,
    }
}

/// Length of the means that are compared.
const MEAN_MS: i64 = 5_000;
/// A window that is as bad as this by chance is called worse.
const LARGEST_P: f64 = 0.01;
/// Fewer windows to hold it against say nothing.
const FEWEST: usize = 20;

/// Figures of all players' networks that were higher in the window than in windows of its length at other times.
fn worse(frames: &[Frame], window: Window) -> Vec<Worse> {
    let mut worse: Vec<Worse> = [
        Measure::RttP50Ms,
        Measure::JitterMs,
        Measure::LossUpRatio,
        Measure::LossDownRatio,
        Measure::UdpDropsPerSecond,
    ]
    .into_iter()
    .filter_map(|measure| {
        let means = means(frames, measure);
        let (inside, outside): (Vec<Mean>, Vec<Mean>) = means.into_iter().partition(|(at, _)| {
            (window.from_unix_ms..=window.to_unix_ms.saturating_add(MEAN_MS)).contains(at)
        });
        let value = inside.iter().map(|(_, mean)| *mean).max_by(f64::total_cmp)?;
        let plain: Vec<f64> = outside.iter().map(|(_, mean)| *mean).collect();
        if plain.len() < FEWEST {
            return None;
        }
        // The highest of so many means, wherever else it could have been. Windows that overlap would count one time of
        // trouble as many.
        let highest: Vec<f64> = plain
            .chunks_exact(inside.len().min(plain.len()))
            .map(|window| window.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            .collect();
        let as_high = highest.iter().filter(|other| **other >= value).count();
        let usual = median(&plain)?;
        let usual_high = quantile(&plain, 0.95)?;
        // Beyond all that was seen, and by how much: a tail that falls as slowly as an exponential one.
        let largest = plain.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let beyond = ((value - largest) / (usual_high - usual).max(1e-9)).max(0.0);
        let p_value = (1 + as_high) as f64 / (1 + highest.len()) as f64 * (-beyond).exp();
        (p_value < LARGEST_P && value > usual * 1.2).then_some(Worse {
            measure,
            value,
            usual,
            usual_high,
            p_value,
            observations: plain.len(),
        })
    })
    .collect();
    worse.sort_by(|a, b| a.p_value.total_cmp(&b.p_value));
    worse
}

/// A mean with the end of its time.
type Mean = (i64, f64);

/// Five-second means.
fn means(frames: &[Frame], measure: Measure) -> Vec<Mean> {
    let mut means: Vec<Mean> = Vec::new();
    let (mut sum, mut seconds, mut begin) = (0.0, 0.0, None);
    for frame in frames {
        let Some(value) = frame.get(measure) else { continue };
        let began = *begin.get_or_insert(frame.unix_ms - (frame.seconds * 1e3) as i64);
        sum += value * frame.seconds;
        seconds += frame.seconds;
        if frame.unix_ms - began >= MEAN_MS - 500 {
            means.push((frame.unix_ms, sum / seconds.max(1e-9)));
            (sum, seconds, begin) = (0.0, 0.0, None);
        }
    }
    means
}

/// Figures of a line with what counts as bad whatever is usual (ms, ms, ratios), and the least difference that counts.
type Figure = (Measure, fn(&PlayerPoint) -> Option<f32>, f64, f64);
const FIGURES: [Figure; 4] = [
    (Measure::RttP50Ms, |point| point.rtt_ms, 250.0, 20.0),
    (Measure::JitterMs, |point| point.jitter_ms, 40.0, 8.0),
    (Measure::LossUpRatio, |point| point.loss_up_ratio, 0.03, 0.01),
    (Measure::LossDownRatio, |point| point.loss_down_ratio, 0.03, 0.01),
];

fn line(player: &str, frames: &[Frame], window: Window) -> PlayerLine {
    let of = |frame: &Frame, figure: fn(&PlayerPoint) -> Option<f32>| {
        let point = frame.players.iter().find(|point| &*point.player == player)?;
        figure(point).map(f64::from)
    };
    let inside: Vec<&Frame> = frames.iter().filter(|frame| window.holds(frame)).collect();
    let measured = inside
        .iter()
        .filter(|frame| frame.players.iter().any(|point| &*point.player == player))
        .count();
    let mut others_too = false;
    let mut figures = Vec::new();
    for (measure, figure, too_much, step) in FIGURES {
        let now: Vec<f64> = inside.iter().filter_map(|frame| of(frame, figure)).collect();
        let (Some(value), Some(low), Some(high)) = (median(&now), quantile(&now, 0.1), quantile(&now, 0.9))
        else {
            continue;
        };
        let other_times: Vec<f64> = frames
            .iter()
            .filter(|frame| !window.holds(frame))
            .filter_map(|frame| of(frame, figure))
            .collect();
        let usual = median(&other_times);
        let all_others = |within: bool| -> Vec<f64> {
            frames
                .iter()
                .filter(|frame| window.holds(frame) == within)
                .flat_map(|frame| frame.players.iter().filter(|point| &*point.player != player))
                .filter_map(|point| figure(point).map(f64::from))
                .collect()
        };
        let (others_now, others_before) = (all_others(true), all_others(false));
        let worse = |usual: f64, now: f64| now > usual * 1.5 && now - usual > step;
        // The mean for loss: a median hides what comes in bursts.
        let felt = if step < 1.0 {
            mean(&now).unwrap_or(value)
        } else {
            value
        };
        let others = median(&others_now);
        let bad = felt > too_much || usual.is_some_and(|usual| worse(usual, felt));
        let others_worse_too = others
            .zip(median(&others_before))
            .is_some_and(|(now, before)| worse(before, now) || now > too_much);
        others_too |= bad && others_worse_too;
        figures.push(LineFigure {
            measure,
            value: felt,
            low,
            high,
            usual,
            others,
            others_worse_ratio: (!others_now.is_empty()).then(|| {
                others_now.iter().filter(|other| **other > felt).count() as f64 / others_now.len() as f64
            }),
            bad,
        });
    }
    PlayerLine {
        player: player.to_owned(),
        frames: measured,
        figures,
        others_too,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{
        simulate::{Made, Noise, add, multiply},
        spikes::Cause,
    };

    fn frames(seed: u64) -> Vec<Frame> {
        let made = Made {
            phase_changes: 0.0,
            ..Made::default()
        };
        made.frames(&mut Noise::new(seed))
    }

    fn window(frames: &[Frame], from: usize, to: usize) -> Window {
        Window {
            from_unix_ms: frames[from].unix_ms,
            to_unix_ms: frames[to].unix_ms,
        }
    }

    fn give_players(frames: &mut [Frame], rtt_ms: impl Fn(usize, &str) -> f32) {
        for (index, frame) in frames.iter_mut().enumerate() {
            frame.players = ["Ann", "Bob", "Cid", "Dan"]
                .iter()
                .map(|name| PlayerPoint {
                    player: (*name).into(),
                    region: None,
                    rtt_ms: Some(rtt_ms(index, name)),
                    jitter_ms: Some(3.0),
                    loss_up_ratio: Some(0.0),
                    loss_down_ratio: None,
                    rx_packets_per_second: None,
                    tx_packets_per_second: None,
                })
                .collect();
        }
    }

    #[test]
    fn a_neighbour_on_the_host_is_told_from_the_server() {
        let mut frames = frames(1);
        multiply(&mut frames[500], Measure::TickP99Ms, 2.5);
        add(&mut frames[500], Measure::RunQueueWaitRatio, 0.2);
        let window = window(&frames, 480, 520);
        let report = why("arena", &frames, window, None);
        assert_eq!(report.blame[0], Blame::Host);
        assert_eq!(report.spikes[0].causes[0].cause, Cause::RunQueueWait);
        assert_eq!(report.seconds, 41.0);
        let mut joined = super::tests::frames(2);
        multiply(&mut joined[500], Measure::TickP99Ms, 2.5);
        add(&mut joined[500], Measure::Joins, 6.0);
        assert_eq!(why("arena", &joined, window, None).blame[0], Blame::Server);
    }

    #[test]
    fn one_players_line_is_told_from_a_path_that_all_share() {
        let mut mine = frames(3);
        give_players(&mut mine, |index, name| match name {
            "Ann" if (500..540).contains(&index) => 180.0,
            _ => 40.0,
        });
        let window = window(&mine, 500, 539);
        let report = why("arena", &mine, window, Some("Ann"));
        assert_eq!(report.blame[0], Blame::PlayersLine, "{report:?}");
        let line = report.player.unwrap();
        assert_eq!(
            (line.frames, line.figures[0].value, line.figures[0].usual),
            (40, 180.0, Some(40.0))
        );
        assert_eq!(line.figures[0].others_worse_ratio, Some(0.0));
        let mut shared = frames(3);
        give_players(&mut shared, |index, _| {
            if (500..540).contains(&index) { 180.0 } else { 40.0 }
        });
        assert_eq!(
            why("arena", &shared, window, Some("Ann")).blame[0],
            Blame::NetworkPath
        );
        let nobody = why("arena", &shared, window, Some("Eve")).player.unwrap();
        assert!(nobody.frames == 0 && nobody.figures.is_empty());
    }

    #[test]
    fn loss_of_all_players_is_seen_without_any_spike() {
        let mut frames = frames(4);
        for frame in &mut frames[600..615] {
            add(frame, Measure::LossDownRatio, 0.05);
        }
        let report = why("arena", &frames, window(&frames, 590, 630), None);
        assert_eq!(report.blame[0], Blame::NetworkPath, "{report:?}");
        assert_eq!(report.worse[0].measure, Measure::LossDownRatio);
    }

    #[test]
    fn quiet_windows_and_windows_without_frames_are_said_to_be_so() {
        let mut quiet = 0;
        for seed in 0..40 {
            let frames = frames(100 + seed);
            quiet += u32::from(why("a", &frames, window(&frames, 400, 430), None).blame == [Blame::Nothing]);
        }
        assert!(quiet >= 35, "{quiet} of 40");
        let nowhere = Window {
            from_unix_ms: 0,
            to_unix_ms: 1,
        };
        assert_eq!(why("a", &frames(1), nowhere, None).blame, [Blame::NotKnown]);
    }
}
