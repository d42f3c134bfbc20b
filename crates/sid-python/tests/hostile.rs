//! Functions that mean harm: each is contained, told to the model in words, and gone within its time-out; nobody else notices.

mod support;

use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sid_python::Module;
use support::{House, call, module, none, words};

/// A function `f` with this body, and time enough to fail by itself on a busy machine.
fn brief(body: &str) -> Module {
    let mut module = module(&format!("import os, sys, time\ndef f():\n    'F.'\n{}", indent(body)));
    module.limits.timeout_ms = 30_000;
    module
}

/// The same, to be ended at its time-out.
fn endless(body: &str) -> Module {
    let mut module = brief(body);
    module.limits.timeout_ms = 1_500;
    module
}

fn indent(body: &str) -> String {
    body.lines().map(|l| format!("    {l}\n")).collect()
}

async fn f(body: &str) -> Result<Value, sid_python::Failure> {
    House::open().await.contained(&brief(body), "f", none()).await
}

#[tokio::test]
async fn everything_is_in_force_here() {
    let house = House::open().await;
    let enforced = house.python.enforced();
    assert!(enforced.limits && enforced.files && enforced.system_calls && enforced.capabilities, "{enforced}");
    assert_eq!(enforced.missing, Vec::<String>::new());
}

#[tokio::test]
async fn endless_loops_are_ended_at_their_time_out() {
    for body in [
        "while True: pass",
        "import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass",
        "import threading\nfor _ in range(4): threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()\nwhile True: time.sleep(1)",
        "'x' * 40 == __import__('re').match('(x+x+)+y', 'x' * 40)",
    ] {
        let told = words(House::open().await.contained(&endless(body), "f", none()).await);
        assert!(told.starts_with("The function was stopped: it took longer than 1.5 s."), "{body}: {told}");
    }
}

#[tokio::test]
async fn processor_time_has_a_limit_of_its_own() {
    let mut module = brief("while True: pass");
    (module.limits.timeout_ms, module.limits.cpu_seconds) = (60_000, 1);
    let told = words(House::open().await.contained(&module, "f", none()).await);
    assert!(told.contains("used more than 1 s of processor time"), "{told}");
}

#[tokio::test]
async fn memory_has_an_end() {
    for body in ["x = bytearray(10 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 20))", "x = 'x'\nwhile True: x += x"] {
        let told = words(f(body).await);
        assert!(told.starts_with("MemoryError") && told.contains("more memory than it may use"), "{body}: {told}");
    }
}

#[tokio::test]
async fn memory_that_is_no_address_space_is_not_to_be_had() {
    let told = words(f("os.memfd_create('x')").await);
    assert!(told.contains("PermissionError"), "{told}");
}

#[tokio::test]
async fn no_processes_are_started() {
    for body in [
        // One before the bomb: where nothing is in its way, this is told, and the bomb does not go off.
        "os.fork()",
        "while True: os.fork()",
        "__import__('subprocess').run(['/bin/sh', '-c', 'true'])",
        "os.system('true') == 0 or os.posix_spawn('/bin/sh', ['sh'], {})",
        "p = __import__('multiprocessing').Process(target=print)\np.start()",
        "os.forkpty()",
    ] {
        let told = words(f(body).await);
        assert!(told.contains("PermissionError") && told.contains("without other programs"), "{body}: {told}");
    }
    let told = words(f("os.execv('/bin/sh', ['sh', '-c', 'echo out'])").await);
    assert!(told.contains("PermissionError"), "{told}");
}

#[tokio::test]
async fn a_bomb_of_threads_ends_in_an_error_or_at_the_time_out() {
    let told = words(f("import threading\nwhile True: threading.Thread(target=time.sleep, args=(60,)).start()").await);
    assert!(told.contains("start new thread") || told.contains("MemoryError") || told.contains("longer than"), "{told}");
}

