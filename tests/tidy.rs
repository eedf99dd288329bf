//! The house rules that a machine can check: who may know whom, and how files look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/lines.rs"]
mod lines;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

const CRATES: [&str; 15] = [
    "config",
    "schemas",
    "buffer",
    "store",
    "lag",
    "ledger",
    "listener",
    "producer",
    "consumers",
    "admin",
    "observe",
    "registry",
    "rehearsal",
    "testkit",
    "traces",
];

/// Rust files under the given folders of the project.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => walk(&path, found),
                path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    folders.iter().for_each(|folder| walk(&root().join(folder), &mut found));
    found.sort();
    let name = |path: &Path| path.strip_prefix(root()).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Rust files of all that is shipped, but for one crate.
fn product_without(left_out: &str) -> Vec<(String, String)> {
    let crates = CRATES.into_iter().filter(|name| ![left_out, "testkit"].contains(name));
    let folders: Vec<String> = crates.map(|name| format!("{name}/src")).chain(["src".to_owned()]).collect();
    sources(&folders.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Lines of code, with their numbers; comments are left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// What a crate depends on when it is built for use, not for its tests.
fn dependencies(of: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join(of).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().cloned().collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let ours = |of: &str| -> Vec<String> {
        dependencies(of)
            .iter()
            .filter_map(|name| name.strip_prefix("floodgate-").map(str::to_owned))
            .collect()
    };
    assert_eq!(ours("config"), [""; 0]);
    assert_eq!(ours("schemas"), [""; 0]);
    assert_eq!(ours("observe"), [""; 0]);
    assert_eq!(ours("testkit"), [""; 0]);
    assert_eq!(ours("rehearsal"), [""; 0]);
    assert_eq!(ours("listener"), [""; 0]);
    assert_eq!(ours("buffer"), ["config", "schemas"]);
    assert_eq!(ours("store"), ["config", "schemas"]);
    assert_eq!(ours("lag"), ["buffer"]);
    assert_eq!(ours("ledger"), ["buffer", "schemas", "store"]);
    assert_eq!(ours("registry"), ["observe", "schemas"]);
    assert_eq!(ours("traces"), ["observe", "schemas"]);
    assert_eq!(ours("producer"), ["buffer", "listener", "observe", "schemas", "store", "traces"]);
    assert_eq!(ours("consumers"), ["buffer", "observe", "schemas", "store", "traces"]);
    assert_eq!(ours("admin"), ["buffer", "lag", "listener", "observe", "schemas"]);
}

#[test]
fn only_the_buffer_knows_its_strategies() {
    for name in CRATES.into_iter().filter(|name| *name != "buffer").chain(["."]) {
        assert!(
            !dependencies(name).iter().any(|dependency| dependency.contains("kafka")),
            "{name} depends on Kafka"
        );
    }
    for (file, text) in product_without("buffer") {
        for (number, line) in code(&text) {
            // what a library calls its own
            let line = line.replace("InMemoryState", "");
            for word in ["rdkafka", "Kafka", "Redis", "InMemory"] {
                // texts for people may say where a name comes from
                assert!(!line.contains(word) || line.contains('"'), "{file}:{number} names {word}: {line}");
            }
        }
    }
}

/// Decision 28: tests can play whatever may happen to a member because it is a value.
#[test]
fn a_member_is_a_value() {
    for name in ["", "/commits", "/partitions", "/place", "/position", "/reading"] {
        let file = format!("buffer/src/share{name}.rs");
        let text = fs::read_to_string(root().join(&file)).unwrap();
        for (number, line) in code(&text) {
            for word in ["rdkafka::", "native::", "Mutex", "thread", "::now()", "async "] {
                assert!(!line.contains(word), "{file}:{number} is no value any more: {line}");
            }
        }
    }
}

/// A part of `log.level` that selects nothing is refused: who logs has to be known.
#[test]
fn log_filters_know_everything_that_logs() {
    let lock: toml::Table = fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let known = fs::read_to_string(root().join("observe/src/filter.rs")).unwrap();
    // what logs are written with, and what is never built
    let others = ["tracing", "tracing-serde", "tracing-subscriber", "sqlx-mysql"];
    let ours = CRATES.into_iter().filter(|name| !["testkit", "config"].contains(name));
    let mut logging: Vec<String> = ours.map(|name| format!("floodgate-{name}")).collect();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let dependencies = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
        let mut dependencies = dependencies.filter_map(|dependency| dependency.as_str()?.split(' ').next());
        if !others.contains(&name) && dependencies.any(|dependency| dependency.starts_with("tracing")) {
            logging.push(name.to_owned());
        }
    }
    assert!(logging.len() > 15, "{logging:?}");
    // and what is said to be of something else
    for (_, text) in product_without("") {
        let targets = text.split("target: \"").skip(1).filter_map(|rest| rest.split('"').next());
        logging.extend(targets.map(str::to_owned));
    }
    for name in logging {
        let target = name.replace('-', "_");
        assert!(known.contains(&format!("\"{target}\",")), "observe/src/filter.rs does not know {target}");
    }
}

#[test]
fn only_the_store_contains_sql() {
    for name in CRATES.into_iter().filter(|name| *name != "store").chain(["."]) {
        assert!(!dependencies(name).contains("sqlx"), "{name} depends on sqlx");
    }
    for (file, text) in product_without("store") {
        for (number, line) in code(&text) {
            for word in ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM", "CREATE TABLE"] {
                assert!(!line.contains(word), "{file}:{number} contains SQL: {line}");
            }
        }
    }
}

