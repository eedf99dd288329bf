//! A report as one page that needs nothing but itself: no script, no other file, no host. To be read by people who know nothing of
//! load tests, to be mailed, and to be printed.

use std::fmt::Write;

use crate::compare::{Comparison, Row, Trend};
use crate::course::{Course, Figure, figures};
use crate::markup::text;
use crate::report::{Check, Instance, Report, Verdict};
use crate::told;
use crate::words::{UNKNOWN, count, ms, places, seconds, stamp};

const STYLE: &str = include_str!("page.css");

/// Nothing is loaded, whatever somebody's text may be taken for.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Shapes that say how something ended without their colour.
const ICONS: &str = concat!(
    "<svg class=\"symbols\" aria-hidden=\"true\" width=\"0\" height=\"0\">",
    "<symbol id=\"icon-PASS\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"6.5\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\"/>",
    "<path d=\"M4.8 8.2l2.2 2.3 4.2-4.8\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.8\"/></symbol>",
    "<symbol id=\"icon-FAIL\" viewBox=\"0 0 16 16\"><path d=\"M5.2 1.3h5.6l3.9 3.9v5.6l-3.9 3.9H5.2l-3.9-3.9V5.2z\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\"/>",
    "<path d=\"M5.2 5.2l5.6 5.6M10.8 5.2l-5.6 5.6\" stroke=\"currentColor\" stroke-width=\"1.8\"/></symbol>",
    "<symbol id=\"icon-UNKNOWN\" viewBox=\"0 0 16 16\"><path d=\"M8 1.2L14.8 8 8 14.8 1.2 8z\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\"/>",
    "<path d=\"M6.3 6.6c0-2.2 3.4-2.2 3.4-.1C9.7 7.8 8 7.7 8 9.3M8 10.4v1.3\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.4\"/></symbol>",
    "</svg>\n"
);

/// An earlier report, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Earlier<'r> {
    /// Its lines are drawn behind.
    pub report: &'r Report,
    /// Its figures stand beside.
    pub comparison: &'r Comparison,
}

/// The whole page.
pub fn page(report: &Report, earlier: Option<Earlier<'_>>) -> String {
    let title = text(&report.title);
    let course = Course::new(report);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}: {title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n{ICONS}\
         <header class=\"bar\"><div class=\"bar-in\"><h1>Floodgate rehearsal</h1><p class=\"title\">{title}</p>\
         <p class=\"quiet\">{}</p></div></header>\n<main>\n",
        told::word(report.verdict),
        text(&stamp(&report.started_at)),
    );
    page += &verdict(report);
    page += &checks(report);
    page += &plots(report, &course, earlier);
    if let Some(Earlier { comparison, .. }) = earlier {
        page += &compared(comparison);
    }
    page += &section(
        "figures",
        "Figures",
        &[panel("In all", &facts(&told::figures(report))), fairness(report)].concat(),
        "figures",
    );
    page += &again(report);
    page + "</main>\n</body>\n</html>\n"
}

fn section(id: &str, title: &str, body: &str, class: &str) -> String {
    format!(
        "<section aria-labelledby=\"{id}-title\">\n<h2 id=\"{id}-title\">{title}</h2>\n<div class=\"{class}\">{body}</div>\n</section>\n"
    )
}

fn panel(title: &str, body: &str) -> String {
    format!("<div class=\"panel\"><h3>{title}</h3>\n{body}</div>\n")
}

fn badge(verdict: Verdict) -> String {
    let word = told::word(verdict);
    format!(
        "<span class=\"badge\" data-badge=\"{word}\"><svg class=\"icon\" aria-hidden=\"true\"><use href=\"#icon-{word}\"/></svg>{word}</span>"
    )
}

fn verdict(report: &Report) -> String {
    let headline = told::headline(report);
    let (first, rest) = headline.split_at(headline.chars().next().map_or(0, char::len_utf8));
    let generator = told::generator(report);
    let generator = match report.generator_was_the_limit {
        true => format!("<p class=\"told\">{}</p>", text(&generator)),
        false => format!("<p class=\"quiet\">{}</p>", text(&generator)),
    };
    format!(
        "<section class=\"panel verdict\" data-verdict=\"{}\" aria-labelledby=\"verdict-title\">\n\
         <h2 id=\"verdict-title\">{} {}{}</h2>\n<p>{}</p>\n{generator}\n</section>\n",
        told::word(report.verdict),
        badge(report.verdict),
        text(&first.to_uppercase()),
        text(rest),
        text(&told::summary(report)),
    )
}

