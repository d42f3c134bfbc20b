//! The corpora of the fuzz targets, and seeded mutations of them, with the targets' own bodies.

#[path = "../../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../../tests/fuzz/bodies/url_guard.rs"]
mod url_guard;

#[test]
fn nothing_that_the_guard_lets_through_is_inside() {
    corpus::run("url_guard", url_guard::check);
}
