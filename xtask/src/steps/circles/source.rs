//! What one file declares, imports and refers to.

use std::collections::BTreeSet;

use super::tokens::{Token, tokens};

/// Names of modules, from the crate's root down.
pub(super) type Module = Vec<String>;

/// A file as far as it matters here. Whatever is compiled for tests only is left out.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// `mod NAME;`: the module, the file that an attribute names, and whether it is for tests only.
    pub(super) files: Vec<FileModule>,
    /// Modules whose text is in this file; the file's own is the first.
    pub(super) scopes: Vec<Scope>,
}

/// A module with a file of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileModule {
    pub(super) module: Module,
    /// From `#[path = "…"]`.
    pub(super) path: Option<String>,
    pub(super) for_tests: bool,
}

/// One module's text.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) module: Module,
    /// What is defined here, and what its parts are called, too: nobody refers to those.
    pub(super) defined: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in code.
    pub(super) paths: Vec<Vec<String>>,
}

/// One leaf of a `use`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// What it is called here; `None` for `*`.
    pub(super) name: Option<String>,
    pub(super) public: bool,
}

/// Reads the file of `module`.
pub(super) fn read(text: &str, module: &[String]) -> Source {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        source: Source::default(),
    };
    reader.scope(module.to_vec());
    reader.source
}

struct Reader<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
    source: Source,
}

/// What the attributes in front of an item say.
#[derive(Default)]
struct Attributes {
    path: Option<String>,
    for_tests: bool,
}