/// The kernel does not count root's threads, so a root server's calls become users of their own. Other servers have no such users: their
/// bound is 4,096 for all.
#[tokio::test]
async fn threads_are_counted_where_the_server_is_root() {
    let house = Arc::new(House::open_with(|c| c.most_at_once = 4).await);
    let body = "import _thread, threading\nthreading.stack_size(65536)\nn = 0\nwhile n < 5000:\n    try: _thread.start_new_thread(time.sleep, (60,))\n    except RuntimeError: break\n    n += 1\ntime.sleep(1)\nreturn [n, os.getuid(), os.geteuid(), os.getgid(), os.getgroups()]";
    let mut module = brief(body);
    (module.limits.tasks, module.limits.timeout_ms) = (20, 60_000);
    if !house.python.enforced().own_user {
        assert!(!rustix::process::geteuid().is_root(), "root can give each call a user of its own: {}", house.python.enforced());
        let seen = house.contained(&module, "f", none()).await.expect("it looks");
        assert_eq!(seen[1], json!(rustix::process::getuid().as_raw()));
        return;
    }
    // At the same time: the threads of one are not counted for another.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (house, module) = (house.clone(), module.clone());
        calls.spawn(async move { house.call(&module, "f", none()).await.expect("it looks") });
    }
    let mut users = std::collections::BTreeSet::new();
    for seen in calls.join_all().await {
        let user = seen[1].as_u64().expect("a number");
        // The first thread is one of the twenty.
        assert_eq!(seen, json!([19, user, user, user, []]));
        assert!((61_184..65_520).contains(&user) && users.insert(user), "{user}");
    }
    house.assert_nothing_left();
}

#[tokio::test]
async fn the_servers_environment_cannot_be_read() {
    let house = House::open().await;
    // Cargo's own variables stand for the server's secrets.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let seen = house.contained(&brief("return 'CARGO_MANIFEST_DIR' in os.environ"), "f", none()).await;
    assert_eq!(seen.expect("it works"), json!(false));
    for path in ["/proc/%d/environ' % os.getppid() + '", "/proc/self/environ", "/proc/1/environ", "/proc/%d/mem' % os.getppid() + '"] {
        let told = words(house.contained(&brief(&format!("return open('{path}').read()")), "f", none()).await);
        assert!(told.starts_with("PermissionError") && told.contains("files in their working folder only"), "{path}: {told}");
    }
}

#[tokio::test]
async fn the_servers_files_can_be_neither_read_nor_changed() {
    let house = House::open().await;
    let outside = house.folder.path().join("secret");
    std::fs::write(&outside, "hunter2").expect("written");
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o600)).expect("set");
    let before = std::fs::metadata(&outside).expect("there");
    let path = outside.display();
    for body in [
        format!("return open('{path}').read()"),
        format!("open('{path}', 'w')"),
        format!("os.unlink('{path}')"),
        format!("os.rename('{path}', 'here')"),
        format!("os.link('{path}', 'here'); return open('here').read()"),
        format!("os.symlink('{path}', 'here'); return open('here').read()"),
        format!("os.truncate('{path}', 0)"),
        format!("open('{path}.new', 'w')"),
        format!("os.mkdir('{path}.new')"),
        "return os.listdir('/')".to_owned(),
        "return os.listdir('..')".to_owned(),
        "return open('/etc/passwd').read()".to_owned(),
        "return open('../../../secret').read()".to_owned(),
        "os.mknod('here', 0o60600, os.makedev(7, 0))".to_owned(),
        "os.chroot('.')".to_owned(),
    ] {
        let told = words(house.contained(&brief(&body), "f", none()).await);
        // Moving over the border of what may be read is "a link between devices".
        assert!(told.contains("PermissionError") || told.contains("Invalid cross-device link"), "{body}: {told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    // Modes and times are not refused, and not changed.
    let body = format!("os.chmod('{path}', 0o777); os.utime('{path}', (0, 0)); os.chown('{path}', 1, 1); return True");
    assert_eq!(house.contained(&brief(&body), "f", none()).await.expect("it seems to work"), json!(true));
    let after = std::fs::metadata(&outside).expect("there");
    assert_eq!((before.permissions(), before.modified().ok()), (after.permissions(), after.modified().ok()));
    assert_eq!(std::fs::read_to_string(&outside).expect("read"), "hunter2");
}

#[tokio::test]
async fn the_working_folder_is_private_empty_and_works() {
    let body = "import shutil, tempfile, sqlite3\nassert os.listdir('.') == []\nopen('a', 'w').write('x')\nos.mkdir('d')\nshutil.copy2('a', 'd/b')\nos.rename('d/b', 'c')\nwith tempfile.NamedTemporaryFile('w') as t: t.write('y')\nwith sqlite3.connect('db') as db: db.execute('create table t (x)')\nreturn sorted(os.listdir('.'))";
    assert_eq!(f(body).await.expect("it works"), json!(["a", "c", "d", "db"]));
}

#[tokio::test]
async fn there_is_no_network_without_a_grant() {
    let house = House::open().await;
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let path = house.folder.path().join("socket");
    let _unix = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let connect = format!("import socket\ns = socket.create_connection(('127.0.0.1', {port}), 1)\nreturn s.getsockname()[0]");
    for body in [
        connect.as_str(),
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 53))",
        "import socket\nsocket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
        "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import socket\nsocket.create_server(('127.0.0.1', 0))",
        &format!("import socket\nsocket.socket(socket.AF_UNIX).connect('{}')", path.display()),
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9/')",
    ] {
        let told = words(house.contained(&brief(body), "f", none()).await);
        assert!(told.contains("not permitted"), "{body}: {told}");
    }
    let mut granted = brief(&connect);
    granted.grants.network = true;
    assert_eq!(house.contained(&granted, "f", none()).await.expect("it is granted"), json!("127.0.0.1"));
    // The grant is for the internet, not for the sockets of neighbours.
    let mut granted = brief(&format!("import socket\nsocket.socket(socket.AF_UNIX).connect('{}')", path.display()));
    granted.grants.network = true;
    assert!(words(house.contained(&granted, "f", none()).await).contains("not permitted"));
}

