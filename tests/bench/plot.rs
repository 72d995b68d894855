//! Bars in an SVG: for each run what part of the raw rate it came to, and how many times the raw CPU time it took.

use std::fmt::Write as _;

/// One run.
#[derive(Clone, Debug)]
pub struct Bar {
    pub group: &'static str,
    pub name: &'static str,
    pub rate: f64,
    pub cpu: f64,
}

const ROW: f64 = 18.0;
const TOP: f64 = 52.0;
/// Where the bars begin, and how long one of a value of 1 is, in pixels.
const RATE: (f64, f64) = (200.0, 180.0);
const CPU: (f64, f64) = (450.0, 60.0);

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.head{font-weight:600}.paper{fill:#fff}\
    .rate{fill:#0969da}.cpu{fill:#bf8700}.one{stroke:#59636e;stroke-dasharray:4 3}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.paper{fill:#0d1117}}";

pub fn plot(title: &str, bars: &[Bar]) -> String {
    let groups = bars.chunk_by(|a, b| a.group == b.group).count();
    let height = TOP + ROW * (bars.len() + 2 * groups) as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 {height}\" width=\"860\" height=\"{height}\" \
         role=\"img\"><title>{title}</title><style>{STYLE}</style>\
         <rect class=\"paper\" width=\"860\" height=\"{height}\"/>\n"
    );
    let text = |out: &mut String, x: f64, y: f64, class: &str, text: &str| {
        // Writing to a String can't fail, here and below.
        let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>");
    };
    text(&mut out, 12.0, 22.0, "head", title);
    text(&mut out, RATE.0, 42.0, "", "requests/s");
    text(&mut out, CPU.0, 42.0, "", "CPU per request");
    for (start, one) in [RATE, CPU] {
        let x = start + one;
        let _ = writeln!(out, "<path class=\"one\" d=\"M{x} {TOP}V{height}\"/>");
    }
    let mut y = TOP;
    for group in bars.chunk_by(|a, b| a.group == b.group) {
        y += ROW;
        text(&mut out, 12.0, y, "head", group[0].group);
        for bar in group {
            y += ROW;
            text(&mut out, 24.0, y, "", bar.name);
            for ((start, one), value, class) in [(RATE, bar.rate, "rate"), (CPU, bar.cpu, "cpu")] {
                // What is longer than the paper is cut, and its number says so.
                let width = (value * one).clamp(0.0, 340.0);
                let _ = write!(
                    out,
                    "<rect class=\"{class}\" x=\"{start}\" y=\"{}\" width=\"{width:.0}\" height=\"12\"/>",
                    y - 10.0
                );
                text(&mut out, start + width + 4.0, y, "", &format!("{value:.2}"));
            }
        }
        y += ROW;
    }
    out.push_str("</svg>\n");
    out
}
