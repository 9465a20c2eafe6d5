//! Which file of a crate uses which, and where that leads back to where it came from.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Import, Module, Scope, Source};

/// The files of one crate, by their names below `src`, and the modules that each is the text of.
#[derive(Debug, Default)]
pub(super) struct Crate {
    pub(super) files: BTreeMap<String, (Module, Source)>,
}

/// File to the files that it uses, each with a path that says so.
pub(super) type Uses<'c> = BTreeMap<&'c str, BTreeMap<&'c str, String>>;

/// One module's text, and the file that it is in. A module whose file depends on the machine has several.
type Text<'c> = (&'c str, &'c Scope);

impl Crate {
    /// Who uses whom.
    ///
    /// A file uses another one if a path in it leads to something that is defined there, by way of
    /// whatever passes it on. Neither the declaration of a module nor passing on
    /// (`pub use`) what a module below has is use; nor is what a file takes from the modules that
    /// it is a part of, which are read with it: `a/b.rs` from `a/mod.rs` or `lib.rs`.
    pub(super) fn uses(&self) -> Uses<'_> {
        let names = Names::new(self);
        let mut uses = Uses::new();
        for (file, (root, source)) in &self.files {
            for scope in &source.scopes {
                let imported = scope
                    .imports
                    .iter()
                    .filter(|import| !(import.public && names.is_below(scope, import, root)))
                    .map(|import| (&import.path, import.name.is_none()));
                let paths = scope.paths.iter().map(|path| (path, false));
                for (path, everything) in imported.chain(paths) {
                    for to in names.files_of(scope, path, everything) {
                        // (A file that stands for the same module on another machine is none of a
                        // module above, and nobody uses it.)
                        let is_part = root.starts_with(&self.files[to].0);
                        if !is_part {
                            let to_uses = uses.entry(file.as_str()).or_default();
                            to_uses.entry(to).or_insert_with(|| path.join("::"));
                        }
                    }
                }
            }
        }
        uses
    }
}

/// Where names lead.
struct Names<'c> {
    texts: BTreeMap<&'c [String], Vec<Text<'c>>>,
}

/// Where a path leads.
enum Place<'c> {
    Module(Vec<String>),
    /// What is defined in these files.
    Item(BTreeSet<&'c str>),
    /// Into another crate, or to a name of the language.
    Elsewhere,
}

/// How often something is passed on, at most. (A glob may lead to itself.)
const LONGEST: usize = 8;

impl<'c> Names<'c> {
    fn new(krate: &'c Crate) -> Self {
        let mut texts: BTreeMap<&[String], Vec<Text<'_>>> = BTreeMap::new();
        for (file, (_, source)) in &krate.files {
            for scope in &source.scopes {
                let text = texts.entry(&scope.module).or_default();
                text.push((file.as_str(), scope));
            }
        }
        Self { texts }
    }

