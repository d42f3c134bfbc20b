//! sid-store-sqlite
