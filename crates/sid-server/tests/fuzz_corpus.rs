//! The corpora of the fuzz targets, and seeded mutations of them, with the targets' own bodies.

#[path = "../../../tests/fuzz/corpus.rs"]
mod corpus;
#[path = "../../../tests/fuzz/bodies/filters.rs"]
mod filters;

#[test]
fn no_query_of_a_list_or_search_breaks_the_server() {
    corpus::run("filters", filters::check);
}
