//! `gsmon-eval SUBJECT [SEEDS]`: analyses held against made-up servers whose costs are planted. Exit code 1 where a figure
//! does not lie where it is to lie.

use std::process::ExitCode;

use gsmon_tests::eval::{Figure, Strictness, leaks::leaks, modes::modes, shapes};

const USAGE: &str = "gsmon-eval scaling [SEEDS [THREADS]]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, absent: u64| match words.get(index).map(|word| word.parse::<u64>()) {
        None => Some(absent),
        Some(Ok(number)) if (1..=1_000_000).contains(&number) => Some(number),
        Some(_) => None,
    };
    let (Some("scaling"), Some(seeds), Some(threads)) =
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
