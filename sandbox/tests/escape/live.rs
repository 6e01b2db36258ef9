//! The live node: a process outside that has all that an attempt is after, and says where.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::spawn;

use crate::attempts::TOKEN;

/// The live node's process; it ends when its standard input does, and removes what it made.
pub(crate) struct Live {
    process: Child,
    /// `key=value` words: where it is.
    pub(crate) words: Vec<String>,
}

impl Live {
    /// Starts one with its state in `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let mut process = Command::new("/proc/self/exe")
            .arg("live")
            .arg(dir)
            .env("SECRET", TOKEN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let words = line.split_whitespace().map(str::to_owned).collect();
        Self { process, words }
    }

    /// Whether nothing has ended it.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// Its whole life.
pub(crate) fn live(dir: &Path) {
    let secret = dir.join("secret");
    fs::write(&secret, TOKEN).unwrap();
    let open = File::open(&secret).unwrap();
    let memory: &[u8] = TOKEN.as_bytes().to_vec().leak();
    let pid = std::process::id();
    let mut words = vec![
        format!("pid={pid}"),
        format!("secret={}", secret.display()),
        format!("address={}", memory.as_ptr() as usize),
        format!("descriptor={}", open.as_raw_fd()),
        format!("disk={}", disk(&open)),
        format!("handle={}", handle(&secret)),
    ];

    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    words.push(format!("tcp={}", loopback.local_addr().unwrap()));
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = everywhere.local_addr().unwrap().port();
    // Sends nothing: it only asks for the way.
    let way = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let address = way.map_or("127.0.0.2".to_owned(), |address| address.ip().to_string());
    words.push(format!("tcp-address={address}:{port}"));
    for listener in [loopback, everywhere] {
        spawn(move || {
            listener.incoming().flatten().for_each(|mut s| _ = s.write_all(TOKEN.as_bytes()))
        });
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    words.push(format!("udp={}", udp.local_addr().unwrap()));
    spawn(move || {
        while let Ok((_, from)) = udp.recv_from(&mut [0; 16]) {
            _ = udp.send_to(TOKEN.as_bytes(), from);
        }
    });
    let path = dir.join("socket");
    words.push(format!("unix={}", path.display()));
    let name = format!("countersign-escape-{pid}");
    words.push(format!("abstract={name}"));
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    for listener in [UnixListener::bind(path).unwrap(), hidden] {
        spawn(move || {
            listener.incoming().flatten().for_each(|mut s| _ = s.write_all(TOKEN.as_bytes()))
        });
    }

    let shared = Shared::make(pid, &name);
    words.extend(shared.words());
    println!("{}", words.join(" "));
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(shared);
}

/// Device number of the disk that a file lies on: major and minor, a half each.
fn disk(file: &File) -> u64 {
    let device = nix::sys::stat::fstat(file).unwrap().st_dev;
    nix::sys::stat::major(device) << 32 | nix::sys::stat::minor(device)
}

/// A file's handle in hexadecimal; empty where its file system has none.
fn handle(path: &Path) -> String {
    // struct file_handle: room for how many bytes, a type, and the bytes.
    let mut handle = [0_u8; 8 + 128];
    handle[0] = 128;
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    let mut mount = 0_i32;
    // SAFETY: a string, a struct with the room that it says it has, and an integer, all alive.
    let named = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            handle.as_mut_ptr(),
            &raw mut mount,
            0,
        )
    };
    let length = if named == 0 { 8 + usize::from(handle[0]) } else { 0 };
    handle[..length].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What outlives a process unless it is removed.
struct Shared {
    key: i32,
    name: String,
    /// Shared memory, queue, semaphores.
    ids: [i32; 3],
}

impl Shared {
    fn make(pid: u32, name: &str) -> Self {
        let key = i32::try_from(pid).unwrap() | 0x4300_0000;
        let flags = libc::IPC_CREAT | 0o666;
        // SAFETY: integers only.
        let ids = unsafe {
            [libc::shmget(key, 4096, flags), libc::msgget(key, flags), libc::semget(key, 1, flags)]
        };
        assert!(ids.iter().all(|id| *id >= 0), "{}", std::io::Error::last_os_error());
        // SAFETY: the segment of a page was made above; the token is shorter than a page.
        unsafe {
            let page = libc::shmat(ids[0], std::ptr::null(), 0).cast::<u8>();
            page.copy_from_nonoverlapping(TOKEN.as_ptr(), TOKEN.len());
        }
        let shared = Self { key, name: name.to_owned(), ids };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o666)
            .open(shared.memory())
            .and_then(|mut file| file.write_all(TOKEN.as_bytes()))
            .unwrap();
        let queue = std::ffi::CString::new(name).unwrap();
        let nothing: *const libc::c_void = std::ptr::null();
        // SAFETY: NUL-terminated strings and a live slice; no attributes.
        unsafe {
            libc::syscall(
                libc::SYS_mq_open,
                queue.as_ptr(),
                libc::O_CREAT | libc::O_RDWR,
                0o666,
                nothing,
            );
            libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                queue.as_ptr(),
                TOKEN.as_ptr(),
                TOKEN.len(),
                KEY_SPEC_USER_KEYRING,
            );
        }
        shared
    }

    fn memory(&self) -> String {
        format!("/dev/shm/{}", self.name)
    }

    fn words(&self) -> [String; 4] {
        [
            format!("sysv-key={}", self.key),
            format!("posix-memory={}", self.memory()),
            format!("posix-queue={}", self.name),
            format!("key-name={}", self.name),
        ]
    }
}

const KEY_SPEC_USER_KEYRING: i32 = -4;

impl Drop for Shared {
    fn drop(&mut self) {
        _ = fs::remove_file(self.memory());
        let name = std::ffi::CString::new(self.name.as_str()).unwrap();
        let [memory, queue, semaphores] = self.ids;
        const KEYCTL_UNLINK: i32 = 9;
        const KEYCTL_SEARCH: i32 = 10;
        // SAFETY: integers and NUL-terminated strings; the objects are this process's own.
        unsafe {
            libc::shmctl(memory, libc::IPC_RMID, std::ptr::null_mut());
            libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut());
            libc::semctl(semaphores, 0, libc::IPC_RMID);
            libc::syscall(libc::SYS_mq_unlink, name.as_ptr());
            let (kind, keyring) = (c"user".as_ptr(), KEY_SPEC_USER_KEYRING);
            let key =
                libc::syscall(libc::SYS_keyctl, KEYCTL_SEARCH, keyring, kind, name.as_ptr(), 0);
            libc::syscall(libc::SYS_keyctl, KEYCTL_UNLINK, key, keyring);
        }
    }
}