/// One match on the kind of strategy, one table of the schemes of databases' URLs, each in `open`.
#[test]
fn the_kind_is_decided_once() {
    let matches = |folder: &str, word: &str| -> Vec<String> {
        let is_match = |line: &str| line.contains(word) && (line.contains("=>") || line.contains("schemes:"));
        let found =
            sources(&[folder]).into_iter().filter(|(_, text)| code(text).any(|(_, line)| is_match(line)));
        found.map(|(file, _)| file).collect()
    };
    let names_kinds = |(_, text): &(String, String)| code(text).any(|(_, line)| line.contains("::KIND"));
    let choices: Vec<_> =
        sources(&["buffer/src"]).into_iter().filter(names_kinds).map(|(file, _)| file).collect();
    assert_eq!(choices, ["buffer/src/choice.rs"]);
    assert_eq!(matches("store/src", "\"sqlite\""), ["store/src/open.rs"]);
}

/// Files that use each other can only be understood together: whoever reads one reads all. What two need of each other
/// stands in a third. The list holds circles that are still to be opened, and only gets shorter.
#[test]
fn files_do_not_use_each_other_in_circles() {
    let mut found = Vec::new();
    for package in CRATES.into_iter().chain([""]) {
        let uses = circles::uses(&root(), package);
        for circle in circles::circles(&uses) {
            let used = |file| uses[file].iter().filter(|used| circle.contains(used)).cloned();
            found.extend(
                circle
                    .iter()
                    .map(|file| format!("{file} uses {}", used(file).collect::<Vec<_>>().join(", "))),
            );
        }
    }
    assert!(found.is_empty(), "files use each other in circles: {found:#?}");
}

/// A file is read in one sitting.
#[test]
fn files_stay_readable() {
    const LINES_MAX: usize = 450;
    let folders: Vec<String> =
        CRATES.iter().map(|name| format!("{name}/src")).chain(["src".to_owned()]).collect();
    for (file, text) in sources(&folders.iter().map(String::as_str).collect::<Vec<_>>()) {
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{file} has {lines} lines, more than {LINES_MAX}: split it by what it is about"
        );
    }
}

