//! Which files of a version are taken: those that the environment's Python can use.

use super::index::File;

/// The Python that will use the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Python {
    /// Major and minor version, where the environment has one.
    version: Option<(u32, u32)>,
}

impl Python {
    /// The Python among what an environment was gathered from (`python3=3.11.2-1`).
    pub fn among(parts: &[String]) -> Self {
        let version = parts.iter().find_map(|part| part.strip_prefix("python3="));
        let version = version.and_then(|version| {
            let mut numbers = version.split(['.', '-', '+', '~']);
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        });
        Self { version }
    }

    fn takes(&self, tag: &str) -> bool {
        let Some((major, minor)) = self.version else { return true };
        tag == format!("cp{major}{minor}")
            || tag == format!("py{major}")
            || tag == format!("py{major}{minor}")
    }

    /// `cp38-abi3` runs on every later version too.
    fn takes_stable(&self, tag: &str) -> bool {
        let Some((major, minor)) = self.version else { return true };
        let oldest = tag.strip_prefix(&format!("cp{major}")).and_then(|n| n.parse::<u32>().ok());
        oldest.is_some_and(|oldest| oldest <= minor)
    }
}

/// How well a file fits; the least is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Anywhere,
    Here,
    Musl,
    Source,
    Not,
}

/// The best files: those for any machine, else those for this one, else the source. Several where several fit alike:
/// pip chooses among them.
pub(super) fn best(files: Vec<File>, python: &Python) -> Vec<File> {
    let least = files.iter().map(|file| fit(&file.name, python)).min().unwrap_or(Fit::Not);
    if least == Fit::Not {
        return Vec::new();
    }
    files.into_iter().filter(|file| fit(&file.name, python) == least).collect()
}

/// `NAME-VERSION(-BUILD)-PYTHON-ABI-PLATFORM.whl`, each of the three a list with dots.
fn fit(name: &str, python: &Python) -> Fit {
    let Some(stem) = name.strip_suffix(".whl") else {
        let is_source = [".tar.gz", ".zip", ".tar.bz2"].iter().any(|e| name.ends_with(e));
        return if is_source { Fit::Source } else { Fit::Not };
    };
    let mut tags = stem.rsplit('-');
    let (Some(platforms), Some(abis), Some(pythons)) = (tags.next(), tags.next(), tags.next())
    else {
        return Fit::Not;
    };
    let stable = abis.split('.').any(|abi| abi == "abi3");
    let fits =
        pythons.split('.').any(|tag| python.takes(tag) || stable && python.takes_stable(tag));
    if !fits {
        return Fit::Not;
    }
    let here = |platform: &str, family: &str| {
        platform.starts_with(family) && platform.ends_with(std::env::consts::ARCH)
    };
    let platform = |tag: &str| match tag {
        "any" => Fit::Anywhere,
        tag if here(tag, "manylinux") || here(tag, "linux") => Fit::Here,
        tag if here(tag, "musllinux") => Fit::Musl,
        _ => Fit::Not,
    };
    platforms.split('.').map(platform).min().unwrap_or(Fit::Not)
}

#[cfg(test)]
mod tests {
    use countersign_metadata::Sha256;

    use super::*;

    fn chosen(names: &[&str], python: &Python) -> Vec<String> {
        let files = names.iter().map(|name| File {
            name: (*name).to_owned(),
            url: String::new(),
            sha256: Sha256::of(name.as_bytes()),
        });
        best(files.collect(), python).into_iter().map(|file| file.name).collect()
    }

    #[test]
    fn what_runs_here_is_taken_and_the_source_only_where_nothing_else_does() {
        let arch = std::env::consts::ARCH;
        let python = Python::among(&["python3=3.11.2-1+b1".to_owned()]);
        let mine = format!("a-1-cp311-cp311-manylinux_2_17_{arch}.manylinux2014_{arch}.whl");
        let older = format!("a-1-cp38-abi3-manylinux_2_17_{arch}.whl");
        let newer = format!("a-1-cp312-cp312-manylinux_2_17_{arch}.whl");
        let musl = format!("a-1-cp311-cp311-musllinux_1_1_{arch}.whl");
        let windows = "a-1-cp311-cp311-win_amd64.whl";
        let all = [&mine, &newer, &musl, windows, "a-1.tar.gz"];
        assert_eq!(chosen(&all, &python), [&*mine]);
        assert_eq!(chosen(&[&older, "a-1.tar.gz"], &python), [&*older]);
        assert_eq!(chosen(&[&newer, "a-1.tar.gz"], &python), ["a-1.tar.gz"]);
        assert_eq!(
            chosen(&["a-1-py2.py3-none-any.whl", &mine], &python),
            ["a-1-py2.py3-none-any.whl"]
        );
        assert_eq!(chosen(&[&mine, &newer], &Python::default()), [mine, newer]);
        assert!(chosen(&[windows, "a-1.exe"], &python).is_empty());
    }
}
