//! The layers of the source: which module may import which. The table is in `DESIGN.md`, under the heading "Layers".
//!
//! The test reads `src` as text, without comments, strings and unit tests. It resolves every path that starts with
//! `crate`, `self`, `super` or the name of a module to the file that defines the item, through re-exports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};

/// A position in a source file, from line 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Location {
    file: String,
    line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file, self.line)
    }
}

/// The path of a module, from the crate root: empty for `lib.rs`.
type Module = Vec<String>;

/// A name, or punctuation: `::` is one token, every other character is a token of its own.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Splits Rust source into tokens. Comments, strings, characters, lifetimes and numbers are left out.
fn tokens(source: &str) -> Vec<Token> {
    let characters: Vec<char> = source.chars().collect();
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let at = |index: usize| characters.get(index).copied().unwrap_or('\0');
    let (mut found, mut index, mut line) = (Vec::new(), 0, 1);
    while index < characters.len() {
        let start = index;
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < characters.len() && at(index) != '\n' {
                    index += 1;
                }
            }
            '/' if at(index + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(index), at(index + 1)) {
                        ('/', '*') => (depth, index) = (depth + 1, index + 2),
                        ('*', '/') => (depth, index) = (depth - 1, index + 2),
                        _ => index += 1,
                    }
                    if depth == 0 || index >= characters.len() {
                        break;
                    }
                }
            }
            '"' => index = end_of_string(&characters, index + 1),
            '\'' => {
                if at(index + 1) == '\\' {
                    index += 3;
                    while at(index) != '\'' {
                        index += 1;
                    }
                    index += 1;
                } else if at(index + 2) == '\'' {
                    index += 3;
                } else {
                    // A lifetime.
                    index += 1;
                    while is_name(at(index)) {
                        index += 1;
                    }
                }
            }
            first if is_name(first) => {
                while is_name(at(index)) {
                    index += 1;
                }
                let word: String = characters[start..index].iter().collect();
                let hashes = characters[index..].iter().take_while(|hash| **hash == '#').count();
                let is_raw = ["r", "br", "cr"].contains(&word.as_str());
                if is_raw && at(index + hashes) == '"' {
                    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                    index += hashes + 1;
                    while !characters[index..].starts_with(&end) {
                        index += 1;
                    }
                    index += end.len();
                } else if word == "r" && hashes == 1 {
                    // A raw name: its letters are the next token.
                    index += 1;
                } else if ["b", "c"].contains(&word.as_str()) && at(index) == '"' {
                    index = end_of_string(&characters, index + 1);
                } else if !first.is_numeric() {
                    found.push(Token { text: word, line });
                }
            }
            ':' if at(index + 1) == ':' => {
                index += 2;
                found.push(Token {
                    text: "::".to_owned(),
                    line,
                });
            }
            other => {
                index += 1;
                if !other.is_whitespace() {
                    found.push(Token {
                        text: other.to_string(),
                        line,
                    });
                }
            }
        }
        let passed = &characters[start..index.min(characters.len())];
        line += passed.iter().filter(|character| **character == '\n').count();
    }
    found
}