fn checks(report: &Report) -> String {
    if report.checks.is_empty() {
        return String::new();
    }
    let row = |check: &Check| {
        format!(
            "<tr role=\"row\"><td role=\"cell\" class=\"mark\">{}</td><th role=\"rowheader\" scope=\"row\">{}</th>\
             <td role=\"cell\" data-of=\"expected:\">{}</td><td role=\"cell\" data-of=\"found:\">{}</td></tr>\n",
            badge(check.verdict),
            text(&check.name),
            text(&check.aim),
            text(&check.found)
        )
    };
    let rows: String = told::in_order(report).into_iter().map(row).collect();
    let body = table("checks", &[("Verdict", "mark"), ("Check", ""), ("Expected", ""), ("Found", "")], &rows);
    section("checks", "What had to hold", &body, "scroll stack")
}

/// A table whose heads say of what its columns are.
fn table(of: &str, heads: &[(&str, &str)], rows: &str) -> String {
    let head = |(name, class): &(&str, &str)| {
        format!("<th role=\"columnheader\" scope=\"col\" class=\"{class}\">{name}</th>")
    };
    let heads: String = heads.iter().map(head).collect();
    format!(
        "<table role=\"table\" aria-labelledby=\"{of}-title\"><thead role=\"rowgroup\"><tr role=\"row\">{heads}</tr></thead>\n\
         <tbody role=\"rowgroup\">\n{rows}</tbody></table>"
    )
}

fn plots(report: &Report, course: &Course, earlier: Option<Earlier<'_>>) -> String {
    let charts: String =
        figures(report, course, earlier.map(|earlier| earlier.report)).iter().map(chart).collect();
    let mut notes = String::new();
    if let Some(Earlier { report, .. }) = earlier {
        notes += &format!(
            "<p class=\"quiet\">Pale lines are the run of {}.</p>\n",
            text(&stamp(&report.started_at))
        );
    }
    if course.each > 1 {
        notes += &format!(
            "<p class=\"quiet\">A point is {} seconds: the mean of its rates, and the most of failures, times and lag.</p>\n",
            count(course.each.into())
        );
    }
    let body = format!("<div class=\"charts\">\n{charts}</div>\n{notes}{}", by_second(course));
    section("course", "Second by second", &body, "course")
}

fn chart(figure: &Figure) -> String {
    let Figure { plot, unit, legend, nothing } = figure;
    let mut chart = format!(
        "<figure class=\"chart\"><figcaption><h3>{} <small>{unit}</small></h3><span class=\"quiet\">highest</span></figcaption>\n",
        text(&plot.title)
    );
    if let Some(nothing) = nothing {
        return chart + &format!("<p class=\"quiet\">{nothing}</p></figure>\n");
    }
    chart += "<ul class=\"legend\">";
    for entry in legend {
        // writing to a String cannot fail
        let _ = write!(
            chart,
            "<li><svg class=\"sample\" viewBox=\"0 0 30 14\" aria-hidden=\"true\"><path class=\"line {}\" d=\"M1 7H29\"/></svg>{} <b>{}</b></li>",
            entry.look,
            text(&entry.name),
            text(&entry.value)
        );
    }
    chart + "</ul>\n" + &plot.svg() + "</figure>\n"
}

