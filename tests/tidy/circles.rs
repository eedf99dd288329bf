//! Which files of a crate use each other in a circle.
//!
//! Files are read as words, not as a compiler does. From each root (a library, a program, a test) the `mod x;` lines lead to
//! all files; a path is followed through modules and `use` lines to the file that defines its last name. A file that only
//! passes a name on does not use it. Code under `#[cfg(test)]` is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::words::{File, Import, read};

/// By file, the files it uses.
pub type Uses = BTreeMap<String, BTreeSet<String>>;

/// Every set of files each of which leads back to itself by way of the others.
pub fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let reach = |from: &String| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(file) = next.pop() {
            next.extend(uses.get(file).into_iter().flatten().filter(|used| reached.insert((*used).clone())));
        }
        reached
    };
    let reached: BTreeMap<_, _> = uses.keys().map(|file| (file, reach(file))).collect();
    let circle = |file: &String| -> Vec<String> {
        let others = reached[file].iter();
        others.filter(|other| reached.get(other).is_some_and(|back| back.contains(file))).cloned().collect()
    };
    let all: BTreeSet<_> = uses.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    all.into_iter().collect()
}

/// What the files of one package use of each other.
pub fn uses(root: &Path, package: &str) -> Uses {
    let mut uses = Uses::new();
    for start in roots(&root.join(package)) {
        let mut target = Target::default();
        target.add(&start, None, true);
        target.note_uses(root, &mut uses);
    }
    uses
}

/// The files that compiling begins with.
fn roots(package: &Path) -> Vec<PathBuf> {
    let mut roots: Vec<_> = ["src/lib.rs", "src/main.rs"].map(|name| package.join(name)).into();
    for folder in ["src/bin", "tests", "benches"] {
        for entry in fs::read_dir(package.join(folder)).into_iter().flatten().map(Result::unwrap) {
            let path = entry.path();
            roots.push(if path.is_dir() { path.join("main.rs") } else { path });
        }
    }
    roots.retain(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "rs"));
    roots
}

/// One library, program or test: its modules, the root first.
#[derive(Default)]
struct Target {
    modules: Vec<Module>,
}

struct Module {
    path: PathBuf,
    file: File,
    parent: Option<usize>,
    children: HashMap<String, usize>,
}

/// Where a path leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Module(usize),
    /// Something that this module defines.
    Item(usize),
}

impl Target {
    fn add(&mut self, path: &Path, parent: Option<usize>, is_root: bool) -> usize {
        let file = read(&fs::read_to_string(path).unwrap());
        let modules = file.modules.clone();
        let index = self.modules.len();
        self.modules.push(Module { path: path.to_owned(), file, parent, children: HashMap::new() });
        let folder = path.parent().unwrap();
        let below = if is_root || path.ends_with("mod.rs") { folder.into() } else { path.with_extension("") };
        for (name, at) in modules {
            let places = match at {
                Some(at) => vec![folder.join(at)],
                None => vec![below.join(format!("{name}.rs")), below.join(&name).join("mod.rs")],
            };
            let found = places.iter().find_map(|place| fs::canonicalize(place).ok());
            let found = found.unwrap_or_else(|| panic!("{}: no file for mod {name}", path.display()));
            let child = self.add(&found, Some(index), false);
            self.modules[index].children.insert(name, child);
        }
        index
    }

    fn note_uses(&self, root: &Path, uses: &mut Uses) {
        let root = fs::canonicalize(root).unwrap();
        let name = |module: &Module| {
            let path = fs::canonicalize(&module.path).unwrap();
            path.strip_prefix(&root).unwrap().display().to_string()
        };
        for (index, module) in self.modules.iter().enumerate() {
            let own = name(module);
            let used = self.used_by(index).into_iter().map(|used| name(&self.modules[used]));
            let used: BTreeSet<_> = used.filter(|used| *used != own).collect();
            uses.entry(own).or_default().extend(used);
        }
    }

