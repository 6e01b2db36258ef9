//! What differs, from the outside in: real compilers, archivers and compressors make the files.

use std::fs;
use std::path::Path;
use std::process::Command;

use countersign_builder::compare::{Content, DifferenceKind, Looks, Part, compare};
use countersign_builder::pack::{Normalise, Plan, normalise, write_artifact};

use crate::project::{Project, run_in};

/// Runs a script in a new directory and packs what is then in `out`.
fn made_by(script: &str, one: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("out")).unwrap();
    let ran = Command::new("sh")
        .args(["-euc", script, "sh", one])
        .current_dir(dir.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let plan = Plan::of_directory(&dir.path().join("out")).unwrap();
    write_artifact(&plan, 0, &dir.path().join("a.tar.zst")).unwrap();
    dir
}

/// The only difference between what the script makes with the one and with the other argument.
fn content(script: &str, first: &str, second: &str) -> Content {
    let (a, b) = (made_by(script, first), made_by(script, second));
    let file = |dir: &Path| dir.join("a.tar.zst");
    let mut found = compare(&file(a.path()), &file(b.path())).unwrap();
    assert_eq!(found.differences.len(), 1, "{found:#?}");
    match found.differences.remove(0).kind {
        DifferenceKind::Content(content) => content,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn part<'a>(parts: &'a [Part], name: &str) -> &'a Part {
    parts.iter().find(|part| part.name.contains(name)).unwrap_or_else(|| panic!("{parts:#?}"))
}

#[test]
fn a_date_in_a_program_is_found_in_its_section_and_symbol() {
    let script = r#"echo "const char when_it_was_made[] = \"made on $1\"; int main(void) { return when_it_was_made[3]; }" > a.c
        cc -g0 -O0 -Wl,--build-id a.c -o out/a"#;
    let content = content(script, "Nov 20 2026", "Dec 25 2027");
    assert_eq!(content.looks, Some(Looks::Date));
    assert_eq!(content.parts[0].name, "section .rodata", "the cause comes first");
    let symbol = part(&content.parts[0].parts, "symbol");
    assert_eq!(symbol.name, "symbol when_it_was_made");
    let id = part(&content.parts, "build-id");
    assert_eq!(id.looks, Some(Looks::Digest));
    assert_eq!(id.first.len(), 40, "a SHA-1, in hexadecimal");
}

#[test]
fn objects_linked_in_another_order_are_told_as_that() {
    let script = r#"echo "int one(void) { return 1; }" > one.c; echo "int two(void) { return 2; }" > two.c
        echo "int one(void), two(void); int main(void) { return one() + two(); }" > main.c
        cc -g0 -Wl,--build-id=none main.c $1 -o out/a"#;
    let content = content(script, "one.c two.c", "two.c one.c");
    assert_eq!(content.looks, Some(Looks::Order), "{content:#?}");
    assert!(content.hint.unwrap().contains("sorted globs"));
}

#[test]
fn a_static_library_tells_member_time_and_owner() {
    let script = r#"echo "int f(void) { return $1; }" > f.c; echo "int g;" > g.c; cc -g0 -c f.c g.c
        touch -d "@$((1000000000 + $1))" f.o; ar qcU out/a f.o g.o"#;
    let content = content(script, "1", "200000");
    assert_eq!(content.looks, Some(Looks::Date), "{content:#?}");
    let time = part(&content.parts, "modification time of f.o");
    assert_eq!((time.first.as_str(), time.looks), ("2001-09-09T01:46:41Z", Some(Looks::Date)));
    assert!(time.hint.unwrap().contains("ar D"));
    let member = part(&content.parts, "member f.o");
    assert_eq!(part(&part(&member.parts, "section .text").parts, "symbol").name, "symbol f");
}

#[test]
fn compressed_archives_are_opened_down_to_the_member() {
    let script = r#"mkdir t; echo "built in $1" > t/x; echo same > t/y; touch -d @1 t/x t/y
        tar -C t --owner=0 --group=0 -c x y | gzip -n > out/a.tar.gz"#;
    let content = content(script, "/build/src/one", "/home/me/two");
    assert_eq!(content.looks, Some(Looks::Path), "{content:#?}");
    let unpacked = part(&content.parts, "decompressed");
    assert_eq!(part(&unpacked.parts, "member x").first, "built in /build/src/one");
}

#[test]
fn times_in_the_headers_of_gzip_zip_and_compiled_python_are_named_with_their_cures() {
    let gzip = content("echo x > x; touch -d @$1 x; gzip -c x > out/a", "1000000", "2000000");
    assert_eq!(gzip.looks, Some(Looks::Date));
    assert!(gzip.hint.unwrap().contains("gzip -n"), "{gzip:#?}");

    let script = r#"echo x > x; touch -d @$1 x
        python3 -c 'import zipfile; z = zipfile.ZipFile("out/a", "w"); z.write("x"); z.close()'"#;
    let zip = content(script, "1000000000", "1100000000");
    assert_eq!(zip.looks, Some(Looks::Date));
    assert_eq!(part(&zip.parts, "modification time of x").looks, Some(Looks::Date));

    let script = r#"echo "x = 1" > x.py; touch -d @$1 x.py
        python3 -c 'import py_compile; py_compile.compile("x.py", "out/a", "x.py")'"#;
    let pyc = content(script, "1000000000", "1100000000");
    assert!(pyc.hint.unwrap().contains("SOURCE_DATE_EPOCH"), "{pyc:#?}");
}

