//! The page on which strategy to take, and what writes its figures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../benches/compare/cases.rs"]
#[allow(dead_code, reason = "only names are looked at")]
mod cases;
#[path = "../benches/compare/chart.rs"]
mod chart;
#[path = "../benches/compare/page.rs"]
#[allow(dead_code, reason = "medians are taken by who measures")]
mod page;

use page::{BEGIN, END, Figures, Row, Toll};

const PAGE: &str = include_str!("../docs/choosing.md");
const CHART: &str = include_str!("../docs/pictures/strategies.svg");

fn figures(accepted: f64) -> Figures {
    Figures {
        accepted,
        rows: accepted / 2.0,
        answer: [0.0012, 0.25],
        row: [1.5, f64::INFINITY],
        cpu: [12.4, 3.0, 5.0],
        peak: [100.0, 1000.4, 200.0],
    }
}

fn rows() -> [Row; 2] {
    let toll = |lost| Some(Toll { accepted: 1000, lost, doubled: lost / 10 });
    [
        Row { name: "alone", has_server: false, figures: figures(65_432.0), tolls: [toll(17), None, None] },
        Row { name: "with < server", has_server: true, figures: figures(987.0), tolls: [toll(0); 3] },
    ]
}

#[test]
fn a_strategy_is_a_row() {
    let table = page::table(&rows());
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[2..],
        [
            "| alone | 65,400 | 32,700 | 1.2 ms, 250 ms | 1.5 s, – | 12 + – + 5 | 100 + – + 200 | **17**, **1** | – | – |",
            "| with < server | 987 | 494 | 1.2 ms, 250 ms | 1.5 s, – | 12 + 3 + 5 | 100 + 1000 + 200 | 0, 0 | 0, 0 | 0, 0 |",
        ]
    );
    let cells = |line: &str| line.matches('|').count();
    assert!(lines.iter().all(|line| cells(line) == cells(lines[0])), "{table}");
}

#[test]
fn each_figure_is_the_median_of_its_rounds() {
    let mut rounds = [figures(3.0), figures(1.0), figures(2.0)];
    rounds[0].cpu[1] = 0.5;
    rounds[2].row[1] = 9.0;
    let median = Figures::median(&rounds);
    assert_eq!((median.accepted, median.rows), (2.0, 1.0));
    assert_eq!((median.cpu, median.row[1]), ([12.4, 3.0, 5.0], f64::INFINITY));
}

#[test]
fn only_what_stands_between_the_markers_changes() {
    let page = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
    let placed = page::place(&page, "new\n").unwrap();
    assert_eq!(placed, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
    assert_eq!(page::place(&placed, "new\n").unwrap(), placed);
    for broken in ["nothing", BEGIN, END, &format!("{END} {BEGIN}")] {
        assert!(page::place(broken, "new").is_err(), "{broken}");
    }
}

#[test]
fn rates_have_three_digits_that_count() {
    for (value, told) in
        [(0.0, "0"), (7.4, "7"), (999.6, "1,000"), (12_345.0, "12,300"), (1_999_999.0, "2,000,000")]
    {
        assert_eq!(page::rate(value), told, "{value}");
    }
}

/// Bars lie within the picture, the longest is that of the greatest rate, and names are text.
#[test]
fn bars_are_as_long_as_rates_are_great() {
    let svg = chart::chart(&rows());
    let number = |element: &str, name: &str| -> f64 {
        let value = element.split(&format!(" {name}=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    let bars: Vec<&str> = svg.split("<rect ").filter(|rect| rect.contains("height=\"16\"")).collect();
    let widths: Vec<f64> = bars.iter().map(|bar| number(bar, "width")).collect();
    assert_eq!(widths.len(), 4);
    assert!((widths[1] / widths[0] - 0.5).abs() < 0.01 && (widths[2] / widths[0] - 0.0151).abs() < 0.001);
    let (width, height) = (number(&svg, "width"), number(&svg, "height"));
    for bar in bars {
        assert!(number(bar, "x") + number(bar, "width") < width, "{bar}");
        assert!(number(bar, "y") + number(bar, "height") < height, "{bar}");
    }
    assert!(svg.contains("with &lt; server") && svg.contains("65,400"), "{svg}");
    assert!(svg.contains("prefers-color-scheme:dark"));
}

/// Whoever adds a strategy measures it, too.
#[test]
fn the_page_has_every_strategy() {
    let (_, rest) = PAGE.split_once(BEGIN).expect("no beginning");
    let (table, _) = rest.split_once(END).expect("no end");
    for case in &cases::CASES {
        assert!(table.contains(&format!("\n| {} | ", case.name)), "no row for {}", case.name);
        assert!(CHART.contains(&format!(">{}</text>", case.name)), "no bars for {}", case.name);
    }
}
