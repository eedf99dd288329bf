//! Rust as words: what a file declares, imports and names. As much of the language as our files use.

use std::collections::BTreeSet;

/// What a file says, without what is for its tests only.
#[derive(Default)]
pub struct File {
    /// Modules in files of their own, with the file where it is named.
    pub modules: Vec<(String, Option<String>)>,
    /// What it defines.
    pub items: BTreeSet<String>,
    /// Macros that any crate may use.
    pub macros: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Names with `::` between them, outside of imports.
    pub paths: BTreeSet<Vec<String>>,
    /// Everything that is named outside of imports.
    pub words: BTreeSet<String>,
}

/// One name of a `use`.
pub struct Import {
    pub path: Vec<String>,
    /// What it is called here.
    pub name: String,
    /// `pub use`, to whomever.
    pub is_passed_on: bool,
    pub is_glob: bool,
}

pub fn read(text: &str) -> File {
    let mut words = words(text);
    // who may see something is no use of it
    let mut at = 0;
    while at + 3 < words.len() {
        if words[at] == "pub" && words[at + 1] == "(" && words[at + 2] == "in" {
            let end = (at..words.len()).find(|end| words[*end] == ")").unwrap_or(at);
            words.drain(at + 1..=end);
        }
        at += 1;
    }
    let mut reader = Reader { words: &words, at: 0, depth: 0, inline: Vec::new(), file: File::default() };
    reader.read();
    reader.file
}

/// Names, `::`, texts (behind a quote) and single characters; comments, characters and lifetimes are left out.
fn words(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let is_name = |at: usize| chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(n, c)| chars.get(at + n) == Some(&c));
    let (mut words, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let from = at;
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if starts(at, "/*") {
            at = (at + 2..chars.len()).find(|at| starts(*at, "*/")).unwrap() + 2;
        } else if starts(at, "r\"") || starts(at, "r#\"") {
            let end = if starts(at, "r\"") { "\"" } else { "\"#" };
            at = (at + 3..chars.len()).find(|at| starts(*at, end)).unwrap() + end.len();
        } else if chars[at] == '"' {
            at += 1;
            while chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            words.push(chars[from..at].iter().collect());
            at += 1;
        } else if chars[at] == '\'' && (starts(at + 1, "\\") || starts(at + 2, "'")) {
            at = (at + 3..chars.len()).find(|at| chars[*at] == '\'').map_or(at + 3, |end| end + 1);
            at = if starts(from + 2, "'") { from + 3 } else { at };
        } else if chars[at] == '\'' {
            at += 1 + (at + 1..).take_while(|at| is_name(*at)).count();
        } else if is_name(at) {
            at += (at..).take_while(|at| is_name(*at)).count();
            words.push(chars[from..at].iter().collect());
        } else if starts(at, "::") {
            at += 2;
            words.push("::".to_owned());
        } else {
            at += 1;
            words.extend((!chars[from].is_whitespace()).then(|| chars[from].to_string()));
        }
    }
    words
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

struct Reader<'w> {
    words: &'w [String],
    at: usize,
    depth: usize,
    /// The depths of the modules within the file that we are in.
    inline: Vec<usize>,
    file: File,
}

impl Reader<'_> {
    fn word(&self, ahead: usize) -> &str {
        self.words.get(self.at + ahead).map_or("", String::as_str)
    }

    fn follows(&self, wanted: &[&str]) -> bool {
        wanted.iter().enumerate().all(|(ahead, word)| self.word(ahead) == *word)
    }

    fn read(&mut self) {
        let mut path_attribute = None;
        while self.at < self.words.len() {
            if self.follows(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.skip_item();
                continue;
            }
            if self.follows(&["#", "[", "path", "="]) {
                path_attribute = self.word(4).strip_prefix('"').map(str::to_owned);
            }
            let (word, next, third) = (self.word(0), self.word(1).to_owned(), self.word(2).to_owned());
            match word {
                "{" => self.depth += 1,
                "}" => {
                    self.depth -= 1;
                    self.inline.retain(|depth| *depth <= self.depth);
                }
                "mod" if third == ";" => {
                    self.file.modules.push((next, path_attribute.take()));
                    self.at += 2;
                }
                "mod" if third == "{" => {
                    self.depth += 1;
                    self.inline.push(self.depth);
                    self.file.items.insert(next);
                    self.at += 2;
                }
                "use" => {
                    let is_passed_on =
                        self.at > 0 && ["pub", ")"].contains(&self.words[self.at - 1].as_str());
                    self.at += 1;
                    self.import(Vec::new(), is_passed_on);
                }
                "macro_rules" => {
                    self.file.items.insert(third.clone());
                    let before = self.words[..self.at].iter().rev().nth(1);
                    if before.is_some_and(|word| word == "macro_export") {
                        self.file.macros.insert(third);
                    }
                }
                "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static"
                    if self.depth == 0 && is_name(&next) =>
                {
                    self.file.items.insert(next);
                }
                word if is_name(word) => self.name(),
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A name, and the path that it may begin.
    fn name(&mut self) {
        let mut path = vec![self.word(0).to_owned()];
        if self.at == 0 || self.words[self.at - 1] != "::" {
            while self.word(1) == "::" && is_name(self.word(2)) {
                path.push(self.word(2).to_owned());
                self.at += 2;
            }
        }
        self.file.words.extend(path.iter().cloned());
        let path = self.of_file(path);
        if path.len() > 1 {
            self.file.paths.insert(path);
        }
    }

    /// The path as it would be written outside of modules within the file.
    fn of_file(&self, path: Vec<String>) -> Vec<String> {
        let supers = path.iter().take_while(|word| *word == "super").count();
        path[supers.min(self.inline.len())..].to_vec()
    }

    /// What stands behind `use`, or within its braces, up to the `;`, `,` or `}` that ends it.
    fn import(&mut self, mut path: Vec<String>, is_passed_on: bool) {
        let (mut name, mut is_glob) = (None, false);
        loop {
            match self.word(0) {
                "{" => {
                    while self.word(0) != "}" {
                        self.at += 1;
                        self.import(path.clone(), is_passed_on);
                    }
                    self.at += 1;
                    return;
                }
                ";" | "," | "}" | "" => break,
                "*" => is_glob = true,
                "as" => {
                    self.at += 1;
                    name = Some(self.word(0).to_owned());
                }
                "self" if !path.is_empty() => {}
                word if is_name(word) => path.push(word.to_owned()),
                _ => {}
            }
            self.at += 1;
        }
        let path = self.of_file(path);
        if let Some(last) = path.last() {
            let name = name.unwrap_or_else(|| last.clone());
            self.file.imports.push(Import { path, name, is_passed_on, is_glob });
        }
    }

    /// Leaves out what an attribute stands before: up to its `;`, or the end of its braces.
    fn skip_item(&mut self) {
        self.at += 7;
        let mut depth = 0;
        while self.at < self.words.len() {
            match self.word(0) {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            let is_end = match self.word(0) {
                // a field, or the last expression of what surrounds it
                "}" if depth < 0 => return,
                "," | ";" => depth == 0,
                "}" => depth == 0 && self.word(1) != ";",
                _ => false,
            };
            self.at += 1;
            if is_end {
                return;
            }
        }
    }
}
