//! The payloads: what is tried from inside. Each prints what happened; a verb that hangs waits to be killed.

mod attacks;
mod network;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::sys::statfs::{Statfs, fstatfs, statfs};

/// Runs a verb.
pub(crate) fn run(verb: &str, words: &[String]) -> ExitCode {
    let word = |index: usize| words.get(index).map(String::as_str).unwrap_or_default();
    match verb {
        "exit" => return ExitCode::from(word(0).parse::<u8>().unwrap()),
        "cat" => words.iter().for_each(|path| show(path, fs::read_to_string(path))),
        "write" => words.iter().for_each(|path| show(path, fs::write(path, "written"))),
        "list" => list(word(0)),
        "dig" => dig(word(0)),
        "touch" => show(word(0), OpenOptions::new().write(true).open(word(0)).map(drop)),
        "environment" => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        "where" => println!("{}", std::env::current_dir().unwrap().display()),
        "attack-process" => attacks::attack(word(0).parse().unwrap()),
        "mounts" => attacks::mounts(),
        "sockets" => attacks::sockets(),
        "calls" => attacks::calls(),
        "foreign-call" => attacks::foreign_call(),
        "set-id" => attacks::set_id(word(0)),
        "memory-program" => attacks::memory_program(),
        "address" => println!("{:p}", &raw const words),
        "system" => system(),
        "sizes" => sizes(),
        "disks" => disks(),
        "start-bytes" => start_bytes(),
        "forks" => forks(),
        "hold" => hold(word(0), word(1).parse().unwrap()),
        "eat" => eat(word(0).parse().unwrap()),
        "inotify" => attacks::inotify(),
        "fill" => fill(word(0), word(1).parse().unwrap()),
        "files" => files(),
        "big-file" => big_file(word(0)),
        "print" => print!("{}", "x".repeat(word(0).parse().unwrap())),
        "hang" => hang(),
        "daemon" => daemon(word(0)),
        "tcp" => words.iter().for_each(|to| show(to, TcpStream::connect(to.as_str()).map(drop))),
        "udp" => words.iter().for_each(|to| network::udp(to)),
        "ping" => network::ping(word(0)),
        "resolve" => words.iter().for_each(|name| network::resolve(name)),
        "ask" => network::ask(word(0), word(1), word(2)),
        "udp-lite" => network::udp_lite(word(0)),
        "dns" => network::dns(word(0), word(1)),
        "self-talk" => network::self_talk(),
        "serve" => network::serve(),
        "ready" => ready(),
        "tree" => crate::notices::tree(),
        "threads" => crate::notices::threads(),
        "polite" => polite(),
        "sandbox" => sandbox(),
        "caller" => crate::life::be_a_caller(word(0), word(1)),
        "without-landlock" => crate::lower::without_landlock(),
        "wait-for" => wait_for(word(0), word(1)),
        other => panic!("no verb {other}"),
    }
    ExitCode::SUCCESS
}

/// Prints what came of something.
fn show<T: Shown>(what: &str, result: io::Result<T>) {
    match result {
        Ok(value) => println!("{what}: ok {}", value.text()),
        Err(error) => {
            println!("{what}: {:?}", error.raw_os_error().map(nix::errno::Errno::from_raw))
        }
    }
}

trait Shown {
    fn text(&self) -> String;
}
impl Shown for () {
    fn text(&self) -> String {
        String::new()
    }
}
impl Shown for String {
    fn text(&self) -> String {
        self.trim_end().to_owned()
    }
}

/// Holds 20 descriptors, 8 threads and so many MiB, has a child, has written 8 MiB to a file and
/// worked for 200 ms; then says that it is ready.
fn hold(path: &str, mib: usize) {
    let mut file = File::create(path).unwrap();
    file.write_all(&vec![1; 8 << 20]).unwrap();
    file.sync_all().unwrap();
    let held: Vec<File> = (0..20).map(|_| file.try_clone().unwrap()).collect();
    let memory = vec![1_u8; mib << 20];
    let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(hang)).collect();
    daemon("held");
    let used = || {
        let used =
            nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
        nix::sys::time::TimeValLike::num_milliseconds(&used.user_time())
            + nix::sys::time::TimeValLike::num_milliseconds(&used.system_time())
    };
    while used() < 250 {
        std::hint::black_box(&memory);
    }
    ready();
    let _held = std::hint::black_box((held, memory, threads));
    hang();
}

fn list(path: &str) {
    let mut names: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    println!("{}", names.join(" "));
}

/// A file of so many MiB, and then nothing.
fn fill(path: &str, mib: usize) {
    let mut file = File::create(path).unwrap();
    for _ in 0..mib {
        file.write_all(&[1; 1 << 20]).unwrap();
    }
    hang();
}

/// Directories in each other, more than any path can name.
fn dig(top: &str) {
    std::env::set_current_dir(top).unwrap();
    for _ in 0..5000 {
        fs::create_dir("d").unwrap();
        std::env::set_current_dir("d").unwrap();
    }
    println!("dug");
}

