//! The packages that we depend on: their licences, the compiler they need, and none that brings async or C.

use crate::root;
use std::process::Command;

/// Async runtimes, and crates that bring a C library.
const BANNED: [&str; 16] = [
    "tokio",
    "async-std",
    "smol",
    "futures",
    "hyper",
    "reqwest",
    "openssl",
    "openssl-sys",
    "native-tls",
    "aws-lc-rs",
    "aws-lc-sys",
    "librdkafka-sys",
    "rdkafka",
    "libz-sys",
    "zstd-sys",
    "curl-sys",
];
/// Licences that a binary under MIT may contain; one of a package's alternatives is enough.
const LICENCES: [&str; 9] = [
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "ISC",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
/// Data rather than code, and free to pass on with its text: the roots of Mozilla.
const DATA: [(&str, &str); 2] = [("webpki-roots", "CDLA-Permissive-2.0"), ("webpki-roots", "MPL-2.0")];

/// What `cargo tree` prints for these features, a package a line.
fn tree(arguments: &[&str]) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "-e", "normal,build", "--prefix", "none"])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_core_depends_on_nothing() {
    assert_eq!(tree(&["--no-default-features"]).len(), 1);
}

#[test]
fn there_is_no_async_runtime_and_no_c_library() {
    for features in [&[][..], &["--all-features"]] {
        let tree = tree(features);
        for banned in BANNED {
            assert!(
                tree.iter().all(|line| line.split(' ').next() != Some(banned)),
                "{banned} is in the tree"
            );
        }
    }
}

/// Whether one of the alternatives of an SPDX expression consists of allowed licences.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" OR ").any(|one| one.split(" AND ").all(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn every_licence_is_one_that_we_may_ship() {
    let lines = tree(&["--all-features", "-f", "{p}\t{l}"]);
    assert!(lines.len() > 20, "{lines:#?}");
    for line in lines {
        let (package, licence) = line.split_once('\t').unwrap();
        let name = package.split(' ').next().unwrap();
        let licence = licence.trim_end_matches(" (*)");
        assert!(is_allowed(licence) || DATA.contains(&(name, licence)), "{package}: {licence}");
    }
    assert!(is_allowed("GPL-2.0 OR MIT") && !is_allowed("GPL-2.0") && !is_allowed("MIT AND GPL-2.0"));
}

/// The two numbers of `1.89` or `1.89.0`.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap_or(0))
}

/// Of our own code, clippy keeps what its lint `incompatible_msrv` knows of std.
#[test]
fn no_package_needs_a_later_compiler_than_we_promise() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let ours = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap();
    let ours = version(ours.trim_matches('"'));
    let about = Command::new("rustc").arg("-vV").output().unwrap();
    let about = String::from_utf8(about.stdout).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--format-version=1", "--all-features", "--filter-platform", host])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let needed: Vec<&str> =
        text.split(r#""rust_version":""#).skip(1).filter_map(|it| it.split('"').next()).collect();
    assert!(needed.len() > 10, "{needed:?}");
    for one in needed {
        assert!(version(one) <= ours, "a package needs Rust {one}");
    }
}
