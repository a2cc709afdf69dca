//! Recognition on readings as kernel programs would have made them.

use std::sync::Arc;

use gsmon_common::{
    flow::FlowKey,
    netcode::{NetcodeCounts, layouts::Format},
};

use super::*;
use crate::{games::netcode::candidates, world::network::line::Line};

/// What kernel programs would have read of packets of `truth`: numbers and acknowledgements where the format is its
/// own, strays elsewhere.
fn readings(choice: &LayoutChoice, truth: Option<Format>) -> Vec<NetcodeReading> {
    let places = match choice {
        LayoutChoice::Off => Vec::new(),
        LayoutChoice::One(place) => vec![*place],
        LayoutChoice::Trial(places) => places.clone(),
    };
    places
        .into_iter()
        .map(|layout| {
            let fits = truth.is_some_and(|format| LayoutPlace::from(format) == layout);
            let now = if fits {
                NetcodeCounts {
                    read: 60,
                    up_expected: 30,
                    up_received: 30,
                    rtt_samples: 20,
                    ..NetcodeCounts::default()
                }
            } else {
                NetcodeCounts {
                    read: 60,
                    up_expected: 1,
                    up_received: 1,
                    up_strays: 29,
                    ..NetcodeCounts::default()
                }
            };
            NetcodeReading {
                key: FlowKey::default(),
                layout,
                now,
                before: NetcodeCounts::default(),
                rtt: Vec::new(),
                share: 1.0,
            }
        })
        .collect()
}

fn reading_of(format: Format, now: NetcodeCounts) -> NetcodeReading {
    NetcodeReading {
        key: FlowKey::default(),
        layout: format.into(),
        now,
        before: NetcodeCounts::default(),
        rtt: Vec::new(),
        share: 1.0,
    }
}

fn run(recognition: &mut Recognition, truth: Option<Format>, seconds: i64) {
    for second in 0..seconds {
        let read = readings(recognition.choice(), truth);
        recognition.hear(read.iter(), 1, second * 1_000);
    }
}

#[test]
fn what_fits_is_found_among_all_formats_by_one_player() {
    for format in [Format::Source, Format::RakNet, Format::Kcp2k, Format::Unreal5] {
        let mut recognition = Recognition::new(KnownBy::Traffic, candidates(&[], &[]));
        run(&mut recognition, Some(format), 60);
        assert_eq!(recognition.state(), NetcodeState::Reading);
        assert_eq!(recognition.reading().unwrap().place, format.into());
        assert!(recognition.confidence().unwrap() > 0.9);
    }
}

#[test]
fn a_client_that_uses_no_numbers_is_known_by_what_it_acknowledges() {
    let counts = NetcodeCounts {
        read: 60,
        rtt_samples: 28,
        ..NetcodeCounts::default()
    };
    for (format, known) in [(Format::ENet, true), (Format::Kcp, true), (Format::Source, false)] {
        let candidate = Candidate::of(format);
        let mut evidence = Evidence::default();
        evidence.add(&Reading::new(&reading_of(format, counts), &candidate.layout));
        assert_eq!(evidence.score(&candidate) > SURE, known, "{format:?}");
        let mut line = Line::new(0);
        line.add(
            &Reading::new(&reading_of(format, counts), &candidate.layout),
            &candidate.layout,
            500,
        );
        assert_eq!(line.is_in_order(), known, "{format:?}");
    }
}

#[test]
fn the_spin_bit_is_looked_for_on_all_flows_until_it_has_turned_often_enough() {
    let mut recognition = Recognition::new(KnownBy::Traffic, candidates(&[], &[]));
    let quic = Format::Quic.into();
    let mut alone = 0;
    for look in 0..200 {
        // Many packets, and two turns, on one flow; on another chance.
        let places = match recognition.choice() {
            LayoutChoice::Off => Vec::new(),
            LayoutChoice::One(place) => vec![*place],
            LayoutChoice::Trial(places) => places.clone(),
        };
        alone += u32::from(*recognition.choice() == LayoutChoice::Trial(vec![quic]));
        let read = places.into_iter().flat_map(|place| {
            let counts = |spin_turns, spin_single| NetcodeCounts {
                read: if place == quic { 500 } else { 0 },
                unread: if place == quic { 0 } else { 500 },
                spin_turns,
                spin_single,
                ..NetcodeCounts::default()
            };
            [counts(2, 0), counts(240, 120)].map(|counts| NetcodeReading {
                layout: place,
                ..reading_of(Format::Quic, counts)
            })
        });
        let read: Vec<NetcodeReading> = read.collect();
        recognition.hear(read.iter(), 2, look * 500);
        if recognition.state() == NetcodeState::Reading {
            break;
        }
    }
    assert_eq!(recognition.reading().map(|candidate| candidate.place), Some(quic));
    assert_eq!(alone, 3);
}