/// The index after the closing quote of a string with escapes.
fn end_of_string(characters: &[char], mut index: usize) -> usize {
    while index < characters.len() && characters[index] != '"' {
        index += if characters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// A path that a file names.
#[derive(Clone, Debug)]
struct Import {
    /// The module in which the path stands.
    module: Module,
    path: Vec<String>,
    line: usize,
    /// For an item `use`: the name that it brings in, `*` for all.
    alias: Option<String>,
    is_public: bool,
}

/// What one file declares and imports.
#[derive(Default)]
struct Source {
    file: String,
    imports: Vec<Import>,
    /// Modules declared here, inline and in files of their own.
    modules: Vec<(Module, Location)>,
    items: Vec<(Module, String, Location)>,
    /// Every name outside of `use` items: whether a re-exported name is also used here.
    names: BTreeSet<String>,
}

impl Source {
    fn read(file: &str, module: &[String], text: &str) -> Self {
        let mut source = Self {
            file: file.to_owned(),
            ..Self::default()
        };
        let tokens = without_tests(tokens(text));
        let text_at = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
        // The modules around, each with the brace depth of its items.
        let mut around = vec![(module.to_vec(), 0)];
        let (mut depth, mut index) = (0, 0);
        while index < tokens.len() {
            let line = tokens[index].line;
            let (here, items_at) = around.last().unwrap().clone();
            let is_item = depth == items_at;
            let previous = if index == 0 { "" } else { text_at(index - 1) };
            match text_at(index) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if around.len() > 1 && depth < items_at {
                        around.pop();
                    }
                }
                "use" if previous != "::" => {
                    let is_public = previous == "pub" || previous == ")";
                    let mut leaves = Vec::new();
                    index = use_tree(&tokens, index + 1, &[], &mut leaves);
                    for (path, alias, line) in leaves {
                        source.imports.push(Import {
                            module: here.clone(),
                            path,
                            line,
                            alias: is_item.then_some(alias),
                            is_public,
                        });
                    }
                    continue;
                }
                "mod" if is_item => {
                    let name = text_at(index + 1).to_owned();
                    let inner = [here.clone(), vec![name]].concat();
                    let location = Location {
                        file: file.to_owned(),
                        line,
                    };
                    source.modules.push((inner.clone(), location));
                    if text_at(index + 2) == "{" {
                        depth += 1;
                        around.push((inner, depth));
                    }
                    index += 3;
                    continue;
                }
                "struct" | "enum" | "union" | "trait" | "type" | "fn" | "const" | "static" if is_item => {
                    let at = if text_at(index + 1) == "mut" {
                        index + 2
                    } else {
                        index + 1
                    };
                    source.items.push((
                        here,
                        text_at(at).to_owned(),
                        Location {
                            file: file.to_owned(),
                            line,
                        },
                    ));
                }
                "macro_rules" if is_item => source.items.push((
                    here,
                    text_at(index + 2).to_owned(),
                    Location {
                        file: file.to_owned(),
                        line,
                    },
                )),
                // `pub(in crate::…)` imports nothing, and `$crate::…` names the caller's view of the crate.
                "pub" if text_at(index + 1) == "(" => {
                    while text_at(index) != ")" {
                        index += 1;
                    }
                }
                name if name.starts_with(|first: char| first.is_alphabetic() || first == '_')
                    && !["::", ".", "$"].contains(&previous) =>
                {
                    source.names.insert(name.to_owned());
                    let mut path = vec![name.to_owned()];
                    while text_at(index + 1) == "::"
                        && text_at(index + 2).starts_with(|first: char| first.is_alphabetic() || first == '_')
                    {
                        path.push(text_at(index + 2).to_owned());
                        index += 2;
                    }
                    if path.len() > 1 {
                        source.imports.push(Import {
                            module: here,
                            path,
                            line,
                            alias: None,
                            is_public: false,
                        });
                    }
                }
                _ => {}
            }
            index += 1;
        }
        source
    }
}

/// Leaves out what is compiled for tests alone: each item behind `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut left = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let texts: Vec<&str> = tokens[index..]
            .iter()
            .take(7)
            .map(|token| token.text.as_str())
            .collect();
        if texts != ["#", "[", "cfg", "(", "test", ")", "]"] {
            left.push(tokens[index].clone());
            index += 1;
            continue;
        }
        index += 7;
        let mut depth = 0;
        while index < tokens.len() {
            let text = tokens[index].text.as_str();
            depth += i32::from(["{", "(", "["].contains(&text)) - i32::from(["}", ")", "]"].contains(&text));
            index += 1;
            if depth == 0 && (text == "}" || text == ";") {
                break;
            }
        }
    }
    left
}

/// Reads the tree of a `use` from this token on, and returns the index after it.
fn use_tree(
    tokens: &[Token],
    mut index: usize,
    before: &[String],
    leaves: &mut Vec<(Vec<String>, String, usize)>,
) -> usize {
    let mut path = before.to_vec();
    let line = tokens[index].line;
    loop {
        match tokens[index].text.as_str() {
            "{" => {
                index += 1;
                while tokens[index].text != "}" {
                    index = use_tree(tokens, index, &path, leaves);
                    if tokens[index].text == "," {
                        index += 1;
                    }
                }
                return index + 1;
            }
            "::" => index += 1,
            "*" => {
                leaves.push((path, "*".to_owned(), line));
                return index + 1;
            }
            "as" => {
                leaves.push((path, tokens[index + 1].text.clone(), line));
                return index + 2;
            }
            "," | "}" | ";" => {
                leaves.push((path.clone(), path.last().unwrap().clone(), line));
                return index;
            }
            name => {
                // `{self}` is the path before it.
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
                index += 1;
            }
        }
    }
}

/// What a path leads to.
#[derive(Clone, Debug)]
struct Target {
    location: Location,
    /// Whether it is a module, and not an item in one.
    is_module: bool,
}