/// The same as numbers, for those who do not see plots, or see them and want to know.
fn by_second(course: &Course) -> String {
    let heads =
        ["Second", "Due", "Answered", "Accepted", "Failed", "p50", "p95", "p99", "Longest", "Lag", "Decided"];
    let heads = heads.map(|name| (name, "number"));
    let mut rows = String::new();
    for point in &course.points {
        let latency = |of: fn(&crate::report::Latency) -> f64| {
            point.latency.as_ref().map(of).map_or_else(|| "–".to_owned(), ms)
        };
        let cells = [
            places(point.due),
            places(point.answered),
            places(point.accepted),
            places(point.failed),
            latency(|latency| latency.p50),
            latency(|latency| latency.p95),
            latency(|latency| latency.p99),
            latency(|latency| latency.max),
            point.lag.map_or_else(|| UNKNOWN.to_owned(), places),
            places(point.decided),
        ];
        let cells = cells.map(|cell| format!("<td role=\"cell\" class=\"number\">{cell}</td>")).concat();
        let _ = writeln!(
            rows,
            "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\" class=\"number\">{}</th>{cells}</tr>",
            point.second
        );
    }
    format!(
        "<details><summary>Second by second as a table</summary>\n\
         <div class=\"scroll long\" role=\"region\" tabindex=\"0\" aria-labelledby=\"course-title\">{}</div></details>",
        table("course", &heads, &rows)
    )
}

fn compared(comparison: &Comparison) -> String {
    let row = |row: &Row| {
        let Row { figure, before, now, change, trend } = row;
        format!(
            "<tr role=\"row\"><td role=\"cell\" class=\"mark\" data-trend=\"{0}\">{1} {0}</td><th role=\"rowheader\" scope=\"row\">{2}</th>\
             <td role=\"cell\" class=\"number\" data-of=\"before:\">{3}</td><td role=\"cell\" class=\"number\" data-of=\"now:\">{4}</td>\
             <td role=\"cell\" class=\"number\" data-of=\"change:\">{5}</td></tr>\n",
            trend.word(),
            arrow(*trend),
            text(figure),
            text(before),
            text(now),
            text(change),
        )
    };
    let rows: String = comparison.rows.iter().map(row).collect();
    let heads = [("", "mark"), ("Figure", ""), ("Before", "number"), ("Now", "number"), ("Change", "number")];
    let told: String =
        comparison.notes.iter().map(|note| format!("<p class=\"told\">{}</p>\n", text(note))).collect();
    let body = format!(
        "<p>{}</p>\n{told}<div class=\"scroll stack pairs\">{}</div>",
        text(&comparison.summary()),
        table("compared", &heads, &rows)
    );
    section("compared", "Beside the earlier run", &body, "compared")
}

fn arrow(trend: Trend) -> &'static str {
    match trend {
        Trend::Better => "▲",
        Trend::Worse => "▼",
        Trend::Same => "=",
        Trend::Differs => "≠",
    }
}

fn facts<N: AsRef<str>>(facts: &[(N, String)]) -> String {
    let fact =
        |(name, value): &(N, String)| format!("<dt>{}</dt><dd>{}</dd>\n", text(name.as_ref()), text(value));
    format!("<dl class=\"facts\">\n{}</dl>\n", facts.iter().map(fact).collect::<String>())
}

fn fairness(report: &Report) -> String {
    let Some(fairness) = &report.fairness else { return String::new() };
    let told: String =
        told::fairness(report).iter().map(|sentence| format!("<li>{}</li>\n", text(sentence))).collect();
    let mut body = format!("<ul class=\"sentences\">\n{told}</ul>\n");
    if fairness.instances.len() > 1 {
        let rows: String = fairness.instances.iter().map(instance).collect();
        let heads =
            [("Address", ""), ("Asked", "number"), ("Got a piece", "number"), ("By due time", "number")];
        let _ = write!(body, "<div class=\"scroll instances\">{}</div>", table("fairness", &heads, &rows));
    }
    format!(
        "<div class=\"panel\"><h3 id=\"fairness-title\">Fairness to those who came first</h3>\n{body}</div>\n"
    )
}

fn instance(instance: &Instance) -> String {
    let cells = [instance.asked, instance.issued, instance.due]
        .map(|number| format!("<td role=\"cell\" class=\"number\">{}</td>", count(number)))
        .concat();
    format!(
        "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">{}</th>{cells}</tr>\n",
        text(&instance.url)
    )
}