#[tokio::test]
async fn a_flood_of_output_is_stopped() {
    for body in [
        "while True: print('x' * 1000000)",
        "for _ in range(1024): os.write(2, b'x' * (1 << 20))",
        "os.system = None\nwhile True: sys.stderr.write('y' * 65536)",
    ] {
        let told = words(f(body).await);
        assert!(told.starts_with("The function was stopped: it printed more than 16 MiB."), "{body}: {}", &told[..200.min(told.len())]);
        assert!(told.len() < 4_000, "the flood is not passed on");
    }
}

#[tokio::test]
async fn what_is_printed_is_never_taken_for_the_protocol() {
    let answer = r#"{"value": "forged"}"#;
    let body = format!(
        "frame = len({answer:?}).to_bytes(4, 'big') + {answer:?}.encode()\nsys.stdout.buffer.write(frame)\nsys.stdout.flush()\nos.write(1, frame)\nos.write(2, frame)\ntry: os.write(0, frame)\nexcept OSError: pass\nprint({answer:?})\nreturn 'true'"
    );
    assert_eq!(f(&body).await.expect("it works"), json!("true"));
    assert_eq!(f("return sys.stdin.read()").await.expect("it works"), json!(""));
}

#[tokio::test]
async fn nonsense_on_the_channel_is_survived() {
    // Who searches for the channel can spoil its own answer, and nothing else.
    let write = |bytes: &str| format!("for n in range(3, 64):\n    try: os.write(n, {bytes})\n    except OSError: pass\nreturn 1");
    let told = words(f(&write(r"b'\xff\xff\xff\xff'")).await);
    assert!(told.contains("answered with 4294967295 bytes"), "{told}");
    let told = words(f(&write(r"b'\x00\x00\x00\x04oops'")).await);
    assert!(told.contains("answered with something that is not JSON"), "{told}");
    assert_eq!(f(&write(r#"b'\x00\x00\x00\x02[]'"#)).await.expect("an answer without a value"), json!(null));
    let told = words(f("os.closerange(0, 64)\nreturn 1").await);
    assert!(told.contains("ended without a result"), "{told}");
}

#[tokio::test]
async fn exceptions_of_every_kind_are_told() {
    for (body, told) in [
        ("raise ValueError('no luck')", "ValueError: no luck\n  line 4, in f: raise ValueError('no luck')"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("sys.exit('enough')", "SystemExit: enough"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise type('Odd', (Exception,), {'__str__': lambda s: 1 / 0})()", "Odd: (its message cannot be shown)"),
        ("def g(): g()\ng()", "RecursionError"),
        ("raise ValueError('x' * 1000000)", "ValueError: xxx"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    ] {
        let words = words(f(body).await);
        assert!(words.starts_with(told) && words.len() < 4_000, "{body}: {words}");
    }
}

#[tokio::test]
async fn results_that_cannot_be_sent_are_told() {
    for (body, told) in [
        ("return object()", "the result is of the type `object`, which cannot be sent"),
        ("return {'a': [1, f]}", "the result.a[1] is of the type `function`"),
        ("return float('nan')", "the result is nan, which JSON does not have"),
        ("x = []\nx.append(x)\nreturn x", "is nested deeper than 64 levels"),
        ("return (n for n in range(3))", "`generator`"),
        ("return {(1, 2): 3}", "a key of the type `tuple`"),
        ("return 'x' * (2 << 20)", "the result has 2097"),
        ("return b'x'", "`bytes`"),
    ] {
        let words = words(f(body).await);
        assert!(words.starts_with("The function ran, but") && words.contains(told), "{body}: {words}");
    }
}

#[tokio::test]
async fn a_process_that_dies_is_told() {
    for (body, told) in [
        ("os._exit(7)", "it ended its own process with exit code 7"),
        ("os._exit(125)", "it ended its own process with exit code 125"),
        ("os.abort()", "it crashed (signal 6)"),
        ("import ctypes\nctypes.string_at(0)", "it crashed (signal 11)"),
        ("os.kill(os.getpid(), 9)", "it was killed"),
    ] {
        let words = words(f(&format!("print('before', flush=True)\n{body}")).await);
        assert!(words.contains(told) && words.ends_with("It printed, at the end:\nbefore"), "{body}: {words}");
    }
}

#[tokio::test]
async fn the_disk_is_not_filled() {
    let house = House::open().await;
    let mut module = brief("with open('x', 'wb') as x:\n    while True: x.write(b'x' * 100000)");
    let told = words(house.contained(&module, "f", none()).await);
    assert!(told.starts_with("OSError: [Errno 27] File too large"), "{told}");
    module = brief("n = 0\nwhile True:\n    n += 1\n    with open(str(n), 'wb') as x: x.write(b'x' * 10_000_000)");
    assert!(words(house.contained(&module, "f", none()).await).contains("it wrote more than 64 MiB of files"));
    module = brief("n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()");
    assert!(words(house.contained(&module, "f", none()).await).contains("it made more than 1000 files"));
    module = brief("while True:\n    os.mkdir('d')\n    os.chdir('d')");
    assert!(words(house.contained(&module, "f", none()).await).contains("it made more than 1000 files"));
}

#[tokio::test]
async fn other_processes_are_out_of_reach() {
    let house = House::open().await;
    let ours = std::process::id();
    for body in [
        format!("os.kill({ours}, 9)"),
        format!("os.kill({ours}, 0)"),
        "os.kill(-1, 9)".into(),
        "os.kill(0, 9)".into(),
        "os.kill(os.getppid(), 9)".into(),
        "os.killpg(0, 9)".into(),
        format!("os.setpriority(os.PRIO_PROCESS, {ours}, 19)"),
        format!("os.sched_setaffinity({ours}, [0])"),
        format!("os.pidfd_open({ours})"),
        format!("import resource\nresource.prlimit({ours}, resource.RLIMIT_NOFILE, (3, 3))"),
        "os.setsid()".into(),
        "os.setpgid(0, 0)".into(),
        "os.setuid(1)".into(),
        "os.nice(-5)".into(),
    ] {
        let told = words(house.contained(&brief(&body), "f", none()).await);
        assert!(told.contains("PermissionError"), "{body}: {told}");
    }
    for limit in ["AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE"] {
        let body = format!("import resource\nresource.setrlimit(resource.RLIMIT_{limit}, (-1, -1))");
        let told = words(house.contained(&brief(&body), "f", none()).await);
        assert!(told.contains("not permitted") || told.contains("not allowed") || told.contains("PermissionError"), "{limit}: {told}");
    }
}

#[tokio::test]
async fn system_calls_that_no_function_needs_are_not_there() {
    let body = r#"
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
numbers = {
    'x86_64': {'ptrace': 101, 'process_vm_readv': 310, 'process_vm_writev': 311, 'mount': 165, 'umount2': 166, 'pivot_root': 155, 'bpf': 321,
        'keyctl': 250, 'add_key': 248, 'io_uring_setup': 425, 'userfaultfd': 323, 'perf_event_open': 298, 'unshare': 272, 'setns': 308,
        'kexec_load': 246, 'init_module': 175, 'reboot': 169, 'swapon': 167, 'open_by_handle_at': 304, 'pidfd_getfd': 438, 'shmget': 29,
        'seccomp': 317, 'personality': 135, 'inotify_init1': 294, 'memfd_secret': 447, 'x32 getpid': 0x40000000 + 39, 'vfork': 58, 'fork': 57},
    'aarch64': {'ptrace': 117, 'process_vm_readv': 270, 'mount': 40, 'bpf': 280, 'keyctl': 219, 'io_uring_setup': 425, 'userfaultfd': 282,
        'perf_event_open': 241, 'unshare': 97, 'setns': 268, 'shmget': 194, 'seccomp': 277},
}[platform.machine()]
answers = {}
for name, number in numbers.items():
    ctypes.set_errno(0)
    got = libc.syscall(number, 0, 0, 0, 0, 0, 0)
    answers[name] = 'allowed' if got != -1 else ctypes.get_errno()
return {name: answer for name, answer in answers.items() if answer != 1}
"#;
    assert_eq!(f(body).await.expect("it looks"), json!({}));
    // `clone` with other flags than a thread's, and `clone3`, which is to be tried no further.
    let body = "import ctypes, platform\nlibc = ctypes.CDLL(None, use_errno=True)\ndef errno(*a):\n    ctypes.set_errno(0)\n    return libc.syscall(*a), ctypes.get_errno()\nclone = {'x86_64': 56, 'aarch64': 220}[platform.machine()]\nreturn [errno(clone, 17, 0, 0, 0, 0), errno(clone, 0x10000000 | 17, 0, 0, 0, 0), errno(435, 0, 0)]";
    assert_eq!(f(body).await.expect("it looks"), json!([[-1, 1], [-1, 1], [-1, 38]]));
}

#[tokio::test]
async fn no_rights_of_root_are_left_but_to_read_what_landlock_allows() {
    let body = "import ctypes\nclass H(ctypes.Structure): _fields_ = [('version', ctypes.c_uint32), ('pid', ctypes.c_int)]\nclass D(ctypes.Structure): _fields_ = [('e', ctypes.c_uint32), ('p', ctypes.c_uint32), ('i', ctypes.c_uint32)]\nh, d = H(0x20080522, 0), (D * 2)()\nassert ctypes.CDLL(None).capget(ctypes.byref(h), d) == 0\nreturn [x for s in d for x in (s.e, s.p, s.i)]";
    let sets = f(body).await.expect("it looks");
    let sets: Vec<u64> = sets.as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    // Where Python is in a place for root alone, the right to read is left: Landlock says what.
    let read = 1 << 2;
    assert!(sets.len() == 6 && (sets[..3].iter().all(|s| s & !read == 0)) && sets[3..] == [0, 0, 0], "{sets:?}");
}

#[tokio::test]
async fn open_files_of_the_server_stay_behind() {
    let house = House::open().await;
    let path = house.folder.path().join("open");
    std::fs::write(&path, "hunter2").expect("written");
    let file = std::fs::File::open(&path).expect("opens");
    // As a C library would leave it.
    rustix::io::fcntl_setfd(file.as_fd(), rustix::io::FdFlags::empty()).expect("set");
    let body =
        "found = []\nfor n in range(3, 200):\n    try: found.append(os.pread(n, 100, 0).decode())\n    except OSError: pass\nreturn found";
    assert_eq!(house.contained(&brief(body), "f", none()).await.expect("it looks"), json!([]));
}

/// As in a server: many threads, a large environment with keys in it, open sockets and files that nobody marked to be closed. The test
/// starts itself again to have such an environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn sixteen_calls_at_once_inherit_nothing_from_a_busy_server() {
    const NAME: &str = "sixteen_calls_at_once_inherit_nothing_from_a_busy_server";
    const CANARY: &str = "SID_TEST_CANARY_0";
    if std::env::var_os(CANARY).is_none() {
        let server = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", NAME, "--nocapture"])
            .envs((0..300).map(|n| (format!("SID_TEST_CANARY_{n}"), format!("hunter2-{}", "x".repeat(200)))))
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&server.stdout);
        assert!(server.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&server.stderr));
        return;
    }
    let house = Arc::new(House::open_with(|c| c.most_at_once = 16).await);
    let path = house.folder.path().join("sid.sqlite");
    std::fs::write(&path, "hunter2").expect("written");
    let files: Vec<_> = (0..40).map(|_| std::fs::File::options().read(true).write(true).open(&path).expect("opens")).collect();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let descriptors = files.iter().map(|f| f.as_fd()).chain([listener.as_fd(), client.as_fd()]);
    for descriptor in descriptors {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty()).expect("set");
    }
    // Everything that is open beside the three of every process, and everything of the environment.
    let mut looking = brief(
        "import stat\nfound = []\nfor n in range(3, 4096):\n    try: found.append(stat.S_ISSOCK(os.fstat(n).st_mode))\n    except OSError: pass\ntime.sleep(0.2)\nreturn [found, sorted(os.environ), 'hunter2' in str(os.environ)]",
    );
    looking.limits.timeout_ms = 60_000;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (house, looking) = (house.clone(), looking.clone());
        calls.spawn(async move { house.call(&looking, "f", none()).await.expect("it looks") });
    }
    // The channel alone is open: a socket of a pair. Python itself may add `LC_CTYPE`.
    let known = ["HOME", "LANG", "LC_CTYPE", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH", "TMPDIR", "TZ"];
    for seen in calls.join_all().await {
        assert_eq!((&seen[0], &seen[2]), (&json!([true]), &json!(false)));
        let names = seen[1].as_array().expect("a list");
        assert!(names.iter().all(|name| known.contains(&name.as_str().unwrap_or_default())), "{names:?}");
    }
    house.assert_nothing_left();
}

#[tokio::test]
async fn neighbours_do_not_notice() {
    let house = Arc::new(House::open_with(|c| c.most_at_once = 16).await);
    let mut calls = tokio::task::JoinSet::new();
    for body in [
        "while True: pass",
        "x = []\nwhile True: x.append(bytearray(1 << 20))",
        "while True: os.fork()",
        "while True: print('x' * 100000)",
        "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'w').close()",
    ] {
        let house = house.clone();
        calls.spawn(async move { house.call(&endless(body), "f", none()).await.is_err() });
    }
    for n in 0..5 {
        let house = house.clone();
        let mut good = module("def add(a: int) -> int:\n    'Adds.'\n    return a + 1\n");
        good.limits.timeout_ms = 60_000;
        calls.spawn(async move { house.call(&good, "add", json!({"a": n})).await.ok() == Some(json!(n + 1)) });
    }
    while let Some(as_expected) = calls.join_next().await {
        assert!(as_expected.expect("no panic"));
    }
    house.assert_nothing_left();
}

/// The server is killed, with `kill -9`, while a function runs: the function goes with it. The test starts itself again as that server.
#[tokio::test]
async fn a_function_ends_with_its_server() {
    if let Some(folder) = std::env::var_os("SID_TEST_SERVER_TO_BE_KILLED") {
        let python = sid_python::Python::open(support::config(folder.as_ref())).await.expect("a sandbox");
        let mut endless = endless("open('begun', 'w').close()\nwhile True: time.sleep(1)");
        endless.limits.timeout_ms = 600_000;
        let _ = python.call(&endless, call("f", none())).await;
        unreachable!("it is killed before");
    }
    let house = House::open().await;
    let mut server = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_function_ends_with_its_server", "--nocapture"])
        .env("SID_TEST_SERVER_TO_BE_KILLED", house.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    // Before that, it would end by itself: nobody tells it what to do.
    until(|| house.folders().iter().any(|folder| folder.join("begun").exists())).await;
    server.kill().expect("killed");
    server.wait().expect("reaped");
    until(|| house.processes().is_empty()).await;
    // What it left in the folder is swept by the next server.
    let next = House { python: sid_python::Python::open(support::config(house.folder.path())).await.expect("opens"), folder: house.folder };
    next.assert_nothing_left();
}

/// Waits until something is so; the test's own limit ends it otherwise.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