/// All of `src`.
struct Crate {
    sources: Vec<Source>,
    /// Each module's file, or the place of an inline one.
    modules: HashMap<Module, Location>,
    items: HashMap<(Module, String), Location>,
    aliases: HashMap<(Module, String), Import>,
    globs: HashMap<Module, Vec<Import>>,
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        files_below(&root.join("src"), &mut files);
        files.sort();
        let sources = files.iter().map(|path| {
            let file = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            Source::read(&file, &module_of(&file), &std::fs::read_to_string(path).unwrap())
        });
        Self::of(sources.collect())
    }

    fn of(sources: Vec<Source>) -> Self {
        let mut all = Self {
            sources: Vec::new(),
            modules: HashMap::new(),
            items: HashMap::new(),
            aliases: HashMap::new(),
            globs: HashMap::new(),
        };
        for source in &sources {
            if source.file == "src/main.rs" {
                continue;
            }
            all.modules.extend(source.modules.iter().cloned());
            for (module, name, location) in &source.items {
                all.items
                    .entry((module.clone(), name.clone()))
                    .or_insert_with(|| location.clone());
            }
            for import in &source.imports {
                match import.alias.as_deref() {
                    Some("*") => all.globs.entry(import.module.clone()).or_default().push(import.clone()),
                    Some(alias) => {
                        all.aliases
                            .insert((import.module.clone(), alias.to_owned()), import.clone());
                    }
                    None => {}
                }
            }
        }
        for source in &sources {
            let location = Location {
                file: source.file.clone(),
                line: 1,
            };
            if source.file != "src/main.rs" {
                all.modules.insert(module_of(&source.file), location);
            }
        }
        all.sources = sources;
        all
    }

    /// Where a path leads that stands in this module; `None` for a path into another crate.
    fn resolve(&self, module: &[String], path: &[String], depth: usize) -> Option<Target> {
        let (mut at, mut rest) = match path.first()?.as_str() {
            "crate" | "mistral_cassette" => (Vec::new(), &path[1..]),
            "self" => (module.to_vec(), &path[1..]),
            "super" => (module[..module.len().checked_sub(1)?].to_vec(), &path[1..]),
            _ => (module.to_vec(), path),
        };
        while rest.first().is_some_and(|first| first == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        let Some((name, rest)) = rest.split_first() else {
            return Some(Target {
                location: self.modules.get(&at)?.clone(),
                is_module: true,
            });
        };
        let inner = [at.clone(), vec![name.clone()]].concat();
        let item = || {
            let location = self.items.get(&(at.clone(), name.clone()))?.clone();
            Some(Target {
                location,
                is_module: false,
            })
        };
        if depth == 0 {
            return item();
        }
        let below = || {
            self.modules.get(&inner)?;
            let inner_path = [vec!["self".to_owned()], rest.to_vec()].concat();
            self.resolve(&inner, &inner_path, depth - 1)
        };
        let alias = || {
            let import = self.aliases.get(&(at.clone(), name.clone()))?;
            // A name that stands for itself is another crate's.
            if import.path == [name.clone()] {
                return None;
            }
            let whole = [import.path.clone(), rest.to_vec()].concat();
            self.resolve(&import.module, &whole, depth - 1)
        };
        let glob = || {
            let globs = self.globs.get(&at)?;
            globs.iter().find_map(|import| {
                let whole = [import.path.clone(), path[path.len() - rest.len() - 1..].to_vec()].concat();
                self.resolve(&import.module, &whole, depth - 1)
            })
        };
        if rest.is_empty() {
            item().or_else(alias).or_else(below).or_else(glob)
        } else {
            below().or_else(alias).or_else(item).or_else(glob)
        }
    }

    /// What is wrong with the imports, one text a fault.
    fn faults(&self, layers: &[Vec<String>]) -> Vec<String> {
        let rank: HashMap<&str, usize> = (0..)
            .zip(layers)
            .flat_map(|(rank, names)| names.iter().map(move |name| (name.as_str(), rank)))
            .collect();
        let tops: BTreeSet<String> = self.sources.iter().map(|source| top_of(&source.file)).collect();
        let mut faults = Vec::new();
        for name in &tops {
            if !rank.contains_key(name.as_str()) {
                faults.push(format!("src/{name}: the table of layers in DESIGN.md does not name it"));
            }
        }
        for name in rank.keys().filter(|name| !tops.contains(**name)) {
            faults.push(format!(
                "DESIGN.md: the table of layers names {name}, which is not in src"
            ));
        }
        let mut files: Graph = BTreeMap::new();
        let mut folders: Graph = BTreeMap::new();
        for source in &self.sources {
            let top = top_of(&source.file);
            for import in &source.imports {
                let from = Location {
                    file: source.file.clone(),
                    line: import.line,
                };
                let path = import.path.join("::");
                if import.path[0] == "crate"
                    && import.path.len() > 1
                    && !self.modules.contains_key(&import.path[1..2])
                    && source.file != "src/lib.rs"
                {
                    let owner = self.resolve(&import.module, &import.path, 16);
                    let owner = owner.map_or_else(|| "another crate".to_owned(), |target| target.location.to_string());
                    faults.push(format!("through lib.rs: {from} -> {owner} ({path})"));
                    continue;
                }
                let Some(target) = self.resolve(&import.module, &import.path, 16) else {
                    continue;
                };
                let to = target.location;
                if to.file == source.file {
                    continue;
                }
                let owner = top_of(&to.file);
                if rank.get(owner.as_str()) < rank.get(top.as_str()) {
                    faults.push(format!("upwards: {from} -> {to} ({path})"));
                }
                let is_use = import.alias.is_some();
                // A re-export of what is below is an import only where the name is also used.
                let is_re_export = import.is_public
                    && (to.file.starts_with(&folder_of(&source.file)))
                    && import.alias.as_ref().is_some_and(|alias| !source.names.contains(alias));
                // A module that is imported as a whole: the paths through its name count.
                if is_re_export || (is_use && target.is_module) {
                    continue;
                }
                if owner != top {
                    let edges = folders.entry(top.clone()).or_default();
                    edges.entry(owner).or_insert_with(|| (from.clone(), to.clone()));
                }
                let edges = files.entry(source.file.clone()).or_default();
                edges.entry(to.file.clone()).or_insert((from, to));
            }
        }
        faults.extend(circles(&files).into_iter().map(|circle| format!("circle: {circle}")));
        let between = circles(&folders).into_iter();
        faults.extend(between.map(|circle| format!("circle between folders: {circle}")));
        faults.sort();
        faults.dedup();
        faults
    }
}

