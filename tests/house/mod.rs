//! The rules of the house that a test can hold: imports point one way, and a library is used in
//! its room only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The rooms, each with the rooms that it may import. Data flows from the bottom of this table to
/// its top, and no room knows one above it.
const ROOMS: &[(&str, &[&str])] = &[
    ("escape", &[]),
    ("quantity", &[]),
    ("network", &[]),
    ("limit", &[]),
    ("metric", &[]),
    ("stand_in", &[]),
    ("event", &["context"]),
    ("context", &["escape"]),
    ("filter", &["context"]),
    ("destination", &["network"]),
    ("signature", &["network"]),
    ("template", &["context", "escape"]),
    ("provider", &["context", "event", "signature"]),
    ("store", &["context", "event", "filter", "limit", "metric", "quantity"]),
    (
        "registration",
        &["context", "destination", "event", "filter", "limit", "quantity", "signature", "store", "template"],
    ),
    ("delivery", &["destination", "event", "metric", "registration", "signature", "store"]),
    (
        "config",
        &[
            "context",
            "destination",
            "event",
            "limit",
            "network",
            "provider",
            "quantity",
            "signature",
            "store",
        ],
    ),
    ("http", &["network", "registration", "store"]),
    ("job", &["context", "delivery", "event", "limit", "provider", "signature", "store"]),
    (
        "intake",
        &[
            "context",
            "event",
            "http",
            "job",
            "limit",
            "metric",
            "provider",
            "registration",
            "signature",
            "store",
        ],
    ),
    ("speech_request", &["context", "event", "job", "registration", "store"]),
    (
        "api",
        &[
            "config",
            "context",
            "delivery",
            "event",
            "filter",
            "http",
            "job",
            "limit",
            "provider",
            "quantity",
            "registration",
            "signature",
            "speech_request",
            "store",
            "template",
        ],
    ),
    ("console", &["http"]),
    ("telemetry", &["config"]),
    ("shutdown", &[]),
    ("descriptors", &[]),
    ("docs", &[]),
];

/// Rooms that join the others and may import all of them.
const JOINTS: &[&str] = &["assembly", "command", "main", "lib"];

/// Libraries that belong to a room: what each is called, and where it may be used.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("nom", &["template/grammar"]),
    ("rusqlite", &["store/embedded"]),
    ("redis", &["store/redis"]),
    ("governor", &["limit"]),
    ("prometheus", &["metric"]),
    ("hyper_util", &["http", "delivery/client"]),
    ("tokio_rustls", &["http", "delivery/client", "assembly"]),
    ("annotate_snippets", &["command", "template"]),
    ("clap", &["command", "main"]),
    ("toml", &["config"]),
];

fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().with_extension("").display().to_string();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn room(file: &str) -> &str {
    file.split('/').next().unwrap()
}

/// The code of a file, without its comments and the tests at its end, which may use anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
    lines.map(str::trim_start).filter(|line| !line.starts_with("//"))
}

#[test]
fn imports_point_one_way() {
    for (file, text) in sources() {
        let room = room(&file);
        if JOINTS.contains(&room) {
            continue;
        }
        let allowed = ROOMS.iter().find(|(name, _)| *name == room);
        let (_, allowed) =
            allowed.unwrap_or_else(|| panic!("the room `{room}` is not in the table of this test"));
        for line in code(&text) {
            for (position, _) in line.match_indices("crate::") {
                // `$crate::` in a macro, and other crates' paths, are not imports.
                let imported = &line[position + "crate::".len()..];
                let imported =
                    imported.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
                assert!(
                    imported == room || allowed.contains(&imported),
                    "src/{file}.rs imports `{imported}`, which `{room}` may not: {line}"
                );
            }
        }
    }
}

#[test]
fn libraries_stay_in_their_rooms() {
    for (file, text) in sources() {
        for line in code(&text) {
            for (library, rooms) in LIBRARIES {
                let used = line.contains(&format!("{library}::"))
                    && !line.contains(&format!("_{library}::"))
                    && !line.contains(&format!("::{library}::"));
                let here = rooms.iter().any(|room| file == *room || file.starts_with(&format!("{room}/")));
                assert!(!used || here, "src/{file}.rs uses `{library}`, which belongs to {rooms:?}: {line}");
            }
            let environment = ["env::var", "env::vars"].iter().any(|read| line.contains(read));
            assert!(!environment || room(&file) == "config", "src/{file}.rs reads the environment: {line}");
        }
    }
}

#[test]
fn delivery_never_sees_a_template() {
    for (file, text) in sources() {
        if room(&file) == "delivery" {
            assert!(!code(&text).any(|line| line.contains("Template")), "src/{file}.rs");
        }
    }
}

#[test]
fn every_room_is_in_the_code_map() {
    let sources = sources();
    let map = &sources["lib"];
    for file in sources.keys() {
        let room = room(file);
        assert!(
            map.contains(&format!("`{room}`")) || room == "lib",
            "`{room}` is not in the code map of lib.rs"
        );
    }
}

/// The fuzz targets have a lock file of their own, which nothing else builds with: without this it
/// would be found out of date only when somebody fuzzes.
#[test]
fn the_fuzz_targets_lock_what_the_package_needs() {
    let read = |file: &str| -> toml::Table {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        std::fs::read_to_string(path).unwrap().parse().unwrap()
    };
    let lock = read("tests/fuzz/Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"].as_str() == Some("ringback")).unwrap();
    let locked: Vec<&str> = package["dependencies"]
        .as_array()
        .unwrap()
        .iter()
        // Where there are two versions of one, the version stands behind the name.
        .map(|name| name.as_str().unwrap().split(' ').next().unwrap())
        .collect();
    for name in read("Cargo.toml")["dependencies"].as_table().unwrap().keys() {
        assert!(
            locked.contains(&name.as_str()),
            "{name} is missing in tests/fuzz/Cargo.lock: run `cargo metadata` in tests/fuzz, and commit the file"
        );
    }
}
