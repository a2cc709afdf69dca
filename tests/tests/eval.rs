//! A small run of what `cargo xtask eval` does at length: intervals hold, choices are right, stable servers are left alone.
//! Needs no root.

use gsmon_tests::eval::{Figure, Strictness, advice, leaks::leaks, modes::modes, shapes};

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

#[test]
fn advice_needs_fewer_idle_servers_than_any_static_buffer() {
    let population = advice::Population::made(12, 20_000.0, 5);
    let cells = advice::grid(&population, 100.0, 2, 2, &[20], &[30]);
    print!("{}", advice::frontier(&cells[0]));
    // Who knows everything leaves nobody without a seat.
    assert_eq!(cells[0].oracle.unserved_player_minutes, 0.0);
    held(&advice::figures(&cells));
}

#[test]
fn a_population_is_read_and_a_bad_line_is_named() {
    let text = "time,players\n2021-01-04T00:00:00Z,10\n2021-01-04T00:05:00Z,20\n";
    let population = advice::Population::read(text).unwrap();
    assert_eq!(population.players, [10.0, 12.0, 14.0, 16.0, 18.0]);
    for wrong in [
        "2021-01-04T00:04:00Z,1\n",
        "noon,3\n",
        "2021-01-05T00:00:00Z,-1\n",
    ] {
        let refused = advice::Population::read(&format!("{text}{wrong}"));
        assert!(refused.unwrap_err().0.starts_with("line 4:"), "{wrong}");
    }
    assert!(advice::Population::read("").is_err());
}