#[test]
fn another_level_and_another_order_are_no_other_contents() {
    let script = "seq 100000 | gzip -n$1 > out/a";
    let packed = content(script, "1", "9");
    assert_eq!(packed.looks, Some(Looks::Packing), "{packed:#?}");
    let lines = content("for i in $1; do echo line $i; done > out/a", "1 2 3", "3 2 1");
    assert_eq!(lines.looks, Some(Looks::Order));
    let script = r#"echo 1 > x; echo 2 > y; touch -d @1 x y
        tar --owner=0 --group=0 -cf out/a $1"#;
    let members = content(script, "x y", "y x");
    assert_eq!(members.looks, Some(Looks::Order));
    assert_eq!(part(&members.parts, "order of members").first, "x y");
}

#[test]
fn damaged_and_endless_files_are_told_as_bytes() {
    // A gzip bomb is not unpacked beyond the limit; a cut ELF file and an archive of nonsense are bytes.
    let script = r#"printf '\177ELF\002\001garbage %s' "$1" > out/elf"#;
    assert!(content(script, "one", "two").parts.is_empty());
    let script = r#"printf '!<arch>\nnonsense %s' "$1" > out/ar"#;
    assert!(content(script, "one", "two").parts.is_empty());
    let script = r#"head -c 400000000 /dev/zero | gzip -n > out/a; printf "$1" >> out/a"#;
    let bomb = content(script, "one", "two");
    assert!(bomb.parts.is_empty() && bomb.offset.is_some());
}

#[test]
fn a_recipe_line_takes_machines_out_of_archives_compressed_files_and_build_ids() {
    // Each output has a time of its own for each build: the clock is the machine's, and every file is dated by it.
    let steps = [
        r#"date +%s%N > seed; touch -d "@$(($(date +%s) % 1000000 + 1000000000))" seed"#,
        "echo 'int f(void) { return 1; }' > f.c; cc -g0 -c f.c; touch -r seed f.o; ar qcU lib.a f.o",
        "cp -p seed note; echo text > note; touch -r seed note; gzip -c note > note.gz",
        // A build id that depends on when it was made.
        r#"echo 'int main(void) { return 0; }' > m.c; cc -g0 m.c -o thing -Wl,--build-id=0x$(sha1sum seed | cut -c1-40)"#,
        "mkdir all; cp lib.a note.gz thing all",
    ];
    let outputs = [("build", "normalise = [\"ar\", \"build-id\", \"gzip\"]"), ("plain", "")];
    let digests = outputs.map(|(name, line)| {
        let project = Project::with(&steps, &[], line);
        project.output("all");
        let made = [1, 2].map(|_| {
            let out = tempfile::tempdir().unwrap();
            project.build(out.path()).ended(0).json()["sha256"].to_string()
        });
        (name, made)
    });
    let [(_, normal), (_, plain)] = digests;
    assert_eq!(normal[0], normal[1]);
    assert_ne!(plain[0], plain[1], "without the line they differ, or this test shows nothing");
}

#[test]
fn stock_tools_still_read_what_was_normalised() {
    let script = r#"mkdir t; cd t; echo "int f(void) { return 1; }" > f.c; cc -g0 -c f.c; ar qcU ../out/lib.a f.o
        echo x > x; gzip -c x > ../out/x.gz; printf 'x = 1\n' > x.py
        python3 -c 'import zipfile; z = zipfile.ZipFile("../out/x.zip", "w"); z.write("x"); z.write("f.c"); z.close()'
        python3 -c 'import py_compile; py_compile.compile("x.py", "../out/x.pyc", "x.py")'
        echo 'int main(void) { return 0; }' > m.c; cc -g0 -Wl,--build-id m.c -o ../out/m"#;
    let made = made_by(script, "");
    let out = made.path().join("out");
    let all = [Normalise::Ar, Normalise::Gzip, Normalise::Zip, Normalise::Pyc, Normalise::BuildId];
    normalise(&out, &all, 1_767_225_600).unwrap();
    let check = r#"cd out; ar tvO lib.a | grep -q 'rw-r--r-- 0/0 .* 1970 f.o'; gzip -t x.gz; ./m
        python3 - <<'END'
import zipfile, struct, marshal
z = zipfile.ZipFile("x.zip"); assert z.testzip() is None
assert {i.date_time for i in z.infolist()} == {(2026, 1, 1, 0, 0, 0)}, z.infolist()
b = open("x.pyc", "rb").read(); assert struct.unpack("<I", b[8:12])[0] == 1767225600; marshal.loads(b[16:])
b = open("x.gz", "rb").read(); assert b[4:8] == bytes(4)
END"#;
    let ran = Command::new("bash").args(["-euc", check]).current_dir(made.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_page_shows_every_difference_and_no_markup_of_others() {
    let script = r#"mkdir -p "out/<img src=x onerror=1>"; echo "made in $1" > "out/<img src=x onerror=1>/a""#;
    let (a, b) = (made_by(script, "/build/<script>1"), made_by(script, "/home/<script>2"));
    let page = a.path().join("page.html");
    let [first, second] = [&a, &b].map(|dir| dir.path().join("a.tar.zst"));
    let words = ["compare", first.to_str().unwrap(), second.to_str().unwrap(), "--html"];
    let ran = run_in(a.path(), &[&words[..], &[page.to_str().unwrap()]].concat());
    ran.ended(1).said("page.html");
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("made in /build/&lt;script&gt;1"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
}