impl<'t> Reader<'t> {
    fn peek(&self, ahead: usize) -> Option<Token<'t>> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.peek(0);
        self.at += 1;
        token
    }

    fn is_mark(&self, ahead: usize, mark: char) -> bool {
        self.peek(ahead) == Some(Token::Mark(mark))
    }

    /// One module's text, up to its closing brace or to the end of the file.
    fn scope(&mut self, module: Module) {
        let index = self.source.scopes.len();
        self.source.scopes.push(Scope {
            module: module.clone(),
            ..Scope::default()
        });
        let mut depth = 0;
        let mut attributes = Attributes::default();
        let mut public = false;
        while let Some(token) = self.next() {
            match token {
                Token::Mark('#') => {
                    // `#!` is for the whole file.
                    let inner = self.is_mark(0, '!');
                    self.at += usize::from(inner);
                    if self.is_mark(0, '[') {
                        let found = self.attribute();
                        if !inner {
                            attributes.for_tests |= found.for_tests;
                            attributes.path = found.path.or(attributes.path);
                            if attributes.for_tests && !self.is_mark(0, '#') && !self.is_module() {
                                self.skip_item();
                                attributes = Attributes::default();
                            }
                            continue;
                        }
                    }
                }
                Token::Mark('{') => depth += 1,
                Token::Mark('}') if depth == 0 => return,
                Token::Mark('}') => depth -= 1,
                Token::Word("pub") => {
                    public = true;
                    if self.is_mark(0, '(') {
                        self.skip_group('(', ')');
                    }
                    continue;
                }
                Token::Word("mod") => {
                    let name = self.next().and_then(Token::word).unwrap_or_default();
                    let mut inner = module.clone();
                    inner.push(name.to_owned());
                    let attributes = std::mem::take(&mut attributes);
                    if self.is_mark(0, ';') {
                        self.source.files.push(FileModule {
                            module: inner,
                            path: attributes.path,
                            for_tests: attributes.for_tests,
                        });
                    } else if self.is_mark(0, '{') && attributes.for_tests {
                        self.skip_group('{', '}');
                    } else if self.is_mark(0, '{') {
                        self.at += 1;
                        self.scope(inner);
                    }
                }
                Token::Word("use") => {
                    let mut imports = Vec::new();
                    self.use_tree(Vec::new(), public, &mut imports);
                    self.source.scopes[index].imports.extend(imports);
                }
                Token::Word("macro_rules") => {
                    if let Some(name) = self.peek(1).and_then(Token::word) {
                        self.source.scopes[index].defined.insert(name.to_owned());
                    }
                }
                Token::Word("struct" | "enum" | "union" | "trait" | "type" | "fn") => {
                    if let Some(name) = self.peek(0).and_then(Token::word) {
                        self.source.scopes[index].defined.insert(name.to_owned());
                    }
                }
                // (Not the operand of an assembly block.)
                Token::Word("const" | "static") => {
                    let ahead = usize::from(self.peek(0) == Some(Token::Word("mut")));
                    if let Some(name) = self.peek(ahead).and_then(Token::word)
                        && self.is_mark(ahead + 1, ':')
                    {
                        self.source.scopes[index].defined.insert(name.to_owned());
                    }
                }
                Token::Word(word) if self.peek(0) == Some(Token::PathSeparator) => {
                    let path = self.path(word);
                    self.source.scopes[index].paths.push(path);
                }
                _ => {}
            }
            attributes = Attributes::default();
            public = false;
        }
    }

    /// Whether a module follows, public or not.
    fn is_module(&self) -> bool {
        let mut ahead = 0;
        if self.peek(0) == Some(Token::Word("pub")) {
            ahead = 1;
            if self.is_mark(1, '(') {
                while !self.is_mark(ahead, ')') {
                    ahead += 1;
                }
                ahead += 1;
            }
        }
        self.peek(ahead) == Some(Token::Word("mod"))
    }

    /// An attribute, from its opening bracket on.
    fn attribute(&mut self) -> Attributes {
        let start = self.at;
        self.skip_group('[', ']');
        let tokens = &self.tokens[start + 1..self.at];
        let head = tokens.first().copied().and_then(Token::word);
        let test = tokens
            .iter()
            .position(|token| *token == Token::Word("test"));
        Attributes {
            path: match tokens {
                [Token::Word("path"), Token::Mark('='), Token::Text(file), ..] => {
                    Some((*file).to_owned())
                }
                _ => None,
            },
            for_tests: match (head, test) {
                (Some("cfg"), Some(at)) => !tokens[..at].contains(&Token::Word("not")),
                _ => false,
            },
        }
    }

    /// Goes behind the item that follows: its semicolon, or its braces.
    fn skip_item(&mut self) {
        while let Some(token) = self.peek(0) {
            match token {
                Token::Mark('{') => return self.skip_group('{', '}'),
                Token::Mark('(') => self.skip_group('(', ')'),
                Token::Mark('[') => self.skip_group('[', ']'),
                Token::Mark('}') => return,
                Token::Mark(';' | ',') => {
                    self.at += 1;
                    return;
                }
                // What braces follow is one tree.
                Token::Word("use") => {
                    self.at += 1;
                    self.use_tree(Vec::new(), false, &mut Vec::new());
                    return;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Goes behind a pair of brackets and all between them.
    fn skip_group(&mut self, open: char, close: char) {
        let mut depth = 0;
        while let Some(token) = self.next() {
            if token == Token::Mark(open) {
                depth += 1;
            } else if token == Token::Mark(close) {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    /// The rest of a path that begins with `first`.
    fn path(&mut self, first: &str) -> Vec<String> {
        let mut path = vec![first.to_owned()];
        while let (Some(Token::PathSeparator), Some(Token::Word(word))) =
            (self.peek(0), self.peek(1))
        {
            path.push(word.to_owned());
            self.at += 2;
        }
        path
    }

    /// A tree of imports behind `prefix`.
    fn use_tree(&mut self, prefix: Vec<String>, public: bool, imports: &mut Vec<Import>) {
        let mut path = prefix;
        loop {
            match self.next() {
                Some(Token::Word(word)) => path.push(word.to_owned()),
                Some(Token::PathSeparator) => continue,
                Some(Token::Mark('*')) => {
                    imports.push(Import {
                        path,
                        name: None,
                        public,
                    });
                    return;
                }
                Some(Token::Mark('{')) => {
                    while !self.is_mark(0, '}') && self.at < self.tokens.len() {
                        self.use_tree(path.clone(), public, imports);
                        self.at += usize::from(self.is_mark(0, ','));
                    }
                    self.at += 1;
                    return;
                }
                _ => return,
            }
            if self.peek(0) == Some(Token::PathSeparator) {
                continue;
            }
            // `a::{self}` is `a`.
            if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            let mut name = path.last().cloned();
            if self.peek(0) == Some(Token::Word("as")) {
                name = self.peek(1).and_then(Token::word).map(str::to_owned);
                self.at += 2;
            }
            imports.push(Import { path, name, public });
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scope: &Scope) -> Vec<String> {
        let import = |import: &Import| {
            format!(
                "{}{} as {}",
                if import.public { "pub " } else { "" },
                import.path.join("::"),
                import.name.as_deref().unwrap_or("*")
            )
        };
        let paths = scope.paths.iter().map(|path| path.join("::"));
        scope.imports.iter().map(import).chain(paths).collect()
    }

    #[test]
    fn trees_of_imports_are_taken_apart() {
        let source = read(
            "pub(crate) use a::{b::{self, C as D}, e::*};\nuse crate::f;\nfn g() { self::h::<u8>(f::i, const j::K) }\nconst L: u8 = 1;\n",
            &[],
        );
        assert_eq!(
            shown(&source.scopes[0]),
            [
                "pub a::b as b",
                "pub a::b::C as D",
                "pub a::e as *",
                "crate::f as f",
                "self::h",
                "f::i",
                "j::K",
            ]
        );
        let defined: Vec<_> = source.scopes[0].defined.iter().collect();
        assert_eq!(defined, ["L", "g"]);
    }

    #[test]
    fn modules_are_those_with_files_and_those_with_braces() {
        let source = read(
            "mod a;\n#[path = \"x.rs\"]\npub(crate) mod b;\nmod c { use super::d; }\n",
            &["m".to_owned()],
        );
        let files: Vec<_> = source
            .files
            .iter()
            .map(|file| file.module.join("::"))
            .collect();
        assert_eq!(files, ["m::a", "m::b"]);
        assert_eq!(source.files[1].path.as_deref(), Some("x.rs"));
        assert_eq!(source.scopes[1].module, ["m", "c"]);
        assert_eq!(shown(&source.scopes[1]), ["super::d as d"]);
    }

    #[test]
    fn what_is_for_tests_is_left_out() {
        let source = read(
            "#[cfg(test)]\nmod tests { use super::a; }\n#[cfg(test)]\nuse crate::{b, c};\n#[cfg(all(test, x))]\npub(crate) mod d;\n#[cfg(not(test))]\nuse crate::e;\n#[cfg(test)]\nfn f() { crate::g() }\nfn h() { crate::i() }\n",
            &[],
        );
        assert_eq!(source.scopes.len(), 1);
        assert_eq!(shown(&source.scopes[0]), ["crate::e as e", "crate::i"]);
        assert!(source.files[0].for_tests);
    }
}