fn hang() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn system() {
    let name = nix::sys::utsname::uname().unwrap();
    println!("host {}", name.nodename().to_string_lossy());
    println!("domain {}", name.domainname().to_string_lossy());
    println!("user {} {}", nix::unistd::getuid(), nix::unistd::getgid());
    let named = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap();
    println!("name {} home {}", named.name, named.dir.display());
    println!("affinity {}", std::thread::available_parallelism().unwrap());
    for (name, key) in
        [("online", libc::_SC_NPROCESSORS_ONLN), ("configured", libc::_SC_NPROCESSORS_CONF)]
    {
        // SAFETY: a number only.
        println!("{name} {}", unsafe { libc::sysconf(key) });
    }
    println!("time {}", std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
}

fn sizes() {
    let memory = nix::sys::sysinfo::sysinfo().unwrap();
    println!("memory {}", memory.ram_total());
    println!("uptime {}", memory.uptime().as_secs());
    for path in ["/", "/usr", "/tmp"] {
        let disk = nix::sys::statvfs::statvfs(path).unwrap();
        println!("{path} {}", disk.blocks() * disk.fragment_size());
    }
}

/// Disks, asked about in every way, from a directory that is for its owner only; and where there are none.
fn disks() {
    std::fs::DirBuilder::new().mode(0o700).create("/tmp/own").unwrap();
    std::env::set_current_dir("/tmp/own").unwrap();
    let file = File::create("file").unwrap();
    let told = |disk: nix::Result<Statfs>| disk.map(|disk| disk.blocks() * 4096);
    println!("descriptor {:?}", told(fstatfs(&file)));
    let long = "a".repeat(5000);
    for path in [".", "file", "../own", "/proc/self/cwd", "/proc/self/fd/0", "nowhere", "", &long] {
        println!("{:.20} {:?}", path, told(statfs(path)));
    }
    let raw = |number, first: usize, second: usize| {
        // SAFETY: address 1 is nobody's, and the kernel refuses it; where one names memory, that is big enough.
        let result = unsafe { libc::syscall(number, first, second) };
        if result < 0 { Err(nix::errno::Errno::last()) } else { Ok(result) }
    };
    let room = [0_u64; 64];
    let (name, room) = (c"/tmp".as_ptr().addr(), room.as_ptr().addr());
    println!("no name {:?}", raw(libc::SYS_statfs, 1, room));
    println!("no room {:?}", raw(libc::SYS_statfs, name, 1));
    println!("no room for a name {:?}", raw(libc::SYS_uname, 1, 0));
    println!("no file {:?}", raw(libc::SYS_fstatfs, 9999, room));
}

/// The random bytes that the kernel gives a program at its start.
fn start_bytes() {
    // SAFETY: takes a number; the kernel has put 16 bytes where AT_RANDOM points, for the program's life.
    let bytes = unsafe {
        let at = libc::getauxval(libc::AT_RANDOM) as *const [u8; 16];
        *at
    };
    println!("{bytes:02x?}");
}

/// Forks children that wait, until no more can be had.
fn forks() {
    let mut count = 0;
    loop {
        // SAFETY: this program has one thread.
        match unsafe { nix::unistd::fork() } {
            Ok(nix::unistd::ForkResult::Child) => hang(),
            Ok(nix::unistd::ForkResult::Parent { .. }) => count += 1,
            Err(_) => break,
        }
        assert!(count < 10_000, "unbounded");
    }
    println!("{count}");
}

fn eat(mebibytes: usize) {
    let mut eaten = Vec::new();
    for _ in 0..mebibytes {
        // Written to, so that it is real.
        eaten.push(vec![1_u8; 1 << 20]);
    }
    println!("ate {}", eaten.len());
}

fn files() {
    let mut open = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        open.push(file);
        assert!(open.len() < 1 << 20, "unbounded");
    }
    println!("{}", open.len());
}

fn big_file(path: &str) {
    let mut file = File::create(path).unwrap();
    for _ in 0..64 {
        file.write_all(&[0; 1 << 16]).unwrap();
    }
}

/// Leaves a process behind that has its own session and ignores polite signals.
#[expect(clippy::zombie_processes, reason = "being left behind is the point")]
fn daemon(word: &str) {
    Command::new("/proc/self/exe").args([crate::world::INSIDE, "hang", word]).spawn().unwrap();
}

fn ready() {
    let path = std::env::var("NOTIFY_SOCKET").unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(b"STATUS=warming up", &path).unwrap();
    socket.send_to(b"STATUS=here\nREADY=1\n", &path).unwrap();
}

/// Ends well when asked to.
fn polite() {
    let mut asked = nix::sys::signal::SigSet::empty();
    asked.add(nix::sys::signal::Signal::SIGTERM);
    asked.thread_block().unwrap();
    ready();
    asked.wait().unwrap();
    println!("bye");
}

/// A sandbox in the sandbox.
fn sandbox() {
    let command = vec![crate::world::PROGRAM.into()];
    match countersign_sandbox::Sandbox::new(command).run() {
        Ok(_) => println!("ran"),
        Err(error) => println!("{error}"),
    }
}

/// Makes a file, and waits until another is there.
fn wait_for(make: &str, wait: &str) {
    fs::write(make, "x").unwrap();
    while fs::metadata(wait).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
}