/// For each node the nodes that it imports, with the two lines of the first such import.
type Graph = BTreeMap<String, BTreeMap<String, (Location, Location)>>;

/// The shortest circle through each node that is in one, each circle once.
fn circles(graph: &Graph) -> BTreeSet<String> {
    let mut found: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for start in graph.keys() {
        // Breadth first, with the node before each.
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        let mut queue = std::collections::VecDeque::from([start.as_str()]);
        while let Some(node) = queue.pop_front() {
            for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
                if !before.contains_key(next.as_str()) {
                    before.insert(next, node);
                    queue.push_back(next);
                }
            }
        }
        if !before.contains_key(start.as_str()) {
            continue;
        }
        let mut nodes = vec![start.as_str()];
        let mut node = before[start.as_str()];
        while node != start {
            nodes.push(node);
            node = before[node];
        }
        nodes.reverse();
        // `nodes` ends with the start: from it around and back to it.
        nodes.rotate_right(1);
        let mut edges = Vec::new();
        for (number, from) in nodes.iter().enumerate() {
            let to = nodes[(number + 1) % nodes.len()];
            let (from, to) = &graph[*from][to];
            edges.push(format!("{from} -> {to}"));
        }
        let mut members: Vec<String> = nodes.iter().map(|node| (*node).to_owned()).collect();
        members.sort();
        found.entry(members).or_insert_with(|| edges.join(", "));
    }
    found.into_values().collect()
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module of a file: `["engine", "sql"]` of `src/engine/sql.rs`.
fn module_of(file: &str) -> Module {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    match parts.last().map(String::as_str) {
        Some("lib" | "main") if parts.len() == 1 => Vec::new(),
        Some("mod") => parts[..parts.len() - 1].to_vec(),
        _ => parts,
    }
}

/// The entry of `src` that a file belongs to: `engine` of `src/engine/sql.rs`.
fn top_of(file: &str) -> String {
    let path = file.trim_start_matches("src/");
    path.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
}

/// Where the submodules of a file are: `src/engine/` for `src/engine/mod.rs` and `src/engine.rs`.
fn folder_of(file: &str) -> String {
    match file.strip_suffix("mod.rs") {
        Some(folder) => folder.to_owned(),
        None => format!("{}/", file.trim_end_matches(".rs")),
    }
}

