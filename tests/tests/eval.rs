//! A small run of what `cargo xtask eval` does at length: intervals hold, choices are right, stable servers are left alone.
//! Needs no root.

use gsmon_tests::eval::{Figure, Strictness, leaks::leaks, modes::modes, shapes};

const SEEDS: u64 = 200;

fn held(figures: &[Figure]) {
    for figure in figures {
        println!("{figure}");
    }
    let missed: Vec<&Figure> = figures.iter().filter(|figure| !figure.holds()).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn costs_of_every_shape_are_recovered_with_intervals_that_hold() {
    held(&shapes::shapes(SEEDS, 2, Strictness::Smoke));
}

#[test]
fn capacity_is_near_where_it_was_seen_and_held_elsewhere() {
    held(&shapes::capacity(20, 2, Strictness::Smoke));
}

#[test]
fn modes_that_are_the_same_are_not_called_different() {
    held(&modes(SEEDS / 2, 2));
}

#[test]
fn leaks_are_found_and_stable_servers_left_alone() {
    held(&leaks(SEEDS, 2, Strictness::Smoke));
}