#[test]
fn what_is_usual_is_tried_first_and_found_at_once() {
    let mut recognition = Recognition::new(KnownBy::Game, candidates(&[Format::Luanti], &[]));
    run(&mut recognition, Some(Format::Luanti), 3);
    assert_eq!(recognition.state(), NetcodeState::Reading);
    assert_eq!(recognition.known_by(), KnownBy::Game);
    // A game that speaks something else is found out all the same.
    let mut recognition = Recognition::new(KnownBy::Game, candidates(&[Format::Luanti], &[]));
    run(&mut recognition, Some(Format::ENet), 60);
    assert_eq!(recognition.reading().unwrap().place, Format::ENet.into());
    assert_eq!(recognition.known_by(), KnownBy::Traffic);
}

#[test]
fn what_players_say_when_they_come_in_does_not_decide() {
    let mut recognition = Recognition::new(KnownBy::Game, candidates(&[Format::Teeworlds], &[]));
    for second in 0..6 {
        let coming_in = second < 2;
        let now = NetcodeCounts {
            read: 30,
            unread: if coming_in { 30 } else { 0 },
            rtt_samples: 10,
            ..NetcodeCounts::default()
        };
        let read = match recognition.choice() {
            LayoutChoice::Off => Vec::new(),
            _ => vec![reading_of(Format::Teeworlds, now)],
        };
        recognition.hear(read.iter(), 1, second * 1_000);
    }
    assert_eq!(recognition.state(), NetcodeState::Reading);
    assert_eq!(recognition.known_by(), KnownBy::Game);
    assert!(recognition.confidence().unwrap() > 0.95);
}

#[test]
fn players_who_say_little_while_they_load_are_waited_for() {
    let mut recognition = Recognition::new(KnownBy::Game, candidates(&[Format::Luanti], &[]));
    for second in 0..60 {
        let one = NetcodeCounts {
            read: u32::from(second % 10 == 0),
            ..NetcodeCounts::default()
        };
        let read = match recognition.choice() {
            LayoutChoice::Trial(places) if places[..] == [Format::Luanti.into()] => {
                vec![reading_of(Format::Luanti, one)]
            }
            _ => Vec::new(),
        };
        recognition.hear(read.iter(), 1, second * 1_000);
    }
    assert_eq!(recognition.state(), NetcodeState::Looking);
    let read = readings(recognition.choice(), Some(Format::Luanti));
    recognition.hear(read.iter(), 1, 61_000);
    assert_eq!(recognition.state(), NetcodeState::Reading);
    assert_eq!(recognition.known_by(), KnownBy::Game);
}

#[test]
fn nothing_is_told_of_what_fits_nothing_and_it_is_tried_again_later() {
    let mut recognition = Recognition::new(KnownBy::Traffic, candidates(&[], &[]));
    run(&mut recognition, None, 40);
    assert_eq!(recognition.state(), NetcodeState::Unreadable);
    assert!(recognition.reading().is_none());
    assert_eq!(*recognition.choice(), LayoutChoice::Off);
    recognition.hear([].iter(), 1, 1_000_000);
    assert_eq!(recognition.state(), NetcodeState::Looking);
}

#[test]
fn a_configured_format_that_does_not_fit_is_said_to_be_unreadable() {
    let one: Candidates = Arc::from([Candidate::of(Format::Source)]);
    let mut recognition = Recognition::new(KnownBy::Configuration, one);
    assert_eq!(*recognition.choice(), LayoutChoice::One(Format::Source.into()));
    run(&mut recognition, None, 20);
    assert_eq!(recognition.state(), NetcodeState::Unreadable);
    run(&mut recognition, Some(Format::Source), 20);
    assert_eq!(recognition.state(), NetcodeState::Reading);
}