/// Logic is handed a clock and chance. What these folders' own tests do is theirs.
#[test]
fn nobody_asks_the_system_for_time_or_chance() {
    let words = [
        "Timestamp::now(",
        "SystemTime::now(",
        "SystemClock",
        "SystemChance",
        "EventId::fresh(",
        "now_v7(",
        "rand::",
        "RandomState",
    ];
    let folders = [
        "producer/src",
        "listener/src",
        "consumers/src",
        "lag/src",
        "ledger/src",
        "admin/src",
        "buffer/src",
        "store/src",
        "registry/src",
        "traces/src",
        "src",
    ];
    let is_logic = |(file, _): &(String, String)| {
        // where they are made, and tests
        let others = ["src/roles.rs", "/tests/", "/tests.rs", "/testing.rs", "/contract"];
        !others.iter().any(|part| file.contains(part))
    };
    for (file, text) in sources(&folders).into_iter().filter(is_logic) {
        let own_tests = text.find("\nmod tests {").unwrap_or(text.len());
        for (number, line) in code(&text[..own_tests]) {
            for word in words {
                assert!(!line.contains(word), "{file}:{number} does not ask what it was handed: {line}");
            }
        }
    }
}

#[test]
fn nothing_is_left_half_done() {
    let folders: Vec<String> = CRATES.iter().map(|name| (*name).to_owned()).collect();
    let mut folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    folders.extend(["src", "tests", "benches"]);
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore"), concat!("unimplem", "ented!")];
    for (file, text) in sources(&folders) {
        for (number, line) in (1..).zip(text.lines()) {
            for word in words {
                assert!(!line.contains(word), "{file}:{number} says {word}");
            }
        }
    }
}

/// A planted bug that cannot be planted any more proves nothing: it is renewed with the code it is about.
#[test]
fn planted_bugs_still_apply() {
    let folder = root().join("tests/mutations");
    let mut planted = 0;
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let patch = entry.path();
        let text = fs::read_to_string(&patch).unwrap();
        let scenario = text.lines().find_map(|line| line.strip_prefix("caught by: ")).expect("no scenario");
        // NAME, NAME@redis, or a file and NAME
        let test = scenario.rsplit(' ').next().unwrap_or(scenario).trim_end_matches("@redis");
        let known = sources(&["tests", "buffer/src", "buffer/tests", "producer/src", "registry/tests"])
            .iter()
            .any(|(_, source)| source.contains(&format!("fn {test}(")));
        assert!(known, "{}: there is no scenario {scenario}", patch.display());
        let mut check = std::process::Command::new("git");
        let applies =
            check.args(["apply", "--check", "-p0"]).arg(&patch).current_dir(root()).output().unwrap();
        let told = String::from_utf8_lossy(&applies.stderr);
        assert!(applies.status.success(), "{} does not apply any more: {told}", patch.display());
        planted += 1;
    }
    assert!(planted >= 12, "{planted} planted bugs");
}

/// Every fault scenario says what it shows and what it does not.
#[test]
fn the_fault_suite_describes_every_scenario() {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let (described, _) = text.split_once("<!-- table -->").expect("no place for the table");
    let mut scenarios = 0;
    for (file, source) in sources(&["tests/faults"]) {
        let kinds = ["scenario(", "scenario_of_any(", "scenario_of_redis("];
        for call in kinds.iter().flat_map(|kind| source.split(kind).skip(1)).map(str::trim_start) {
            let Some(call) = call.strip_prefix('"') else { continue };
            let mut words = call.split('"');
            let (number, name) = (words.next().unwrap(), words.nth(1).unwrap());
            let row = format!("\n| {number} | `{name}` |");
            assert!(described.contains(&row), "docs/faults.md says nothing of {number}, {name} of {file}");
            scenarios += 1;
        }
    }
    assert_eq!(
        described.matches("\n| ").count(),
        scenarios + 2,
        "there are rows of none, but 8 in buffer/ and the head"
    );
}

/// Ids come from anybody, and are shown to operators.
#[test]
fn pages_make_no_markup_of_text() {
    let mut read = 0;
    for entry in fs::read_dir(root().join("admin/page")).unwrap().map(Result::unwrap) {
        let file = entry.path().display().to_string();
        let is_ours = file.ends_with(".js") && !file.ends_with("uplot.js");
        for line in fs::read_to_string(entry.path()).unwrap().lines().filter(|_| is_ours) {
            for way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "srcdoc",
                "javascript:",
            ] {
                assert!(!line.contains(way), "{file}: {line}");
            }
        }
        read += usize::from(is_ours);
    }
    assert!(read >= 5, "{read} files");
    let page = fs::read_to_string(root().join("admin/src/page.rs")).unwrap();
    assert!(page.contains("default-src 'none'; script-src 'self';"), "the page may run other scripts");
}

