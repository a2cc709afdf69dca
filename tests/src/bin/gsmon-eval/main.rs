//! `gsmon-eval scaling [SEEDS]`: analyses held against made-up servers whose costs are planted. `gsmon-eval advice FILE`: advice
//! held against a population; `gsmon-eval forecast`: forecasts. Exit code 1 where a figure
//! does not lie where it is to lie.

use std::{path::Path, process::ExitCode};

use gsmon_tests::eval::{
    Figure, Strictness, advice, forecast::forecasts, leaks::leaks, modes::modes, shapes,
};

const USAGE: &str = "gsmon-eval scaling [SEEDS [THREADS]]\ngsmon-eval forecast [SEEDS [THREADS [FILE]]]\ngsmon-eval advice FILE [SEEDS [THREADS [PLAYERS]]]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, absent: u64| match words.get(index).map(|word| word.parse::<u64>()) {
        None => Some(absent),
        Some(Ok(number)) if (1..=1_000_000).contains(&number) => Some(number),
        Some(_) => None,
    };
    if let (Some("advice"), Some(file), Some(seeds), Some(threads), Some(players)) = (
        words.first().map(String::as_str),
        words.get(1),
        number(2, 20),
        number(3, 2),
        number(4, 100),
    ) {
        return advice_on(file, seeds, usize::try_from(threads).unwrap_or(1), players as f64);
    }
    let (Some(subject @ ("scaling" | "forecast")), Some(seeds), Some(threads)) =
        (words.first().map(String::as_str), number(1, 2_000), number(2, 2))
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let threads = usize::try_from(threads).unwrap_or(1);
    let mut missed = 0;
    let mut print = |figures: Vec<Figure>| {
        for figure in figures {
            println!("{figure}");
            missed += usize::from(!figure.holds());
        }
    };
    if subject == "forecast" {
        match forecasts(seeds, threads, words.get(3).map(Path::new)) {
            Ok(figures) => print(figures),
            Err(error) => {
                eprintln!("{error:#}");
                return ExitCode::from(2);
            }
        }
        println!("{missed} figures missed");
        return if missed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    println!("{seeds} seeds per shape, made-up servers of four hours");
    print(shapes::shapes(seeds, threads, Strictness::Promised));
    print(shapes::capacity(seeds / 4, threads, Strictness::Promised));
    print(modes(seeds / 4, threads));
    print(leaks(seeds / 2, threads, Strictness::Promised));
    println!("{missed} figures missed");
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints the frontier of every cell of the grid and what is asked of it.
fn advice_on(file: &str, seeds: u64, threads: usize, players: f64) -> ExitCode {
    let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let population = match read.and_then(|text| advice::Population::read(&text).map_err(|why| why.0)) {
        Ok(population) => population,
        Err(error) => {
            eprintln!("cannot read {file}: {error}");
            return ExitCode::from(2);
        }
    };
    println!("{seeds} seeds, {players} players on average");
    let cells = advice::grid(
        &population,
        players,
        seeds,
        threads,
        &advice::CAPACITIES,
        &advice::WARM_UPS,
    );
    for cell in &cells {
        print!("{}", advice::frontier(cell));
    }
    println!();
    let figures = advice::figures(&cells);
    for figure in &figures {
        println!("{figure}");
    }
    match figures.iter().all(Figure::holds) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
