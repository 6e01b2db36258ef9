//! Projects in C and its kin: CMake, Autotools, or a makefile alone.

use std::path::Path;

use super::{Found, InitError, Kind, OUT, read};

pub(super) fn cmake(dir: &Path) -> Result<Found, InitError> {
    let mut found = Found::new(Kind::Cmake, dir);
    let text = uncommented(&read(&dir.join("CMakeLists.txt"))?);
    let project = call(&text, "project").unwrap_or_default();
    let mut words = project.split_whitespace();
    if let Some(name) = words.next() {
        found.call(name);
    }
    let version = words.skip_while(|word| !word.eq_ignore_ascii_case("VERSION")).nth(1);
    found.versioned(version);
    found.packages.push("cmake".to_owned());
    found.step("cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX=/usr");
    found.step("cmake --build build");
    let name = call(&text, "add_executable");
    let name = name.as_deref().and_then(|call| call.split_whitespace().next());
    match (call(&text, "install"), name) {
        (None, Some(name)) if !name.contains('$') => {
            found.output(format!("bin/{name}"), format!("build/{name}"));
        }
        _ => {
            found.step(format!("DESTDIR=\"$PWD/{OUT}\" cmake --install build"));
            found.output("usr", format!("{OUT}/usr"));
        }
    }
    Ok(found)
}

pub(super) fn autotools(dir: &Path) -> Result<Found, InitError> {
    let mut found = Found::new(Kind::Autotools, dir);
    let ac = dir.join("configure.ac");
    if ac.is_file() {
        let text = read(&ac)?;
        let init = call(&text, "AC_INIT").unwrap_or_default();
        let plain = |word: &str| word.trim().trim_matches(['[', ']']).to_owned();
        let mut words = init.split(',').map(plain);
        if let Some(name) = words.next().filter(|name| !name.is_empty() && !name.contains('(')) {
            found.call(&name);
        }
        found.versioned(words.next().as_deref());
        if !dir.join("configure").is_file() {
            found.packages.extend(["autoconf", "automake", "libtool"].map(str::to_owned));
            found.step("autoreconf --force --install");
        }
    } else {
        found.versioned(None);
        if !dir.join("configure").is_file() {
            found.packages.extend(["autoconf", "automake", "libtool"].map(str::to_owned));
            found.step("NOCONFIGURE=1 sh ./autogen.sh");
        }
    }
    found.step("sh ./configure --prefix=/usr");
    found.step("make");
    found.step(format!("make install DESTDIR=\"$PWD/{OUT}\""));
    found.output("usr", format!("{OUT}/usr"));
    Ok(found)
}

pub(super) fn make(dir: &Path) -> Result<Found, InitError> {
    let mut found = Found::new(Kind::Make, dir);
    let files = ["GNUmakefile", "makefile", "Makefile"];
    let file = files.iter().map(|name| dir.join(name)).find(|path| path.is_file());
    let text = read(&file.unwrap_or_else(|| dir.join("Makefile")))?;
    found.versioned(variable(&text, &["VERSION"]).as_deref());
    found.step("make");
    if target(&text, "install") {
        found.step(format!("make install DESTDIR=\"$PWD/{OUT}\" PREFIX=/usr prefix=/usr"));
        found.output("root", OUT);
        found
            .notes
            .push(format!("`make install` is taken to heed DESTDIR; {OUT} is what it installs"));
        return Ok(found);
    }
    let program = variable(&text, &["TARGET", "PROGRAM", "PROG", "BIN", "EXE", "NAME"])
        .or_else(|| goal(&text))
        .unwrap_or_else(|| found.product.clone());
    let last = program.rsplit('/').next().unwrap_or(&program).to_owned();
    found
        .notes
        .push(format!("the makefile installs nothing: {program:?} is taken to be what it makes"));
    found.output(format!("bin/{last}"), program);
    Ok(found)
}

fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// What is between the brackets of the first `name( … )`.
fn call(text: &str, name: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let name = name.to_ascii_lowercase();
    let begins = |at: usize| {
        at == 0
            || !text.as_bytes()[at - 1].is_ascii_alphanumeric() && text.as_bytes()[at - 1] != b'_'
    };
    lower.match_indices(&name).find_map(|(at, _)| {
        let rest = text[at + name.len()..].trim_start().strip_prefix('(')?;
        begins(at).then(|| rest.split(')').next().unwrap_or_default().trim().to_owned())
    })
}

fn target(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix(name).is_some_and(|rest| {
            rest.trim_start().starts_with(':') && !rest.trim_start().starts_with(":=")
        })
    })
}

fn variable(text: &str, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        text.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.trim_start();
            let value = [":=", "?=", "="].iter().find_map(|sign| rest.strip_prefix(sign))?;
            let value = value.split('#').next().unwrap_or_default().trim();
            (!value.is_empty() && !value.contains(['$', ' '])).then(|| value.to_owned())
        })
    })
}

/// What the first rule makes: the first thing that `all` needs, or its own name.
fn goal(text: &str) -> Option<String> {
    let rule = text.lines().find(|line| {
        line.contains(':') && !line.contains(":=") && !line.starts_with(['\t', '#', '.', ' '])
    })?;
    let (name, needs) = rule.split_once(':')?;
    let name = name.trim();
    let first = if name == "all" { needs.split_whitespace().next()? } else { name };
    (!first.is_empty() && !first.contains(['$', ' ', '%'])).then(|| first.to_owned())
}