/// What the page on security says of a test is only worth something while there is that test.
#[test]
fn the_security_page_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut named = BTreeSet::new();
    for (file, test) in text.split('`').skip(1).step_by(2).filter_map(|span| span.split_once(".rs::")) {
        let file = format!("{file}.rs");
        let source = fs::read_to_string(root().join(&file)).unwrap_or_default();
        let lines: Vec<_> = source.lines().map(str::trim).collect();
        let at = lines
            .iter()
            .position(|line| line.contains(&format!("fn {test}(")))
            .unwrap_or_else(|| panic!("there is no {test} in {file}"));
        let attributes = &lines[at.saturating_sub(3)..at];
        let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        assert!(attributes.iter().any(is_test), "{test} of {file} is no test");
        named.insert((file, test));
    }
    assert!(named.len() >= 60, "{} tests are named", named.len());
    let (_, table) = text.split_once("\n## What protects what\n").expect("no table");
    let (table, _) = table.split_once("\n## ").expect("no end of the table");
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| threat"));
    for row in rows {
        assert!(row.contains(".rs::"), "without a test: {row}");
    }
}

/// Whoever reads the code map finds every room in it.
#[test]
fn architecture_names_every_crate_and_stays_short() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 200, "ARCHITECTURE.md has more than 200 lines");
    for name in CRATES {
        assert!(text.contains(&format!("`{name}/`")), "ARCHITECTURE.md does not name `{name}/`");
    }
}

/// The reference shows the configuration as it is compiled in.
#[test]
fn the_reference_shows_the_default_configuration() {
    let reference = root().join("docs/reference.md");
    let own = fs::read_to_string(root().join("src/default.toml")).unwrap();
    let default = format!("{own}\n{}", floodgate_buffer::defaults());
    let text = fs::read_to_string(&reference).unwrap();
    // the last one: a shape of a rehearsal is TOML, too
    let (before, _) = text.rsplit_once("```toml\n").expect("the reference has no configuration");
    let wanted = format!("{before}```toml\n{default}```\n");
    if std::env::var_os("FLOODGATE_UPDATE").is_some() {
        fs::write(&reference, &wanted).unwrap();
    }
    let now = fs::read_to_string(&reference).unwrap();
    assert!(
        now == wanted,
        "docs/reference.md differs from the compiled-in default: FLOODGATE_UPDATE=1 renews it"
    );
}

/// Every problem and every metric that exists stands in the reference.
#[test]
fn the_reference_names_every_problem_and_metric() {
    let text = fs::read_to_string(root().join("docs/reference.md")).unwrap();
    let quoted = |file: &str, is: fn(&str) -> bool| -> Vec<String> {
        let source = fs::read_to_string(root().join(file)).unwrap();
        let names = source.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        names.filter(|name| is(name)).map(str::to_owned).collect()
    };
    let problems = fs::read_to_string(root().join("producer/src/problem.rs")).unwrap();
    let problems: Vec<String> = problems
        .lines()
        .filter(|line| line.ends_with("retryable: true;") || line.ends_with("retryable: false;"))
        .filter_map(|line| line.split('"').nth(1).map(str::to_owned))
        .collect();
    let is_metric = |name: &str| {
        ["floodgate_", "kafka_", "buffer_", "processed_"].iter().any(|prefix| name.starts_with(prefix))
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let metrics = ["metrics", "lag", "requests", "state"];
    let metrics: Vec<_> =
        metrics.iter().flat_map(|of| quoted(&format!("observe/src/{of}.rs"), is_metric)).collect();
    assert!(problems.len() > 15 && metrics.len() > 20, "{problems:?} {metrics:?}");
    for name in problems.iter().chain(&metrics) {
        assert!(text.contains(&format!("`{name}")), "docs/reference.md does not name {name}");
    }
}
