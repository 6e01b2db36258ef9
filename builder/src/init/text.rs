//! A first recipe as text, with comments for who reads it first.

use super::{Found, Kind};

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.into_iter().map(quoted).collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn recipe(found: &Found) -> String {
    let mut lines = vec![
        format!("# A first recipe for a {} project, written by `countersign-builder init`.", found.kind.name()),
        "# Look through it; then: countersign-builder lock . && countersign-builder build . -o built".to_owned(),
    ];
    lines.extend(found.notes.iter().map(|note| format!("# NOTE: {}", note.replace('\n', " "))));
    lines.push(format!("product = {}", quoted(&found.product)));
    lines.push(format!("version = {}", quoted(&found.version)));
    lines.push(String::new());
    lines.push("[source]".to_owned());
    lines.push("kind = \"directory\"                    # what git tracks here; all files where it tracks none".to_owned());
    lines.push(String::new());
    lines.push("[environment]".to_owned());
    lines.push("kind = \"host\"                         # this machine's own tools, digested and read-only".to_owned());
    lines.push(format!("tools = {}", list(found.tools.iter().copied())));
    if !found.packages.is_empty() {
        let packages = list(found.packages.iter().map(String::as_str));
        lines
            .push("# Debian packages that the steps need; they must be installed here.".to_owned());
        lines.push(format!("packages = {packages}"));
    }
    lines.push(String::new());
    lines.push("[build]".to_owned());
    lines.push("# Each is run by sh in the source directory, without a network.".to_owned());
    lines.push("steps = [".to_owned());
    lines.extend(found.steps.iter().map(|step| format!("    {},", quoted(step))));
    lines.push("]".to_owned());
    if let Some((field, file)) = &found.list {
        lines.push("# What it pins is fetched by `lock`, kept with the release, and all that the steps can get.".to_owned());
        lines.push(format!("{field} = {}", list([file.as_str()])));
    }
    if !found.inputs.is_empty() {
        lines.push(String::new());
        lines.push(
            "# Further files, fetched and locked like all else, by where the steps find them."
                .to_owned(),
        );
        lines.push("[inputs]".to_owned());
    }
    for (path, package) in &found.inputs {
        lines.push(format!("{} = {{ package = {} }}", quoted(path), quoted(package)));
    }
    lines.push(String::new());
    lines.push("# Path in the artifact = path in the source directory after the steps.".to_owned());
    lines.push("[outputs]".to_owned());
    for (to, from) in &found.outputs {
        lines.push(format!("{} = {}", quoted(to), quoted(from)));
    }
    if matches!(found.kind, Kind::Cargo) && !found.outputs.is_empty() {
        lines.push(String::new());
        lines.push(
            "# If it is a server that nodes run, say how (docs/formats.md, \"Recipe\"):".to_owned(),
        );
        lines.push("# [node]".to_owned());
        lines.push(format!("# command = [{}]", quoted(&found.outputs[0].0)));
    }
    lines.push(String::new());
    lines.join("\n")
}
