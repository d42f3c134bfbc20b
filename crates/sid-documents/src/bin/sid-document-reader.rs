//! The reader's process alone, for tests and for programs that do not start themselves again.

fn main() {
    sid_documents::launch_if_asked();
}