fn again(report: &Report) -> String {
    let list = facts(&[
        ("Shape", report.title.clone()),
        ("Seed", report.seed.to_string()),
        ("Sent to", report.urls.join(", ")),
        ("Began", stamp(&report.started_at)),
        ("Load for", seconds(report.seconds)),
    ]);
    let told = format!(
        "<p class=\"quiet\">With the same shape and <code>--seed {}</code> the same requests are due at the same times. \
         Times of answers are counted from when a request was due, so that those who waited for others are not left out.</p>\n",
        report.seed
    );
    section("again", "How to do it again", &(list + &told), "panel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::compare;
    use crate::example;
    use crate::markup::check::{Element, elements};
    use crate::plot::tests::lies_in_its_box;

    fn pages() -> Vec<String> {
        let (good, nothing, hostile) = (example::report(), example::nothing(), example::hostile());
        let mut pages = Vec::new();
        for now in [&good, &nothing, &hostile] {
            pages.push(page(now, None));
            for before in [&good, &nothing, &hostile] {
                let comparison = compare(before, now);
                pages.push(page(now, Some(Earlier { report: before, comparison: &comparison })));
            }
        }
        pages
    }

    fn named<'e>(elements: &'e [Element], name: &str) -> Vec<&'e Element> {
        elements.iter().filter(|element| element.name == name).collect()
    }

    #[test]
    fn every_page_is_well_formed() {
        for page in pages() {
            let elements = elements(&page);
            lies_in_its_box(&elements);
            for head in named(&elements, "th") {
                assert!(head.get("scope").is_some(), "{head:?}");
            }
            for svg in named(&elements, "svg") {
                assert!(svg.get("aria-hidden").is_some() || svg.get("aria-labelledby").is_some(), "{svg:?}");
            }
            assert_eq!(named(&elements, "h1").len(), 1);
        }
    }

    #[test]
    fn a_page_needs_nothing_but_itself() {
        for page in pages() {
            let elements = elements(&page);
            for name in ["script", "img", "iframe", "object", "base", "form"] {
                assert!(named(&elements, name).is_empty(), "{name}");
            }
            for element in &elements {
                assert!(element.get("src").is_none());
                let place = element.get("href").unwrap_or("#");
                assert!(place.starts_with('#') || place == "data:,", "{place}");
            }
            assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
        }
    }

    #[test]
    fn others_texts_are_texts() {
        for page in pages() {
            assert!(!page.contains("<script"));
            assert!(page.chars().all(|c| c == '\n' || !c.is_control()));
            assert!(!page.contains('\u{202e}'));
        }
        let page = page(&example::hostile(), None);
        assert!(page.contains("&lt;/title&gt;&lt;script&gt;alert(1)"));
    }

    #[test]
    fn the_verdict_is_first_and_four_plots_follow() {
        let page = page(&example::report(), None);
        let place = |word: &str| page.find(word).unwrap_or_else(|| panic!("{word} is missing"));
        let order = [
            "1 of 7 does not hold: no group is far behind",
            "7,800 requests were sent",
            "What had to hold",
            "scope=\"row\">no group is far behind",
            "scope=\"row\">every 202 is decided",
            "id=\"load-t\"",
            "id=\"latency-t\"",
            "id=\"lag-t\"",
            "id=\"decisions-t\"",
            "Fairness to those",
            "--seed 24301",
        ];
        let places: Vec<_> = order.map(place).into();
        assert!(places.is_sorted(), "{places:?}");
        assert!(!page.contains("line before"), "nothing was before");
    }

    #[test]
    fn an_earlier_run_is_drawn_behind_and_told_beside() {
        let (before, now) = (example::report(), example::report());
        let comparison = compare(&before, &now);
        let page = page(&now, Some(Earlier { report: &before, comparison: &comparison }));
        assert_eq!(page.matches("class=\"line before ").count(), 3 + 3 + 1 + 1);
        let behind = |id: &str| {
            let svg = &page[page.find(&format!("id=\"{id}-t\"")).unwrap()..];
            svg.find("line before").unwrap() < svg.find("class=\"fill").unwrap()
        };
        assert!(["load", "latency", "lag", "decisions"].into_iter().all(behind));
        assert!(page.contains("Beside the earlier run"));
        assert_eq!(page.matches("data-trend=\"same\"").count(), comparison.rows.len() + 1, "and the style's");
    }
}
