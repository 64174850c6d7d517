//! No modules of this crate import each other in a circle: neither those directly under `src`, nor the files of
//! `node`, `partition` and `disk` among themselves. A folder's own `mod.rs` is left out inside the folder, for it names
//! every file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// For each module, the modules that it imports.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// The lower-case names that follow `prefix` in code; comments import nothing. `prefix{a::B, c::D}` names `a` and `c`.
fn named_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let group = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split(';').next());
        for item in group.unwrap_or(rest).split(',') {
            let name: String = item
                .trim_start()
                .chars()
                .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                .collect();
            if !name.is_empty() {
                found.insert(name);
            }
            if group.is_none() {
                break;
            }
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

/// The imports among what is directly in `folder`, of paths that begin with one of `prefixes`.
fn imports(folder: &Path, prefixes: &[&str]) -> Imports {
    let mut graph = Imports::new();
    for path in sources(folder) {
        let inside = path.strip_prefix(folder).unwrap().with_extension("");
        let module = inside.iter().next().unwrap().to_str().unwrap().to_owned();
        if module == "mod" || module == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let named = prefixes
            .iter()
            .flat_map(|prefix| named_after(&text, prefix));
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
}
