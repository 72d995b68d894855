//! The demo's result as an SVG: requests in flight and failures, without a limit and with it. No script, and colours
//! for light and dark backgrounds.

use super::picture::most_by_column;
use crate::cli::receiver::Counts;
use std::fmt::Write;
use std::time::Duration;

/// The area of the curves, in pixels: left, top, width, height.
const CURVES: Area = Area { left: 52, top: 64, width: 400, height: 150 };
/// The area of the bars.
const BARS: Area = Area { left: 530, top: 64, width: 180, height: 150 };
/// Horizontal pixels for each step of a curve.
const STEP: usize = 2;

struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Area {
    fn bottom(&self) -> usize {
        self.top + self.height
    }

    /// Where a value of `scale` is, in pixels from the top.
    fn y(&self, value: usize, scale: usize) -> usize {
        self.bottom() - self.height * value.min(scale) / scale.max(1)
    }
}

const STYLE: &str = "\
    .paper{fill:#fff}.ink{fill:#1f2328}.faint{fill:#59636e}.line{stroke:#d1d9e0;fill:none}\
    .open{stroke:#cf222e}.limited{stroke:#0969da}.bar-open{fill:#cf222e}.bar-limited{fill:#0969da}\
    .capacity{stroke:#59636e;stroke-dasharray:4 3;fill:none}\
    .curve{fill:none;stroke-width:2;stroke-linejoin:round}\
    text{font:12px system-ui,sans-serif}.title{font-weight:600;font-size:14px}\
    @media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.faint{fill:#9198a1}\
    .line{stroke:#3d444d}.open{stroke:#ff7b72}.limited{stroke:#58a6ff}.bar-open{fill:#ff7b72}\
    .bar-limited{fill:#58a6ff}.capacity{stroke:#9198a1}}";

/// Two small charts: `open` ran without a limit, `limited` with one of `limit` requests, both against a receiver that can
/// take `capacity` at once.
pub(super) fn draw(open: &Counts, limited: &Counts, limit: usize, capacity: usize) -> String {
    let mut out = String::new();
    let title = format!(
        "Without a limit {} of {} requests fail; with at most {limit} in flight {} of {}.",
        open.turned_away,
        open.turned_away + open.accepted,
        limited.turned_away,
        limited.turned_away + limited.accepted
    );
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 740 270\" width=\"740\" height=\"270\" \
         role=\"img\" aria-labelledby=\"title\">\n<title id=\"title\">{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"740\" height=\"270\" rx=\"8\"/>\n"
    );
    curves(&mut out, open, limited, capacity);
    bars(&mut out, open, limited);
    let _ = writeln!(
        out,
        "<rect class=\"bar-open\" x=\"52\" y=\"247\" width=\"10\" height=\"10\"/>{}\
         <rect class=\"bar-limited\" x=\"222\" y=\"247\" width=\"10\" height=\"10\"/>{}</svg>",
        text(68, 256, "ink", "all at once, no limit"),
        text(238, 256, "ink", &format!("sluicegate, at most {limit} in flight"))
    );
    out
}

fn curves(out: &mut String, open: &Counts, limited: &Counts, capacity: usize) {
    let span = open.took().max(limited.took());
    let top = open.most.max(limited.most).max(capacity);
    out.push_str(&text(20, 36, "ink title", "Requests in flight"));
    frame(out, &CURVES, top);
    let y = CURVES.y(capacity, top);
    let (left, right) = (CURVES.left, CURVES.left + CURVES.width);
    let _ = writeln!(out, "<path class=\"capacity\" d=\"M{left} {y}H{right}\"/>");
    out.push_str(&text(right - 170, y - 6, "faint", &format!("the receiver can take {capacity}")));
    for (tally, class) in [(open, "open"), (limited, "limited")] {
        let mut path = format!("M{left} {}", CURVES.bottom());
        for (step, most) in most_by_column(&tally.flights, CURVES.width / STEP, span).iter().enumerate() {
            let _ = write!(path, "V{}H{}", CURVES.y(*most, top), left + (step + 1) * STEP);
        }
        let _ = writeln!(out, "<path class=\"curve {class}\" d=\"{path}\"/>");
    }
    out.push_str(&text(left, CURVES.bottom() + 16, "faint", "0 s"));
    out.push_str(&text(right - 36, CURVES.bottom() + 16, "faint", &seconds(span)));
}

fn bars(out: &mut String, open: &Counts, limited: &Counts) {
    let top = open.turned_away.max(limited.turned_away).max(1);
    out.push_str(&text(BARS.left - 32, 36, "ink title", "Requests that failed (503)"));
    frame(out, &BARS, top);
    for (at, tally, class) in [(30, open, "bar-open"), (110, limited, "bar-limited")] {
        let (x, y) = (BARS.left + at, BARS.y(tally.turned_away, top));
        let height = BARS.bottom() - y;
        let _ =
            writeln!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"40\" height=\"{height}\"/>");
        out.push_str(&text(x + 10, y.saturating_sub(4), "ink", &tally.turned_away.to_string()));
    }
}

/// The axes of a chart, and the ends of its scale.
fn frame(out: &mut String, area: &Area, top: usize) {
    let (left, bottom) = (area.left, area.bottom());
    let _ = writeln!(out, "<path class=\"line\" d=\"M{left} {}V{bottom}h{}\"/>", area.top, area.width);
    out.push_str(&text(left - 32, area.top + 4, "faint", &top.to_string()));
    out.push_str(&text(left - 32, bottom, "faint", "0"));
}

fn text(x: usize, y: usize, class: &str, text: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>\n")
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn counts(most: usize, turned_away: usize, ms: u64) -> Counts {
        let start = Instant::now();
        let end = start + Duration::from_millis(ms);
        let flights = vec![(start, most), (end, 0)];
        Counts { most, turned_away, accepted: 400 - turned_away, flights, ..Counts::default() }
    }

    #[test]
    fn the_picture_is_well_formed_and_has_no_script() {
        let svg = draw(&counts(400, 384, 40), &counts(16, 0, 500), 16, 16);
        let opened = svg.matches('<').count() - svg.matches("</").count();
        assert_eq!(opened, svg.matches("</").count() + svg.matches("/>").count(), "{svg}");
        assert!(
            svg.contains("Without a limit 384 of 400 requests fail; with at most 16 in flight 0 of 400.")
        );
        assert!(svg.contains("prefers-color-scheme:dark") && svg.contains(">384</text>"), "{svg}");
        assert!(!svg.contains("<script") && !svg.contains("href") && svg.is_ascii(), "{svg}");
    }

    #[test]
    fn both_runs_share_one_scale() {
        let svg = draw(&counts(400, 384, 40), &counts(16, 0, 400), 16, 16);
        let paths: Vec<&str> = svg.split("<path class=\"curve ").skip(1).collect();
        // The run without a limit is at the top for a tenth of the time, and over after that.
        assert!(paths[0].starts_with("open\" d=\"M52 214V64H54V64"), "{}", paths[0]);
        assert!(paths[0].contains("V64H92V") && paths[0].contains("V214H452"), "{}", paths[0]);
        assert!(paths[1].contains("V208H452"), "{}", paths[1]);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(draw(&Counts::default(), &Counts::default(), 1, 0).ends_with("</svg>\n"));
    }
}