    /// The files that have what `path` in `scope` leads to. A module alone is nothing to use, but
    /// for `everything` of it.
    fn files_of(&self, scope: &Scope, path: &[String], everything: bool) -> BTreeSet<&'c str> {
        match self.resolve(&scope.module, path, LONGEST) {
            Place::Item(files) => files,
            Place::Module(module) if everything => self.files(&module),
            Place::Module(_) | Place::Elsewhere => BTreeSet::new(),
        }
    }

    /// Whether what `import` names is in a module below the one of a file.
    fn is_below(&self, scope: &Scope, import: &Import, root: &[String]) -> bool {
        let module = (1..=import.path.len()).rev().find_map(|length| {
            match self.module(&scope.module, &import.path[..length], LONGEST) {
                Place::Module(module) => Some(module),
                _ => None,
            }
        });
        module.is_some_and(|module| module.starts_with(root) && module.len() > root.len())
    }

    fn files(&self, module: &[String]) -> BTreeSet<&'c str> {
        let texts = self.texts.get(module).into_iter().flatten();
        texts.map(|(file, _)| *file).collect()
    }

    fn resolve(&self, module: &[String], path: &[String], left: usize) -> Place<'c> {
        let (Some((first, rest)), Some(left)) = (path.split_first(), left.checked_sub(1)) else {
            return Place::Elsewhere;
        };
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, left),
            "self" => self.walk(module.to_vec(), rest, left),
            "super" => {
                let mut up = module.to_vec();
                up.pop();
                let supers = rest.iter().take_while(|word| *word == "super").count();
                up.truncate(up.len().saturating_sub(supers));
                self.walk(up, &rest[supers..], left)
            }
            // Of a name alone nobody knows what it is: only what leads through a module counts.
            _ if rest.is_empty() => Place::Elsewhere,
            _ => match self.name(module, first, left) {
                Some(Place::Module(inner)) => self.walk(inner, rest, left),
                Some(Place::Item(files)) => Place::Item(files),
                Some(Place::Elsewhere) | None => Place::Elsewhere,
            },
        }
    }

    /// Goes on from `module` by names that it has.
    fn walk(&self, mut module: Vec<String>, path: &[String], left: usize) -> Place<'c> {
        for word in path {
            match self.name(&module, word, left) {
                Some(Place::Module(inner)) => module = inner,
                Some(place) => return place,
                // What a macro has made, for example.
                None => return Place::Item(self.files(&module)),
            }
        }
        Place::Module(module)
    }

    /// What `name` is in `module`.
    fn name(&self, module: &[String], name: &str, left: usize) -> Option<Place<'c>> {
        let texts = self.texts.get(module)?;
        let mut child = module.to_vec();
        child.push(name.to_owned());
        if self.texts.contains_key(child.as_slice()) {
            return Some(Place::Module(child));
        }
        let defining = texts
            .iter()
            .filter(|(_, scope)| scope.defined.contains(name));
        let defining: BTreeSet<&str> = defining.map(|(file, _)| *file).collect();
        if !defining.is_empty() {
            return Some(Place::Item(defining));
        }
        let imports = || texts.iter().flat_map(|(_, scope)| &scope.imports);
        let named = imports().find(|import| import.name.as_deref() == Some(name));
        if let Some(import) = named {
            // (An import of a name as itself is of another crate.)
            let itself = import.path.len() == 1;
            return Some(if itself {
                Place::Elsewhere
            } else {
                self.resolve(module, &import.path, left)
            });
        }
        let mut found = BTreeSet::new();
        for import in imports().filter(|import| import.name.is_none()) {
            let Some(left) = left.checked_sub(1) else {
                break;
            };
            let Place::Module(inner) = self.module(module, &import.path, left) else {
                continue;
            };
            if inner == module {
                continue;
            }
            match self.name(&inner, name, left) {
                Some(Place::Item(files)) => found.extend(files),
                Some(place @ Place::Module(_)) => return Some(place),
                Some(Place::Elsewhere) | None => {}
            }
        }
        (!found.is_empty()).then_some(Place::Item(found))
    }

    /// Where a path leads that may be that of a module, and then one name, too.
    fn module(&self, module: &[String], path: &[String], left: usize) -> Place<'c> {
        match path {
            [first] if !["crate", "self", "super"].contains(&first.as_str()) => {
                let mut child = module.to_vec();
                child.push(first.clone());
                if self.texts.contains_key(child.as_slice()) {
                    Place::Module(child)
                } else {
                    Place::Elsewhere
                }
            }
            path => self.resolve(module, path, left),
        }
    }
}

