//! The modules of the crate and who imports whom, read from the source text.

use crate::{code, sources};
use std::collections::{BTreeMap, BTreeSet};

/// A module's path below the crate: `["kafka", "group"]`.
pub type Module = Vec<String>;

/// Each module with those that it names in `use` lines and paths.
pub struct Modules {
    imports: BTreeMap<Module, BTreeSet<Module>>,
}

impl Modules {
    /// Reads all of src.
    pub fn read() -> Self {
        let files: BTreeMap<Module, String> = sources("src")
            .into_iter()
            .map(|(path, text)| {
                let path = path.with_extension("");
                let mut parts: Module =
                    path.iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
                parts.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
                (parts, code(&text))
            })
            .collect();
        let imports = files.iter().map(|(module, code)| {
            let named = paths(code).into_iter().filter_map(|path| resolve(&files, module, &path));
            (module.clone(), named.filter(|other| !is_kin(module, other)).collect())
        });
        Self { imports: imports.collect() }
    }

    /// Those that a module imports, without its ancestors and descendants.
    pub fn imports(&self, of: &Module) -> impl Iterator<Item = &Module> + use<'_> {
        self.imports.get(of).into_iter().flatten()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Module> {
        self.imports.keys()
    }

    /// Whether `from` leads back to itself; if so, by which modules.
    pub fn circle(&self, from: &Module) -> Option<Vec<Module>> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![vec![from.clone()]]);
        while let Some(path) = open.pop() {
            for next in self.imports(&path[path.len() - 1]) {
                if next == from {
                    return Some(path);
                }
                if seen.insert(next.clone()) {
                    open.push(path.iter().cloned().chain([next.clone()]).collect());
                }
            }
        }
        None
    }
}

/// A parent and its children may know each other.
fn is_kin(one: &Module, other: &Module) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The module that a path leads to, if it is one of ours.
fn resolve(files: &BTreeMap<Module, String>, from: &Module, path: &[String]) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let rest = path[ups..].iter().skip_while(|part| ["crate", "self"].contains(&part.as_str())).cloned();
    let mut found: Module = match path[0].as_str() {
        "crate" => rest.collect(),
        _ => from[..from.len().checked_sub(ups)?].iter().cloned().chain(rest).collect(),
    };
    while !found.is_empty() && !files.contains_key(&found) {
        found.pop();
    }
    Some(found).filter(|found| !found.is_empty())
}

/// The paths in `use` lines, and those in the code that begin with `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some((_, after)) = rest.split_once("use ") {
        let (tree, behind) = after.split_once(';').unwrap_or((after, ""));
        expand(tree, &[], &mut found);
        rest = behind;
    }
    for word in code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        if ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)) {
            found.push(word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
    }
    found
}

/// `a::{b, c::{d, e}}` is three paths.
fn expand(tree: &str, before: &[String], found: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some((head, inner)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        let parts = path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
        let path: Vec<String> = before.iter().cloned().chain(parts).collect();
        found.extend(Some(path).filter(|path| !path.is_empty()));
        return;
    };
    let head = head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
    let head: Vec<String> = before.iter().cloned().chain(head).collect();
    let (mut depth, mut begin) = (0, 0);
    let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                expand(&inner[begin..at], &head, found);
                begin = at + 1;
            }
            _ => {}
        }
    }
    expand(&inner[begin..], &head, found);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = Modules::read();
    let circles: BTreeSet<Vec<String>> = modules
        .all()
        .filter_map(|module| modules.circle(module))
        .map(|circle| {
            let mut names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            names.sort();
            names
        })
        .collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The layers of the Kafka client: each may import those before it.
const LAYERS: [&str; 9] = [
    "protocol",
    "record_batch",
    "connection",
    "cluster",
    "group",
    "consumer",
    "producer",
    "source",
    "dead_letters",
];

#[test]
fn layers_of_the_kafka_client_import_only_those_below() {
    let modules = Modules::read();
    let layer = |module: &Module| {
        let is_kafka = module.first().is_some_and(|room| room == "kafka");
        is_kafka
            .then(|| LAYERS.iter().position(|layer| module.get(1).is_some_and(|it| it == layer)))
            .flatten()
    };
    for module in modules.all() {
        let Some(own) = layer(module) else { continue };
        for other in modules.imports(module) {
            let above = layer(other).filter(|other| *other > own);
            assert_eq!(above, None, "{} imports {}", module.join("::"), other.join("::"));
        }
    }
}

/// What fits a Kafka client to the relay. The crate `kafka` is wrapped as a source and nothing else.
const ADAPTERS: [&str; 3] = ["source", "dead_letters", "kafka_crate"];

#[test]
fn the_kafka_client_is_usable_without_the_relay() {
    let is_adapter = |module: &Module| {
        module[0] == "kafka" && module.get(1).is_some_and(|name| ADAPTERS.contains(&name.as_str()))
    };
    let modules = Modules::read();
    assert!(ADAPTERS.iter().all(|adapter| modules.all().any(|it| it[..] == ["kafka", *adapter])));
    for module in modules.all().filter(|module| module.first().is_some_and(|room| room == "kafka")) {
        let mut imports = modules.imports(module);
        let wrong = imports.find(|other| other[0] == "relay" || is_adapter(other));
        assert!(is_adapter(module) || wrong.is_none(), "{} imports {wrong:?}", module.join("::"));
    }
    // Nor do its documentation, its examples and its tests.
    for (path, text) in sources("src/kafka") {
        let adapts = ADAPTERS.iter().any(|it| path.with_extension("").starts_with(format!("src/kafka/{it}")));
        let named =
            text.lines().find(|line| line.contains("crate::relay") || line.contains("sluicegate::relay"));
        assert!(adapts || named.is_none(), "{path:?}: {named:?}");
    }
}

#[test]
fn trees_of_imports_are_read() {
    let mut found = Vec::new();
    expand("super::a::{self, B, c::{D, E as F}}", &[], &mut found);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["super::a::self", "super::a::B", "super::a::c::D", "super::a::c::E"]);
    let paths = paths("use super::x::Y;\nfn f() { crate::z::g(); other::h() }");
    let paths: BTreeSet<String> = paths.iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["crate::z::g", "super::x::Y"].map(str::to_owned).into());
}
