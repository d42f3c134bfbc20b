//! The corpora of the fuzz targets, and seeded mutations of them, with the targets' own bodies.

#[path = "../../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../../tests/fuzz/bodies/import.rs"]
mod import;

#[test]
fn no_chat_log_breaks_the_import() {
    corpus::run("import", import::check);
}
