//! No modules of this crate import each other in a circle: neither those directly under `src`, nor the files of
//! `node`, `partition` and `disk` among themselves. A folder's own `mod.rs` is left out inside the folder, for it names
//! every file; who names what it passes on imports the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// For each module, the modules that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Code without its comments, which import nothing.
fn code(text: &str) -> String {
    let lines = text.lines();
    let code: Vec<&str> = lines
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    code.join("\n")
}

/// What stands between commas, where no braces are around the comma, up to the brace or semicolon that ends it.
fn items(text: &str) -> Vec<&str> {
    let (mut found, mut from, mut depth) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                found.push(text[from..at].trim());
                from = at + 1;
            }
            '}' | ';' => {
                found.push(text[from..at].trim());
                break;
            }
            _ => {}
        }
    }
    found.retain(|item| !item.is_empty());
    found
}

/// The name that a text begins with.
fn first_name(text: &str) -> String {
    let letters = text.chars();
    letters
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

/// The names that follow `prefix`. `prefix{a::B, c::{D, E}, F}` names `a`, `c` and `F`.
fn named_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let code = code(text);
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(items(group).into_iter().map(first_name)),
            None => _ = found.insert(first_name(rest)),
        }
    }
    found
}

/// By the name that a `mod.rs` passes on, the module that it comes from: `pub use a::{B, c as D};` passes on `B` and `D`.
fn passed_on(text: &str) -> BTreeMap<String, String> {
    let code = code(text);
    let mut found = BTreeMap::new();
    for (at, _) in code.match_indices("use ") {
        if code[..at].ends_with(|letter: char| !letter.is_whitespace()) {
            continue;
        }
        let path = &code[at + "use ".len()..];
        let Some((module, rest)) = path.split_once("::") else {
            continue;
        };
        let names = rest.strip_prefix('{').map_or_else(
            || vec![rest.split(';').next().unwrap_or_default()],
            |group| items(group),
        );
        for name in names {
            let name = name.rsplit([' ', ':']).next().unwrap_or_default();
            found.insert(name.into(), module.into());
        }
    }
    found
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}

/// The imports among what is directly in `folder`, of paths that begin with one of `prefixes`. Who names what `mod.rs`
/// passes on imports the module that it comes from.
fn imports(folder: &Path, prefixes: &[&str]) -> Imports {
    let mut graph = Imports::new();
    let own = fs::read_to_string(folder.join("mod.rs")).unwrap_or_default();
    let passed_on = passed_on(&own);
    for path in sources(folder) {
        let inside = path.strip_prefix(folder).unwrap().with_extension("");
        let module = inside.iter().next().unwrap().to_str().unwrap().to_owned();
        if module == "mod" || module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let named = prefixes
            .iter()
            .flat_map(|prefix| named_after(&text, prefix))
            .map(|name| passed_on.get(&name).cloned().unwrap_or(name));
        graph.entry(module).or_default().extend(named);
    }
    let modules: BTreeSet<String> = graph.keys().cloned().collect();
    for (module, named) in &mut graph {
        named.retain(|name| name != module && modules.contains(name));
    }
    graph
}

/// The modules that import themselves by way of others, or one another: what is left when those that import nothing
/// that is left are taken away, again and again.
fn circle(mut graph: Imports) -> Imports {
    loop {
        let left: BTreeSet<String> = graph.keys().cloned().collect();
        let before = graph.len();
        graph.retain(|_, named| named.iter().any(|name| left.contains(name)));
        if graph.len() == before {
            for named in graph.values_mut() {
                named.retain(|name| left.contains(name));
            }
            return graph;
        }
    }
}

#[test]
fn no_modules_import_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(circle(imports(&root, &["crate::"])), Imports::new(), "src");
    for folder in ["node", "partition", "disk"] {
        let own = format!("crate::{folder}::");
        let found = imports(&root.join(folder), &["super::", &own]);
        assert!(
            found.values().any(|named| !named.is_empty()),
            "{folder}: nothing was read"
        );
        assert_eq!(circle(found), Imports::new(), "{folder}");
    }
}

#[test]
fn a_circle_is_seen_and_a_chain_is_none() {
    let graph = |pairs: &[(&str, &str)]| {
        let mut graph = Imports::new();
        for (from, to) in pairs {
            graph
                .entry((*from).into())
                .or_default()
                .insert((*to).into());
            graph.entry((*to).into()).or_default();
        }
        graph
    };
    assert_eq!(
        circle(graph(&[("a", "b"), ("b", "c"), ("a", "c")])),
        Imports::new()
    );
    let around = [("a", "b"), ("b", "c"), ("c", "a")];
    assert_eq!(circle(graph(&around)), graph(&around));
}

#[test]
fn imports_are_read_one_by_one_and_in_groups() {
    let text = "use super::slot::Slot; // super::place::P\nuse super::{\n    lease::Mark,\n    routes::R,\n};\n";
    let named = named_after(text, "super::");
    assert_eq!(named, ["lease", "routes", "slot"].map(String::from).into());
    let named = named_after("use super::{a::{B, C}, D};", "super::");
    assert_eq!(named, ["D", "a"].map(String::from).into());
}

#[test]
fn what_is_passed_on_is_of_the_module_that_it_comes_from() {
    let text = "mod hold;\npub use crate::role::Role;\npub(crate) use hold::{Held,\n    Queue as Q};\nuse load::Load;\n";
    let pairs = [
        ("Role", "crate"),
        ("Held", "hold"),
        ("Q", "hold"),
        ("Load", "load"),
    ];
    let expected = pairs.map(|(name, module)| (name.into(), module.into()));
    assert_eq!(passed_on(text), BTreeMap::from(expected));
}
