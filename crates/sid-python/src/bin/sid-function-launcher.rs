//! The launcher as a program of its own, for servers that cannot start themselves again.

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    sid_python::launch_if_asked();
    // Nothing to say to people: it is started by programs only.
    std::process::ExitCode::from(2)
}
