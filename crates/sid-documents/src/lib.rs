#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod error;
pub mod html;
mod limits;
mod markdown;
mod pages;
mod parts;
#[cfg(feature = "process")]
mod process;
mod read;
mod reader;
mod section;

pub use error::Unreadable;
pub use limits::Limits;
#[cfg(feature = "process")]
pub use process::{OwnProcess, launch_if_asked};
pub use read::{Part, ReadDocument, digest, read};
pub use reader::{DocumentReader, InProcess};
