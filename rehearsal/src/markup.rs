//! Texts in HTML.

use crate::words::harmless;

/// A text as a part of a page, between tags or in quotes: nothing of it is markup.
pub(crate) fn text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in harmless(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// What tests read of a page.
#[cfg(test)]
pub(crate) mod check {
    use std::collections::BTreeSet;

    /// Elements of HTML that have no end.
    const EMPTY: [&str; 4] = ["meta", "link", "br", "col"];

    /// An element's name and its attributes.
    #[derive(Debug)]
    pub(crate) struct Element {
        pub(crate) name: String,
        pub(crate) attributes: Vec<(String, String)>,
    }

    impl Element {
        pub(crate) fn get(&self, name: &str) -> Option<&str> {
            self.attributes.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
        }
    }

    /// The elements of a page that is well-formed; it panics at one that is not: every element is ended where it began, every value is
    /// quoted and there once, every id is there once, and what refers to one finds it.
    pub(crate) fn elements(page: &str) -> Vec<Element> {
        let (mut found, mut open) = (Vec::new(), Vec::<String>::new());
        let mut rest = page.strip_prefix("<!doctype html>\n").unwrap_or(page);
        while let Some((text, after)) = rest.split_once('<') {
            assert_text(text, open.last());
            let (tag, after) = after.split_once('>').unwrap_or_else(|| panic!("no end: {after}"));
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "ends what is not open, before {after:.80}");
                continue;
            }
            let element = element(tag.trim_end_matches('/'));
            if !tag.ends_with('/') && !EMPTY.contains(&element.name.as_str()) {
                open.push(element.name.clone());
            }
            found.push(element);
        }
        assert!(open.is_empty(), "still open: {open:?}");
        assert!(rest.trim().is_empty(), "after the end: {rest}");
        references(&found);
        found
    }

    fn assert_text(text: &str, within: Option<&String>) {
        if within.is_some_and(|name| name == "style") {
            return;
        }
        assert!(!text.contains(['>', '"']), "not escaped: {text}");
        for after in text.split('&').skip(1) {
            let (name, _) = after.split_once(';').unwrap_or_else(|| panic!("a lone &: {after:.40}"));
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "unknown: &{name};");
        }
    }

    fn element(tag: &str) -> Element {
        let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()) && !name.is_empty(), "a name: {name}");
        let mut attributes: Vec<(String, String)> = Vec::new();
        while !rest.trim().is_empty() {
            let (key, after) =
                rest.trim_start().split_once("=\"").unwrap_or_else(|| panic!("unquoted: {rest}"));
            let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("unquoted: {rest}"));
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || "-:".contains(c)), "a key: {key}");
            assert!(!key.starts_with("on"), "it could do something: {tag}");
            assert!(attributes.iter().all(|(one, _)| one != key), "{key} twice: {tag}");
            attributes.push((key.to_owned(), value.to_owned()));
            rest = after;
        }
        Element { name: name.to_owned(), attributes }
    }

    fn references(elements: &[Element]) {
        let mut ids = BTreeSet::new();
        for id in elements.iter().filter_map(|element| element.get("id")) {
            assert!(ids.insert(id), "{id} is there twice");
        }
        for element in elements {
            for key in ["aria-labelledby", "aria-describedby"] {
                for id in element.get(key).unwrap_or("").split(' ').filter(|id| !id.is_empty()) {
                    assert!(ids.contains(id), "there is no {id}");
                }
            }
            if let Some(place) = element.get("href").and_then(|place| place.strip_prefix('#')) {
                assert!(ids.contains(place), "there is no {place}");
            }
        }
    }

    #[test]
    fn what_is_not_well_formed_is_found() {
        assert_eq!(elements("<a b=\"c\"><d/>&amp;</a>").len(), 2);
        for wrong in [
            "<a>",
            "</a>",
            "<a><b></a></b>",
            "<a b=c></a>",
            "<a>&</a>",
            "<a b=\"1\" b=\"2\"></a>",
            "<a></a>b",
            "<p><a id=\"x\"></a><b id=\"x\"></b></p>",
            "<a aria-labelledby=\"x\"></a>",
            "<a onclick=\"x\"></a>",
        ] {
            assert!(std::panic::catch_unwind(|| elements(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_text_is_no_markup() {
        let text = super::text("<script>'\"&amp;\u{0}");
        assert_eq!(text, "&lt;script&gt;&#39;&quot;&amp;amp;\\u{0}");
    }
}