/// The largest sets of files in which each leads to each other one, from three files on.
pub(super) fn circles<'c>(uses: &Uses<'c>) -> Vec<BTreeSet<&'c str>> {
    let reachable = |from: &'c str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for to in uses.get(file).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(*to) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (*file, reachable(file))).collect();
    let circles: BTreeSet<BTreeSet<&str>> = reach
        .iter()
        .map(|(file, seen)| {
            let back = |to: &&&str| reach.get(**to).is_some_and(|there| there.contains(file));
            seen.iter().filter(back).copied().collect()
        })
        .collect();
    circles
        .into_iter()
        .filter(|circle: &BTreeSet<&str>| circle.len() > 2)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::read;
    use super::*;

    /// A crate of these files; `a/b.rs` is the module `a::b`.
    fn of(files: &[(&str, &str)]) -> Crate {
        let files = files.iter().map(|(file, text)| {
            let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let module: Module = match stem {
                "lib" => Vec::new(),
                stem => stem.split('/').map(str::to_owned).collect(),
            };
            let source = read(text, &module);
            ((*file).to_owned(), (module, source))
        });
        Crate {
            files: files.collect(),
        }
    }

    fn used(krate: &Crate) -> Vec<String> {
        krate
            .uses()
            .iter()
            .flat_map(|(from, uses)| uses.keys().map(move |to| format!("{from} > {to}")))
            .collect()
    }

    #[test]
    fn what_is_passed_on_is_used_where_it_is_defined() {
        let krate = of(&[
            (
                "lib.rs",
                "mod a; mod b; mod c;\npub use a::*;\npub use b::B;\n",
            ),
            ("a.rs", "pub struct A;\n"),
            ("b.rs", "use crate::A;\npub struct B;\n"),
            ("c.rs", "use crate::{B, a};\nfn c(_: a::A) {}\n"),
        ]);
        assert_eq!(used(&krate), ["b.rs > a.rs", "c.rs > a.rs", "c.rs > b.rs"]);
    }

    #[test]
    fn a_module_alone_is_not_used_and_what_is_in_it_is() {
        let krate = of(&[
            ("lib.rs", "mod a; mod d;\n"),
            (
                "a/mod.rs",
                "mod b; mod c;\npub(crate) use c::C;\nuse b::B;\npub struct A;\n",
            ),
            ("a/b.rs", "use super::A;\npub struct B;\n"),
            ("a/c.rs", "pub struct C;\n"),
            ("d.rs", "use crate::a;\nfn d(_: a::C) {}\n"),
        ]);
        assert_eq!(used(&krate), ["a/mod.rs > a/b.rs", "d.rs > a/c.rs"]);
    }

    #[test]
    fn what_is_passed_on_from_elsewhere_is_used() {
        let krate = of(&[
            ("lib.rs", "mod a; mod b;\n"),
            ("a.rs", "pub(crate) use crate::b::B;\n"),
            ("b.rs", "pub struct B;\n"),
        ]);
        assert_eq!(used(&krate), ["a.rs > b.rs"]);
    }

    #[test]
    fn other_crates_and_imports_that_lead_to_each_other_are_no_use() {
        let krate = of(&[
            ("lib.rs", "use std::fmt;\npub use a::*;\nmod a; mod b;\n"),
            (
                "a.rs",
                "pub use crate::b::*;\nuse super::*;\nfn a() { fmt::x(); core::y() }\n",
            ),
            ("b.rs", "pub use crate::a::*;\nuse crate::fmt;\n"),
        ]);
        assert_eq!(used(&krate), ["a.rs > b.rs", "b.rs > a.rs"]);
    }

    #[test]
    fn circles_are_those_of_three_files_and_more() {
        let (a, b, c, d) = ("a", "b", "c", "d");
        let of = |edges: &[(&'static str, &'static str)]| {
            let mut uses = Uses::new();
            for (from, to) in edges {
                uses.entry(from).or_default().insert(to, String::new());
            }
            circles(&uses)
        };
        assert!(of(&[(a, b), (b, a), (b, c), (c, d), (d, c)]).is_empty());
        assert_eq!(
            of(&[(a, b), (b, c), (c, a), (c, d)]),
            [BTreeSet::from([a, b, c])]
        );
        // Two circles with a file in common are one.
        assert_eq!(
            of(&[(a, b), (b, a), (b, c), (c, b)]),
            [BTreeSet::from([a, b, c])]
        );
    }
}
