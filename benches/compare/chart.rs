//! The rates as a picture: two bars for each strategy. It brings its background along, for pages that are light or dark.

use std::fmt::Write as _;

use crate::page::{Row, rate};

const WIDTH: f64 = 760.0;
/// Where bars begin, behind the names.
const LEFT: f64 = 250.0;
/// For the number behind the longest bar.
const RIGHT: f64 = 80.0;
/// Above the first strategy: the legend.
const TOP: f64 = 52.0;
/// From one strategy to the next.
const STEP: f64 = 48.0;
const BAR: f64 = 16.0;

const STYLE: &str = "\
.ground{fill:#ffffff}.text{fill:#1f2328}.accepted{fill:#0969da}.rows{fill:#1a7f37}.axis{stroke:#848d97}
@media(prefers-color-scheme:dark){.ground{fill:#0d1117}.text{fill:#e6edf3}.accepted{fill:#4493f8}.rows{fill:#3fb950}}
text{font:13px system-ui,sans-serif}";

pub fn chart(rows: &[Row]) -> String {
    let height = TOP + STEP * rows.len() as f64 + 8.0;
    let most = rows.iter().flat_map(|row| [row.figures.accepted, row.figures.rows]).fold(1.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-labelledby=\"title\">\n<title id=\"title\">Accepted writes and rows a second, by strategy</title>\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n"
    );
    for (class, name, x) in [("accepted", "accepted/s", LEFT), ("rows", "rows/s", LEFT + 110.0)] {
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"18\" width=\"12\" height=\"12\" rx=\"2\"/>\
             <text class=\"text\" x=\"{}\" y=\"29\">{name}</text>",
            x + 18.0
        );
    }
    for (row, index) in rows.iter().zip(0..) {
        let top = TOP + STEP * f64::from(index);
        let _ = writeln!(
            svg,
            "<text class=\"text\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            LEFT - 12.0,
            top + BAR + 5.0,
            escaped(row.name)
        );
        let bars = [("accepted", row.figures.accepted), ("rows", row.figures.rows)];
        for ((class, value), bar) in bars.into_iter().zip(0..) {
            let (y, width) = (top + (BAR + 2.0) * f64::from(bar), (WIDTH - LEFT - RIGHT) * value / most);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>\
                 <text class=\"text\" x=\"{:.1}\" y=\"{}\">{}</text>",
                LEFT + width + 6.0,
                y + BAR - 3.0,
                rate(value)
            );
        }
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M{LEFT} {}V{}\"/>\n</svg>",
        TOP - 4.0,
        TOP + STEP * rows.len() as f64 - 6.0
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