    /// The modules that define what this one uses.
    fn used_by(&self, index: usize) -> BTreeSet<usize> {
        let file = &self.modules[index].file;
        let mut used = BTreeSet::new();
        for path in &file.paths {
            used.extend(self.find(index, path).map(|(Place::Module(at) | Place::Item(at))| at));
        }
        for import in &file.imports {
            match self.find(index, &import.path) {
                // whoever uses something of a module writes a path through it
                Some(Place::Module(at)) if import.is_glob => {
                    let names = self.names(at).into_iter().filter(|name| file.words.contains(name));
                    let found =
                        names.filter_map(|name| self.look_up(at, &[name], true, &mut BTreeSet::new()));
                    used.extend(found.map(|(Place::Module(at) | Place::Item(at))| at));
                }
                Some(Place::Item(at)) if !import.is_passed_on || file.words.contains(&import.name) => {
                    used.insert(at);
                }
                _ => {}
            }
        }
        used
    }

    /// The names that a module has for others.
    fn names(&self, at: usize) -> Vec<String> {
        let Module { file, children, .. } = &self.modules[at];
        let imports = file.imports.iter().map(|import| &import.name);
        file.items.iter().chain(children.keys()).chain(imports).cloned().collect()
    }

    /// Where a path leads that is written in a module; `None` for what is not of this target.
    fn find(&self, at: usize, path: &[String]) -> Option<Place> {
        self.look_up(at, path, false, &mut BTreeSet::new())
    }

    /// The same; `is_inside` says that the path can lead nowhere but to what is in the module.
    fn look_up(
        &self,
        at: usize,
        path: &[String],
        is_inside: bool,
        seen: &mut BTreeSet<(usize, String)>,
    ) -> Option<Place> {
        let Some((first, rest)) = path.split_first() else { return Some(Place::Module(at)) };
        let Module { file, parent, children, .. } = &self.modules[at];
        let below = match first.as_str() {
            "crate" => Some(0),
            "self" => Some(at),
            "super" => Some((*parent)?),
            name => children.get(name).copied(),
        };
        if let Some(below) = below {
            return self.look_up(below, rest, true, seen);
        }
        if file.items.contains(first) {
            return Some(Place::Item(at));
        }
        let is_new = seen.insert((at, first.clone()));
        let named = |import: &&Import| import.name == *first && !import.is_glob;
        if let Some(import) = file.imports.iter().find(named).filter(|_| is_new) {
            return match self.look_up(at, &import.path, false, seen)? {
                Place::Module(found) => self.look_up(found, rest, true, seen),
                item => Some(item),
            };
        }
        for import in file.imports.iter().filter(|import| import.is_glob && is_new) {
            if let Some(Place::Module(found)) = self.look_up(at, &import.path, false, seen)
                && self.names(found).contains(first)
            {
                return self.look_up(found, path, true, seen);
            }
        }
        let exported = |module: &Module| module.file.macros.contains(first);
        let elsewhere = self.modules.iter().position(exported).filter(|_| at == 0);
        // what a macro makes is nowhere to be read
        is_inside.then(|| Place::Item(elsewhere.unwrap_or(at)))
    }
}

/// Passing a name on, a test's use and a word in a text are no uses; a name is followed to where it is defined.
#[test]
fn a_circle_is_found_by_what_defines_a_name() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("circles");
    let files = [
        (
            "lib.rs",
            "mod a; mod b; mod c; mod deep;\npub use a::Ant; pub use b::*; use deep::depth as bottom;",
        ),
        ("a.rs", "use crate::Bee;\n/// crate::c::Cat\npub struct Ant(Bee, &'static str);"),
        ("b.rs", "pub struct Bee; fn of() -> u8 { super::bottom::depth() }"),
        (
            "c.rs",
            "pub struct Cat; #[cfg(test)] mod tests { use crate::a::Ant; } const A: &str = \"crate::Bee\";",
        ),
        ("deep/mod.rs", "pub mod depth;"),
        (
            "deep/depth.rs",
            "use super::super::{Ant as Insect, c as other}; mod inner { use super::other::Cat; }",
        ),
    ];
    for (name, text) in files {
        let path = folder.join("src").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let found = uses(&folder, "");
    let of = |name: &str| found[&format!("src/{name}.rs")].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("lib"), [""; 0]);
    assert_eq!(of("a"), ["src/b.rs"]);
    assert_eq!(of("b"), ["src/deep/depth.rs"]);
    assert_eq!(of("c"), [""; 0]);
    assert_eq!(of("deep/depth"), ["src/a.rs", "src/c.rs"]);
    assert_eq!(circles(&found), [["src/a.rs", "src/b.rs", "src/deep/depth.rs"]]);
}