/// The layers in the table of `DESIGN.md`, from the top to the bottom: the names in backticks in each row.
fn layers(design: &str) -> Vec<Vec<String>> {
    let is_heading = |line: &str| line.trim_start_matches('#').trim() == "Layers" && line.starts_with('#');
    let section = design.lines().skip_while(|line| !is_heading(line)).skip(1);
    let rows = section
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    // Without the heading and the line below it.
    rows.skip(2)
        .map(|row| row.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn layers_of_design() -> Vec<Vec<String>> {
    layers(&std::fs::read_to_string(root().join("DESIGN.md")).unwrap())
}

#[test]
fn imports_lead_downwards_and_not_in_circles() {
    let faults = Crate::read(root()).faults(&layers_of_design());
    assert!(
        faults.is_empty(),
        "{} imports are wrong:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn the_table_of_layers_has_every_entry_of_the_source() {
    let listed: BTreeSet<String> = layers_of_design().concat().into_iter().collect();
    let entries = std::fs::read_dir(root().join("src")).unwrap();
    let found: BTreeSet<String> = entries
        .map(|entry| top_of(entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    assert_eq!(listed, found);
}

/// What is wrong with a crate of these files, whose layers are `lib`, `high` and `low`.
fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let lib = ("src/lib.rs", "mod high;\nmod low;\npub use crate::high::High;\n");
    let sources = std::iter::once(&lib).chain(files);
    let sources = sources.map(|(file, text)| Source::read(file, &module_of(file), text));
    let layers = ["lib", "high", "low"].map(|name| vec![name.to_owned()]);
    Crate::of(sources.collect()).faults(&layers)
}

const HIGH: (&str, &str) = (
    "src/high.rs",
    "use crate::low::Low;\n\npub struct High(Low);\npub fn high() {}\n",
);

#[test]
fn downward_imports_are_accepted() {
    assert!(faults_of(&[HIGH, ("src/low.rs", "pub struct Low;")]).is_empty());
}

#[test]
fn an_upward_import_is_reported_with_both_lines() {
    for low in [
        "\nuse crate::{high::High as H};\npub struct Low;",
        "\nuse super::high::{self, High};\npub struct Low;",
        "\nfn f() -> crate::high::High {}\npub struct Low;",
        "use crate::high;\ntype A = high::High;\npub struct Low;",
    ] {
        let faults = faults_of(&[HIGH, ("src/low.rs", low)]);
        let upwards = faults.iter().filter(|fault| fault.starts_with("upwards: "));
        assert!(
            upwards
                .clone()
                .any(|fault| fault.starts_with("upwards: src/low.rs:2 -> src/high.rs:3 (")),
            "{faults:?}"
        );
        let circle = "circle: src/high.rs:1 -> src/low.rs:3, src/low.rs:2 -> src/high.rs:3";
        assert!(faults.contains(&circle.to_owned()), "{faults:?}");
    }
}

#[test]
fn an_import_through_the_crate_root_is_reported() {
    let faults = faults_of(&[HIGH, ("src/low.rs", "pub struct Low;\npub type A = crate::High;")]);
    assert_eq!(faults, ["through lib.rs: src/low.rs:2 -> src/high.rs:3 (crate::High)"]);
}

#[test]
fn comments_strings_and_unit_tests_are_not_read() {
    let low = r##"//! crate::high::High
pub struct Low;
/* use crate::high::High; /* nested */ use crate::high::High; */
const A: &str = "\" crate::high::High";
const B: &str = r#"" crate::high::High"#;
fn f<'a>(_: &'a str) -> [char; 3] { ['"', '\'', '\u{22}'] }
pub(in crate::low) fn g() {}
#[cfg(test)]
mod tests { use crate::high::High; fn f() { let _ = High { a: [1] }; } }
#[cfg(test)]
use crate::high::High;
"##;
    assert_eq!(faults_of(&[HIGH, ("src/low.rs", low)]), Vec::<String>::new());
}

#[test]
fn a_folder_that_only_re_exports_its_files_is_not_in_a_circle() {
    let child = ("src/low/child.rs", "pub struct Child(super::Low);\n");
    let sibling = ("src/low/sibling.rs", "use super::Child;\npub struct Sibling(Child);\n");
    let unused = "mod child;\nmod sibling;\npub use child::Child;\npub use self::sibling::Sibling;\npub struct Low;\n";
    assert_eq!(
        faults_of(&[HIGH, child, sibling, ("src/low/mod.rs", unused)]),
        Vec::<String>::new()
    );

    let used = format!("{unused}impl Low {{ fn child(self) -> Child {{}} }}\n");
    assert_eq!(
        faults_of(&[HIGH, child, sibling, ("src/low/mod.rs", &used)]),
        ["circle: src/low/child.rs:1 -> src/low/mod.rs:5, src/low/mod.rs:3 -> src/low/child.rs:1"]
    );
}

#[test]
fn an_entry_that_the_table_does_not_name_is_reported() {
    let faults = faults_of(&[HIGH, ("src/low.rs", "pub struct Low;"), ("src/other.rs", "")]);
    assert_eq!(faults, ["src/other: the table of layers in DESIGN.md does not name it"]);
}
