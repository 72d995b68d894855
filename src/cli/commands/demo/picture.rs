//! A small picture of requests in flight over time, in plain characters.

use std::fmt::Write;
use std::time::{Duration, Instant};

/// How many rows a picture has.
const ROWS: usize = 8;

/// One picture: a heading and how many were in flight from each moment on.
pub(crate) struct Picture<'a> {
    /// What stands above it.
    pub(crate) heading: String,
    /// What it shows.
    pub(crate) flights: &'a [(Instant, usize)],
    /// What stands below it.
    pub(crate) caption: String,
}

/// Draws pictures side by side, each `width` characters wide, on one scale. `colour` marks what is above `limit`.
pub(crate) fn draw(pictures: &[Picture<'_>], width: usize, limit: usize, colour: bool) -> String {
    let columns: Vec<Vec<usize>> = pictures
        .iter()
        .map(|picture| most_by_column(picture.flights, width, took(picture.flights)))
        .collect();
    let top = columns.iter().flatten().copied().max().unwrap_or(0).max(1);
    let mut out = String::new();
    let join = |parts: Vec<String>| parts.join("   ").trim_end().to_owned();
    let line = |text: &str| format!("{:<width$}", text.chars().take(width).collect::<String>());
    // Writing to a String cannot fail.
    let _ = writeln!(out, "       {}", join(pictures.iter().map(|p| line(&p.heading)).collect()));
    for row in (1..=ROWS).rev() {
        let floor = top * (row - 1) / ROWS;
        let cell = |most: &usize| match *most > floor {
            false => " ".to_owned(),
            true if floor < limit => "#".to_owned(),
            true if colour => "\x1b[31m!\x1b[0m".to_owned(),
            true => "!".to_owned(),
        };
        let bars = columns.iter().map(|column| column.iter().map(cell).collect::<String>()).collect();
        let _ = writeln!(out, "{:>5} |{}", top * row / ROWS, join(bars));
    }
    let axis = columns.iter().map(|_| "-".repeat(width)).collect();
    let _ = writeln!(out, "    0 +{}", join(axis));
    let _ = writeln!(out, "       {}", join(pictures.iter().map(|p| line(&p.caption)).collect()));
    out
}

fn took(flights: &[(Instant, usize)]) -> Duration {
    flights.first().zip(flights.last()).map_or(Duration::ZERO, |((first, _), (last, _))| *last - *first)
}

/// The most in flight within each of `width` equal parts of `span`, from the first moment on.
pub(super) fn most_by_column(flights: &[(Instant, usize)], width: usize, span: Duration) -> Vec<usize> {
    let mut columns = vec![0; width];
    let Some((first, _)) = flights.first() else { return columns };
    let span = span.as_nanos().max(1);
    let column =
        |at: Instant| ((at - *first).as_nanos() * width as u128 / span).min(width as u128 - 1) as usize;
    for pair in flights.windows(2) {
        let (from, in_flight) = pair[0];
        for cell in &mut columns[column(from)..=column(pair[1].0)] {
            *cell = (*cell).max(in_flight);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_most_of_each_span_on_one_scale() {
        let start = Instant::now();
        let at = |ms: u64, n: usize| (start + Duration::from_millis(ms), n);
        let flights = [at(0, 1), at(10, 8), at(20, 0), at(40, 0)];
        let picture = || Picture { heading: "a".into(), flights: &flights, caption: "b".into() };
        let drawn = draw(&[picture(), picture()], 4, 4, false);
        let rows: Vec<&str> = drawn.lines().collect();
        assert_eq!(rows[0], "       a      a");
        assert_eq!(rows[1], "    8 | !!     !!");
        assert_eq!(rows[8], "    1 |###    ###");
        assert_eq!(rows[9], "    0 +----   ----");
        assert_eq!(rows.len(), 11);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let picture = Picture { heading: String::new(), flights: &[], caption: String::new() };
        assert!(!draw(&[picture], 10, 4, true).contains('#'));
    }
}
