//! sid-core
